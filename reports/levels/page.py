"""The pages of a folder of levels: the table with its contact sheet, and the section of the project's README."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from configs.levels import LEVELS
from reports.data import ReportError
from reports.files import write_file
from reports.levels.picture import write_png
from reports.levels.results import LevelResult, first_of_each, read_levels, route_of
from reports.levels.sheet import contact_sheet
from reports.results import NARROW_SPACE, number, plural

PAGE: Final = "README.md"
SHEET: Final = "flags.png"
BEGIN: Final = "<!-- levels: written by `mario keep --sweep levels` -->"
END: Final = "<!-- end of levels -->"

_HEADER: Final = (
    ("level", "---"),
    ("seed", "---:"),
    ("stochastic", "---"),
    ("sticky actions", "---"),
    ("different", "---:"),
    ("decisions trained", "---:"),
    ("minutes", "---:"),
    ("95 % in training after", "---:"),
    ("to the flag, fewest", "---:"),
    ("median", "---:"),
    ("at full speed", "---:"),
    ("furthest", "---"),
)
_EXPLANATION: Final = """\
- **Stochastic**, **sticky actions**: completed episodes, with the 95 % interval (Wilson) of this one policy. Sticky actions: at
  each frame the old action stays with the probability in the configuration, 0.25 unless it says otherwise. The policy is that
  of the run; the one in `models/` has rounded weights, and figures of its own, which `mario evaluate` confirms.
- **Different**: trajectories among the stochastic episodes. Intervals count no more episodes than that.
- **Decisions trained**, **minutes**: those of the training and, behind the +, of the training of its teacher, which sees tiles.
  Evaluations are left out; *: from the first to the last episode, interruptions included.
- **95 % in training after**: decisions after which 95 of the latest 100 training episodes completed the level. Episodes that a
  curriculum begins further on do not count. –: never.
- **To the flag**: decisions of the completed stochastic episodes.
- **At full speed**: the decisions that the level's usual route takes if Mario starts from rest, then runs at 3 pixels a frame
  (swims at 1.75) to the flagpole or axe, and nothing is in his way. It is a bound for that route, not for the level: a warp
  zone (1-2, 4-2) or a pipe that skips a part may take fewer. Where Mario has to wait, climb, turn back or go down pipes (8-4),
  no play comes near it. In water, currents may push him faster. At an axe it may be one decision off.
- **Furthest**: pixels that the best evaluation episode travelled, of those of the route; only where no episode completed the
  level."""


def write_pages(folder: Path, readme: Path | None = None) -> list[Path]:
    """Write README.md and flags.png of a folder of levels, and the section of the project's README.

    Args:
        folder: the folder of levels.
        readme: a page that has the two markers, if there is one.

    Returns:
        The written files.

    Raises:
        ReportError: a result is damaged, or `readme` does not have the markers; nothing was written.
    """
    results = read_levels(folder)
    page = None if readme is None else with_section(readme, results, folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = [write_png(folder / SHEET, contact_sheet(first_of_each(results)))]
    written.append(write_file(folder / PAGE, table_page(results).encode()))
    if readme is not None and page is not None:
        written.append(write_file(readme, page.encode()))
    return written


def table_page(results: Sequence[LevelResult]) -> str:
    """The page with the table, in Markdown."""
    parts = [
        "# All 32 levels",
        standing(results),
        f"![The flag of each level]({SHEET})",
        "Columns are worlds, rows are stages. Below each picture: completed stochastic episodes. A level that no episode "
        "completed is gray, and shows the furthest moment.",
        _table(results),
        _EXPLANATION,
    ]
    return "\n\n".join(parts) + "\n"


def standing(results: Sequence[LevelResult]) -> str:
    """How many levels have a result and how many are completed, in sentences."""
    first = first_of_each(results).values()
    if not first:
        return "No level has a result yet."
    often = sum(_rate(each, "stochastic") >= 0.95 for each in first)
    never = [each.level for each in first if not each.reached]
    sentences = [
        f"{len(first)} of {len(LEVELS)} levels {'has' if len(first) == 1 else 'have'} a result.",
        f"{often} {'is' if often == 1 else 'are'} completed in at least 95{NARROW_SPACE}% of the stochastic episodes.",
    ]
    if never:
        sentences.append(f"Never completed in an evaluation: {', '.join(never)}.")
    return " ".join(sentences)


def with_section(readme: Path, results: Sequence[LevelResult], folder: Path) -> str:
    """The text of `readme` with its section on the levels written anew.

    Raises:
        ReportError: it does not have each marker once, in their order.
    """
    text = readme.read_text(encoding="utf-8")
    if (text.count(BEGIN), text.count(END)) != (1, 1) or text.index(BEGIN) > text.index(END):
        raise ReportError(f"{readme} needs the lines {BEGIN} and {END} in this order, each once: the section is between them")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{section(results, folder.relative_to(readme.parent).as_posix())}\n{END}{rest.split(END)[1]}"


def section(results: Sequence[LevelResult], folder: str) -> str:
    """The section of the project's README; `folder` is the path of the results from there."""
    return (
        f"{standing(results)} The [table]({folder}/{PAGE}) has intervals, decisions and minutes for each.\n\n"
        f"![The flag of each level, a column for each world]({folder}/{SHEET})"
    )


def _table(results: Sequence[LevelResult]) -> str:
    by_level: dict[str, list[LevelResult]] = {level: [] for level in LEVELS}
    for each in results:
        by_level[each.level].append(each)
    lines = [_line([name for name, _ in _HEADER]), _line([rule for _, rule in _HEADER]).replace(" ", "")]
    for level, own in by_level.items():
        lines += [_line(_cells(each)) for each in own]
        if not own:
            lines.append(_line([level, "", "no result yet", *[""] * (len(_HEADER) - 5), _full_speed(level), ""]))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(each: LevelResult) -> list[str]:
    decisions = each.facts["decisions"]
    mastered = each.facts["mastered_after"]
    stochastic = each.evaluation.get("stochastic")
    teachers = [teacher for teacher in each.run.get("teachers", []) if "steps" in teacher]
    return [
        f"[{each.level}]({each.folder.name}/{PAGE})",
        str(each.seed),
        _completion(stochastic),
        _completion(each.evaluation.get("sticky")),
        "–" if stochastic is None else number(stochastic["distinct"]),
        _with_teachers(number(each.run["steps"]), [number(teacher["steps"]) for teacher in teachers]),
        _with_teachers(_minutes(each.run), [number(teacher["training_seconds"] / 60, 1) for teacher in teachers]),
        "–" if mastered is None else number(mastered),
        "–" if decisions is None else number(decisions["fewest"]),
        "–" if decisions is None else number(decisions["median"], int(decisions["median"] % 1 > 0)),
        _full_speed(each.level, each.facts["frame_skip"]),
        "" if each.reached else f"{number(each.facts['furthest'])} of {number(each.route.distance)} px",
    ]


def _with_teachers(own: str, of_teachers: Sequence[str]) -> str:
    return " + ".join([own, *of_teachers])


def _full_speed(level: str, frame_skip: int = 4) -> str:
    return number(route_of(level).decisions_at_full_speed(frame_skip))


def _completion(figures: Mapping[str, Any] | None) -> str:
    if figures is None:
        return "not played"
    counts = f"{figures['completed']} of {figures['episodes']}"
    between = figures["completion"]
    return counts if between is None else f"{counts} ({100 * between['low']:.0f} to {100 * between['high']:.0f}{NARROW_SPACE}%)"


def _rate(each: LevelResult, protocol: str) -> float:
    figures = each.evaluation.get(protocol)
    return 0.0 if figures is None else float(figures["completion_rate"])


def _minutes(run: Mapping[str, Any]) -> str:
    """The minutes of the training. `training_seconds` counts from the last resumption, as :mod:`reports.kept_page` explains."""
    seconds, whole = run["training_seconds"], run["first_to_last_episode_seconds"]
    interrupted = whole > 1.05 * seconds + 60
    return number((whole if interrupted else seconds) / 60, 1) + ("*" if interrupted else "")


def describe_size(folder: Path) -> str:
    """How many files a folder of levels has, and how large they are together."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return f"{len(files)} {plural(len(files), 'file')}, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB"
