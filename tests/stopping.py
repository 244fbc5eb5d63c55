"""Stops a process between two of its writes."""

import os
import signal
import time

from sqlalchemy import text

from episodes import EpisodeStore

_OTHERS = text("SELECT state FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")


def stop_between_writes(pid: int, store: EpisodeStore) -> None:
    """Stop the process (SIGSTOP) while it writes neither to Postgres nor to MLflow.

    A request that is under way when a process is stopped may still arrive in MLflow later (`docs/resumption.md`). Each is made
    within a transaction, which shows in Postgres.

    Args:
        pid: the process, the only other one that uses the database.
        store: the database.
    """
    while True:
        os.kill(pid, signal.SIGSTOP)
        while "active" in (states := _states(store)):
            time.sleep(0.01)
        if not any(state.startswith("idle in transaction") for state in states):
            return
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.01)


def _states(store: EpisodeStore) -> set[str]:
    with store.transaction("looking at the connections") as connection:
        return {str(state) for state in connection.execute(_OTHERS).scalars()}
