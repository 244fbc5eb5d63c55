"""The flow `check-mario`: on a schedule, look for stale runs and for stored rows that break a rule."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from flows.worker_home import flow_settings
from tasks.stored import check_stored_rows, find_stale_runs


class StoredStateError(RuntimeError):
    """What is stored needs a person; the message says what, and which command helps."""


@flow(name="check-mario", persist_result=False, validate_parameters=True)
def check_mario(hours: Annotated[float, Field(gt=0)] = 6.0) -> None:
    """Look for experiments whose process is gone, and check the rows of experiments that ended lately.

    Args:
        hours: how long ago an experiment may have ended for its rows to be checked.

    Raises:
        StoredStateError: something was found. The flow run's artifacts list it.
        StoreError: the database fails.
    """
    settings = flow_settings()
    stale = find_stale_runs(settings)
    broken = check_stored_rows(settings, hours)
    found = [
        f"{name} is recorded as running, and no process runs it: continue it, or `mario experiments --mark-crashed {name}`"
        for name in stale
    ]
    found += [f"{each.experiment}, {each.phase}: {each.rule}: {each.observed} (expected: {each.expected})" for each in broken]
    if found:
        raise StoredStateError("\n".join(found))
