"""Postgres is stopped and started under a writer: no row is lost, none comes twice, and nobody waits for it."""

import json
import logging
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from episodes import (
    EpisodeRow,
    EpisodeStore,
    EpisodeWriter,
    ExperimentRecord,
    RowError,
    StoreError,
    StoreUnavailableError,
    pending,
)
from episodes.address import make_engine, parse
from spool import Outbox, count_pending
from tests.conftest import PASSWORD, Postgres

pytestmark = pytest.mark.one_python

MakeRow = Callable[..., EpisodeRow]
MakeRecord = Callable[..., ExperimentRecord]


@pytest.fixture
def away(postgres: Postgres, tmp_path: Path) -> Iterator[EpisodeStore]:
    """A store on that server."""
    with EpisodeStore.open(postgres.url, tmp_path) as store:
        yield store


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.mark.timeout(180)
def test_thousands_of_rows_over_restarts_are_there_once_and_in_order(
    away: EpisodeStore,
    postgres: Postgres,
    row: MakeRow,
    record: MakeRecord,
    outbox: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    experiment = away.create_experiment(record())
    done = threading.Event()

    def restart() -> None:
        for _ in range(3):
            postgres.stop()
            time.sleep(0.3)
            postgres.start()
            time.sleep(0.3)
        done.set()

    restarting = threading.Thread(target=restart)
    number = 0
    with caplog.at_level(logging.WARNING), away.writer(outbox, "run 1", interval_seconds=0.05) as writer:
        restarting.start()
        while not done.is_set() or number < 5000:
            writer.put(row(experiment, number), {"noop_frames": number}, bytes([number % 256]) * 50)
            number += 1
            if number % 20 == 0:
                time.sleep(0.01)
        restarting.join()
        writer.flush(60)
        assert writer.pending == 0
    found = away.episodes(experiment)
    assert list(found.episode_index) == list(range(number))
    assert away.episode(int(found.id.iloc[-1])).actions == bytes([(number - 1) % 256]) * 50
    assert count_pending(outbox) == 0
    told = [each.message for each in caplog.records if each.name == "episodes.writer"]
    assert any("cannot be reached" in message for message in told)
    assert any("is back after" in message for message in told)
    assert PASSWORD not in caplog.text


def test_putting_returns_while_postgres_is_stopped(
    away: EpisodeStore, postgres: Postgres, row: MakeRow, record: MakeRecord, outbox: Path
) -> None:
    experiment = away.create_experiment(record())
    writer = away.writer(outbox, "run 1", interval_seconds=0.05)
    postgres.stop()
    # Were one of these calls to wait for the server, the test would never come to where it is started again.
    for number in range(3000):
        writer.put(row(experiment, number), {}, b"\x01\x02")
    with pytest.raises(StoreUnavailableError, match=r"3000 episodes wait in .*rows\.sqlite, because .*:\*\*\*@.*refused"):
        writer.flush(timeout=1)
    assert count_pending(outbox) == 3000
    writer.put(row(experiment, 3000))
    writer.sync()
    assert count_pending(outbox) == 3001, "on disk, whatever the server does"
    postgres.start()
    writer.close()
    assert list(away.episodes(experiment).episode_index) == list(range(3001))


def test_rows_wait_for_the_next_start_when_postgres_stays_away(
    away: EpisodeStore,
    postgres: Postgres,
    row: MakeRow,
    record: MakeRecord,
    outbox: Path,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    experiment = away.create_experiment(record())
    moment = datetime(2026, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
    writer = away.writer(outbox, "run 1", interval_seconds=0.05, remedy="Do this.")
    writer.put(row(experiment, 0))
    writer.flush()
    postgres.stop()
    for number in range(1, 4):
        writer.put(row(experiment, number, reward=0.1 + 0.2, timestamp=moment), {"noop_frames": 2}, b"\x01\x00\xff")
    with caplog.at_level(logging.WARNING), pytest.raises(StoreUnavailableError) as caught:
        writer.close(timeout=0.5)
    said = str(caught.value)
    assert said.startswith(f"3 episodes wait in {outbox}, because postgresql+psycopg2://tester:***@127.0.0.1")
    assert said.endswith("Do this.")
    assert len([each for each in caplog.records if each.name == "episodes.writer"]) <= 1, "told once"
    for written in (said, repr(caught.value), caplog.text, everything_in(tmp_path).decode(errors="replace")):
        assert PASSWORD not in written
    postgres.start()
    with away.writer(outbox, "run 1") as again:
        again.put(row(experiment, 4))
    found = away.episodes(experiment)
    assert list(found.episode_index) == [0, 1, 2, 3, 4]
    episode = away.episode(int(found.id.iloc[1]))
    assert episode.row == row(experiment, 1, reward=0.1 + 0.2, timestamp=moment)
    assert (episode.start, episode.actions) == ({"noop_frames": 2}, b"\x01\x00\xff")


def test_rows_that_were_written_before_a_crash_are_not_written_twice(
    away: EpisodeStore, row: MakeRow, record: MakeRecord, outbox: Path
) -> None:
    experiment = away.create_experiment(record())
    rows = [pending.encode(pending.convert(row(experiment, number), {}, b"\x01")) for number in range(10)]
    with away.writer(outbox, "run 1") as writer:
        for number in range(6):
            writer.put(row(experiment, number), {}, b"\x01")
    # What is left if the process dies between the commit and cutting the file back.
    left = Outbox(outbox, "run 1")
    left.append(rows)
    left.close()
    away.writer(outbox, "run 1").close()
    assert list(away.episodes(experiment).episode_index) == list(range(10))


def test_a_killed_process_leaves_its_rows_to_the_next(
    away: EpisodeStore, postgres: Postgres, row: MakeRow, record: MakeRecord, outbox: Path, tmp_path: Path
) -> None:
    experiment = away.create_experiment(record())
    code = """
import pickle, sys, time
from pathlib import Path
from episodes import EpisodeStore
from spool import count_pending
store = EpisodeStore.open(sys.argv[1], Path(sys.argv[2]))
outbox = Path(sys.argv[3])
writer = store.writer(outbox, "run 1", interval_seconds=600)
for row in pickle.load(sys.stdin.buffer):
    writer.put(row)
while count_pending(outbox) < 20:
    time.sleep(0.01)
print("filed", flush=True)
time.sleep(600)
"""
    command = [sys.executable, "-c", code, postgres.url, str(tmp_path), str(outbox)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            pickle.dump([row(experiment, number) for number in range(20)], process.stdin)
            process.stdin.close()
            assert process.stdout.readline() == b"filed\n"
        finally:
            process.kill()
    assert away.count(experiment) == 0
    away.writer(outbox, "run 1").close()
    assert list(away.episodes(experiment).episode_index) == list(range(20))


def test_a_password_that_has_become_wrong_is_not_a_passing_outage(
    away: EpisodeStore, row: MakeRow, record: MakeRecord, outbox: Path
) -> None:
    experiment = away.create_experiment(record())
    wrong = make_url(away.url).set(password="another").render_as_string(hide_password=False)
    writer = EpisodeWriter(make_engine(parse(wrong)), parse(wrong), outbox, "run 1")
    writer.put(row(experiment))
    with pytest.raises(StoreError, match=r"1 episode waits in .*password authentication failed") as caught:
        writer.close(timeout=1)
    assert not isinstance(caught.value, StoreUnavailableError)
    assert "another" not in str(caught.value)


def test_whatever_an_episode_holds_comes_back_as_it_was(row: MakeRow) -> None:
    values: dict[str, Any] = {
        "reward": 1e-308 + 0.1,
        "score": 2**31 - 1,
        "timestamp": datetime(1999, 12, 31, 23, 59, 59, 1, UTC),
    }
    for actions in (None, b"", bytes(range(256))):
        for delays in (None, actions):
            episode = pending.convert(row(2**40, 3, **values), {"a": [1.5, None, "ü"]}, actions, delays)
            assert pending.decode(pending.encode(episode)) == episode


def test_an_episode_that_an_earlier_version_left_has_no_delays(row: MakeRow) -> None:
    entry = json.loads(pending.encode(pending.convert(row(1, 0), {"noop_frames": 0}, b"\x01\x02")))
    del entry["delays"]
    episode = pending.decode(json.dumps(entry).encode())
    assert (episode.actions, episode.delays) == (b"\x01\x02", None)


def test_other_than_as_many_delays_as_actions_are_refused(row: MakeRow) -> None:
    with pytest.raises(RowError, match="an episode of 3 actions has 2 delays: there must be one for each action"):
        pending.convert(row(1, 0), {"noop_frames": 0}, bytes(3), bytes(2))
