"""What README, docs and their neighbours tell people to type, open and configure exists."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from pydantic import BaseModel

from configs import PROJECT, Config, preset_names
from flows.command_line import app

README = PROJECT / "README.md"
DOCS = sorted((PROJECT / "docs").glob("*.md"))
PAGES = [README, PROJECT / "ARCHITECTURE.md", PROJECT / "CONTRIBUTING.md", *DOCS]
OTHERS = [PROJECT / "tests/faults/README.md"]
RECORDS = [PROJECT / "CHANGELOG.md", *sorted((PROJECT / "results").glob("*/README.md"))]
FAULTS = (PROJECT / "tests/faults/README.md").read_text(encoding="utf-8")
# What was tried and is gone is told there too.
PRESENT = [page for page in PAGES if page.name != "experiments.md"]

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
MAKEFILE = (PROJECT / "Makefile").read_text(encoding="utf-8")


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name(page: Path) -> str:
    return str(page.relative_to(PROJECT))


def typed(page: Path) -> list[str]:
    """The lines of the page's shell blocks, without their comments."""
    blocks = re.findall(r"```sh\n(.*?)```", text(page), re.DOTALL)
    return [line.split(" #")[0].strip() for block in blocks for line in block.splitlines()]


def inline(page: Path) -> list[str]:
    """What the page has in backquotes, code blocks left out."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text(page), flags=re.DOTALL))


def keys(model: Any, prefix: str = "") -> set[str]:
    """Every key of a section of the configuration, with those of the sections within it."""
    found: set[str] = set()
    for annotation in (model, *get_args(model)):
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            for key, field in annotation.model_fields.items():
                found |= {f"{prefix}{key}"} | keys(field.annotation, f"{prefix}{key}.")
        elif annotation is not model:
            found |= keys(annotation, prefix)
    return found


@pytest.mark.parametrize(("page", "line"), [(name(page), line) for page in PAGES for line in typed(page) if "mario " in line])
def test_a_mario_command_is_understood(page: str, line: str) -> None:
    words = shlex.split(line)
    if words[0] != "mario":
        return
    _, command, *arguments = words
    assert command in COMMANDS, line
    COMMANDS[command].make_context(command, list(arguments))
    if command in ("run", "check"):
        assert arguments[0] in preset_names()


@pytest.mark.parametrize("page", [*PRESENT, *OTHERS], ids=name)
def test_commands_and_targets_in_the_text_exist(page: Path) -> None:
    code = [*inline(page), *typed(page)]
    commands = {found[1] for each in code if (found := re.match(r"mario ([a-z]+)\b", each))}
    targets = {
        target for each in code if each.startswith("make ") for target in re.findall(r" ([a-z0-9]+)", each.split(" #")[0])
    }
    assert commands <= COMMANDS.keys()
    assert {target for target in targets if not re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)} == set()
    modules = {found[1] for each in code if (found := re.match(r"python -m (benchmarks\.[a-z]+)", each))}
    assert {each for each in modules if not (PROJECT / f"{each.replace('.', '/')}.py").exists()} == set()


def test_the_readme_lists_every_command() -> None:
    table = text(README).partition("## Commands")[2].partition("\n## ")[0]
    assert set(re.findall(r"`mario ([a-z]+)`", table)) == COMMANDS.keys()


def test_the_readme_lists_every_page() -> None:
    pages = set(re.findall(r"^\| \[.*?\]\((.*?)\)", text(README).partition("## Pages")[2], re.MULTILINE))
    assert pages == {name(page) for page in PAGES if page != README}


@pytest.mark.parametrize("page", [*(page for page in PAGES if page != README), *OTHERS], ids=name)
def test_a_page_opens_with_the_questions_it_answers(page: Path) -> None:
    title, questions, _ = text(page).split("\n\n", 2)
    assert title.startswith("# ")
    assert re.fullmatch(r"\*[^*]+\?\*", questions, re.DOTALL), questions


@pytest.mark.parametrize("page", [*PAGES, *OTHERS, *RECORDS], ids=name)
def test_a_relative_link_leads_somewhere(page: Path) -> None:
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text(page))]
    relative = [target for target in targets if target and "://" not in target]
    assert [target for target in relative if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", [*PRESENT, *OTHERS], ids=name)
def test_a_named_file_or_folder_exists(page: Path) -> None:
    named = {each for each in inline(page) if re.fullmatch(r"[a-z_]+/(?:[a-z_0-9/]+\.(?:py|yaml|json|sql)|[a-z_/]*)", each)}
    assert {each for each in named if not (PROJECT / each).exists()} == set()


@pytest.mark.parametrize("page", PRESENT, ids=name)
def test_a_named_key_of_the_configuration_exists(page: Path) -> None:
    sections = "|".join(Config.model_fields)
    named = {found[1] for each in inline(page) if (found := re.fullmatch(rf"((?:{sections})\.[a-z_.]+)(?:[:= ].*)?", each))}
    assert {each for each in named if each.rpartition(".")[2] not in ("py", "md", "sqlite")} <= keys(Config)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_picture_is_one(page: Path) -> None:
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", text(page))
    assert pictures or page != README
    assert all((page.parent / picture).read_bytes().startswith(b"\x89PNG") for picture in pictures)


def test_every_preset_is_described() -> None:
    assert all(f"| `{preset}` |" in text(PROJECT / "docs/configuration.md") for preset in preset_names())


def test_the_drawn_rooms_are_those_of_agents() -> None:
    (drawing,) = re.findall(r"```text\n(.*?)```", text(PROJECT / "ARCHITECTURE.md"), re.DOTALL)
    drawn = {line.split()[0]: re.split(r" {3,}", line)[2].split() for line in drawing.splitlines()}
    rooms = {path.parent.relative_to(PROJECT / "agents").as_posix() for path in (PROJECT / "agents").rglob("*.py")}
    assert drawn.keys() == rooms
    missing = {(room, each) for room, found in drawn.items() for each in found if not module(room, each).exists()}
    assert missing == set()


def module(room: str, name: str) -> Path:
    return PROJECT / "agents" / room / f"{name}.py"


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", text(README), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"[a-z_]+ after \d+ pixels\n", done.stdout)


def test_every_test_that_the_page_of_faults_names_exists() -> None:
    files = set(re.findall(r"`(tests/[a-z_/]+\.py)`", FAULTS))
    assert {each for each in files if not (PROJECT / each).exists()} == set()
    written = {found for path in (PROJECT / "tests").rglob("test_*.py") for found in re.findall(r"def (test_\w+)", text(path))}
    assert set(re.findall(r"`(test_\w+)`", FAULTS)) <= written
