"""A continuation is called exact only if what is on record was played by the code that goes on."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twins import EVERY, Killed, Record, run, twin_config

from agents import EpisodeTotals, Progress
from agents.checkpoints import run_state
from agents.device import COMPUTING, code_digests
from configs import LOGGERS


@pytest.fixture
def other_code(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Let this process be one of another version of `agents`, or of its own again."""
    own = code_digests()

    def change(other: bool) -> None:
        digests = {**own, "agents": "0" * 64} if other else own
        monkeypatch.setattr(run_state, "code_digests", lambda: digests)

    return change


def killed(directory: Path, record: Record, steps: int) -> EpisodeTotals:
    """Run until `steps`; returns what is on record then."""

    def look(progress: Progress) -> bool:
        if progress.steps >= steps:
            raise Killed
        return False

    with pytest.raises(Killed):
        run(twin_config("ppo"), directory, record, until=look, **adopted(record))
    return adopted(record)["recorded"]


def adopted(record: Record) -> dict[str, object]:
    """As the pipeline calls it: next indices and sums of what Postgres holds."""
    indices: dict[int, int] = {}
    for env, index in record.rows:
        indices[env] = max(indices.get(env, 0), index + 1)
    rewards = sum(row["reward"] for row in record.rows.values())
    return {"episode_indices": indices, "recorded": EpisodeTotals(len(record.rows), rewards)}


def assert_none_was_played_twice(record: Record, before: dict[Any, dict[str, Any]]) -> None:
    """No episode that is new has the very actions of one that was on record `before`."""
    known = {row["actions"] for row in before.values()}
    assert known
    assert not [key for key, row in record.rows.items() if key not in before and row["actions"] in known]


def test_a_change_of_one_file_changes_the_digest_of_its_package(tmp_path: Path) -> None:
    for package in LOGGERS:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("value = 1\n")
    before = code_digests.__wrapped__(tmp_path)
    (tmp_path / "agents" / "__init__.py").write_text("value = 2\n")
    (tmp_path / "agents" / "notes.txt").write_text("no code")
    after = code_digests.__wrapped__(tmp_path)
    assert [package for package in LOGGERS if before[package] != after[package]] == ["agents"]
    assert set(COMPUTING) <= set(LOGGERS)


@pytest.mark.parametrize("steps", [75, EVERY + 30], ids=["before the first checkpoint", "after it"])
def test_another_code_does_not_go_on_exactly(
    steps: int, other_code: Callable[[bool], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = Record()
    killed(tmp_path, record, steps)
    other_code(True)
    before = dict(record.rows)
    with caplog.at_level(logging.INFO):
        result = run(twin_config("ppo"), tmp_path, record, **adopted(record))

    assert "code of agents: " in caplog.text
    assert "exactly as without" not in caplog.text
    assert record.again == 0, "an episode that the other code had played was played again under its index"
    assert result.episodes == len(record.rows) > len(before), "counts go on from the record"
    assert_none_was_played_twice(record, before)


def test_an_attempt_of_another_code_in_between_is_not_forgotten(
    other_code: Callable[[bool], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = Record()
    killed(tmp_path, record, EVERY + 30)
    other_code(True)
    killed(tmp_path, record, EVERY + 80)  # before a checkpoint of its own
    before = dict(record.rows)
    other_code(False)
    with caplog.at_level(logging.INFO):
        result = run(twin_config("ppo"), tmp_path, record, **adopted(record))

    assert "an earlier attempt went on from here with other random numbers" in caplog.text.rpartition("going on from")[2]
    assert result.episodes == len(record.rows)
    assert_none_was_played_twice(record, before)
