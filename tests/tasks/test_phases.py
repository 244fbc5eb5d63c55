"""The record of a finished phase is complete, or counts as missing."""

from pathlib import Path

import pytest

from tasks.phases import PhaseRecord, finished, save


def test_a_record_can_be_read_back(tmp_path: Path) -> None:
    record = PhaseRecord("train", 1.5, {"steps": 3, "model_path": "x"})
    assert save(tmp_path, record) == record
    assert finished(tmp_path, "train") == record
    assert finished(tmp_path, "evaluate") is None


@pytest.mark.parametrize("keep", range(0, 60, 7))
def test_a_truncated_record_counts_as_missing(tmp_path: Path, keep: int) -> None:
    save(tmp_path, PhaseRecord("train", 1.5, {"steps": 3, "episodes": 2, "reward_sum": 1.0}))
    path = tmp_path / "phases" / "train.json"
    path.write_bytes(path.read_bytes()[:keep])
    assert finished(tmp_path, "train") is None
