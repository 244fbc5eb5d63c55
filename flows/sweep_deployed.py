"""The runs of a sweep as runs of the deployment `train-mario`, on whichever workers serve its work pool."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, StateType, WorkPoolStatus
from prefect.deployments import run_deployment

from configs.sweep import SweepConfig, SweepRun
from flows.continuing import flow_runs_named, idempotency_key, start_again
from flows.sweep_progress import RunState
from tasks.naming import flow_run_tags

logger = logging.getLogger(__name__)

DEPLOYMENT = "train-mario/train-mario"


@dataclass
class DeployedRuns:
    """Runs of the deployment, one for each run of the sweep.

    A flow run is found again by its name, which is the experiment's. So a sweep that is started again follows flow runs that
    exist. It starts only those that are missing or have failed before. The idempotency key counts the earlier ones: of two
    sweeps that start the same run at the same time, Prefect starts it once.

    Attributes:
        sweep: the sweep.
        client: a client of the Prefect server.
        deployment: FLOW/DEPLOYMENT.
        most: flow runs of an experiment; one that has crashed after so many has failed.
        at_once: how many to start at a time: any number, because the work pool and its workers decide how many run.
    """

    sweep: SweepConfig
    client: SyncPrefectClient
    deployment: str = DEPLOYMENT
    most: int = 4
    at_once: int | None = None
    _unserved: bool = field(default=False, init=False)

    @property
    def tag(self) -> str:
        """The tag of the sweep's flow runs."""
        return f"sweep:{self.sweep.name}"

    def start(self, runs: Sequence[SweepRun]) -> None:
        """Start those of `runs` that no flow run runs or waits to run."""
        earlier = flow_runs_named(self.client, [run.experiment for run in runs])
        for run in runs:
            known = earlier.get(run.experiment, [])
            if known and not (known[0].state and known[0].state.is_final()):
                logger.info("%s is a flow run already; it is followed", run.experiment)
                continue
            run_deployment(
                self.deployment,
                parameters={"preset": run.preset, "overrides": list(run.overrides), "experiment": run.experiment},
                flow_run_name=run.experiment,
                tags=[self.tag, *flow_run_tags(run.config)],
                idempotency_key=idempotency_key(run.experiment, len(known)),
                timeout=0,
            )

    def states(self, runs: Sequence[SweepRun]) -> dict[str, RunState]:
        """The state of the newest flow run of each of `runs`, by the name of the experiment.

        A flow run that has crashed is started again: its worker was stopped, or its process was killed. If runs wait and no
        worker serves the pool, the log says so once.

        Raises:
            httpx.HTTPError: the server does not answer.
        """
        found = flow_runs_named(self.client, [run.experiment for run in runs])
        states = {run.experiment: self._state(found.get(run.experiment, [])) for run in runs}
        self._warn_if_unserved(any(each.state == "queued" for each in states.values()))
        return states

    def _warn_if_unserved(self, waiting: bool) -> None:
        pool = self.client.read_deployment_by_name(self.deployment).work_pool_name if waiting else None
        status = None if pool is None else self.client.read_work_pool(pool).status
        unserved = status in (WorkPoolStatus.NOT_READY, WorkPoolStatus.PAUSED)
        if unserved and not self._unserved:
            why = (
                f"is paused: resume it with `prefect work-pool resume {pool}`"
                if status == WorkPoolStatus.PAUSED
                else f"has no worker: start one with `mario worker {pool}` (`make ui` starts workers of the pool mario)"
            )
            logger.warning("the runs of sweep %s wait: the work pool %s %s", self.sweep.name, pool, why)
        self._unserved = unserved

    def _state(self, known: Sequence[FlowRun]) -> RunState:
        if not known or known[0].state is None:
            return RunState("queued")
        newest, state = known[0], known[0].state
        kind = state.type
        if kind == StateType.COMPLETED:
            return RunState("completed")
        if kind == StateType.CRASHED and len(known) < self.most:
            start_again(self.client, newest, known)
            logger.warning("the flow run of %s has crashed; another one continues it", newest.name)
            return RunState("queued")
        if state.is_final():
            return RunState("failed", state.message or state.name or kind.value.lower())
        return RunState("running" if kind in (StateType.RUNNING, StateType.CANCELLING) else "queued")
