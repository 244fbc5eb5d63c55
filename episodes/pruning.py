"""What nobody needs any more: the actions of old training episodes, and old experiments that led to nothing.

An experiment that runs is never touched. One that a decision about a champion rests on, or whose model is or was a candidate,
is never deleted. The rows of a completed experiment stay; only the actions of its training episodes may go, without which these
cannot be replayed. The two training episodes that a report may show keep theirs.

Each deletion is one transaction that locks the experiment's row FOR UPDATE, as a takeover does (`episodes.leases`), and then
looks again. So an attempt that begins meanwhile waits, and an earlier attempt that still writes finds its experiment gone.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, get_args

from sqlalchemy import Connection, Select, delete, exists, func, literal_column, select

from episodes.leases import held_experiments
from episodes.schema import ATTEMPTS, EPISODE_ACTIONS, EPISODES, EXPERIMENTS, PHASE_RECORDS, PROMOTIONS, metadata
from episodes.store import EpisodeStore
from episodes.training import best_episode, typical_episode

Rule = Literal["actions", "failed", "archived"]

RULES: Final[tuple[Rule, ...]] = get_args(Rule)
"""`actions`: those of training episodes of completed experiments. `failed`: failed and interrupted experiments. `archived`:
experiments that were started again, which `--restart` has named NAME-old-N."""

_ARCHIVED_NAME: Final = re.compile(r".*-old-\d+")  # see `tasks.folder.archive`


@dataclass(frozen=True)
class Prunable:
    """What a rule finds of one experiment.

    Attributes:
        rule: the rule.
        id, name, started, host: of the experiment's row.
        ended: when it ended; if that is not known, when the last attempt at it began.
        episodes: rows of `episodes` that the rule deletes.
        actions: rows of `episode_actions` that it deletes.
        bytes: of these rows in Postgres, without indexes.
    """

    rule: Rule
    id: int
    name: str
    started: datetime
    host: str
    ended: datetime
    episodes: int
    actions: int
    bytes: int


def find(store: EpisodeStore, rules: Sequence[Rule], age: timedelta) -> list[Prunable]:
    """What the rules find of experiments that ended longer ago than `age`, oldest first; one rule for each experiment.

    Raises:
        StoreError: the database fails.
    """
    with store.transaction("looking for what can be pruned") as connection:
        evidence = _evidence(connection)
        found = []
        for row in connection.execute(_ended(connection, age).order_by(EXPERIMENTS.c.id)).all():
            rule = _rule(row, evidence, rules)
            if rule is not None:
                found.append(_measured(connection, row, rule))
    return [each for each in found if each.rule != "actions" or each.actions]


def prune(store: EpisodeStore, found: Prunable, age: timedelta, remove_files: Callable[[], None]) -> bool:
    """Delete what was found, if the rule still finds it.

    Args:
        store: the episode store.
        found: from :func:`find`.
        age: as there.
        remove_files: deletes the files of an experiment that is deleted as a whole. It is called before the deletion is
            committed: if it fails, the rows stay, and the next call deletes the rest.

    Returns:
        Whether it was deleted; False if the experiment has been continued or is evidence now.

    Raises:
        StoreError: the database fails.
    """
    with store.transaction(f"pruning {found.name}") as connection:
        connection.execute(select(EXPERIMENTS.c.id).where(EXPERIMENTS.c.id == found.id).with_for_update())
        row = connection.execute(_ended(connection, age).where(EXPERIMENTS.c.id == found.id)).first()
        if row is None or _rule(row, _evidence(connection), [found.rule]) is None:
            return False
        if found.rule == "actions":
            connection.execute(delete(EPISODE_ACTIONS).where(EPISODE_ACTIONS.c.episode_id.in_(_unshown(connection, found.id))))
            return True
        # Actions go with their episodes.
        for table in reversed(metadata.sorted_tables):
            if "experiment_id" in table.c:
                connection.execute(delete(table).where(table.c.experiment_id == found.id))
        connection.execute(delete(EXPERIMENTS).where(EXPERIMENTS.c.id == found.id))
        remove_files()
    return True


def _ended(connection: Connection, age: timedelta) -> Select[Any]:
    """The experiments that no process runs and that have ended so long ago."""
    mine = EXPERIMENTS.c
    of_attempts = ATTEMPTS.c.experiment_id == mine.id
    begun = select(func.max(ATTEMPTS.c.started)).where(of_attempts).scalar_subquery()
    ended = func.coalesce(mine.ended, begun, mine.started)
    return select(
        *(mine.id, mine.name, mine.status, mine.started, mine.host, mine.mlflow_run_id),
        ended.label("ended"),
        select(func.array_agg(ATTEMPTS.c.mlflow_run_id)).where(of_attempts).scalar_subquery().label("runs"),
        exists().where(PHASE_RECORDS.c.experiment_id == mine.id, PHASE_RECORDS.c.phase == "alias").label("candidate"),
    ).where(mine.status != "running", mine.id.not_in(held_experiments(connection)), ended < func.now() - age)


def _evidence(connection: Connection) -> set[str]:
    """The MLflow runs and the names of the experiments that decisions about champions rest on."""
    found: set[str] = set()
    for evidence in connection.execute(select(PROMOTIONS.c.evidence)).scalars():
        versions = [evidence.get(role) or {} for role in ("candidate", "champion")]
        found |= {str(version.get("run_id")) for version in versions}
        for key in ("experiments", "evaluation_runs"):
            found |= {str(each) for each in (evidence.get(key) or {}).values()}
    return found


def _rule(row: Any, evidence: set[str], rules: Sequence[Rule]) -> Rule | None:
    """The rule that finds an experiment that has ended; of several the one that deletes most."""
    kept = row.candidate or not evidence.isdisjoint({row.name, row.mlflow_run_id, *(row.runs or ())})
    matching: dict[Rule, bool] = {
        "archived": not kept and _ARCHIVED_NAME.fullmatch(row.name) is not None,
        "failed": not kept and row.status in ("failed", "interrupted"),
        "actions": row.status == "completed",
    }
    return next((rule for rule, matches in matching.items() if matches and rule in rules), None)


def _measured(connection: Connection, row: Any, rule: Rule) -> Prunable:
    mine = EPISODES.c.experiment_id == row.id
    ids = _unshown(connection, row.id) if rule == "actions" else select(EPISODES.c.id).where(mine)
    of_episodes, size = 0, 0
    if rule != "actions":
        of_episodes, size = connection.execute(select(func.count(), _bytes(EPISODES.name)).where(mine)).one()
    measured = select(func.count(), _bytes(EPISODE_ACTIONS.name)).where(EPISODE_ACTIONS.c.episode_id.in_(ids))
    of_actions, more = connection.execute(measured).one()
    return Prunable(
        rule, row.id, row.name, row.started, row.host, row.ended,
        episodes=of_episodes, actions=of_actions, bytes=int(size + more),
    )  # fmt: skip


def _unshown(connection: Connection, experiment_id: int) -> Select[Any]:
    """The ids of all episodes but those of the evaluation, and the two of the training that a report may show."""
    rows = EPISODES.c
    trained = [rows.experiment_id == experiment_id, rows.phase == "train", rows.protocol == "training"]
    chosen = (connection.execute(query(trained)).scalar() for query in (best_episode, typical_episode))
    shown = [number for number in chosen if number is not None]
    return select(rows.id).where(rows.experiment_id == experiment_id, rows.phase != "evaluate", rows.id.not_in(shown))


def _bytes(table: str) -> Any:
    return func.coalesce(func.sum(literal_column(f"pg_column_size({table}.*)")), 0)
