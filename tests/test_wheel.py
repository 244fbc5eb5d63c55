"""The project as others install it: a wheel in an environment of its own, used from another folder.

Packages of others are not downloaded again. An environment sees those of the environment that runs the tests: all of them, or
only what the wheel's metadata requires.
"""

import importlib.metadata
import json
import os
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from configs import PROJECT
from mario_env.observations import Frames

PACKAGES = ("agents", "configs", "episodes", "flows", "inspection", "mario_env", "reports", "spool", "tasks", "tracking")
# What decides where things are kept and looked for.
PLACES = ("PYTHONPATH", "MARIO_HOME", "PREFECT_HOME", "DATABASE_URL", "MLFLOW_TRACKING_URI", "VIRTUAL_ENV")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that no build folder is left in the tree."""
    folder = tmp_path_factory.mktemp("build")
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=PROJECT, capture_output=True, check=True
    )
    for name in filter(None, names.stdout.decode().split("\0")):
        source, target = PROJECT / name, folder / "source" / name
        if source.is_symlink() or source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    options = ("--no-deps", "--no-build-isolation", "--quiet", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(folder), str(folder / "source")]
    subprocess.run(command, check=True, timeout=200)
    (built,) = folder.glob("*.whl")
    return built


class Installed:
    """The wheel in an environment, seen with some packages of others. `run` starts a program of it in another folder."""

    def __init__(self, folder: Path, others: Path) -> None:
        self.elsewhere = folder / "elsewhere"
        self._programs = folder / "env" / "bin"
        (packages,) = (folder / "env" / "lib").glob("python*/site-packages")
        self.packages, self._others = packages, others

    def run(self, program: str, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        (self.packages / "others.pth").write_text(f"{self._others}\n")
        environment = {
            name: value for name, value in os.environ.items() if name not in PLACES and not name.startswith("PREFECT")
        }
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            cwd=self.elsewhere,
            env=environment | {"COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def evaluate(self, code: str) -> Any:
        """What a program prints last, as JSON."""
        return json.loads(self.run("python", "-c", code).stdout.splitlines()[-1])


def site_packages() -> Path:
    return Path(next(path for path in site.getsitepackages() if path.endswith("site-packages")))


@pytest.fixture(scope="module")
def folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that has the wheel alone, and an empty folder, both in somebody's git repository."""
    folder = tmp_path_factory.mktemp("installed").resolve()
    (folder / "elsewhere").mkdir()
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    for command in (("init", "--quiet"), (*identity, "commit", "--quiet", "--allow-empty", "-m", "Theirs")):
        subprocess.run(["git", *command], cwd=folder, check=True)
    venv.create(folder / "env", symlinks=True)
    options = ("--no-deps", "--no-index", "--quiet", "--disable-pip-version-check")
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "env" / "bin" / "python")]
    subprocess.run([*pip, "install", *options, str(wheel)], check=True)
    return folder


@pytest.fixture(scope="module")
def whole(folder: Path) -> Installed:
    """With all packages of others."""
    return Installed(folder, site_packages())


def required(name: str, extras: frozenset[str] = frozenset()) -> set[str]:
    """A distribution and all that it requires, by the metadata of what is installed here."""
    found: set[str] = set()
    waiting = [(canonicalize_name(name), extras)]
    while waiting:
        here, wanted = waiting.pop()
        if here in found:
            continue
        found.add(here)
        for text in importlib.metadata.requires(here) or []:
            requirement = Requirement(text)
            if any(not requirement.marker or requirement.marker.evaluate({"extra": extra}) for extra in ("", *wanted)):
                waiting.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return found


@pytest.fixture(scope="module")
def game(folder: Path, wheel: Path) -> Installed:
    """With the packages alone that the wheel requires without an extra."""
    others = folder / "others"
    others.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(next(name for name in archive.namelist() if name.endswith("/METADATA"))).decode()
    lines = [line.removeprefix("Requires-Dist: ") for line in metadata.splitlines() if line.startswith("Requires-Dist: ")]
    wanted = [each for each in map(Requirement, lines) if not each.marker or each.marker.evaluate({"extra": ""})]
    for name in set().union(*(required(each.name, frozenset(each.extras)) for each in wanted)):
        for file in importlib.metadata.files(name) or []:
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (others / top).exists():
                (others / top).symlink_to(site_packages() / top)
    return Installed(folder, others)


def test_the_wheel_has_all_packages_with_their_types_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {*PACKAGES, "mario_models"}
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    assert {f"mario_models/{path.name}" for path in (PROJECT / "models").iterdir()} <= set(names)
    assert {"flows/prefect.yaml", "mario_env/finishes.json"} <= set(names)
    assert {f"configs/{path.parent.name}/{path.name}" for path in (PROJECT / "configs").glob("*/*.yaml")} <= set(names)
    assert {f"flows/pools/{kind}.json" for kind in ("docker", "kubernetes", "process")} <= set(names)


@pytest.mark.timeout(600)  # it compiles the emulator
def test_the_game_alone_needs_nothing_of_the_pipeline(game: Installed) -> None:
    code = (
        "import importlib.util, json, gymnasium, mario_env\n"
        "envs = gymnasium.make_vec('mario_env/SuperMarioBros-1-1-v0', 2)\n"
        "envs.reset(seed=0)\n"
        "envs.step([3, 3])\n"
        "slow = gymnasium.make('mario_env/SuperMarioBros-1-2-v0', emulator='nes-py')\n"
        "slow.reset()\n"
        "there = [n for n in ('torch', 'stable_baselines3', 'prefect', 'mlflow', 'typer') if importlib.util.find_spec(n)]\n"
        "print(json.dumps([mario_env.__file__, list(envs.step([3, 4])[0].shape), there]))"
    )
    assert game.evaluate(code) == [str(game.packages / "mario_env" / "__init__.py"), [2, *Frames.shape], []]


def test_without_the_pipeline_the_command_says_what_to_install(game: Installed) -> None:
    done = game.run("mario", "presets", check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "error: mario needs typer, which is not installed: pip install 'train-mario[pipeline]' installs all it needs\n"
    )
    assert not list(game.elsewhere.iterdir())


def test_what_is_shipped_is_found(whole: Installed) -> None:
    code = (
        "import json, configs, episodes, flows.models, reports\n"
        "print(json.dumps([configs.__file__, str(configs.CHECKOUT), str(flows.models.SHIPPED)]))"
    )
    assert whole.evaluate(code) == [str(whole.packages / "configs/__init__.py"), "None", str(whole.packages / "mario_models")]
    assert "ppo-sticky" in whole.run("mario", "presets").stdout
    code = "import json; from configs.sweep import sweep_file; print(json.dumps(str(sweep_file('levels'))))"
    assert whole.evaluate(code) == str(whole.packages / "configs/sweeps/levels.yaml")
    whole.run("mario", "watch", "world-1-1", "--video", "mario.mp4")
    assert (whole.elsewhere / "mario.mp4").read_bytes()[4:8] == b"ftyp"


def test_a_worker_without_a_permanent_home_is_refused(whole: Installed) -> None:
    """Prefect gives a flow run a temporary working directory, where the home would be."""
    code = (
        "import json, os\n"
        "from configs import ConfigError\n"
        "from flows.worker_home import flow_settings\n"
        "def outcome():\n"
        "    try:\n"
        "        return str(flow_settings().home)\n"
        "    except ConfigError as error:\n"
        "        return str(error)\n"
        "found = [outcome()]\n"
        "os.environ['PREFECT__FLOW_RUN_ID'] = 'of a worker'\n"
        "found.append(outcome())\n"
        "os.environ['MARIO_HOME'] = '/permanent'\n"
        "print(json.dumps([*found, outcome()]))"
    )
    by_hand, by_worker, with_home = whole.evaluate(code)
    assert by_hand == str(whole.elsewhere / ".mario")
    assert "set MARIO_HOME to a permanent folder" in by_worker
    assert with_home == "/permanent"


@pytest.mark.one_python
@pytest.mark.timeout(600)
def test_a_whole_run_works_from_another_folder(whole: Installed) -> None:
    """Migrations, templates, the embedded database and MLflow, and the home in the working directory."""
    shutil.copy(PROJECT / "tests" / "data" / "tiny.yaml", whole.elsewhere)
    home = whole.elsewhere / ".mario"
    try:
        begun = whole.run("mario", "run", "tiny.yaml", "--experiment", "tiny", "--set", "train.total_steps=512")
        assert f"runs write to {home} (set MARIO_HOME for another folder)" in begun.stderr
        assert (home / "experiments" / "tiny" / "report" / "report.html").is_file()
        assert (home / "experiments" / "tiny" / "report" / "best.html").is_file(), "made of the files in inspection/web"
        listed = whole.run("mario", "experiments")
        assert "tiny" in listed.stdout
        assert "what runs write" not in listed.stderr, "it is said once"
        whole.run("mario", "keep", "tiny", "--as", "mine")
        kept = json.loads((whole.elsewhere / "results" / "mine" / "run.json").read_text())
        assert kept["commit"] is None, "the repository around the environment is not the project's"
    finally:
        whole.run("mario", "stop")
