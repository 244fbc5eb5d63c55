"""Lists of episodes to choose from: filtered, sorted and divided into pages by Postgres, and where such episodes end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Double, Integer, Select, cast, func, select

from episodes.boundary import column_value
from episodes.schema import EPISODE_ACTIONS, EPISODES, EXPERIMENTS
from episodes.store import EpisodeStore

BIN_WIDTH: Final = 64
"""Pixels: four of the game's blocks."""

SORTS: Final = ("id", "distance_traveled", "reward", "steps", "score", "x_pos")
"""The columns that a list can be sorted by."""

POINTS: Final = 160
"""Of the curve of distances, at most."""

RECENT: Final = 100
"""Training episodes that stand for how good the agent is now."""

_COLUMNS: Final = (
    *("id", "phase", "protocol", "global_step", "timestamp", "world", "stage", "x_pos", "distance_traveled", "reward", "steps"),
    *("frames", "score", "level_completed", "end_reason"),
)
_CHOICES: Final = ("phase", "protocol", "end_reason")
_EXPERIMENTS: Final = 500


@dataclass(frozen=True)
class EpisodeFilter:
    """Which episodes are wanted; None: any.

    Attributes:
        experiment: the name of their experiment.
        world, stage: where they ended.
        phase, protocol, end_reason, completed: as in the columns of `episodes`.
    """

    experiment: str | None = None
    world: int | None = None
    stage: int | None = None
    phase: str | None = None
    protocol: str | None = None
    end_reason: str | None = None
    completed: bool | None = None

    def conditions(self) -> list[Any]:
        """As conditions on `episodes`.

        Raises:
            RowError: no episode can have such a value.
        """
        rows = EPISODES.c
        wanted = {
            "world": self.world, "stage": self.stage, "phase": self.phase, "protocol": self.protocol,
            "end_reason": self.end_reason, "level_completed": self.completed,
        }  # fmt: skip
        found = [rows[name] == column_value(rows[name], value) for name, value in wanted.items() if value is not None]
        if self.experiment is not None:
            own = select(EXPERIMENTS.c.id).where(EXPERIMENTS.c.name == self.experiment).scalar_subquery()
            found.append(rows.experiment_id == own)
        return found


@dataclass(frozen=True)
class EpisodePage:
    """A page of a list.

    Attributes:
        rows: the episodes, by the names of their columns, with `experiment` (its name) and `playable` (actions are stored).
        total: how many episodes there are on all pages.
    """

    rows: Sequence[dict[str, Any]]
    total: int


def list_episodes(
    store: EpisodeStore, wanted: EpisodeFilter, *, sort: str = "id", descending: bool = True, page: int = 0, size: int = 50
) -> EpisodePage:
    """One page of the episodes that are wanted.

    Args:
        store: the episodes.
        wanted: which episodes.
        sort: one of :data:`SORTS`. Equal ones are in the order of their ids.
        descending: the largest first.
        page: from 0.
        size: episodes on a page.

    Raises:
        ValueError: there is no such column to sort by.
        RowError: see :meth:`EpisodeFilter.conditions`.
        StoreError: the database fails.
    """
    if sort not in SORTS:
        raise ValueError(f"episodes cannot be sorted by {sort!r}; there are {', '.join(SORTS)}")
    rows, conditions = EPISODES.c, wanted.conditions()
    order = [rows[sort], rows.id]
    query = (
        _with_experiment()
        .where(*conditions)
        .order_by(*(each.desc() if descending else each for each in order))
        .limit(size)
        .offset(page * size)
    )
    with store.transaction("listing episodes") as connection:
        total = connection.execute(select(func.count()).select_from(EPISODES).where(*conditions)).scalar_one()
        return EpisodePage([dict(row._mapping) for row in connection.execute(query)], int(total))


@dataclass(frozen=True)
class PlayableEpisodes:
    """Episodes that can be played again.

    Attributes:
        ids: in the order in which they were written.
        decisions: of all of them.
        longest: the id of the longest one, and its decisions; None: there are none.
        without_actions: how many episodes are wanted too, but their actions are not stored.
    """

    ids: Sequence[int]
    decisions: int
    longest: tuple[int, int] | None
    without_actions: int


def find_playable(store: EpisodeStore, wanted: EpisodeFilter, count: int | None = None) -> PlayableEpisodes:
    """The newest `count` episodes that are wanted and can be played again; None: all.

    Raises:
        RowError: see :meth:`EpisodeFilter.conditions`.
        StoreError: the database fails.
    """
    rows, conditions = EPISODES.c, wanted.conditions()
    joined = EPISODES.outerjoin(EPISODE_ACTIONS, EPISODE_ACTIONS.c.episode_id == rows.id)
    known = (
        select(rows.id, rows.steps).select_from(joined).where(*conditions, _is_playable()).order_by(rows.id.desc()).limit(count)
    )
    unknown = select(func.count()).select_from(joined).where(*conditions, ~_is_playable())
    with store.transaction("choosing episodes") as connection:
        found = [(int(row.id), int(row.steps)) for row in connection.execute(known)][::-1]
        without = int(connection.execute(unknown).scalar_one())
    longest = max(found, key=lambda episode: episode[1], default=None)
    return PlayableEpisodes([number for number, _ in found], sum(steps for _, steps in found), longest, without)


@dataclass(frozen=True)
class TrainingState:
    """How far an experiment's training is, as far as the newest :data:`RECENT` training episodes tell.

    Attributes:
        status: as recorded; a process that was killed leaves `running`.
        held: whether a process runs the experiment.
        total_steps: decisions that the training is to have.
        steps: decisions up to the training's last episode.
        recent: the share of the newest episodes that completed the level; None: there are none.
        newest: the newest episodes, newest first, as in :class:`EpisodePage`.
    """

    status: str
    held: bool
    total_steps: int
    steps: int
    recent: float | None
    newest: Sequence[dict[str, Any]]


def training_state(store: EpisodeStore, name: str, count: int = 10) -> TrainingState:
    """The state of an experiment's training, with its newest `count` episodes.

    It reads only the newest episodes, so that it costs the same however many there are.

    Raises:
        StoreError: there is no such experiment, or the database fails.
    """
    from episodes.leases import held_experiments

    experiment, rows = store.experiment(name), EPISODES.c
    own = rows.experiment_id == experiment.id, rows.phase == "train", rows.protocol == "training"
    # Chosen before anything is joined to them: otherwise Postgres may read all actions first.
    latest = select(rows.id).where(*own).order_by(rows.id.desc()).limit(RECENT).scalar_subquery()
    query = _with_experiment().where(rows.id.in_(latest)).order_by(rows.id.desc())
    with store.transaction("reading how far a training is") as connection:
        held = experiment.id in held_experiments(connection)
        newest = [dict(row._mapping) for row in connection.execute(query)]
    return TrainingState(
        status=experiment.record.status,
        held=held,
        total_steps=int(experiment.record.config["train"]["total_steps"]),
        steps=max((row["global_step"] for row in newest), default=0),
        recent=sum(row["level_completed"] for row in newest) / len(newest) if newest else None,
        newest=newest[:count],
    )


def find_endings(store: EpisodeStore, wanted: EpisodeFilter) -> list[dict[str, Any]]:
    """Where the episodes end, counted in bins of :data:`BIN_WIDTH` pixels.

    Returns:
        Of each level, bin and end reason: `world`, `stage`, `bin` (from 0), `end_reason`, `count`, and `example`, the newest of
        these episodes that can be played again, or None.

    Raises:
        RowError: see :meth:`EpisodeFilter.conditions`.
        StoreError: the database fails.
    """
    rows = EPISODES.c
    place = func.floor(cast(rows.x_pos, Double) / BIN_WIDTH).cast(Integer).label("bin")
    groups = rows.world, rows.stage, place, rows.end_reason
    query = (
        select(*groups, func.count().label("count"), func.max(rows.id).filter(_is_playable()).label("example"))
        .outerjoin(EPISODE_ACTIONS, EPISODE_ACTIONS.c.episode_id == rows.id)
        .where(*wanted.conditions())
        .group_by(*groups)
        .order_by(*groups)
    )
    with store.transaction("counting where episodes end") as connection:
        return [dict(row._mapping) for row in connection.execute(query)]


def distance_curve(store: EpisodeStore, wanted: EpisodeFilter) -> list[float]:
    """The mean distance in pixels of equally many episodes each, in the order in which they were written.

    Raises:
        RowError: see :meth:`EpisodeFilter.conditions`.
        StoreError: the database fails.
    """
    rows = EPISODES.c
    numbered = (
        select(rows.distance_traveled.label("distance"), func.ntile(POINTS).over(order_by=rows.id).label("part"))
        .where(*wanted.conditions())
        .subquery()
        .c
    )
    query: Select[Any] = select(func.avg(numbered.distance)).group_by(numbered.part).order_by(numbered.part)
    with store.transaction("averaging distances") as connection:
        return [float(mean) for mean in connection.execute(query).scalars()]


def filter_choices(store: EpisodeStore) -> dict[str, list[Any]]:
    """What episodes can be filtered by: `experiment` (the newest 500), `level`, `phase`, `protocol` and `end_reason`.

    Raises:
        StoreError: the database fails.
    """
    rows = EPISODES.c
    names = select(EXPERIMENTS.c.name).order_by(EXPERIMENTS.c.id.desc()).limit(_EXPERIMENTS)
    levels = select(rows.world, rows.stage).distinct().order_by(rows.world, rows.stage)
    with store.transaction("reading what episodes can be filtered by") as connection:
        found: dict[str, list[Any]] = {"experiment": list(connection.execute(names).scalars())}
        found["level"] = [f"{world}-{stage}" for world, stage in connection.execute(levels)]
        for name in _CHOICES:
            found[name] = list(connection.execute(select(rows[name]).distinct().order_by(rows[name])).scalars())
    return found


def _with_experiment() -> Select[Any]:
    """The columns of a list."""
    rows = EPISODES.c
    return (
        select(*(rows[name] for name in _COLUMNS), EXPERIMENTS.c.name.label("experiment"), _is_playable().label("playable"))
        .join(EXPERIMENTS, EXPERIMENTS.c.id == rows.experiment_id)
        .outerjoin(EPISODE_ACTIONS, EPISODE_ACTIONS.c.episode_id == rows.id)
    )


def _is_playable() -> Any:
    return EPISODE_ACTIONS.c.episode_id.is_not(None)
