"""`mario ui` refuses taken ports, and a second start, before it starts anything."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from flows.servers import server_lock
from tests.flows.listeners import file_server, silent

pytestmark = pytest.mark.one_python


@pytest.mark.parametrize("listener", [file_server, silent])
@pytest.mark.parametrize("option", ["--prefect-port", "--mlflow-port"])
def test_a_taken_port_is_refused_before_anything_is_started(
    mario: Any, tmp_path: Path, free_port: int, option: str, listener: Callable[[], AbstractContextManager[int]]
) -> None:
    other = {"--prefect-port": "--mlflow-port", "--mlflow-port": "--prefect-port"}[option]
    with listener() as port:
        done = mario("ui", option, str(port), other, str(free_port), MARIO_HOME=str(tmp_path / "home"))
    assert done.returncode == 1, done.stdout
    assert done.stderr == f"error: port {port} is taken: stop what listens there, or choose another port ({option})\n"
    assert list((tmp_path / "home").iterdir()) == [], "something was started"


def test_one_port_cannot_serve_both(mario: Any, tmp_path: Path, free_port: int) -> None:
    ports = ["--prefect-port", str(free_port), "--mlflow-port", str(free_port)]
    done = mario("ui", *ports, MARIO_HOME=str(tmp_path / "home"))
    assert done.returncode == 1
    assert f"port {free_port} is given for both servers" in done.stderr


def test_servers_that_are_still_starting_are_not_started_a_second_time(mario: Any, tmp_path: Path, free_port: int) -> None:
    """The first start holds the lock from before its server is recorded until everything has stopped."""
    home = tmp_path / "home"
    variables = {"MARIO_HOME": str(home), "MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}
    with server_lock(home):
        done = mario("ui", "--prefect-port", str(free_port), **variables)
    assert done.returncode == 1, done.stdout
    assert done.stderr == f"error: another `mario ui` is starting or stopping the servers of {home}: wait for it, or end it\n"
    assert [path.name for path in home.iterdir()] == ["prefect-server"], "something was started"
    with server_lock(home):
        pass  # it was released
