"""The runs of a sweep as runs of the deployment `train-mario`, on whichever workers serve its work pool."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments import run_deployment

from configs import config_hash
from configs.sweep import SweepConfig, SweepRun
from flows.sweep_progress import RunState
from tasks.naming import labels

logger = logging.getLogger(__name__)

DEPLOYMENT = "train-mario/train-mario"

_NAMES_IN_A_REQUEST = 100
_ENDED = {StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED}


@dataclass
class DeployedRuns:
    """Runs of the deployment, one for each run of the sweep.

    A flow run is found again by its name and the sweep's tag. So a sweep that is started again follows flow runs that exist.
    It starts only those that are missing or have failed before. The idempotency key counts the earlier ones: of two sweeps that
    start the same run at the same time, Prefect starts it once.

    Attributes:
        sweep: the sweep.
        client: a client of the Prefect server.
        deployment: FLOW/DEPLOYMENT.
    """

    sweep: SweepConfig
    client: SyncPrefectClient
    deployment: str = DEPLOYMENT

    @property
    def tag(self) -> str:
        """The tag of the sweep's flow runs."""
        return f"sweep:{self.sweep.name}"

    def start(self, runs: Sequence[SweepRun]) -> None:
        """Start those of `runs` that no flow run runs or waits to run."""
        earlier = self._flow_runs(runs)
        for run in runs:
            known = earlier.get(run.experiment, [])
            if known and not _has_ended(known[0]):
                logger.info("%s is a flow run already; it is followed", run.experiment)
                continue
            run_deployment(
                self.deployment,
                parameters={"preset": run.preset, "overrides": list(run.overrides), "experiment": run.experiment},
                flow_run_name=run.experiment,
                tags=[self.tag, *(f"{name}:{value}" for name, value in labels(run.config).items())],
                idempotency_key=f"{self.tag} {run.experiment} {config_hash(run.config)[:12]} {len(known)}",
                timeout=0,
            )

    def states(self, runs: Sequence[SweepRun]) -> dict[str, RunState]:
        """The state of the newest flow run of each of `runs`, by the name of the experiment.

        Raises:
            httpx.HTTPError: the server does not answer.
        """
        newest = {name: found[0] for name, found in self._flow_runs(runs).items()}
        return {run.experiment: _state(newest.get(run.experiment)) for run in runs}

    def _flow_runs(self, runs: Sequence[SweepRun]) -> dict[str, list[FlowRun]]:
        """All flow runs of `runs`, the newest first, by the name of the experiment."""
        found: dict[str, list[FlowRun]] = {}
        names = [run.experiment for run in runs]
        for first in range(0, len(names), _NAMES_IN_A_REQUEST):
            wanted = FlowRunFilter(
                name=FlowRunFilterName(any_=names[first : first + _NAMES_IN_A_REQUEST]),
                tags=FlowRunFilterTags(all_=[self.tag]),
            )
            offset = 0
            while page := self.client.read_flow_runs(
                flow_run_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_DESC, offset=offset
            ):
                offset += len(page)
                for flow_run in page:
                    found.setdefault(flow_run.name, []).append(flow_run)
        return found


def _has_ended(flow_run: FlowRun) -> bool:
    return flow_run.state_type in _ENDED


def _state(flow_run: FlowRun | None) -> RunState:
    if flow_run is None or flow_run.state is None:
        return RunState("queued")
    kind = flow_run.state.type
    if kind == StateType.COMPLETED:
        return RunState("completed")
    if kind in _ENDED:
        return RunState("failed", flow_run.state.message or flow_run.state.name or kind.value.lower())
    return RunState("running" if kind in (StateType.RUNNING, StateType.CANCELLING) else "queued")
