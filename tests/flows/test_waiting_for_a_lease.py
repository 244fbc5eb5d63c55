"""A run of a deployment waits for the lease of a process that may be gone; a run that was started by hand is refused."""

from contextlib import ExitStack

import pytest

from configs import Settings, load
from episodes import ExperimentLockedError
from flows.train_mario import _once_unlocked
from tasks.experiment import Experiment
from tasks.starting import running_experiment
from tests.conftest import TINY

CONFIG = load(TINY, ["retry.lease_seconds=2", "train.device=cpu"])


class Starts:
    """Starts an experiment that `holder` holds until the first start has been refused.

    Attributes:
        refused: how many starts were refused.
    """

    def __init__(self, settings: Settings, name: str, holder: ExitStack, taken: ExitStack) -> None:
        self.settings, self.name, self.holder, self.taken = settings, name, holder, taken
        self.refused = 0

    def __call__(self) -> Experiment:
        try:
            return self.taken.enter_context(running_experiment(CONFIG, self.name, self.settings, None))
        except ExperimentLockedError:
            self.refused += 1
            self.holder.close()
            raise


def test_a_run_of_a_deployment_waits(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "of-a-deployment")
    with ExitStack() as holder, ExitStack() as taken:
        holder.enter_context(running_experiment(CONFIG, "awaited", settings, None))
        starts = Starts(settings, "awaited", holder, taken)
        experiment = _once_unlocked(CONFIG, starts)
        assert starts.refused == 1
        assert experiment.required_claim.token.attempt == 2


def test_a_run_by_hand_is_refused(settings: Settings) -> None:
    with ExitStack() as holder, ExitStack() as taken:
        holder.enter_context(running_experiment(CONFIG, "refused-by-lease", settings, None))
        starts = Starts(settings, "refused-by-lease", holder, taken)
        with pytest.raises(ExperimentLockedError, match="is being run by another process"):
            _once_unlocked(CONFIG, starts)
        assert starts.refused == 1
