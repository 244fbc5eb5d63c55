"""The writer never makes training wait, and loses nothing."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from episodes import EpisodeRow, EpisodeStore, ExperimentRecord, RowError, StoreError, StoreUnavailableError, pending
from episodes.embedded import start_embedded
from episodes.writer import refused_outbox
from spool import Outbox, count_pending

MakeRow = Callable[..., EpisodeRow]


def test_rows_arrive_within_the_interval(store: EpisodeStore, experiment: int, row: MakeRow, outbox: Path) -> None:
    with store.writer(outbox, "run 1", interval_seconds=0.2) as writer:
        writer.put(row(experiment))
        deadline = time.monotonic() + 10
        while store.count(experiment) == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert store.count(experiment) == 1


def test_a_full_batch_does_not_wait_for_the_interval(store: EpisodeStore, experiment: int, row: MakeRow, outbox: Path) -> None:
    with store.writer(outbox, "run 1", batch=4, interval_seconds=600) as writer:
        for index in range(5):
            writer.put(row(experiment, index))
        deadline = time.monotonic() + 10
        while store.count(experiment) < 4 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert store.count(experiment) == 4
        writer.flush()
        assert store.count(experiment) == 5


def test_many_rows_keep_their_order(store: EpisodeStore, experiment: int, row: MakeRow, outbox: Path) -> None:
    with store.writer(outbox, "run 1") as writer:
        for index in range(500):
            writer.put(row(experiment, index), {}, bytes(index % 256))
    frame = store.episodes(experiment)
    assert list(frame.episode_index) == list(range(500))
    assert len(store.episode(int(frame.id.iloc[300])).actions or b"") == 300 % 256


def test_a_bad_value_is_refused_at_once(store: EpisodeStore, experiment: int, row: MakeRow, outbox: Path) -> None:
    with store.writer(outbox, "run 1") as writer:
        with pytest.raises(RowError, match=r"episodes\.reward cannot hold .*nan"):
            writer.put(row(experiment, reward=np.float32("nan")))
        with pytest.raises(RowError, match=r"episode_actions\.start cannot hold"):
            writer.put(row(experiment), {"x": np.float64("nan")}, b"")
        assert writer.pending == 0


def test_a_closed_writer_says_so(store: EpisodeStore, experiment: int, row: MakeRow, outbox: Path) -> None:
    writer = store.writer(outbox, "run 1")
    writer.close()
    writer.close()
    with pytest.raises(StoreError, match="is closed"):
        writer.put(row(experiment))


def test_a_row_the_database_refuses_takes_no_other_with_it(
    store: EpisodeStore, experiment: int, row: MakeRow, outbox: Path
) -> None:
    writer = store.writer(outbox, "run 1")
    for index in range(10):
        writer.put(row(0 if index == 4 else experiment, index), {"noop_frames": index}, b"\x05")
    with pytest.raises(StoreError, match=r"refuses 1 episode: .*fk_episodes_experiment_id.*Kept in .*rows-refused\.sqlite"):
        writer.flush()
    with pytest.raises(StoreError, match="refuses 1 episode") as caught:
        writer.close()
    assert not isinstance(caught.value, StoreUnavailableError), "trying again would not help"
    assert list(store.episodes(experiment).episode_index) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert (count_pending(outbox), count_pending(refused_outbox(outbox))) == (0, 1)
    again = store.writer(outbox, "run 1")
    with pytest.raises(StoreError, match="refuses 1 episode"):
        again.close()
    kept = Outbox(refused_outbox(outbox), "run 1")
    (episode,) = map(pending.decode, kept.peek())
    assert (episode.values["episode_index"], episode.actions) == (4, b"\x05")
    # As if the cause were gone: the same row, of an experiment that exists.
    kept.remove(1)
    kept.append([pending.encode(pending.convert(row(experiment, 4), None, None))])
    kept.close()
    store.writer(outbox, "run 1").close()
    assert sorted(store.episodes(experiment).episode_index) == list(range(10))
    assert count_pending(refused_outbox(outbox)) == 0


def test_a_record_that_is_no_episode_is_set_aside_and_named(
    store: EpisodeStore, experiment: int, row: MakeRow, outbox: Path
) -> None:
    older = Outbox(outbox, "run 1")
    older.append([b"{}", pending.encode(pending.convert(row(experiment, 1), None, None))])
    older.close()
    with pytest.raises(StoreError, match=r"refuses 1 episode: a record of the outbox is not an episode.*rows-refused\.sqlite"):
        store.writer(outbox, "run 1").close()
    assert list(store.episodes(experiment).episode_index) == [1]


def test_a_writer_that_nobody_closed_writes_at_the_end_of_the_program(
    lone_store: EpisodeStore, row: MakeRow, record: Callable[..., ExperimentRecord], tmp_path: Path
) -> None:
    experiment = lone_store.create_experiment(record())
    code = "import pickle, sys; from pathlib import Path; from episodes import EpisodeStore\n"
    code += "store = EpisodeStore.open(sys.argv[1], Path(sys.argv[2]))\n"
    code += "writer = store.writer(Path(sys.argv[2]) / 'x.spool', 'run 1', interval_seconds=600)\n"
    code += "writer.put(pickle.load(sys.stdin.buffer))"
    command = [sys.executable, "-c", code, lone_store.url, str(tmp_path)]
    subprocess.run(command, input=pickle.dumps(row(experiment)), check=True, timeout=60)
    assert lone_store.count(experiment) == 1


def test_an_error_on_its_way_is_not_replaced_by_the_writers(
    lone_store: EpisodeStore, row: MakeRow, caplog: pytest.LogCaptureFixture, outbox: Path
) -> None:
    with pytest.raises(ZeroDivisionError), lone_store.writer(outbox, "run 1") as writer:  # noqa: PT012
        writer.put(row(12345))
        raise ZeroDivisionError
    assert "refuses 1 episode" in caplog.text


def test_a_killed_embedded_server_is_started_again_while_training_goes_on(
    short_home: Path, row: MakeRow, record: Callable[..., ExperimentRecord], outbox: Path
) -> None:
    with EpisodeStore.open(None, short_home) as store:
        experiment = store.create_experiment(record())
        with store.writer(outbox, "run 1", interval_seconds=0.05) as writer:
            writer.put(row(experiment, 0))
            writer.flush()
            pid = int((short_home / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
            os.kill(pid, signal.SIGKILL)
            writer.put(row(experiment, 1))
            writer.flush()
        assert store.count(experiment) == 2
        assert start_embedded(short_home).render_as_string() == store.masked_url
