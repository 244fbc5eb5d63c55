"""A training resumes exactly only if the same code played the episodes on record."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twins import EVERY, Killed, Record, kill_at, run, twin_config

from agents import EpisodeTotals
from agents.checkpoints import run_state
from agents.device import COMPUTING, code_digests
from configs import LOGGERS


@pytest.fixture
def use_other_code(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """A function that makes this process pretend to have another version of `agents`, or its own one again."""
    own = code_digests()

    def change(other: bool) -> None:
        digests = {**own, "agents": "0" * 64} if other else own
        monkeypatch.setattr(run_state, "code_digests", lambda: digests)

    return change


def killed(directory: Path, record: Record, steps: int) -> EpisodeTotals:
    """Run until `steps`; returns the totals on record."""

    with pytest.raises(Killed):
        run(twin_config("ppo"), directory, record, until=kill_at(steps), **adopted(record))
    return adopted(record)["recorded"]


def adopted(record: Record) -> dict[str, object]:
    """Arguments of `train` as the pipeline gives them: next indices and totals of the episodes in Postgres."""
    indices: dict[int, int] = {}
    for env, index in record.rows:
        indices[env] = max(indices.get(env, 0), index + 1)
    rewards = sum(row["reward"] for row in record.rows.values())
    return {"episode_indices": indices, "recorded": EpisodeTotals(len(record.rows), rewards)}


def assert_none_was_played_twice(record: Record, before: dict[Any, dict[str, Any]]) -> None:
    """No new episode has the same actions as one that was on record `before`."""
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
def test_other_code_does_not_resume_exactly(
    steps: int, use_other_code: Callable[[bool], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = Record()
    killed(tmp_path, record, steps)
    use_other_code(True)
    before = dict(record.rows)
    with caplog.at_level(logging.INFO):
        result = run(twin_config("ppo"), tmp_path, record, **adopted(record))

    assert "code of agents: " in caplog.text
    assert "exactly as without" not in caplog.text
    assert record.replayed == 0, "an episode of the other code was played again with the same index"
    assert result.episodes == len(record.rows) > len(before), "counts continue from the record"
    assert_none_was_played_twice(record, before)


def test_an_earlier_attempt_with_other_code_is_remembered(
    use_other_code: Callable[[bool], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = Record()
    killed(tmp_path, record, EVERY + 30)
    use_other_code(True)
    killed(tmp_path, record, EVERY + 80)  # before its own first checkpoint
    before = dict(record.rows)
    use_other_code(False)
    with caplog.at_level(logging.INFO):
        result = run(twin_config("ppo"), tmp_path, record, **adopted(record))

    assert "an earlier attempt resumed from here with other random numbers" in caplog.text.rpartition("resuming from")[2]
    assert result.episodes == len(record.rows)
    assert_none_was_played_twice(record, before)
