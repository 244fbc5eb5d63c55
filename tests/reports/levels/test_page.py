"""The table of all levels, the sheet of their flags, and the section of the README."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from configs import PROJECT
from reports.data import ReportError
from reports.levels.page import BEGIN, END, standing, table_page, with_section, write_pages
from reports.levels.picture import read_png
from reports.levels.results import LEVELS, first_of_each, read_levels
from reports.levels.sheet import contact_sheet, label, place_of
from reports.video import Frame

Keep = Callable[..., Path]
KEPT = PROJECT / "results" / "levels"


def cells(page: str, level: str) -> list[list[str]]:
    """The cells of the rows of a level."""
    lines = [line for line in page.splitlines() if re.match(rf"\| \[?{level}[\] ]", line)]
    return [[cell.strip().replace("\u202f", " ") for cell in line.strip("|").split(" | ")] for line in lines]


def test_a_row_has_the_figures_of_the_level(keep: Keep, tmp_path: Path) -> None:
    keep("1-1")
    ((level, seed, *figures),) = cells(table_page(read_levels(tmp_path / "levels")), "1-1")
    assert (level, seed) == ("[1-1](1-1/README.md)", "0")
    assert figures == [
        *("98 of 100 (93 to 99 %)", "50 of 100 (40 to 60 %)", "100", "1 000 000", "11.0"),
        *("612 345", "268", "271.5", "264", ""),
    ]


def test_a_level_that_no_episode_completed_says_how_far_it_got(keep: Keep, tmp_path: Path) -> None:
    keep("8-4", completed=False, furthest=1_234, decisions=None, mastered_after=None)
    results = read_levels(tmp_path / "levels")
    ((*_, mastered, fewest, median, bound, furthest),) = cells(table_page(results), "8-4")
    assert (mastered, fewest, median, bound, furthest) == ("–", "–", "–", "388", "1 234 of 5 798 px")
    assert "Never completed in an evaluation: 8-4." in standing(results)
    assert label("8-4", results[0]) == "8-4  1234 of 5798 px"


def test_every_level_has_a_row_and_each_seed_its_own(keep: Keep, tmp_path: Path) -> None:
    keep("1-3", "1-3-seed2", seed=2)
    keep("1-3")
    results = read_levels(tmp_path / "levels")
    page = table_page(results)
    assert {level: len(cells(page, level)) for level in LEVELS} == {level: 1 + (level == "1-3") for level in LEVELS}
    assert [row[:2] for row in cells(page, "1-3")] == [["[1-3](1-3/README.md)", "0"], ["[1-3](1-3-seed2/README.md)", "2"]]
    assert cells(page, "4-2")[0][:3] == ["4-2", "", "no result yet"]
    assert first_of_each(results)["1-3"].seed == 0
    assert standing(results).startswith("1 of 32 levels has a result. 1 is completed in at least 95")


def test_the_time_of_an_interrupted_training_is_marked(keep: Keep, tmp_path: Path) -> None:
    folder = keep("1-1")
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**run, "training_seconds": 60, "first_to_last_episode_seconds": 3_600}))
    assert cells(table_page(read_levels(tmp_path / "levels")), "1-1")[0][6] == "60.0*"


def test_what_the_teacher_took_is_shown_besides(keep: Keep, tmp_path: Path) -> None:
    folder = keep("1-1")
    run = json.loads((folder / "run.json").read_text())
    known = {"level": "1-1", "experiment": "teachers-1-1", "steps": 2_000_000, "training_seconds": 366.0}
    for teacher, decisions, minutes in [
        (known, "1 000 000 + 2 000 000", "11.0 + 6.1"),
        ({"level": "1-1"}, "1 000 000", "11.0"),
    ]:
        (folder / "run.json").write_text(json.dumps({**run, "teachers": [teacher]}))
        assert cells(table_page(read_levels(tmp_path / "levels")), "1-1")[0][5:7] == [decisions, minutes]


def test_the_sheet_has_each_flag_in_its_place_and_gray_where_there_was_none(keep: Keep, tmp_path: Path, flag: Frame) -> None:
    keep("1-1")
    keep("4-2", completed=False)
    write_pages(tmp_path / "levels")
    sheet = read_png(tmp_path / "levels" / "flags.png")

    def cell(level: str) -> Frame:
        top, left = place_of(level)
        return sheet[top : top + 240, left : left + 256]

    assert sheet.shape == (4 * (240 + 36) + 8, 8 * (256 + 8) + 8, 3)
    assert (cell("1-1") == flag).all()
    gray = cell("4-2")
    assert (gray == gray[..., :1]).all()
    assert len(np.unique(gray)) > 5
    assert len(np.unique(cell("8-4").reshape(-1, 3), axis=0)) == 2, "the words in it"
    assert (cell("8-4") == cell("3-3")).all()


def test_the_section_of_the_readme_is_written_between_its_markers(keep: Keep, tmp_path: Path) -> None:
    keep("1-1")
    readme = tmp_path / "README.md"
    readme.write_text(f"# Mine\n\n{BEGIN}\nold\n{END}\n\nThe rest.\n")
    for _ in range(2):
        write_pages(tmp_path / "levels", readme)
        text = readme.read_text()
        assert text.startswith(f"# Mine\n\n{BEGIN}\n1 of 32 levels has a result.")
        assert text.endswith(f"(levels/flags.png)\n{END}\n\nThe rest.\n")
        assert "old" not in text


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}\n{END}\n{BEGIN}\n{END}"])
def test_nothing_is_written_without_the_markers(text: str, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(ReportError, match="in this order, each once"):
        write_pages(tmp_path / "levels", readme)
    assert not (tmp_path / "levels").exists()


@pytest.mark.parametrize(
    ("file", "content"), [("run.json", "{"), ("evaluation.json", None), ("level.json", '{"level": "9-1"}')]
)
def test_a_damaged_result_is_named(file: str, content: str | None, keep: Keep, tmp_path: Path) -> None:
    path = keep("1-1") / file
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(ReportError, match=rf"levels/1-1/{file}.*keep the level again"):
        read_levels(tmp_path / "levels")


def test_the_pages_of_the_project_are_those_of_its_results() -> None:
    """`mario keep --pages` writes them again."""
    results = read_levels(KEPT)
    assert (KEPT / "README.md").read_text(encoding="utf-8") == table_page(results)
    assert (read_png(KEPT / "flags.png") == contact_sheet(first_of_each(results))).all()
    readme = PROJECT / "README.md"
    assert readme.read_text(encoding="utf-8") == with_section(readme, results, KEPT)


def test_the_results_of_the_levels_are_small() -> None:
    assert sum(path.stat().st_size for path in KEPT.rglob("*")) < 10_000_000
