"""What the README tells people to type exists."""

import re
import shlex
from typing import Any

import pytest
import typer

from configs import PROJECT, preset_names
from flows.command_line import app

README = (PROJECT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
LINES = [line.split(" #")[0].strip() for block in BLOCKS for line in block.splitlines()]
TARGETS = {line.split()[1] for line in LINES if line.startswith("make ")} | set(re.findall(r"`make ([a-z]+)", README))
PATHS = set(re.findall(r"`([a-z_]+/(?:[a-z_]+\.py|[a-z_/]*))`", README))


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("mario ")])
def test_a_mario_command_is_understood(line: str) -> None:
    command: Any = typer.main.get_command(app)
    _, name, *arguments = shlex.split(line)
    assert name in command.commands, line
    command.commands[name].make_context(name, list(arguments))
    if name in ("run", "check"):
        assert arguments[0] in preset_names()


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_a_make_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (PROJECT / "Makefile").read_text(), re.MULTILINE), target


@pytest.mark.parametrize("path", sorted(PATHS))
def test_a_named_file_exists(path: str) -> None:
    assert (PROJECT / path).exists(), path


@pytest.mark.parametrize("picture", re.findall(r"!\[.*?\]\((.*?)\)", README))
def test_a_picture_is_there(picture: str) -> None:
    assert (PROJECT / picture).read_bytes().startswith(b"\x89PNG")


def test_every_preset_is_described() -> None:
    assert all(f"| `{name}` |" in README for name in preset_names())
