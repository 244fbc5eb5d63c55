"""The results of a full run as a folder of small files, which become part of the project: `results/NAME/`."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from reports.build import build_report
from reports.data import ExperimentData, ReportData, ReportError, ReportPaths
from reports.kept_page import kept_page
from reports.tables import config_yaml

MAX_REPORT_BYTES: Final = 5_000_000
RUN, EVALUATION, CONFIG = "run.json", "evaluation.json", "config.yaml"


@dataclass(frozen=True)
class KeptResults:
    """The folder of the results, and a notice on what is missing ("" if nothing is)."""

    folder: Path
    notice: str


def keep_results(
    data: ExperimentData, target: Path, *, run: Mapping[str, Any], evaluation: Mapping[str, Any], replace_other: bool = False
) -> KeptResults:
    """Write the results of a run into the folder `target` atomically.

    The files are config.yaml, run.json, evaluation.json, learning-curve.csv, learning-curve.png, report.html, its videos, and
    README.md, a page on how far the agent gets. Results of the same run are replaced.

    Args:
        data: the experiment.
        target: the folder.
        run: the provenance of the run, as JSON types. `experiment` and `started` identify the run.
        evaluation: figures by protocol, as JSON types.
        replace_other: replace the results of another run as well.

    Raises:
        ReportError: `target` contains something else, the run has no evaluation, or the report is too large.
    """
    if data.evaluation.empty:
        raise ReportError(f"experiment {data.name} has no evaluation episodes: there is no result to keep")
    with replaced_folder(target, run, replace_other=replace_other) as folder:
        notice = _write(replace(data, command=repeat_command(target.name, run)), folder, target.name, run, evaluation)
    return KeptResults(target, notice)


@contextmanager
def replaced_folder(target: Path, run: Mapping[str, Any], *, replace_other: bool) -> Iterator[Path]:
    """A new folder, which takes the place of `target` when the `with` block ends without an error.

    Raises:
        ReportError: `target` contains something else than results of this run.
    """
    _require_same_run(target, run, replace_other)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".incomplete-{target.name}-", dir=target.parent))
    try:
        yield temporary
        temporary.chmod(0o755)  # mkdtemp's 0700 would deny access to others
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_figures(data: ExperimentData, folder: Path, run: Mapping[str, Any], evaluation: Mapping[str, Any]) -> None:
    """Write configurations, provenance, evaluation and the numbers of the learning curve into `folder`."""
    (folder / CONFIG).write_text(config_yaml(data.config), encoding="utf-8")
    for name, config in _teachers(run).items():
        (folder / name).write_text(config_yaml(config), encoding="utf-8")
    if "teachers" in run:
        others = [{name: value for name, value in each.items() if name != "config"} for each in run["teachers"]]
        run = {**run, "teachers": others}
    for file, values in ((RUN, run), (EVALUATION, evaluation)):
        (folder / file).write_text(json.dumps(values, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    data.train.spans.to_csv(folder / "learning-curve.csv", index=False, float_format="%.6g")


def _require_same_run(target: Path, run: Mapping[str, Any], replace_other: bool) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    try:
        there = json.loads((target / RUN).read_text(encoding="utf-8"))
        other = (there["experiment"], there["started"])
    except (OSError, ValueError, TypeError, KeyError):
        raise ReportError(f"{target} exists and contains no results: choose another name with --as, or remove it") from None
    if other != (run["experiment"], run["started"]) and not replace_other:
        raise ReportError(
            f"{target} contains the results of another run ({other[0]}, begun {other[1]}): choose another name with --as, or "
            "give --replace"
        )


def _write(data: ExperimentData, folder: Path, name: str, run: Mapping[str, Any], evaluation: Mapping[str, Any]) -> str:
    with tempfile.TemporaryDirectory(prefix="train-mario-report-") as made:
        # Videos are separate files. Embedded in the page as well, they would be stored twice.
        paths = build_report(ReportData([data]), Path(made), embed=False)
        _copy_files(paths, folder)
    write_figures(data, folder, run, evaluation)
    (folder / "README.md").write_text(kept_page(data, name, run, folder), encoding="utf-8")
    return "" if paths.video_best else "no video: no episode can be replayed (the report says why)"


def _copy_files(paths: ReportPaths, folder: Path) -> None:
    size = paths.html.stat().st_size
    if size >= MAX_REPORT_BYTES:
        raise ReportError(
            f"the report has {size / 1e6:.1f} MB without videos, and the limit is {MAX_REPORT_BYTES / 1e6:.0f} MB: "
            "nothing was written"
        )
    curve = next((path for path in paths.pngs if path.name == "learning-distance.png"), None)
    named = [(paths.html, paths.html.name), (curve, "learning-curve.png")]
    named += [(path, path.name) for path in {paths.video_best, paths.video_typical} if path is not None]
    for source, name in named:
        if source is not None:
            shutil.copyfile(source, folder / name)


def repeat_command(name: str, run: Mapping[str, Any]) -> str:
    """The commands that repeat the run of `results/name`. Its commit is older than its results: configurations are copied."""
    commit = [f"git checkout {run['commit']}"] if run.get("commit") else []
    prefix = name.replace("/", "-")
    copies = {CONFIG: f"{prefix}.yaml", **{teacher: f"{prefix}-{teacher}" for teacher in _teachers(run)}}
    taught = [
        f".venv/bin/mario run {copies[_teacher_file(each)]} --experiment {each['experiment']}"
        for each in run.get("teachers", [])
        if "config" in each
    ]
    return "\n".join(
        [
            *(f"cp results/{name}/{file} {copy}" for file, copy in copies.items()),
            *commit,
            "make setup",
            *taught,
            f".venv/bin/mario run {copies[CONFIG]}",
        ]
    )


def _teachers(run: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The configurations of the teachers that are known, by the names of their files."""
    return {_teacher_file(each): each["config"] for each in run.get("teachers", []) if "config" in each}


def _teacher_file(teacher: Mapping[str, Any]) -> str:
    return f"teacher-{teacher['level']}.yaml"
