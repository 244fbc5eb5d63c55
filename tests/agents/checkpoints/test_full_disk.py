"""Checkpoints and outbox on a full disk: a small file system in memory."""

import logging
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from toy_game import toy_config, toy_vec

from agents import Checkpoint, CheckpointError, Progress, TrainingResult, latest_checkpoint, train
from spool import Courier, Outage, Outbox, count_pending

MEGABYTE = 1_000_000


class Disk:
    """A file system of eight megabytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, room: int) -> None:
        """Leave about `room` bytes free."""
        state = os.statvfs(self.folder)
        self._ballast.write_bytes(bytes(max(0, state.f_bavail * state.f_frsize - room)))

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting a file system needs root: {mounted.stderr.strip()}")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def run(
    folder: Path,
    on_checkpoint: Callable[[Checkpoint], None] | None = None,
    until: Callable[[Progress], bool] | None = None,
) -> TrainingResult:
    return train(
        toy_config("dqn", agent={"buffer_size": 500}, checkpoint_every=100),
        env=toy_vec(),
        directory=folder,
        on_episode=lambda _: None,
        total_steps=600,
        device="cpu",
        on_checkpoint=on_checkpoint,
        until=until,
    )


def test_on_a_full_disk_a_training_continues_and_fails_only_at_the_final_model(
    disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(CheckpointError, match=r"model could not be written: No space left on device"):
        run(disk.folder, lambda checkpoint: disk.fill(50_000) if checkpoint.steps == 200 else None)

    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    for step in (300, 400, 500, 600):
        assert any(f"no checkpoint at step {step}, training continues" in warning for warning in warnings), step
    assert "No space left on device" in warnings[0]
    kept = latest_checkpoint(disk.folder)
    assert kept is not None
    assert kept.steps == 200, "it is undamaged, with every byte verified"
    assert not list((disk.folder / "checkpoints").glob(".incomplete-*"))
    assert not (disk.folder / "model").exists()

    disk.free()
    result = run(disk.folder)
    assert result.steps == 600
    assert result.model_path is not None
    assert result.model_path.exists()


def test_checkpoints_are_written_again_once_there_is_space(disk: Disk) -> None:
    def free_later(progress: Progress) -> bool:
        if progress.steps >= 450:
            disk.free()
        return False

    result = run(disk.folder, lambda checkpoint: disk.fill(50_000) if checkpoint.steps == 100 else None, free_later)

    assert result.checkpoint is not None
    assert result.checkpoint.steps == 600
    kept = [path.name for path in sorted((disk.folder / "checkpoints").glob("step-*"))]
    assert kept == ["step-000000500", "step-000000600"]


def test_records_that_do_not_fit_on_the_disk_are_delivered_from_memory(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    got: list[bytes] = []

    def deliver(payloads: Sequence[bytes]) -> int:
        if not there:
            raise ConnectionError("nobody there")
        got.extend(payloads)
        return len(payloads)

    there = False
    path = disk.folder / "things.sqlite"
    queue = Courier(
        "test",
        lambda number: str(number).encode() * 1_000,
        deliver,
        Outage(logging.getLogger("tests.full"), "the server", "things", str(path)),
        outbox=Outbox(path, "run 1"),
        batch=10,
        interval_seconds=0.01,
        retry_seconds=(0.01, 0.05),
    )
    for number in range(10):
        queue.put(number)
    assert queue.sync(30)
    disk.fill(0)
    for number in range(10, 100):
        queue.put(number)
    assert not queue.sync(30)
    assert count_pending(path) + queue.unstored == 100
    assert count_pending(path) >= 10, "records that were written earlier are intact"
    assert "database or disk is full" in caplog.text
    there = True
    queue.close(30, patient=True)
    assert got == [str(number).encode() * 1_000 for number in range(100)]
