"""The results of one level as a small folder, `results/levels/W-S/`: 100 KB instead of the 1.5 MB of a whole report."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pandas as pd

from mario_env import PlaybackFrame
from mario_env.errors import PlaybackError
from reports.data import ExperimentData, ReportError
from reports.kept import repeat_command, replaced_folder, write_figures
from reports.kept_page import kept_page
from reports.learning_figure import learning_picture
from reports.levels.picture import Shown, choose_shown, flag_frame, furthest_frame, write_png

LEVEL: Final = "level.json"
"""What the table says of a level besides its run and its evaluation."""

Play = Callable[[int], Iterable[PlaybackFrame]]


@dataclass(frozen=True)
class KeptLevel:
    """The folder of a level's results, and a notice on what is missing ("" if nothing is)."""

    folder: Path
    notice: str


def keep_level(
    data: ExperimentData,
    target: Path,
    *,
    run: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    mastered_after: int | None,
    play: Play,
    replace_other: bool = False,
) -> KeptLevel:
    """Write the results of a level into the folder `target` atomically.

    The files are config.yaml, run.json, evaluation.json, level.json, learning-curve.csv, learning-curve.png, README.md, and a
    picture: flag.png, or furthest.png if no episode completed the level.

    Args:
        data: the experiment. It was trained on one level.
        target: the folder.
        run, evaluation, replace_other: as :func:`reports.kept.keep_results`.
        mastered_after: :func:`episodes.training.mastered_after`.
        play: plays the episode with a given id again.

    Raises:
        ReportError: `target` contains something else, or the experiment has no evaluation or not one level.
    """
    if len(data.level_names) != 1:
        raise ReportError(f"experiment {data.name} was trained on {data.level}, and the table has one level a row")
    shown = choose_shown(data.evaluation)
    if shown is None:
        raise ReportError(f"experiment {data.name} has no evaluation episodes: there is no result to keep")
    name = f"{target.parent.name}/{target.name}"
    with replaced_folder(target, run, replace_other=replace_other) as folder:
        write_figures(data, folder, run, evaluation)
        curve = learning_picture([data], "distance_traveled")
        if curve is not None:
            (folder / "learning-curve.png").write_bytes(curve.data)
        notice = _write_picture(folder, shown, play)
        facts = _facts(data, shown, mastered_after)
        (folder / LEVEL).write_text(json.dumps(facts, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        page = kept_page(replace(data, command=repeat_command(name, run)), name, run, folder)
        (folder / "README.md").write_text(page, encoding="utf-8")
    return KeptLevel(target, notice)


def _write_picture(folder: Path, shown: Shown, play: Play) -> str:
    """Write the picture. Returns why there is none, or an empty string."""
    try:
        frames = play(shown.episode)
        picture = flag_frame(frames) if shown.completed else furthest_frame(frames)
    except (ReportError, PlaybackError) as error:
        return f"no picture: {error}"
    write_png(folder / ("flag.png" if shown.completed else "furthest.png"), picture)
    return ""


def _facts(data: ExperimentData, shown: Shown, mastered_after: int | None) -> dict[str, Any]:
    """What level.json has."""
    rows = data.evaluation
    completed = rows[(rows["protocol"] == "stochastic") & rows["level_completed"].astype(bool)]
    return {
        "level": data.level_names[0],
        "frame_skip": int(data.config["environment"]["frame_skip"]),
        "mastered_after": mastered_after,
        "decisions": _decisions(completed["steps"]),
        "furthest": int(rows[rows["protocol"] != "random"]["distance_traveled"].max()),
        "shown": {
            "protocol": shown.protocol,
            "decisions": shown.decisions,
            "distance": shown.distance,
            "completed": shown.completed,
        },
    }


def _decisions(steps: pd.Series) -> dict[str, float] | None:
    """The fewest and the median decisions of completed episodes; None if there are none."""
    return None if steps.empty else {"fewest": int(steps.min()), "median": float(steps.median())}
