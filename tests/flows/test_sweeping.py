"""`mario sweep --local`: a run that fails costs that run, and a sweep that is started again goes on."""

from pathlib import Path
from typing import Any

import pytest

from configs import PROJECT, Settings
from episodes.attempts import attempts
from flows.sweep_local import processor_shares
from tasks.experiment import open_store

pytestmark = pytest.mark.whole_runs

TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")
SHORT = "[train.total_steps=512, 'evaluate.protocols=[stochastic, random]', report.video=false, evaluate.model=last]"


@pytest.mark.timeout(600)  # whole runs, at a time when others run too
def test_a_failed_run_costs_that_run_and_finished_ones_are_not_repeated(mario: Any, settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "pair.yaml"
    # The memory for a rollout of this size does not exist, which the smoke test finds.
    file.write_text(f"presets: ['{TINY}']\noverrides: {SHORT}\nvariants:\n  small: []\n  huge: ['agent.n_steps=100_000_000']\n")
    for _ in range(2):
        done = mario("sweep", str(file), "--local", "2")
        output = done.stdout + done.stderr
        assert done.returncode == 1, output
        assert "1 of 2 runs of the sweep pair failed" in output
        assert "pair-tiny-1-1-small-seed0: completed" in output
        assert "pair-tiny-1-1-huge-seed0: failed" in output
        assert "Traceback" not in output
        log = settings.home / "sweeps" / "pair-tiny-1-1-huge-seed0.log"
        assert str(log) in output
        page = settings.home / "reports" / "sweep-pair" / "comparison.html"
        assert f"The completed ones are compared in {page}" in output
    assert "pair-tiny-1-1-small-seed0" in page.read_text()
    with open_store(settings) as store:
        small = store.experiment("pair-tiny-1-1-small-seed0")
        assert small.record.status == "completed"
        assert len(attempts(store, small.id)) == 1

    file.write_text(file.read_text().replace("512", "256"))
    refused = mario("sweep", str(file), "--local", "2")
    assert refused.returncode == 1
    assert "pair-tiny-1-1-small-seed0 was begun with another configuration" in refused.stdout + refused.stderr


def test_a_sweep_without_a_server_says_what_to_do(mario: Any, tmp_path: Path) -> None:
    file = tmp_path / "lonely.yaml"
    file.write_text("presets: [quick]\n")
    done = mario("sweep", str(file))
    assert done.returncode == 1
    assert "--local N" in done.stderr


@pytest.mark.parametrize("number", [1, 2, 3, 50])
def test_processors_are_shared_out(number: int) -> None:
    shares = processor_shares(number)
    assert len(shares) == number
    assert all(shares)
    if number > 1 and len(set().union(*shares)) >= number:
        assert not set.intersection(*shares)
