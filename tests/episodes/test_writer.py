"""The writer never makes training wait, and loses nothing."""

import logging
import os
import pickle
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from episodes import EpisodeRow, EpisodeStore, ExperimentRecord, RowError, StoreError, unwritten
from episodes.embedded import start_embedded

MakeRow = Callable[..., EpisodeRow]


def test_rows_arrive_within_the_interval_without_a_flush(store: EpisodeStore, experiment: int, row: MakeRow) -> None:
    with store.writer(interval_seconds=0.2) as writer:
        writer.put(row(experiment))
        deadline = time.monotonic() + 10
        while store.count(experiment) == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert store.count(experiment) == 1


def test_a_full_batch_does_not_wait_for_the_interval(store: EpisodeStore, experiment: int, row: MakeRow) -> None:
    with store.writer(batch=4, interval_seconds=600) as writer:
        for index in range(5):
            writer.put(row(experiment, index))
        deadline = time.monotonic() + 10
        while store.count(experiment) < 4 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert store.count(experiment) == 4
        writer.flush()
        assert store.count(experiment) == 5


def test_many_rows_keep_their_order(store: EpisodeStore, experiment: int, row: MakeRow) -> None:
    with store.writer() as writer:
        for index in range(500):
            writer.put(row(experiment, index), {}, bytes(index % 256))
    frame = store.episodes(experiment)
    assert list(frame.episode_index) == list(range(500))
    assert len(store.episode(int(frame.id.iloc[300])).actions or b"") == 300 % 256


def test_a_bad_value_is_refused_at_once_and_nothing_is_handed_over(store: EpisodeStore, experiment: int, row: MakeRow) -> None:
    with store.writer() as writer:
        with pytest.raises(RowError, match=r"episodes\.reward cannot hold .*nan"):
            writer.put(row(experiment, reward=np.float32("nan")))
        with pytest.raises(RowError, match=r"episode_actions\.start cannot hold"):
            writer.put(row(experiment), {"x": np.float64("nan")}, b"")
        assert writer.waiting == 0


def test_a_closed_writer_says_so(store: EpisodeStore, experiment: int, row: MakeRow) -> None:
    writer = store.writer()
    writer.close()
    writer.close()
    with pytest.raises(StoreError, match="is closed"):
        writer.put(row(experiment))


def test_a_row_the_database_refuses_takes_no_other_with_it(
    store: EpisodeStore, experiment: int, row: MakeRow, tmp_path: Path
) -> None:
    writer = store.writer()
    for index in range(10):
        writer.put(row(0 if index == 4 else experiment, index), {"noop_frames": index}, b"\x05")
    with pytest.raises(StoreError, match=r"1 episode could not be written to .*fk_episodes_experiment_id.*kept in memory"):
        writer.flush()
    with pytest.raises(StoreError, match=r"1 episode could not be written.*kept in .*unwritten-episodes-.*\.jsonl") as caught:
        writer.close()
    assert list(store.episodes(experiment).episode_index) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    path = Path(str(caught.value).split("kept in ")[1].split(";")[0])
    assert [(each.values["episode_index"], each.actions) for each in unwritten.kept(path)] == [(4, b"\x05")]
    path.unlink()


def test_putting_never_waits_for_a_database_that_is_away(
    lone_store: EpisodeStore, server: Any, database_name: str, row: MakeRow, record: Callable[..., ExperimentRecord]
) -> None:
    experiment = lone_store.create_experiment(record())
    with lone_store.writer(interval_seconds=0.05) as writer:
        writer.put(row(experiment, 0))
        writer.flush()
        server.cut_off(database_name)
        slowest = 0.0
        for index in range(1, 200):
            began = time.perf_counter()
            writer.put(row(experiment, index), {}, b"\x01\x02")
            slowest = max(slowest, time.perf_counter() - began)
        with pytest.raises(StoreError, match=r"199 episodes could not be written to .*:\*\*\*@.*not currently accepting"):
            writer.flush(timeout=1)
        server.let_in(database_name)
        writer.flush()
    # A connection attempt or a write takes longer; a pause of the interpreter or of a busy machine may take this long.
    assert slowest < 0.25
    assert list(lone_store.episodes(experiment).episode_index) == list(range(200))


def test_what_cannot_be_written_by_the_end_is_kept_in_a_file_and_restored(
    lone_store: EpisodeStore,
    server: Any,
    database_name: str,
    row: MakeRow,
    record: Callable[..., ExperimentRecord],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    experiment = lone_store.create_experiment(record())
    writer = lone_store.writer()
    server.cut_off(database_name)
    moment = datetime(2026, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
    for index in range(3):
        writer.put(row(experiment, index, reward=0.1 + 0.2, timestamp=moment), {"noop_frames": 2}, b"\x01\x00\xff")
    with pytest.raises(StoreError, match=r"3 episodes could not be written.*EpisodeStore\.restore"):
        writer.close(timeout=0.5)
    (path,) = tmp_path.glob("unwritten-episodes-*.jsonl")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.levelno for each in caplog.records] == [logging.WARNING], "one warning an outage, not one an attempt"
    server.let_in(database_name)
    assert lone_store.restore(path) == 3
    assert lone_store.restore(path) == 0
    found = lone_store.episode(int(lone_store.episodes(experiment).id.iloc[0]))
    assert found.row == row(experiment, 0, reward=0.1 + 0.2, timestamp=moment)
    assert (found.start, found.actions) == ({"noop_frames": 2}, b"\x01\x00\xff")


def test_a_writer_that_nobody_closed_writes_at_the_end_of_the_program(
    lone_store: EpisodeStore, row: MakeRow, record: Callable[..., ExperimentRecord], tmp_path: Path
) -> None:
    experiment = lone_store.create_experiment(record())
    code = "import pickle, sys; from pathlib import Path; from episodes import EpisodeStore\n"
    code += "store = EpisodeStore.open(sys.argv[1], Path(sys.argv[2]))\n"
    code += "writer = store.writer(interval_seconds=600)\n"
    code += "writer.put(pickle.load(sys.stdin.buffer))"
    command = [sys.executable, "-c", code, lone_store.url, str(tmp_path)]
    subprocess.run(command, input=pickle.dumps(row(experiment)), check=True, timeout=60)
    assert lone_store.count(experiment) == 1


def test_an_error_on_its_way_is_not_replaced_by_the_writers(
    lone_store: EpisodeStore, row: MakeRow, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ZeroDivisionError), lone_store.writer() as writer:  # noqa: PT012
        writer.put(row(12345))
        raise ZeroDivisionError
    assert "1 episode could not be written" in caplog.text


def test_a_damaged_line_of_kept_episodes_is_named(lone_store: EpisodeStore, tmp_path: Path) -> None:
    path = tmp_path / "unwritten-episodes.jsonl"
    path.write_text('{"values": {}}\n')
    with pytest.raises(StoreError, match=r"unwritten-episodes\.jsonl, line 1 is damaged"):
        lone_store.restore(path)


def test_a_killed_embedded_server_is_started_again_while_training_goes_on(
    short_home: Path, row: MakeRow, record: Callable[..., ExperimentRecord]
) -> None:
    with EpisodeStore.open(None, short_home) as store:
        experiment = store.create_experiment(record())
        with store.writer(interval_seconds=0.05) as writer:
            writer.put(row(experiment, 0))
            writer.flush()
            pid = int((short_home / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
            os.kill(pid, signal.SIGKILL)
            writer.put(row(experiment, 1))
            writer.flush()
        assert store.count(experiment) == 2
        assert start_embedded(short_home).render_as_string() == store.masked_url
