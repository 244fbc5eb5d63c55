"""The episode store: experiments and episodes in Postgres."""

import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd
from sqlalchemy import URL, Connection, Engine, Row, Select, Text, case, cast, exists, func, insert, select, update
from sqlalchemy.exc import DBAPIError

from episodes import address, boundary, fencing, migrations, overview, writer
from episodes.embedded import start_embedded
from episodes.errors import StoreError
from episodes.fencing import FencingToken
from episodes.overview import ExperimentOverview
from episodes.schema import EPISODE_ACTIONS, EPISODES, EXPERIMENTS, EpisodeRow, ExperimentRecord


@dataclass(frozen=True)
class StoredExperiment:
    """A row of `experiments` and its id."""

    id: int
    record: ExperimentRecord


@dataclass(frozen=True)
class StoredEpisode:
    """An episode with all that is needed to replay it; `start` and `actions` are None if they were not kept.

    `delays`: frames before each action took effect, one byte for each decision; empty: none.
    """

    id: int
    row: EpisodeRow
    start: dict[str, Any] | None
    actions: bytes | None
    delays: bytes
    experiment: StoredExperiment


@dataclass(frozen=True)
class Totals:
    """The number of some episodes and the sum of their rewards.

    Attributes:
        episodes: how many there are.
        reward_sum: the sum of their rewards.
        first, last: when the first and the last of them ended; None if there are none.
    """

    episodes: int
    reward_sum: float
    first: datetime | None
    last: datetime | None

    @property
    def seconds(self) -> float:
        """Between the ends of the first and the last episode."""
        return (self.last - self.first).total_seconds() if self.first and self.last else 0.0


class EpisodeStore:
    """A Postgres database with the project's tables; :meth:`open` makes one. A context manager that closes it."""

    def __init__(self, url: URL, home: Path, *, embedded: bool) -> None:
        self._url = url
        self._home = home
        self._embedded = embedded
        self._engine = address.make_engine(url)

    @classmethod
    def open(cls, url: str | None, home: Path) -> "EpisodeStore":
        """Connect. Tables of the embedded server are upgraded to the newest revision, those of a shared one only created.

        Args:
            url: a Postgres URL; None starts the embedded server in `home`.
            home: the folder for what a run writes (`.mario`).

        Raises:
            RevisionError: the database is newer than this version of the program, or it is shared and older.
            StoreError: the URL is wrong, or the server cannot be reached or refuses.
        """
        store = cls.connected(url, home)
        try:
            with address.translate_errors(store._url, "opening the episode store"):
                if store._embedded:
                    migrations.upgrade(store._engine)
                else:
                    migrations.prepare_shared(store._engine)
        except StoreError:
            store.close()
            raise
        return store

    @classmethod
    def connected(cls, url: str | None, home: Path) -> "EpisodeStore":
        """Connect without looking at the tables; for upgrading them."""
        home = home.absolute()
        return cls(address.parse(url) if url else start_embedded(home), home, embedded=not url)

    @property
    def engine(self) -> Engine:
        """The connection pool; for migrations."""
        return self._engine

    @property
    def url(self) -> str:
        """The database's URL with its password; do not put it into messages."""
        return self._url.render_as_string(hide_password=False)

    @property
    def masked_url(self) -> str:
        """The database's URL with *** for the password."""
        return address.masked(self._url)

    def __repr__(self) -> str:
        return f"EpisodeStore({self.masked_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. An embedded server goes on running."""
        self._engine.dispose()

    @contextmanager
    def transaction(self, action: str) -> Iterator[Connection]:
        """A connection in a transaction, for this package's own queries.

        Raises:
            StoreError: the database fails; the message begins with `action`.
        """
        with address.translate_errors(self._url, action), self._connect() as connection, connection.begin():
            yield connection

    def _connect(self) -> Connection:
        """A connection; restarts an embedded server that was stopped or killed."""
        try:
            return self._engine.connect()
        except DBAPIError as error:
            if not (self._embedded and address.is_transient(error)):
                raise
        self._restart_server()
        return self._engine.connect()

    # Experiments

    def create_experiment(self, record: ExperimentRecord) -> int:
        """Add an experiment, which no attempt holds yet, and return its id.

        Raises:
            RowError: a value cannot be stored.
            StoreError: there is an experiment of that name, or the database fails.
        """
        values = boundary.row_values(EXPERIMENTS, {each.name: getattr(record, each.name) for each in fields(record)})
        with self.transaction("adding an experiment") as connection:
            return int(connection.execute(insert(EXPERIMENTS).values(values).returning(EXPERIMENTS.c.id)).scalar_one())

    def update_experiment(self, token: FencingToken, **columns: Any) -> None:
        """Change columns of an experiment, for instance `status` and `ended`.

        Raises:
            RowError: a column does not exist or cannot hold its value.
            FencedError: a newer attempt has taken over.
            StoreError: there is no such experiment, or the database fails.
        """
        mine = (EXPERIMENTS.c.id == int(token.experiment_id), EXPERIMENTS.c.attempt == int(token.attempt))
        statement = update(EXPERIMENTS).where(*mine).values(boundary.row_values(EXPERIMENTS, columns))
        with self.transaction("updating an experiment") as connection:
            if connection.execute(statement.returning(EXPERIMENTS.c.id)).first() is None:
                raise fencing.superseded(connection, token)

    def experiment(self, id_or_name: int | str) -> StoredExperiment:
        """The experiment with this name or id; digits are an id if they are not a name.

        Raises:
            StoreError: there is none.
        """
        conditions = [EXPERIMENTS.c.name == id_or_name] if isinstance(id_or_name, str) else []
        number = _experiment_number(id_or_name)
        if number is not None:
            conditions.append(EXPERIMENTS.c.id == number)
        with self.transaction("reading an experiment") as connection:
            for condition in conditions:
                row = connection.execute(select(EXPERIMENTS).where(condition)).first()
                if row is not None:
                    return _experiment(row)
            names = connection.execute(select(EXPERIMENTS.c.name)).scalars().all()
        nearest = get_close_matches(str(id_or_name), names, n=3)
        hint = f"; similar names: {', '.join(nearest)}" if nearest else "; `mario experiments` lists all"
        raise StoreError(f"there is no experiment {id_or_name!r} in {self.masked_url}{hint}")

    def find_experiment(self, name: str) -> int | None:
        """The id of the experiment with this name; None if there is none."""
        query = select(EXPERIMENTS.c.id).where(EXPERIMENTS.c.name == name)
        with self.transaction("looking up an experiment") as connection:
            number: int | None = connection.execute(query).scalar()
        return number

    def experiments(self) -> pd.DataFrame:
        """Every experiment, a row each, oldest first."""
        return self._frame(select(EXPERIMENTS).order_by(EXPERIMENTS.c.id), "reading the experiments")

    def overview(
        self,
        count: int,
        *,
        status: str | None = None,
        preset: str | None = None,
        held: bool | None = None,
        names: Collection[str] | None = None,
    ) -> list[ExperimentOverview]:
        """The progress of the newest experiments, newest first; `held`: only those that a process runs, or that none does."""
        from episodes.leases import held_experiments

        with self.transaction("listing the experiments") as connection:
            query = overview.query(held_experiments(connection), count, status, preset, held, names)
            return [ExperimentOverview(**row._mapping) for row in connection.execute(query)]

    # Writing episodes

    def writer(
        self,
        outbox: Path,
        owner: str,
        *,
        batch: int = 64,
        token: FencingToken | None = None,
        interval_seconds: float = 1.0,
        store_actions: bool = True,
        remedy: str = "The next writer of this outbox writes them.",
    ) -> writer.EpisodeWriter:
        """A background writer whose rows are stored in the file `outbox` first: see :class:`episodes.writer.EpisodeWriter`."""
        return writer.EpisodeWriter(
            self._engine,
            self._url,
            outbox,
            owner,
            token=token,
            batch=batch,
            interval_seconds=interval_seconds,
            store_actions=store_actions,
            restart_server=self._restart_server,
            remedy=remedy,
        )

    def _restart_server(self) -> None:
        """Start the embedded server again if it was killed."""
        if not self._embedded:
            return
        url = start_embedded(self._home)
        if url != self._url:
            raise StoreError("the embedded Postgres has restarted at another socket: open the store again")

    # Reading episodes

    def episodes(self, experiment_id: int, phase: str | None = None, protocol: str | None = None) -> pd.DataFrame:
        """The experiment's episodes in the order in which they were written; the columns are those of the table.

        One column is added, `trajectory`: equal for episodes with equal start, actions and delays, None if these were not kept.
        """
        query = with_trajectory().where(*_where(experiment_id, phase, protocol)).order_by(EPISODES.c.id)
        return self._frame(query, "reading episodes")

    def latest(self, n: int, experiment_id: int | None = None) -> pd.DataFrame:
        """The newest n episodes of one experiment or of all, newest first, with a column `experiment` that holds its name."""
        query = (
            select(EPISODES, EXPERIMENTS.c.name.label("experiment"))
            .join(EXPERIMENTS, EXPERIMENTS.c.id == EPISODES.c.experiment_id)
            .where(*(_where(experiment_id, None, None) if experiment_id is not None else ()))
            .order_by(EPISODES.c.id.desc())
            .limit(n)
        )
        return self._frame(query, "reading the latest episodes")

    def episode(self, episode_id: int) -> StoredEpisode:
        """One episode, with all that is needed to replay it.

        Raises:
            StoreError: there is no such episode.
        """
        number = int(episode_id)
        with self.transaction("reading an episode") as connection:
            row = connection.execute(select(EPISODES).where(EPISODES.c.id == number)).first()
            if row is None:
                raise StoreError(f"there is no episode {episode_id} in {self.masked_url}; `latest` lists the newest")
            owner = connection.execute(select(EXPERIMENTS).where(EXPERIMENTS.c.id == row.experiment_id)).one()
            played = connection.execute(select(EPISODE_ACTIONS).where(EPISODE_ACTIONS.c.episode_id == number)).first()
        actions = None if played is None else zlib.decompress(played.actions)
        if played is not None and actions is not None and len(actions) != played.decisions:
            raise StoreError(
                f"episode {episode_id} has {len(actions)} actions instead of {played.decisions}: its row is damaged"
            )
        start = None if played is None else played.start
        delays = b"" if played is None or played.delays is None else zlib.decompress(played.delays)
        return StoredEpisode(number, EpisodeRow(**_without_id(row)), start, actions, delays, _experiment(owner))

    def count(self, experiment_id: int, phase: str | None = None, protocol: str | None = None) -> int:
        """How many episodes there are."""
        return self.totals(experiment_id, phase, protocol).episodes

    def totals(self, experiment_id: int, phase: str | None = None, protocol: str | None = None) -> Totals:
        """The number of episodes and the sum of their rewards, computed by Postgres."""
        rows = EPISODES.c
        sums = func.count(), func.coalesce(func.sum(rows.reward), 0.0), func.min(rows.timestamp), func.max(rows.timestamp)
        with self.transaction("counting episodes") as connection:
            found = connection.execute(select(*sums).where(*_where(experiment_id, phase, protocol))).one()
        return Totals(int(found[0]), float(found[1]), found[2], found[3])

    def move_episodes(self, token: FencingToken, phase: str, target: int) -> int:
        """Move the episodes of a phase to the experiment `target`, so that the phase can be repeated; returns how many.

        Raises:
            FencedError: a newer attempt has taken over.
        """
        rows = _where(token.experiment_id, phase, None)
        moved = update(EPISODES).where(*rows, exists(select(fencing.current(token)))).values(experiment_id=int(target))
        with self.transaction("moving episodes") as connection:
            number = connection.execute(moved).rowcount
            if not number:
                fencing.require_current(connection, token)
            return number

    def next_episode_indices(self, experiment_id: int, phase: str, protocol: str) -> dict[int, int]:
        """The index of the next episode for each environment that has episodes."""
        query = (
            select(EPISODES.c.env_index, func.max(EPISODES.c.episode_index) + 1)
            .where(*_where(experiment_id, phase, protocol))
            .group_by(EPISODES.c.env_index)
        )
        with self.transaction("reading episode indices") as connection:
            return {int(env): int(index) for env, index in connection.execute(query)}

    def _frame(self, query: Select[Any], action: str) -> pd.DataFrame:
        with self.transaction(action) as connection:
            return pd.read_sql_query(query, connection)


def with_trajectory() -> Select[Any]:
    """The episodes with the column `trajectory`, see :meth:`EpisodeStore.episodes`."""
    trajectory = func.concat(
        func.md5(cast(EPISODE_ACTIONS.c.start, Text)),
        func.md5(EPISODE_ACTIONS.c.actions),
        func.md5(func.coalesce(EPISODE_ACTIONS.c.delays, b"")),
    )
    known = case((EPISODE_ACTIONS.c.episode_id.is_not(None), trajectory)).label("trajectory")
    return select(EPISODES, known).outerjoin(EPISODE_ACTIONS, EPISODE_ACTIONS.c.episode_id == EPISODES.c.id)


def _experiment_number(id_or_name: int | str) -> int | None:
    if isinstance(id_or_name, str) and not (id_or_name.isascii() and id_or_name.isdigit() and len(id_or_name) < 20):
        return None
    number = int(id_or_name)
    return number if -(2**63) <= number < 2**63 else None


def _where(experiment_id: int, phase: str | None, protocol: str | None) -> list[Any]:
    given: Mapping[str, Any] = {"experiment_id": int(experiment_id), "phase": phase, "protocol": protocol}
    # Conversion refuses a phase or protocol that does not exist; a query would find nothing.
    return [
        EPISODES.c[name] == boundary.column_value(EPISODES.c[name], value) for name, value in given.items() if value is not None
    ]


def _without_id(row: Row[Any]) -> dict[str, Any]:
    return {str(name): value for name, value in row._mapping.items() if name != "id"}


def _experiment(row: Row[Any]) -> StoredExperiment:
    return StoredExperiment(int(row.id), ExperimentRecord(**_without_id(row)))
