"""Experiments whose process is gone are continued by a new flow run, on whichever worker is free."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from configs import Settings
from episodes import EpisodeStore, ExperimentOverview
from tasks.artifacts import show_table
from tasks.experiment import open_store
from tasks.stored import held_runs, stale_runs

logger = logging.getLogger(__name__)

# A flow run that has begun checks the machine, and may wait for the lease of the attempt before.
_BEGINNING = timedelta(minutes=5)

# A person or the flow itself has ended it: nothing continues it without a person.
_ENDED_ON_PURPOSE = {StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED, StateType.CANCELLING}


@dataclass(frozen=True)
class StaleRun:
    """An experiment that is recorded as running, and whose process is gone.

    Attributes:
        experiment: its name.
        begun: when it was started first, in UTC.
        steps: decisions up to the training's last episode.
        outcome: what became of it, in words.
        continued: whether a new flow run continues it.
    """

    experiment: str
    begun: str
    steps: int
    outcome: str
    continued: bool


@task(name="stale runs", cache_policy=NO_CACHE, persist_result=False)
def continue_stale_runs(settings: Settings, most: int) -> list[StaleRun]:
    """Continue the experiments that are recorded as running although their process is gone.

    Whether it is gone is known from the lease of its newest attempt in Postgres. So a run that has completed since, or whose
    process only lost its way to Prefect, is left alone. If Prefect says that the flow run has crashed, the lease need not have
    expired: the next attempt waits for that. The flow run becomes crashed. Another flow run of the same deployment, with the
    same parameters, continues the experiment from its checkpoint.

    Args:
        settings: the home folder and the servers.
        most: an experiment that has had this number of attempts is not continued any more.

    Raises:
        StoreError: the database fails.
    """
    with open_store(settings) as store, get_client(sync_client=True) as client:
        found = [_continue(client, each, _flow_run(store, client, each), most) for each in stale_runs(store)]
        for each in held_runs(store):
            flow_run = _flow_run(store, client, each)
            if flow_run is not None and flow_run.state_type == StateType.CRASHED:
                found.append(_continue(client, each, flow_run, most))
    show_table("stale-runs", [vars(each) for each in found], f"{len(found)} experiments had no process any more")
    for run in found:
        logger.warning("%s: %s", run.experiment, run.outcome)
    return found


def _flow_run(store: EpisodeStore, client: SyncPrefectClient, experiment: ExperimentOverview) -> FlowRun | None:
    """The flow run of the newest attempt; None if this server has none."""
    flow_run_id = store.experiment(experiment.id).record.prefect_flow_run_id
    try:
        return None if flow_run_id is None else client.read_flow_run(UUID(flow_run_id))
    except ObjectNotFound:
        return None


def _continue(client: SyncPrefectClient, stale: ExperimentOverview, flow_run: FlowRun | None, most: int) -> StaleRun:
    """Start a flow run that continues `stale`, whose newest attempt was `flow_run`, unless a person must look at it first."""

    def outcome(words: str, continued: bool = False) -> StaleRun:
        return StaleRun(stale.name, f"{stale.started:%Y-%m-%d %H:%M}", stale.steps, words, continued)

    if flow_run is None or flow_run.deployment_id is None:
        return outcome("it was not started by a deployment of this Prefect server")
    if stale.attempt >= most:
        return outcome(f"it has had {stale.attempt} attempts")
    if flow_run.state_type in _ENDED_ON_PURPOSE:
        return outcome(f"its flow run is {str(flow_run.state_name).lower()}")
    known = flow_runs_named(client, [stale.name]).get(stale.name, [flow_run])
    newest = known[0]
    if newest.id != flow_run.id and _is_under_way(newest):
        return outcome(f"flow run {newest.id} will continue it", continued=True)
    for each in {flow_run.id: flow_run, newest.id: newest}.values():
        if each.state is None or not each.state.is_final():
            message = f"attempt {stale.attempt} at {stale.name} has given no sign of life; its process is gone"
            client.set_flow_run_state(each.id, Crashed(message=message))
    again = start_again(client, flow_run, known)
    return outcome(f"flow run {again.id} continues it", continued=True)


def _is_under_way(flow_run: FlowRun) -> bool:
    """Whether a flow run waits for a worker, or has begun so lately that it need not hold the experiment yet."""
    state = flow_run.state
    if state is None or state.is_final():
        return False
    return state.type != StateType.RUNNING or datetime.now(UTC) - state.timestamp < _BEGINNING


def start_again(client: SyncPrefectClient, flow_run: FlowRun, known: Sequence[FlowRun]) -> FlowRun:
    """Start a flow run that continues the experiment of `flow_run`.

    Args:
        client: a client of the Prefect server.
        flow_run: of a deployment; named after its experiment.
        known: all flow runs of this name.

    Returns:
        The new flow run. If another process has started it meanwhile, it is that one.
    """
    assert flow_run.deployment_id is not None
    return client.create_flow_run_from_deployment(
        flow_run.deployment_id,
        # What `restart` and `extend` asked for was done and recorded by the first attempt.
        parameters={**flow_run.parameters, "experiment": flow_run.name, "restart": False, "extend": None},
        name=flow_run.name,
        tags=flow_run.tags,
        idempotency_key=idempotency_key(flow_run.name, len(known)),
    )


def idempotency_key(experiment: str, earlier: int) -> str:
    """The key of the next flow run of an experiment that has had `earlier` ones: Prefect creates it once."""
    return f"{experiment}, flow run {earlier + 1}"


_NAMES_IN_A_REQUEST = 100


def flow_runs_named(client: SyncPrefectClient, names: Sequence[str]) -> dict[str, list[FlowRun]]:
    """The flow runs of deployments with these names, by name, the newest first.

    Raises:
        httpx.HTTPError: the server does not answer.
    """
    found: dict[str, list[FlowRun]] = {}
    for first in range(0, len(names), _NAMES_IN_A_REQUEST):
        wanted = FlowRunFilter(name=FlowRunFilterName(any_=list(names[first : first + _NAMES_IN_A_REQUEST])))
        offset = 0
        while page := client.read_flow_runs(flow_run_filter=wanted, offset=offset):
            offset += len(page)
            for flow_run in page:
                if flow_run.deployment_id is not None:
                    found.setdefault(flow_run.name, []).append(flow_run)
    for runs in found.values():
        runs.sort(key=lambda each: str(each.created), reverse=True)
    return found
