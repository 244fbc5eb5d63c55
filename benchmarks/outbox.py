"""What keeping episodes on disk costs: run as ``python -m benchmarks.outbox [--json FILE] [--rounds 3]``.

Ways to store a record are compared in one run, taking turns: a file of frames with a SHA-256 each, synced once a second, as
earlier versions had it; SQLite's write-ahead log with `synchronous=NORMAL`, synced at its checkpoints; the same with
`synchronous=FULL`, synced at each commit; and SQLite's rollback journal, synced at each commit, as an outbox has it.

First records are appended one by one and in batches of 64. Then a thread that stands for a training hands `--rate` episodes a
second to a courier, and the time that these calls take is summed: it is what the training is held. The best round of each way
counts. Files are written below the working folder, whose disk is measured.
"""

import argparse
import hashlib
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from episodes import EpisodeRow, pending
from episodes.pending import PendingEpisode
from spool import Courier, Outage, Outbox

BATCH: Final = 64
BASELINE: Final = "frames"
WAYS: Final = (BASELINE, "WAL, NORMAL", "WAL, FULL", "DELETE, EXTRA")


class Frames:
    """Appends to a file of frames; what a courier needs of an outbox while it delivers nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = self.lost = 0
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._synced = time.monotonic()

    def append(self, payloads: Sequence[bytes]) -> None:
        os.write(self._descriptor, b"".join(map(_frame, payloads)))
        self.count += len(payloads)
        if time.monotonic() - self._synced >= 1:
            os.fsync(self._descriptor)
            self._synced = time.monotonic()

    def peek(self, limit: int) -> list[bytes]:
        return []

    def remove(self, number: int) -> None:
        pass

    def close(self) -> None:
        os.fsync(self._descriptor)
        os.close(self._descriptor)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE too")
    parser.add_argument("--records", type=int, default=640, help="appended in each way (default 640)")
    parser.add_argument("--rate", type=float, default=300.0, help="episodes a second handed over (default 300)")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    best: dict[str, dict[str, float]] = {way: {} for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=".") as folder:
        for number in range(options.rounds):
            for way in WAYS:
                figures = measure(way, Path(folder) / f"{number}-{way}", options.records, options.rate)
                for name, value in figures.items():
                    choose = max if name.startswith("records/s") else min
                    best[way][name] = choose(value, best[way].get(name, value))
    figures = {f"{way}: {name}": value for way in WAYS for name, value in best[way].items()}
    for way in WAYS[1:]:
        figures |= {f"{way} over {BASELINE}: {name}": value / best[BASELINE][name] for name, value in best[way].items()}
    for name, value in figures.items():
        sys.stdout.write(f"{name:60} {value:12.5g}\n")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def measure(way: str, folder: Path, records: int, rate: float) -> dict[str, float]:
    """The figures of one round."""
    folder.mkdir()
    payload = pending.encode(episode(0))
    store = opened(way, folder / "one.sqlite")
    one = seconds(lambda: [store.append([payload]) for _ in range(records)])
    store.close()
    store = opened(way, folder / "batches.sqlite")
    batches = seconds(lambda: [store.append([payload] * BATCH) for _ in range(records // BATCH * 10)])
    store.close()
    return {
        "records/s, one by one": records / one,
        f"records/s, batches of {BATCH}": records // BATCH * BATCH * 10 / batches,
        **hand_over(opened(way, folder / "courier.sqlite"), records, rate),
    }


def hand_over(store: Any, records: int, rate: float) -> dict[str, float]:
    """What a training's thread pays for its episodes, and how long the disk is behind it at the end."""
    outage = Outage(logging.getLogger(__name__), "nobody", "episodes", "a file")
    courier: Courier[PendingEpisode] = Courier(
        "benchmark",
        pending.encode,
        len,
        outage,
        outbox=store,
        batch=sys.maxsize,
        interval_seconds=3600,  # nothing is delivered
        retry_seconds=(1, 1),
    )
    calls = []
    started = time.monotonic()
    for number in range(records):
        # A training computes between episodes, and holds the interpreter while it does.
        while time.monotonic() < started + number / rate:
            sum(range(1000))
        calls.append(seconds(lambda index=number: courier.put(episode(index))))
    behind = seconds(lambda: courier.sync(60))
    courier.close(0, patient=False)
    return {
        f"ms held for {records} episodes": sum(calls) * 1e3,
        "ms held by the longest call": max(calls) * 1e3,
        "ms until the last is stored": behind * 1e3,
    }


def opened(way: str, path: Path) -> Any:
    """A store of its own."""
    if way == BASELINE:
        return Frames(path)
    outbox = Outbox(path, "benchmark")
    journal, synchronous = way.split(", ")
    outbox._connection.execute(f"PRAGMA journal_mode={journal}")
    outbox._connection.execute(f"PRAGMA synchronous={synchronous}")
    return outbox


def episode(number: int) -> PendingEpisode:
    """An episode of 400 decisions."""
    row = EpisodeRow(
        experiment_id=1, phase="train", protocol="training", env_index=0, episode_index=number, timestamp=datetime.now(UTC),
        reward=12.5, steps=400, frames=1600, duration_seconds=1.25, global_step=100_000, exploration_rate=0.01,
        distance_traveled=900, x_pos=940, y_pos=79, score=200, coins=2, time=380, life=1, status="small", world=1, stage=1,
        level_completed=False, end_reason="died",
    )  # fmt: skip
    return pending.convert(row, {"noop_frames": 0}, bytes(400))


def seconds(work: Callable[[], Any]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _frame(payload: bytes) -> bytes:
    length = len(payload).to_bytes(4, "big")
    return length + hashlib.sha256(length + payload).digest() + payload


if __name__ == "__main__":
    main()
