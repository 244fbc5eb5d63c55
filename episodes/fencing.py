"""Fencing: of all attempts at an experiment only the newest may write.

`experiments.attempt` is the fencing token (Martin Kleppmann, "How to do distributed locking"). Whoever takes an experiment over
raises it. Each statement by which an attempt writes reads the row of the experiment with :func:`current`: it finds the row only
while the token is the attempt's own, and locks it until the transaction ends.

The lock is FOR KEY SHARE. It conflicts with FOR UPDATE alone, which only a takeover asks for (`episodes.leases`), so a takeover
and a write exclude each other: the write is committed before the token is raised, or it waits for the takeover, sees the new
token (READ COMMITTED evaluates the condition again after a wait), and writes nothing. Attempts do not wait for each other's
writes, nor for changes of other columns.
"""

from dataclasses import dataclass

from sqlalchemy import CTE, Connection, select

from episodes.errors import FencedError, StoreError
from episodes.schema import ATTEMPTS, EXPERIMENTS


@dataclass(frozen=True)
class FencingToken:
    """The right of one attempt to write.

    Attributes:
        experiment_id: the experiment.
        attempt: number of the attempt, from 1; 0: the experiment has none, as one that was never started.
    """

    experiment_id: int
    attempt: int


def current(token: FencingToken) -> CTE:
    """One row while `token` is the newest, which stays locked until the transaction ends; otherwise no row."""
    mine = (EXPERIMENTS.c.id == int(token.experiment_id), EXPERIMENTS.c.attempt == int(token.attempt))
    return select(EXPERIMENTS.c.id).where(*mine).with_for_update(read=True, key_share=True).cte("current_attempt")


def require_current(connection: Connection, token: FencingToken) -> None:
    """Lock the token until the transaction of `connection` ends: a takeover waits for that.

    Raises:
        FencedError: a newer attempt has taken over.
        StoreError: there is no such experiment.
    """
    if connection.execute(select(current(token))).first() is None:
        raise superseded(connection, token)


def superseded(connection: Connection, token: FencingToken) -> StoreError:
    """The error to raise when `token` is not the newest; it says who took over."""
    stored = connection.execute(
        select(EXPERIMENTS.c.name, EXPERIMENTS.c.attempt).where(EXPERIMENTS.c.id == int(token.experiment_id))
    ).first()
    if stored is None:
        return StoreError(f"there is no experiment {token.experiment_id}")
    record = connection.execute(
        select(ATTEMPTS.c.host, ATTEMPTS.c.started).where(
            ATTEMPTS.c.experiment_id == int(token.experiment_id), ATTEMPTS.c.attempt == stored.attempt
        )
    ).first()
    if record is None:
        who = "a person recorded its end with --mark-crashed, or started the experiment again with --restart"
    else:
        who = f"attempt {stored.attempt} took over on {record.host} at {record.started:%Y-%m-%d %H:%M:%S} UTC"
    return FencedError(f"attempt {token.attempt} at experiment {stored.name} is over, and records nothing more: {who}")
