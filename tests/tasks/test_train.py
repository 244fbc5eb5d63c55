"""The training phase, if the loss becomes infinite or NaN."""

from typing import Any

import pytest

from agents import NonFiniteError
from configs import PROJECT, Settings, load
from tasks.phases import finished
from tasks.starting import running_experiment
from tasks.train import train_agent
from tasks.transient import is_transient
from tracking import ModelNotFoundError, resolve_model, resolve_tracking_uri

TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")


def test_a_model_with_non_finite_weights_is_not_registered(settings: Settings) -> None:
    # Training diverges at this learning rate.
    broken = ["agent.learning_rate=1e30", "agent.max_grad_norm=1e30", "tracking.registered_model=mario-broken"]
    config = load(TINY, [*broken, "train.device=cpu", "tracking.system_metrics=false"])
    train: Any = train_agent.fn

    with (
        running_experiment(config, "broken", settings, None) as experiment,
        pytest.raises(NonFiniteError, match=r"became (nan|inf|-inf) at step \d+; training was stopped") as caught,
    ):
        train(experiment)

    assert not is_transient(caught.value), "a retry would diverge again"
    assert finished(experiment, "train") is None
    assert not (experiment.directory / "model").exists()
    with pytest.raises(ModelNotFoundError):
        resolve_model("models:/mario-broken/1", resolve_tracking_uri(settings.tracking_uri, settings.home))
