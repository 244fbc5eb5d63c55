"""The command `mario`: its output, and its messages on errors."""

import errno
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from configs import PROJECT, preset_names
from flows import usage

pytestmark = pytest.mark.one_python

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
        "experiments",
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
        (["quality", "nobody"], "; `mario experiments` lists all"),
        (["watch", "--episode", "987654"], "there is no episode 987654"),
    ],
)
def test_a_wrong_argument_gives_one_message(mario: Any, arguments: list[str], message: str) -> None:
    done = mario(*arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nope"], "there is no option --nope"),
        (["run"], "missing argument 'preset'"),
        (["frobnicate"], "there is no command 'frobnicate'. `mario --help` lists what there is"),
        (["episode"], "there is no command 'episode'. Did you mean 'episodes'?"),
        (["episodes", "-n", "0"], "invalid value for '-n' / '--count': Input should be greater than or equal to 1"),
        (["episodes", "-n", "many"], "invalid value for '-n' / '--count': Input should be a valid integer"),
        (["run", "ppo", "--experiment"], "option '--experiment' requires an argument"),
        (["experiments", "--status", "lost"], "invalid value for '--status': 'lost' is not one of 'running', 'gone'"),
        (["run", "ppo", "--experimnt", "x"], "there is no option --experimnt; did you mean --experiment?"),
        (["run", "ppo", "dqn"], "got unexpected extra argument(s) (dqn). `mario run --help` lists what there is"),
        (["evaluate", "world-1-1", "--json", "/no/folder/x.json"], "invalid value for '--json': there is no folder /no/folder"),
        (["watch", "world-1-1", "--video", str(PROJECT)], f"invalid value for '--video': {PROJECT} is a folder: name a file"),
        (["report", "x", "--output", TINY], f"invalid value for '--output': {TINY} is a file: name a folder"),
    ],
)
def test_a_mistake_on_the_command_line_gives_one_message(mario: Any, arguments: list[str], message: str) -> None:
    done = mario(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_without_a_command_the_help_is_printed(mario: Any) -> None:
    done = mario()
    assert done.returncode == 2
    assert "Usage: mario" in done.stdout
    assert done.stderr == ""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"mounting a file system requires root: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_home_that_cannot_be_written_gives_one_message(mario: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for home, reason in (
        ("/proc/x", "cannot be created"),
        (tmp_path / "file", "File exists"),
        ("~no-such-user/x", "names no folder"),
    ):
        done = mario("episodes", MARIO_HOME=home)
        assert done.returncode == 1, done.stdout + done.stderr
        assert reason in done.stderr
        assert "MARIO_HOME" in done.stderr
        assert done.stderr.count("\n") == 1
    helped = mario("run", "--help", MARIO_HOME="/proc/x")
    assert helped.returncode == 0, helped.stderr
    assert "--experiment" in helped.stdout


def test_a_full_or_read_only_disk_gives_one_message_at_the_start(mario: Any, disk: Path) -> None:
    full = mario("run", TINY, MARIO_HOME=str(disk / "home"))
    left = list((disk / "home").iterdir())
    # Commands that write nothing still work.
    listed = mario("presets", MARIO_HOME=str(disk / "home"))
    stopped = mario("stop", MARIO_HOME=str(disk / "home"))
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    read_only = mario("check", TINY, MARIO_HOME=str(disk / "home"))

    assert full.returncode == read_only.returncode == 1
    assert "No space left on device; free some space" in full.stderr
    assert left == []
    assert "Read-only file system; check the folder's permissions" in read_only.stderr
    assert full.stderr.count("\n") == read_only.stderr.count("\n") == 1
    assert listed.returncode == stopped.returncode == 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENOENT, errno.ENAMETOOLONG])
def test_an_error_of_the_disk_gives_a_message_and_other_errors_keep_their_traceback(number: int) -> None:
    message = usage.os_error_message
    assert message(OSError(number, os.strerror(number), "/a/file")) == f"/a/file: {os.strerror(number)}"
    assert message(OSError(number, os.strerror(number))) == os.strerror(number)
    assert message(OSError(errno.EINVAL, "a bug in the program")) is None


def test_the_smoke_phase_passes(mario: Any) -> None:
    done = mario("check", TINY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" ok ") == 7


def test_the_smoke_phase_reports_an_unavailable_database_without_its_password(mario: Any) -> None:
    done = mario("check", TINY, DATABASE_URL="postgresql://mario:hunter2@127.0.0.1:1/mario")
    assert done.returncode == 1
    output = done.stdout + done.stderr
    assert "FAILED" in output
    assert "hunter2" not in output
    assert "127.0.0.1" in output


def test_ctrl_c_ends_with_a_checkpoint_and_prints_the_command_that_continues(home: Path, mario: Any) -> None:
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
    # PPO abandons its current rollout, so the newest checkpoint may be the one after its first rollout.
    assert latest >= 512


def test_psql_opens_the_database_and_stop_ends_the_server(mario: Any, tmp_path: Path) -> None:
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
