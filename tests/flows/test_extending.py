"""`mario run --extend`: a finished experiment is trained further, evaluated again and reported on again."""

from typing import Any

import pytest

from configs import PROJECT, Settings
from episodes.attempts import attempts
from episodes.records import finished_phase
from episodes.schema import RecordedPhase
from tasks.experiment import open_store

pytestmark = pytest.mark.one_python

TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")

SHORT = ["--set", "train.total_steps=512", "--set", "evaluate.protocols=[greedy, random]", "--set", "report.video=false"]


def phase(settings: Settings, name: RecordedPhase, kept_as: str = "") -> dict[str, Any]:
    with open_store(settings) as store:
        record = finished_phase(store, store.experiment("further").id, name, kept_as)
    assert record is not None
    return record.details


@pytest.mark.timeout(600)  # three whole runs, one after the other
def test_a_finished_experiment_is_trained_further(mario: Any, settings: Settings) -> None:
    command = ["run", TINY, *SHORT, "--experiment", "further"]
    done = mario(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert phase(settings, "train")["steps"] == 512
    with open_store(settings) as store:
        first = store.totals(store.experiment("further").id, "evaluate")
        assert first.episodes > 1

    refused = mario(*command, "--extend", "512")
    assert refused.returncode != 0
    assert "has 512 steps" in refused.stdout + refused.stderr

    done = mario(*command, "--extend", "1024")
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "on level 1-1, 1,024 steps" in output
    assert "is extended from 512 to 1024 steps. Schedules end at step 512" in output
    assert "exactly as without an interruption" in output
    assert phase(settings, "train")["steps"] == 1_024
    assert phase(settings, "train", "512-steps")["steps"] == 512
    assert phase(settings, "report")
    with open_store(settings) as store:
        stored = store.experiment("further")
        assert stored.record.status == "completed"
        assert stored.record.config["train"]["total_steps"] == 1_024
        assert [start.total_steps for start in attempts(store, stored.id)] == [512, 1_024]
        earlier = store.experiment("further-at-512")
        assert (earlier.record.config["train"]["total_steps"], earlier.record.status) == (512, "completed")
        assert store.episodes(earlier.id)["global_step"].tolist().count(512) == 1
        assert store.count(earlier.id) == first.episodes, "every episode of the earlier evaluation is still there"
        assert store.totals(earlier.id).reward_sum == first.reward_sum
        judged = store.episodes(stored.id, phase="evaluate", protocol="greedy")
        assert judged["global_step"].tolist() == [phase(settings, "train")["model_steps"]]
