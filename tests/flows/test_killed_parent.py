"""A server ends with the process that started it, even if that process is killed."""

import contextlib
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from configs import PROJECT

pytestmark = pytest.mark.one_python

MARIO = str(Path(sys.executable).with_name("mario"))
TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")


@pytest.fixture
def run(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """`mario run` with a temporary Prefect server."""
    arguments = [MARIO, "run", TINY, "--experiment", "killed"]
    with (tmp_path / "output").open("wb") as sink:
        process = subprocess.Popen(arguments, cwd=PROJECT, stdout=sink, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def temporary_server(run: "subprocess.Popen[bytes]", tmp_path: Path) -> Iterator[psutil.Process]:
    """The process of the temporary server, as soon as it exists."""
    found: list[psutil.Process] = []
    deadline = time.monotonic() + 120
    while not found:
        assert run.poll() is None, (tmp_path / "output").read_text()
        assert time.monotonic() < deadline, "there was no temporary server"
        for child in psutil.Process(run.pid).children():
            with contextlib.suppress(psutil.Error):
                if "prefect.server.api.server:create_app" in child.cmdline():
                    found.append(child)
        time.sleep(0.05)
    yield found[0]
    with contextlib.suppress(psutil.NoSuchProcess):
        found[0].kill()


def answer(url: str) -> int | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as found:
            return int(found.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def test_the_temporary_server_of_a_killed_run_ends(run: "subprocess.Popen[bytes]", temporary_server: psutil.Process) -> None:
    """The server is killed when it serves. Requests without its secret are refused."""
    server = temporary_server
    port = re.search(r"--port (\d+)", " ".join(server.cmdline()))
    assert port is not None
    api = f"http://127.0.0.1:{port[1]}/api"
    deadline = time.monotonic() + 120
    while answer(f"{api}/health") != 200:
        assert time.monotonic() < deadline, "it never served"
        time.sleep(0.1)
    assert answer(f"{api}/admin/version") == 401
    run.send_signal(signal.SIGKILL)
    psutil.wait_procs([server], timeout=40)
    assert not server.is_running(), "it was left running"


def test_a_temporary_server_that_is_still_starting_ends_too(
    run: "subprocess.Popen[bytes]", temporary_server: psutil.Process
) -> None:
    """Its parent is killed before the server watches it."""
    run.send_signal(signal.SIGKILL)
    psutil.wait_procs([temporary_server], timeout=40)
    assert not temporary_server.is_running(), "it was left running"


def test_processes_of_mario_ui_end_when_it_is_killed(tmp_path: Path) -> None:
    """`mario ui` starts its servers with `attended`; here it starts a small program instead."""
    program = tmp_path / "endless.py"
    program.write_text(
        "import subprocess, sys, time\nsubprocess.Popen(['sleep', '600'])\nprint(sys.argv, flush=True)\ntime.sleep(600)\n"
    )
    code = (
        "import os, subprocess, sys\n"
        "from tracking import attended\n"
        f"environment = os.environ | {{'PYTHONPATH': {str(tmp_path)!r}}}\n"
        "process = subprocess.Popen(attended('endless', ['a', 'b'], 1.0), env=environment, start_new_session=True)\n"
        "print(process.pid, flush=True)\n"
        "process.wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        server = psutil.Process(int(parent.stdout.readline()))
        assert parent.stdout.readline().rstrip().endswith("endless.py', 'a', 'b']")
        family = [server, *server.children(recursive=True)]
        assert len(family) == 2
        parent.kill()
    psutil.wait_procs(family, timeout=40)
    assert not [process for process in family if process.is_running()]
