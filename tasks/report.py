"""Phase 5: the analysis report on one experiment, or on a comparison of several."""

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from configs import EnvironmentConfig, Settings, to_dict
from episodes.attempts import attempts, describe_attempts
from mario_env import EpisodeStart, PlaybackFrame, play_back
from tasks import phases
from tasks.artifacts import show_markdown
from tasks.evaluate import level_summaries, of_trained_levels
from tasks.experiment import Experiment, open_run, open_store
from tasks.judging import own_thinker
from tasks.phases import PHASES, PhaseRecord
from tracking import resolve_tracking_uri

if TYPE_CHECKING:
    from episodes import EpisodeStore
    from reports.data import ExperimentData, ReportPaths, ResourceUse, RuleCheck
    from reports.video import Frame

logger = logging.getLogger(__name__)

# File systems allow names of 255 bytes.
_MAX_FOLDER_NAME = 150


@task(name="analysis report", cache_policy=NO_CACHE, persist_result=False)
def write_report(experiment: Experiment) -> PhaseRecord:
    """Write the experiment's report, and log it to MLflow, without its videos if `tracking.videos` says so."""
    started = time.perf_counter()
    with TemporaryDirectory(prefix="train-mario-report-") as folder, open_run(experiment) as run:
        copy = None if experiment.config.tracking.with_videos else Path(folder)
        paths = report_on([experiment], experiment.settings, experiment.directory / "report", without_videos=copy)
        run.log_artifact(copy or paths.html.parent, "report")
        page = run.url.rpartition(" ")[2]
    details = {
        "report": str(paths.html),
        "video": str(paths.video_best) if paths.video_best else None,
        "typical_video": str(paths.video_typical) if paths.video_typical else None,
    }
    record = phases.save(experiment, PhaseRecord("report", time.perf_counter() - started, details))
    # No link to the file: a page from a server must not open local files.
    text = f"[Report on {experiment.name}]({page}/artifacts/report/report.html) in MLflow; the same in `{paths.html}`"
    show_markdown("report", text, f"Report on {experiment.name}")
    return record


def report_on(
    experiments: Sequence[Experiment], settings: Settings, directory: Path, without_videos: Path | None = None
) -> "ReportPaths":
    """Write one report on `experiments` into `directory`, and an edition without videos into `without_videos`, if it is given.

    Raises:
        ReportError: an experiment has no rows to report on.
    """
    from reports.build import build_report
    from reports.data import ReportData

    with open_store(settings) as store:
        data = [
            replace(experiment_data(experiment, store), inspect=partial(_inspect, experiment, store))
            for experiment in experiments
        ]
        video = all(experiment.config.report.video for experiment in experiments)
        return build_report(ReportData(data), directory, video=video, without_videos=without_videos)


def comparison_folder(names: Sequence[str], longest: int = _MAX_FOLDER_NAME) -> str:
    """The folder name for a report that compares experiments. It depends only on the names and their order."""
    joined = "-".join(names)
    if len(joined) <= longest:
        return joined
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:8]
    return f"{names[0][:100]}-and-{len(names) - 1}-more-{digest}"


def experiment_data(experiment: Experiment, store: "EpisodeStore") -> "ExperimentData":
    """The data of one experiment for the report, from Postgres and MLflow."""
    from episodes.training import read_training
    from reports.data import ExperimentData, PhaseTiming

    config = experiment.config
    # Whoever repeats the run with this configuration does not repeat the sweep.
    repeated = config.model_copy(update={"tracking": config.tracking.model_copy(update={"parent_run": None})})
    evaluation = store.episodes(experiment.id, phase="evaluate")
    records = [record for phase in PHASES if (record := phases.finished(experiment, phase))]
    return ExperimentData(
        name=experiment.name,
        id=experiment.id,
        config=to_dict(repeated),
        provenance=_provenance(store, experiment.id),
        train=read_training(store, experiment.id),
        evaluation=of_trained_levels(config, evaluation),
        levels=level_summaries(config, evaluation),
        phases=[PhaseTiming(record.phase, record.seconds) for record in records],
        resources=_resources(experiment),
        quality=list(_quality(store, experiment.id)),
        replay=partial(stored_frames, store, config.environment) if config.episodes.store_actions else None,
    )


def _provenance(store: "EpisodeStore", experiment_id: int) -> dict[str, Any]:
    """The experiment's row without the columns shown elsewhere in the report, and a description of its attempts."""
    record = asdict(store.experiment(experiment_id).record)
    values = {name: value for name, value in record.items() if name not in ("name", "config", "status", "ended", "attempt")}
    return {**values, "attempts": describe_attempts(attempts(store, experiment_id))}


def _quality(store: "EpisodeStore", experiment_id: int) -> "Iterator[RuleCheck]":
    from episodes.records import quality_results
    from reports.data import RuleCheck

    for phase, result in quality_results(store, experiment_id).items():
        for rule in result.rules:
            yield RuleCheck(
                name=rule.name,
                passed=rule.passed,
                column=rule.column or "",
                expected=str(rule.expected),
                observed=str(rule.observed),
                failing_count=rule.failing_count,
                phase=phase,
                severity=rule.severity,
                accepted=rule.accepted,
            )


def missing_actions(episode_id: int, *, stored: bool) -> str:
    """Why an episode cannot be replayed.

    Args:
        episode_id: the episode.
        stored: whether its experiment stores actions.
    """
    if stored:
        return f"the actions of episode {episode_id} were deleted by `mario prune`, so it cannot be replayed"
    return f"episode {episode_id} was stored without its actions (episodes.store_actions was off), so it cannot be replayed"


def stored_frames(store: "EpisodeStore", environment: EnvironmentConfig, episode_id: int) -> "Iterator[Frame]":
    """The frames of a stored episode that was played in `environment`.

    Raises:
        ReportError: its actions were not stored, or have been pruned.
    """
    return (played.screen for played in stored_play(store, environment, episode_id))


def stored_play(store: "EpisodeStore", environment: EnvironmentConfig, episode_id: int) -> "Iterator[PlaybackFrame]":
    """A stored episode that was played in `environment`, played again frame by frame.

    Raises:
        ReportError: its actions were not stored, or have been pruned.
    """
    from reports.data import ReportError

    episode = store.episode(episode_id)
    if episode.actions is None or episode.start is None:
        stored = episode.experiment.record.config.get("episodes", {}).get("store_actions", True)
        raise ReportError(missing_actions(episode_id, stored=stored))
    return play_back(environment, EpisodeStart.from_json(episode.start), episode.actions, episode.delays)


def _inspect(experiment: Experiment, store: "EpisodeStore", episode_id: int, file: Path) -> None:
    """Write a stored episode to the HTML file `file`, taken apart, with the opinion of the experiment's model."""
    from inspection import export, stored_episode

    export(stored_episode(store.episode(episode_id)), file, own_thinker(experiment), no_opinion="it is not here", quick=True)


# System metrics: their names in MLflow, their names in the report, and their units.
_RESOURCES = (
    ("system/cpu_utilization_percentage", "CPU", "%"),
    ("system/system_memory_usage_megabytes", "memory in use", "MB"),
    ("system/gpu_0_utilization_percentage", "GPU", "%"),
    ("system/gpu_0_memory_usage_megabytes", "GPU memory", "MB"),
)


def _resources(experiment: Experiment) -> "list[ResourceUse]":
    from tracking.history import metric_histories

    if experiment.run_id is None:
        return []
    uri = resolve_tracking_uri(experiment.settings.tracking_uri, experiment.settings.home)
    histories = metric_histories(uri, experiment.run_id, [metric for metric, _, _ in _RESOURCES])
    return [resource_use(name, unit, histories[metric]) for metric, name, unit in _RESOURCES if histories.get(metric)]


def resource_use(name: str, unit: str, history: Sequence[tuple[float, float]]) -> "ResourceUse":
    """A resource whose samples stand for the time since the one before, but not for times when the run was interrupted."""
    from reports.data import ResourceUse
    from tracking.system_metrics import FIRST_SECONDS, LATER_SECONDS

    times, values = zip(*history, strict=True)
    passed = [FIRST_SECONDS, *(later - earlier for earlier, later in pairwise(times))]
    return ResourceUse(name, unit, values, [min(max(each, 0.0), LATER_SECONDS) for each in passed])
