"""The flow `check-mario`: continue runs whose process is gone, and look for stored rows that break a rule."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from flows.continuing import continue_stale_runs
from flows.worker_home import flow_settings
from tasks.stored import check_stored_rows


class StoredStateError(RuntimeError):
    """What is stored needs a person; the message says what, and which command helps."""


@flow(name="check-mario", persist_result=False, validate_parameters=True)
def check_mario(hours: Annotated[float, Field(ge=0)] = 6.0, attempts: Annotated[int, Field(ge=0)] = 4) -> None:
    """Continue experiments whose process is gone, and check the rows of experiments that ended lately.

    Args:
        hours: how long ago an experiment may have ended for its rows to be checked.
        attempts: an experiment that has had this number of attempts is not continued; 0: none is.

    Raises:
        StoredStateError: something needs a person. The flow run's artifacts list it.
        StoreError: the database fails.
    """
    settings = flow_settings()
    stale = continue_stale_runs(settings, attempts)
    broken = check_stored_rows(settings, hours) if hours else []
    found = [
        f"{each.experiment} is recorded as running, and no process runs it; {each.outcome}: continue it, or "
        f"`mario experiments --mark-crashed {each.experiment}`"
        for each in stale
        if not each.continued
    ]
    found += [f"{each.experiment}, {each.phase}: {each.rule}: {each.observed} (expected: {each.expected})" for each in broken]
    if found:
        raise StoredStateError("\n".join(found))
