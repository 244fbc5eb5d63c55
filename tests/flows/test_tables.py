"""Tables fit the terminal; where no table fits, a list is printed."""

import io
from importlib import import_module

import pytest
from rich.console import Console

from configs import PROJECT
from flows.tables import print_table

ROWS = [
    {"preset": "ppo", "algorithm": "ppo", "steps": "2,000,000", "description": "An agent that finishes the level"},
    {
        "preset": "baseline",
        "algorithm": "dqn",
        "steps": "1,000",
        "description": "The predecessor's experiment [to] compare",
    },
]


def printed(width: int, rows: list[dict[str, str]] = ROWS) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_table(rows, "presets [all]", console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [30, 40, 48, 50, 52, 60, 80, 200])
def test_no_word_is_broken_and_no_line_is_too_long(width: int) -> None:
    output = printed(width)

    assert all(len(line) <= width for line in output.splitlines())
    for row in ROWS:
        for name, value in row.items():
            assert name in output.split()
            for word in value.split():
                assert word in output.split(), f"{word} was broken"


def test_a_wide_terminal_gets_a_table_and_a_narrow_one_a_list() -> None:
    heading = "preset algorithm steps description"

    assert heading in " ".join(printed(60).split())
    assert heading not in " ".join(printed(40).split())
    assert "algorithm    dqn" in printed(40)


def test_a_long_path_is_folded_in_its_column() -> None:
    rows = [{"check": "disk", "found": "/a/very" * 20}]

    assert "check found" in " ".join(printed(60, rows).split())
    assert all(len(line) <= 60 for line in printed(60, rows).splitlines())


def test_an_empty_table_is_reported() -> None:
    assert printed(80, []) == "presets [all]: none yet\n"


def test_brackets_are_printed_as_they_are() -> None:
    """Overrides have them, such as evaluate.protocols=[sticky], and rich takes them for markup by itself."""
    modules = [path.stem for path in (PROJECT / "flows").glob("*.py") if " = Console(" in path.read_text(encoding="utf-8")]
    assert len(modules) >= 5
    for module in modules:
        consoles = [each for each in vars(import_module(f"flows.{module}")).values() if isinstance(each, Console)]
        assert consoles
        for console in consoles:
            with console.capture() as captured:
                console.print("evaluate.protocols=[sticky]", highlight=False)
            assert captured.get() == "evaluate.protocols=[sticky]\n"
