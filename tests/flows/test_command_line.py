"""The command `mario` answers, and explains what is wrong in one message."""

import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from configs import PROJECT, preset_names

MARIO = str(Path(sys.executable).with_name("mario"))
TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")


def test_help_names_every_command(mario: Any) -> None:
    done = mario("--help")
    assert done.returncode == 0
    for command in (
        "run",
        "evaluate",
        "keep",
        "ship",
        "report",
        "watch",
        "episodes",
        "check",
        "ui",
        "presets",
        "stop",
        "database",
        "quality",
    ):
        assert f" {command} " in done.stdout


def test_presets_are_listed_and_shown(mario: Any) -> None:
    listed = mario("presets").stdout
    assert all(name in listed for name in preset_names())
    assert "frame_skip: 1" in mario("presets", "baseline").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "demmo"], "no preset is named 'demmo'; did you mean demo?"),
        (["run", "demo", "--set", "train.total_stps=5"], "train.total_stps: unknown key; did you mean train.total_steps?"),
        (["watch"], "name a model, or an episode with --episode ID"),
        (["evaluate", "/no/such/model"], "there is no file or folder /no/such/model"),
        (["report", "nobody"], "there is no experiment 'nobody'"),
        (["watch", "--episode", "987654"], "there is no episode 987654"),
    ],
)
def test_faults_of_the_person_are_one_message(mario: Any, arguments: list[str], message: str) -> None:
    done = mario(*arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_smoke_phase_passes(mario: Any) -> None:
    done = mario("check", TINY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" ok ") == 6


def test_the_smoke_phase_names_a_database_that_is_away_without_its_password(mario: Any) -> None:
    done = mario("check", TINY, DATABASE_URL="postgresql://mario:hunter2@127.0.0.1:1/mario")
    assert done.returncode == 1
    output = done.stdout + done.stderr
    assert "FAILED" in output
    assert "hunter2" not in output
    assert "127.0.0.1" in output


def test_ctrl_c_ends_with_a_checkpoint_and_the_command_to_go_on(home: Path, mario: Any) -> None:
    arguments = ["run", TINY, "--set", "train.total_steps=100000", "--experiment", "ctrl-c"]
    process = subprocess.Popen([MARIO, *arguments], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    checkpoints = home / "experiments" / "ctrl-c" / "checkpoints"
    deadline = time.monotonic() + 200
    while not any(checkpoints.glob("step-*/manifest.json")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert f"mario run {TINY} --set train.total_steps=100000 --experiment ctrl-c" in output
    latest = max(int(path.parent.name.removeprefix("step-")) for path in checkpoints.glob("step-*/manifest.json"))
    done = mario("episodes", "--experiment", "ctrl-c", "--count", "1")
    assert done.returncode == 0
    # PPO gives up the rollout it is in the middle of: the newest checkpoint may be the one after its first rollout.
    assert latest >= 512


def test_psql_opens_the_episodes_and_stop_ends_the_server(mario: Any, tmp_path: Path) -> None:
    home = {"MARIO_HOME": str(tmp_path / "home")}
    assert "no embedded Postgres is running" in mario("stop", **home).stdout
    try:
        line = mario("database", **home).stdout.strip()
        psql = [*shlex.split(line), "-Atc", "SELECT count(*) FROM episodes"]
        done = subprocess.run(psql, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "0"
    finally:
        stopped = mario("stop", **home)
    assert "the embedded Postgres is stopped" in stopped.stdout
