"""Phase 5: the analysis report, of one experiment or of several side by side."""

import json
import logging
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from configs import Settings, to_dict
from mario_env import EpisodeStart
from tasks import phases
from tasks.experiment import Experiment, open_run, open_store
from tasks.phases import PHASES, PhaseRecord

if TYPE_CHECKING:
    from episodes import EpisodeStore
    from reports.data import ExperimentData, ReportPaths, RuleCheck
    from reports.video import Frame

logger = logging.getLogger(__name__)


@task(name="analysis report", cache_policy=NO_CACHE, persist_result=False)
def write_report(experiment: Experiment) -> PhaseRecord:
    """Write the experiment's report, and keep it in MLflow too."""
    started = time.perf_counter()
    paths = report_on([experiment], experiment.settings, experiment.directory / "report")
    with open_run(experiment) as run:
        run.log_artifact(paths.html.parent, "report")
    create_link_artifact(key="report", link=paths.html.as_uri(), link_text=f"Report on {experiment.name}")
    create_markdown_artifact(key="report-place", markdown=f"Report on **{experiment.name}**: `{paths.html}`, also in MLflow.")
    details = {
        "report": str(paths.html),
        "video": str(paths.video_best) if paths.video_best else None,
        "typical_video": str(paths.video_typical) if paths.video_typical else None,
    }
    return phases.save(experiment.directory, PhaseRecord("report", time.perf_counter() - started, details))


def report_on(experiments: Sequence[Experiment], settings: Settings, directory: Path) -> "ReportPaths":
    """Write one report on `experiments` into `directory`.

    Raises:
        ReportError: an experiment has no rows to report on.
    """
    from reports.build import build_report
    from reports.data import ReportData

    with open_store(settings) as store:
        data = [experiment_data(experiment, store) for experiment in experiments]
        video = all(experiment.config.report.video for experiment in experiments)
        return build_report(ReportData(data), directory, video=video)


def experiment_data(experiment: Experiment, store: "EpisodeStore") -> "ExperimentData":
    """What the report needs to know of one experiment, from Postgres, its phase records and MLflow."""
    from configs.levels import FINISH_X
    from reports.data import ExperimentData, PhaseTiming

    config = experiment.config
    records = [record for phase in PHASES if (record := phases.finished(experiment.directory, phase))]
    level = (config.environment.world, config.environment.stage)
    return ExperimentData(
        name=experiment.name,
        id=experiment.id,
        config=to_dict(config),
        provenance=_provenance(store, experiment.id),
        train=store.episodes(experiment.id, phase="train"),
        evaluation=store.episodes(experiment.id, phase="evaluate"),
        phases=[PhaseTiming(record.phase, record.seconds) for record in records],
        resources=_resources(experiment),
        quality=list(_quality(experiment.directory / "quality")),
        replay=partial(_frames, store, experiment) if config.episodes.store_actions else None,
        finish_x=FINISH_X[level] if config.environment.game == "level" else None,
        command=f"mario run {config.name} --set seed={config.seed}",
    )


def _provenance(store: "EpisodeStore", experiment_id: int) -> dict[str, Any]:
    record = store.experiment(experiment_id).record
    return {
        "git commit": record.git_commit,
        "uncommitted changes": record.git_dirty,
        "config hash": record.config_hash,
        "seed": record.seed,
        "Python": record.python_version,
        "device": record.device,
        "host": record.host,
        "started": record.started.isoformat(timespec="seconds"),
        "MLflow run": record.mlflow_run_id,
        "Prefect flow run": record.prefect_flow_run_id,
        **record.packages,
    }


def _quality(folder: Path) -> "Iterator[RuleCheck]":
    from reports.data import RuleCheck

    for path in sorted(folder.glob("*.json")):
        for rule in json.loads(path.read_text(encoding="utf-8"))["rules"]:
            yield RuleCheck(
                name=rule["name"],
                passed=rule["passed"],
                column=rule["column"] or "",
                expected=str(rule["expected"]),
                observed=str(rule["observed"]),
                failing_count=rule["failing_count"],
                phase=path.stem,
            )


def _frames(store: "EpisodeStore", experiment: Experiment, episode_id: int) -> "Iterator[Frame]":
    from reports.replay import episode_frames

    episode = store.episode(episode_id)
    if episode.actions is None or episode.start is None:
        return iter(())
    return episode_frames(experiment.config.environment, EpisodeStart.from_json(episode.start), episode.actions)


def _resources(experiment: Experiment) -> Any:
    return ()
