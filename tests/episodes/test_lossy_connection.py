"""Between a writer and its Postgres is a network that loses connections, or falls silent: rows arrive, in order, once each."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from episodes import EpisodeRow, EpisodeStore, ExperimentRecord, StoreUnavailableError
from spool import count_pending
from tests.conftest import Postgres
from tests.proxy import Proxy

pytestmark = pytest.mark.one_python

MakeRow = Callable[..., EpisodeRow]
MakeRecord = Callable[..., ExperimentRecord]


@pytest.fixture
def proxy(postgres: Postgres) -> Iterator[Proxy]:
    with Proxy(postgres.port) as between:
        yield between


@pytest.fixture
def direct(postgres: Postgres, tmp_path: Path) -> Iterator[EpisodeStore]:
    """The store without the proxy, to see what has arrived."""
    with EpisodeStore.open(postgres.url, tmp_path) as store:
        yield store


@pytest.fixture
def by_proxy(proxy: Proxy, postgres: Postgres, direct: EpisodeStore, tmp_path: Path) -> Iterator[EpisodeStore]:
    with EpisodeStore.open(postgres.url_at(proxy.port), tmp_path) as store:
        yield store


@pytest.mark.timeout(180)
def test_connections_that_are_cut_at_any_answer_lose_no_row_and_double_none(
    by_proxy: EpisodeStore, direct: EpisodeStore, proxy: Proxy, row: MakeRow, record: MakeRecord, outbox: Path
) -> None:
    experiment = direct.create_experiment(record())
    with by_proxy.writer(outbox, "run 1", batch=16, interval_seconds=0.01) as writer:
        proxy.cut_share = 0.1
        for number in range(2000):
            writer.put(row(experiment, number), {"noop_frames": number}, bytes([number % 256]) * 20)
            if number % 20 == 0:
                time.sleep(0.01)
        while proxy.lost < 40 and writer.pending:
            time.sleep(0.01)
        proxy.cut_share = 0.0
        writer.flush(60)
    assert proxy.lost >= 20, "hardly any connection was cut: nothing was tested"
    found = direct.episodes(experiment)
    assert list(found.episode_index) == list(range(2000))
    for number in (0, 777, 1999):
        stored = direct.episode(int(found.id.iloc[number]))
        assert (stored.start, stored.actions) == ({"noop_frames": number}, bytes([number % 256]) * 20)
    assert count_pending(outbox) == 0


@pytest.mark.timeout(120)
def test_a_commit_whose_answer_is_lost_is_not_repeated(
    by_proxy: EpisodeStore, direct: EpisodeStore, proxy: Proxy, row: MakeRow, record: MakeRecord, outbox: Path
) -> None:
    experiment = direct.create_experiment(record())
    with by_proxy.writer(outbox, "run 1", interval_seconds=0.01) as writer:
        writer.put(row(experiment, 0))
        writer.flush()
        # What is asked for goes through, no answer comes back: at the latest the commit has been done and nobody knows.
        for number in range(1, 30):
            proxy.cut_share = 0.5
            writer.put(row(experiment, number), None, b"\x01")
            time.sleep(0.02)
            proxy.cut_share = 0.0
        writer.flush(60)
    assert proxy.lost > 3
    assert list(direct.episodes(experiment).episode_index) == list(range(30))


@pytest.mark.timeout(120)
def test_a_network_that_falls_silent_stops_nobody(
    by_proxy: EpisodeStore, direct: EpisodeStore, proxy: Proxy, row: MakeRow, record: MakeRecord, outbox: Path
) -> None:
    experiment = direct.create_experiment(record())
    writer = by_proxy.writer(outbox, "run 1", interval_seconds=0.01)
    writer.put(row(experiment, 0))
    writer.flush()
    proxy.silent = True
    begin = time.monotonic()
    for number in range(1, 500):
        writer.put(row(experiment, number))
    writer.sync()
    assert time.monotonic() - begin < 20, "putting and filing wait for the server"
    with pytest.raises(StoreUnavailableError, match=r"499 episodes wait in .*rows\.sqlite"):
        writer.close(timeout=2)
    assert time.monotonic() - begin < 30, "closing waits for the server"
    assert direct.count(experiment) == 1
    proxy.silent = False
    direct.writer(outbox, "run 1").close()
    assert list(direct.episodes(experiment).episode_index) == list(range(500))
