"""`mario experiments`: the status and progress of experiments, with a real run that is killed."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from configs import PROJECT, Settings
from flows.experiments import _age, list_experiments
from tasks.experiment import open_store

pytestmark = pytest.mark.one_python

MARIO = str(Path(sys.executable).with_name("mario"))
TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")


def listed(settings: Settings, name: str, **wanted: Any) -> dict[str, str]:
    """The row of one experiment; empty if it is not listed."""
    return next((row for row in list_experiments(settings, 100, **wanted) if row["name"] == name), {})


def test_a_completed_run_is_listed_with_its_results(mario: Any, pipeline: Any, settings: Settings) -> None:
    done = mario("experiments", "--status", "completed", "--preset", "tiny")
    row = listed(settings, pipeline.name)

    assert done.returncode == 0, done.stderr
    assert pipeline.name in done.stdout.split()
    assert (row["preset"], row["status"]) == ("tiny", "completed")
    steps, _, total = row["steps"].replace(",", "").partition(" of ")
    assert 0 < int(steps) <= int(total)
    assert row["completed"].startswith("0 of ")
    assert listed(settings, pipeline.name, status="failed") == listed(settings, pipeline.name, preset="ppo") == {}
    assert mario("experiments", "--preset", "baseline").stdout == "latest experiments: none yet\n"


def test_an_experiment_whose_process_was_killed_is_shown_as_gone_and_can_be_marked(
    mario: Any, home: Path, settings: Settings
) -> None:
    arguments = ["run", TINY, "--set", "train.total_steps=100000", "--experiment", "killed"]
    process = subprocess.Popen(
        [MARIO, *arguments], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        wait_until(lambda: listed(settings, "killed", status="running") != {}, process)
        refused = mario("experiments", "--mark-crashed", "killed")
        assert process.poll() is None
    finally:
        # The whole group, because its temporary Prefect server would stay otherwise.
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    # Postgres notices the end of a killed client with a short delay.
    wait_until(lambda: listed(settings, "killed")["status"] == "gone")

    assert refused.returncode == 1
    assert "is being run by another process" in refused.stderr
    assert listed(settings, "killed", status="running") == {}
    assert listed(settings, "killed", status="gone")["status"] == "gone"
    assert "--mark-crashed" in mario("experiments").stdout

    marked = mario("experiments", "--mark-crashed", "killed")
    assert marked.returncode == 0, marked.stderr
    assert listed(settings, "killed")["status"] == "failed"
    with open_store(settings) as store:
        assert store.experiment("killed").record.ended is not None
    again = mario("experiments", "--mark-crashed", "killed")
    assert again.returncode == 1
    assert again.stderr == "error: experiment killed has ended already; its status is failed\n"


def wait_until(condition: Any, process: "subprocess.Popen[bytes] | None" = None) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process is None or process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("seconds", "words"), [(59, "0 min"), (3_599, "59 min"), (3_600, "1 h 0 min"), (86_399, "23 h 59 min"), (90_000, "1 d 1 h")]
)
def test_ages_have_two_units(seconds: int, words: str) -> None:
    assert _age(timedelta(seconds=seconds)) == words
