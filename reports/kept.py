"""A full run as a folder of small files, to be kept with the project: `results/NAME/`."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from reports.build import build_report
from reports.curves import binned
from reports.data import ExperimentData, ReportData, ReportError, ReportPaths
from reports.kept_page import kept_page
from reports.tables import config_yaml

MOST_REPORT_BYTES: Final = 5_000_000
RUN, EVALUATION, CONFIG = "run.json", "evaluation.json", "config.yaml"


@dataclass(frozen=True)
class Kept:
    """What was kept: the folder, and a notice on what it lacks ("" if nothing)."""

    folder: Path
    notice: str


def keep_results(
    data: ExperimentData, target: Path, *, run: Mapping[str, Any], evaluation: Mapping[str, Any], replace_other: bool = False
) -> Kept:
    """Write everything that is kept of a run into the folder `target`, whole or not at all.

    config.yaml, run.json, evaluation.json, learning-curve.csv and .png, report.html, its videos beside it, and README.md, a
    page that says how far the agent gets. Results of the same experiment are replaced.

    Args:
        run: how the run came about, as JSON types; its `experiment` and `started` tell two runs apart.
        evaluation: figures by protocol, as JSON types.
        replace_other: replace the results of another run as well.

    Raises:
        ReportError: `target` holds something else, the run has no evaluation, or the report is too large.
    """
    if data.evaluation.empty:
        raise ReportError(f"experiment {data.name} has no evaluation episodes: there is no result to keep")
    _require_own(target, run, replace_other)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".incomplete-{target.name}-", dir=target.parent))
    try:
        notice = _write(replace(data, command=_command(target.name, run)), aside, target.name, run, evaluation)
        aside.chmod(0o755)  # mkdtemp's 0700 is for its maker alone
        if target.exists():
            shutil.rmtree(target)
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Kept(target, notice)


def _require_own(target: Path, run: Mapping[str, Any], replace_other: bool) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    try:
        there = json.loads((target / RUN).read_text(encoding="utf-8"))
        other = (there["experiment"], there["started"])
    except (OSError, ValueError, TypeError, KeyError):
        raise ReportError(f"{target} is there and holds no results: take another name with --as, or remove it") from None
    if other != (run["experiment"], run["started"]) and not replace_other:
        raise ReportError(
            f"{target} holds the results of another run ({other[0]}, begun {other[1]}): take another name with --as, or "
            "say --replace"
        )


def _write(data: ExperimentData, folder: Path, name: str, run: Mapping[str, Any], evaluation: Mapping[str, Any]) -> str:
    with tempfile.TemporaryDirectory(prefix="train-mario-report-") as made:
        # Videos stand beside the page: inside it as well they would be kept twice.
        paths = build_report(ReportData([data]), Path(made), embed=False)
        _take(paths, folder)
    (folder / CONFIG).write_text(config_yaml(data), encoding="utf-8")
    for file, values in ((RUN, run), (EVALUATION, evaluation)):
        (folder / file).write_text(json.dumps(values, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    binned(data.train).to_csv(folder / "learning-curve.csv", index=False, float_format="%.6g")
    (folder / "README.md").write_text(kept_page(data, name, run, folder), encoding="utf-8")
    return "" if paths.video_best else "no video: no episode can be played again (the report says why)"


def _take(paths: ReportPaths, folder: Path) -> None:
    size = paths.html.stat().st_size
    if size >= MOST_REPORT_BYTES:
        raise ReportError(
            f"the report takes {size / 1e6:.1f} MB, and reports that are kept take less than {MOST_REPORT_BYTES / 1e6:.0f} MB, "
            "videos not counted: nothing was kept"
        )
    curve = next((path for path in paths.pngs if path.name == "learning-distance.png"), None)
    named = [(paths.html, paths.html.name), (curve, "learning-curve.png")]
    named += [(path, path.name) for path in {paths.video_best, paths.video_typical} if path is not None]
    for source, name in named:
        if source is not None:
            shutil.copyfile(source, folder / name)


def _command(name: str, run: Mapping[str, Any]) -> str:
    """The lines that repeat the run. The commit it was made with is older than its results: the configuration is copied."""
    commit = [f"git checkout {run['commit']}"] if run.get("commit") else []
    lines = [f"cp results/{name}/{CONFIG} {name}.yaml", *commit, "make setup", f".venv/bin/mario run {name}.yaml"]
    return "\n".join(lines)
