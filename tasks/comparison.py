"""The comparison of many experiments by seeds: it reads Postgres and MLflow, and writes the page."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from configs import Settings, from_dict
from episodes import EpisodeStore, StoredExperiment
from tasks.experiment import open_store
from tasks.report import comparison_folder, stored_frames
from tracking import TrackingError, resolve_tracking_uri

if TYPE_CHECKING:
    from reports.comparison.build import ComparisonPaths
    from reports.comparison.groups import ComparedExperiment, RunInMLflow
    from reports.comparison.results import ComparisonData, Estimate, Results
    from reports.video import Frame

logger = logging.getLogger(__name__)

PROTOCOL = "stochastic"
"""The protocol of the headline."""


@dataclass(frozen=True)
class Comparison:
    """A comparison that was written: its figures and its files."""

    results: "Results"
    paths: "ComparisonPaths"


def compare(
    ids: Sequence[int],
    settings: Settings,
    directory: Path | None = None,
    *,
    protocol: str = PROTOCOL,
    clips: bool = True,
    title: str = "Super Mario Bros: comparison by seeds",
    sweep_run_id: str = "",
) -> Comparison:
    """Write a page that compares experiments by variant, level and seed.

    Args:
        ids: the experiments, such as those of a sweep.
        settings: the home folder and the servers.
        directory: the folder of the page; None: a folder below `home`/reports, named after the experiments.
        protocol: of the evaluation that is compared.
        clips: whether bars of the plot of endings lead to short videos.
        title: of the page.
        sweep_run_id: the MLflow run of the sweep that is compared; "": there is none.

    Raises:
        ReportError: none of the experiments was evaluated under `protocol`.
        StoreError: the database fails.
    """
    from episodes.comparison import read_experiments
    from reports.comparison.build import build_comparison
    from reports.comparison.results import Results

    with open_store(settings) as store:
        stored = read_experiments(store, ids)
        names = [each.record.name for each in stored]
        folder = directory or settings.home / "reports" / f"comparison-{comparison_folder(names, 60)}"
        data = _read(store, stored, settings, folder, protocol, clips, title)
        if sweep_run_id:
            data = replace(data, sweep_run=_tracked(sweep_run_id, _run_pages([sweep_run_id], settings)))
        return Comparison(Results(data), build_comparison(data, folder))


def _read(
    store: EpisodeStore,
    stored: Sequence[StoredExperiment],
    settings: Settings,
    folder: Path,
    protocol: str,
    clips: bool,
    title: str,
) -> "ComparisonData":
    from episodes.comparison import endings, evaluation_scores, first_reached, training_curves
    from reports.comparison.groups import group_experiments
    from reports.comparison.results import BINS, RATES, ComparisonData
    from reports.deaths import BIN_WIDTH

    ids = [each.id for each in stored]
    experiments = _experiments(stored, settings, folder)
    scores = evaluation_scores(store, ids)
    reached = first_reached(store, ids, RATES)
    grouping = group_experiments(experiments, scores, reached, protocol)
    members = [each for group in grouping.groups for each in group.members]
    environments = {each.id: each.config.environment for each in members}
    end = max(each.config.train.total_steps for each in members)

    def replay(episode: int) -> "Iterator[Frame]":
        return stored_frames(store, environments[store.episode(episode).experiment.id], episode)

    return ComparisonData(
        grouping=grouping,
        protocol=protocol,
        scores=scores,
        curves=training_curves(store, [each.id for each in members], end, BINS),
        end=end,
        reached=reached,
        endings={group.name: endings(store, group.ids, protocol, BIN_WIDTH) for group in grouping.groups},
        replay=replay if clips else None,
        title=title,
    )


def _experiments(stored: Sequence[StoredExperiment], settings: Settings, folder: Path) -> "list[ComparedExperiment]":
    from reports.comparison.groups import ComparedExperiment

    pages = _run_pages([each.record.mlflow_run_id for each in stored if each.record.mlflow_run_id], settings)
    return [
        ComparedExperiment(
            id=each.id,
            name=each.record.name,
            config=from_dict(each.record.config, f"experiment {each.record.name}"),
            status=each.record.status,
            report=_report_link(settings.experiment_directory(each.record.name) / "report" / "report.html", folder),
            run=_tracked(each.record.mlflow_run_id, pages),
        )
        for each in stored
    ]


def _tracked(run_id: str | None, pages: Mapping[str, str]) -> "RunInMLflow | None":
    from reports.comparison.groups import RunInMLflow

    return None if run_id is None else RunInMLflow(run_id, pages.get(run_id, ""))


def headline_metrics(results: "Results") -> dict[str, float]:
    """The completion of each group, and of each variant over several levels, as metrics for MLflow.

    Each has an interquartile mean (`iqm`), the number of seeds, and an interval (`low`, `high`) if there are enough seeds.
    """
    from reports.comparison.groups import level_name

    metrics: dict[str, float] = {}
    grouping = results.grouping
    for group in grouping.groups:
        metrics |= _estimate_metrics(f"completion/{group.variant}/{level_name(group.level)}", results.estimate(group))
    if len(grouping.common_levels) > 1:
        for variant in grouping.variants:
            metrics |= _estimate_metrics(f"completion/{variant}/common levels", results.overall(variant))
    return metrics


def _estimate_metrics(name: str, estimate: "Estimate | None") -> dict[str, float]:
    if estimate is None:
        return {}
    metrics = {f"{name}/iqm": estimate.value, f"{name}/runs": float(estimate.scores.size)}
    if estimate.interval is not None:
        metrics |= {f"{name}/low": estimate.interval.low, f"{name}/high": estimate.interval.high}
    return metrics


def _report_link(report: Path, folder: Path) -> str:
    """A link from a page in `folder` to a report; "" if the report is not on this machine."""
    return quote(Path(os.path.relpath(report, folder)).as_posix()) if report.is_file() else ""


def _run_pages(run_ids: Sequence[str], settings: Settings) -> dict[str, str]:
    """The pages of runs; none if MLflow is away, because the figures do not need it."""
    from tracking.history import run_pages

    if not run_ids:
        return {}
    try:
        return run_pages(resolve_tracking_uri(settings.tracking_uri, settings.home), run_ids)
    except TrackingError as error:
        logger.warning("the page has no links to MLflow: %s", error)
        return {}
