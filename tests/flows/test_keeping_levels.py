"""`mario keep --sweep`: the levels of a sweep are kept as they complete, shipped, and shown in a table."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from agents import load_shipped
from configs import PROJECT, Settings, load
from reports.levels.picture import read_png

pytestmark = pytest.mark.one_python

TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")
SHORT = "[train.total_steps=512, 'evaluate.protocols=[stochastic, random]', report.video=false, evaluate.model=last]"


@pytest.fixture(scope="module")
def file(mario: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep over two levels, of which one has been trained."""
    file = tmp_path_factory.mktemp("sweep") / "small.yaml"
    file.write_text(f"presets: ['{TINY}']\nlevels: [1-2]\noverrides: {SHORT}\n")
    done = mario("sweep", str(file), "--local", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    file.write_text(file.read_text().replace("[1-2]", "[1-1, 1-2]"))
    return file


@pytest.mark.timeout(600)
def test_completed_levels_are_kept_and_shipped_once(mario: Any, file: Path, tmp_path: Path, settings: Settings) -> None:
    command = ("keep", "--sweep", str(file), "--ship", "--folder", str(tmp_path / "kept"), "--models", str(tmp_path / "models"))
    first = mario(*command)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "1-1: not begun\n1-2: kept and shipped (" in first.stdout
    levels = tmp_path / "kept" / "small"
    assert {path.name for path in levels.iterdir()} == {"1-2", "README.md", "flags.png"}
    assert {path.name for path in (levels / "1-2").iterdir()} == {
        *("README.md", "config.yaml", "evaluation.json", "furthest.png", "learning-curve.csv", "learning-curve.png"),
        *("level.json", "run.json"),
    }
    assert sum(path.stat().st_size for path in (levels / "1-2").iterdir()) < 250_000
    assert read_png(levels / "1-2" / "furthest.png").shape == (240, 256, 3)
    facts = json.loads((levels / "1-2" / "level.json").read_text())
    assert (facts["level"], facts["mastered_after"], facts["decisions"]) == ("1-2", None, None)
    assert facts["furthest"] == facts["shown"]["distance"] > 0
    assert "![The furthest an episode got](furthest.png)" in (levels / "1-2" / "README.md").read_text()
    assert "| [1-2](1-2/README.md) | 0 | 0 of 2" in (levels / "README.md").read_text()
    shipped = load_shipped(tmp_path / "models" / "world-1-2.json")
    assert shipped.origin is not None
    assert shipped.origin["experiment"] == "small-tiny-1-2-seed0"

    before = {path: path.stat().st_mtime_ns for path in (*(levels / "1-2").iterdir(), *(tmp_path / "models").iterdir())}
    again = mario(*command)
    assert again.returncode == 0, again.stderr
    assert "1-2: unchanged" in again.stdout
    assert before == {path: path.stat().st_mtime_ns for path in before}

    (tmp_path / "models" / "world-1-2.json").write_text('{"origin": {"experiment": "other"}}')
    shutil.rmtree(levels / "1-2")
    refused = mario(*command)
    assert refused.returncode == 1
    assert "is the policy of another run (other): --replace replaces it" in refused.stdout
    assert (levels / "1-2" / "level.json").exists(), "what could be done was done"
    assert "1 of 2 runs were not kept" in refused.stderr


def test_a_run_of_another_configuration_is_not_kept(mario: Any, file: Path, tmp_path: Path) -> None:
    other = tmp_path / "small.yaml"
    other.write_text(file.read_text().replace("512", "256"))
    done = mario("keep", "--sweep", str(other), "--folder", str(tmp_path))
    assert done.returncode == 1
    assert "1-2: small-tiny-1-2-seed0 was begun with another configuration than the sweep has for it now" in done.stdout
    assert not (tmp_path / "small" / "1-2").exists()


def test_a_single_run_is_kept_as_the_result_of_its_level(mario: Any, pipeline: Any, tmp_path: Path) -> None:
    done = mario("keep", pipeline.name, "--level", "--folder", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "levels" / "README.md").read_text()
    assert "| [1-1](1-1/README.md) | 0 | " in page
    (tmp_path / "levels" / "README.md").unlink()
    done = mario("keep", "--pages", "--folder", str(tmp_path), MARIO_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "levels" / "README.md").read_text() == page
    assert not (tmp_path / "home" / "postgres").exists()


def test_a_pupil_is_kept_with_what_repeats_its_teacher(mario: Any, tmp_path: Path) -> None:
    quick = ["--set=train.total_steps=512", "--set=report.video=false", "--set=evaluate.model=last"]
    tiles = ["--set=environment.observation=tiles", "--set=agent.network.features=tiles"]
    teach = [*quick, "--set=train.teacher.experiment=kept-teacher-{level}"]
    for name, settings in [("kept-teacher-1-1", [*quick, *tiles]), ("kept-pupil", teach)]:
        done = mario("run", TINY, *settings, "--experiment", name)
        assert done.returncode == 0, done.stdout + done.stderr
    done = mario("keep", "kept-pupil", "--level", "--folder", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "levels" / "1-1"
    (teacher,) = json.loads((folder / "run.json").read_text())["teachers"]
    assert (teacher["level"], teacher["experiment"], teacher["steps"]) == ("1-1", "kept-teacher-1-1", 512)
    assert "config" not in teacher
    assert load(str(folder / "teacher-1-1.yaml")).environment.observation == "tiles"
    page = (folder / "README.md").read_text()
    assert "- Teacher of 1-1: kept-teacher-1-1, from tiles, 512 steps, " in page
    commands = ["levels-1-1-teacher-1-1.yaml --experiment kept-teacher-1-1", "levels-1-1.yaml"]
    assert "\n".join(f".venv/bin/mario run {each}" for each in commands) in page
    assert "| 512 + 512 | " in (tmp_path / "levels" / "README.md").read_text().replace("\u202f", " ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name one of: an experiment, a sweep over levels (--sweep)"),
        (("tiny", "--sweep", "levels"), "name one of: an experiment"),
        (("tiny", "--ship"), "`mario ship EXPERIMENT --half`"),
        (("--sweep", "lovels"), "did you mean levels?"),
        (("--sweep", "two.yaml"), "sweep two has several presets or variants"),
    ],
)
def test_what_cannot_be_kept_is_said_before_any_work(
    arguments: tuple[str, ...], message: str, mario: Any, tmp_path: Path
) -> None:
    (tmp_path / "two.yaml").write_text("presets: [ppo, pqn]\n")
    done = mario("keep", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert not (tmp_path / "results").exists()


def test_a_policy_that_does_not_come_with_the_project_is_answered_with_those_that_do(mario: Any, tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = mario("watch", "world-9-2", "--video", str(tmp_path / "mario.mp4"), MARIO_HOME=str(home))
    assert done.returncode == 1
    assert "no policy 'world-9-2' comes with the project; there are world-1-1, " in done.stderr
    assert not list(home.rglob("*mlflow*")), "MLflow is not asked"
