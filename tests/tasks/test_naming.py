"""Names of runs: they contain the main settings and a stamp, and a retried flow run keeps its name."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext

from configs import PROJECT, load
from flows.train_mario import make_flow_run_name
from tasks.experiment import checked_name
from tasks.naming import labels, mlflow_experiment, model_name, run_name, stamp

CREATED = datetime(2026, 11, 25, 14, 3, 59, tzinfo=UTC)


def test_a_name_contains_preset_level_seed_and_stamp() -> None:
    config = load("ppo", ["seed=7", "environment.world=1", "environment.stage=2"])

    assert run_name(config, stamp(CREATED, "9f2c71")) == "ppo-1-2-seed7-1125-1403-9f2c"
    assert labels(config) == {"preset": "ppo", "algorithm": "ppo", "level": "1-2", "seed": "7"}
    assert labels(load("baseline"))["level"] == "full-game"
    assert stamp() != stamp(), "two runs of the same minute differ"


def test_models_of_a_level_have_one_name() -> None:
    assert model_name(load("ppo")) == model_name(load("dqn")) == "mario-1-1"
    assert model_name(load("ppo-tiles", ["environment.stage=2"])) == "mario-1-2"
    assert model_name(load("baseline")) == "mario-full-game"
    assert model_name(load("ppo", ["tracking.registered_model=mine"])) == "mine"


def test_runs_on_a_level_are_in_one_experiment_of_mlflow() -> None:
    assert mlflow_experiment(load("ppo")) == mlflow_experiment(load("dqn", ["seed=3"])) == "mario-1-1"
    assert mlflow_experiment(load("baseline")) == "mario-full-game"
    assert mlflow_experiment(load("ppo", ["tracking.experiment=train-mario"])) == "train-mario"


def test_the_longest_name_is_valid() -> None:
    config = load("baseline", [f"name={'x' * 64}", f"seed={2**31 - 1}"])

    assert checked_name(run_name(config, stamp()))


def name_of(run_count: int = 0, **parameters: Any) -> str:
    """The name of a flow run that Prefect has named dainty-otter."""
    run = FlowRun(
        id=UUID("9f2c71aa-0000-4000-8000-000000000000"),
        flow_id=UUID(int=0),
        name="dainty-otter",
        run_count=run_count,
        created=CREATED,
    )
    with FlowRunContext.model_construct(flow_run=run, parameters=parameters):
        return make_flow_run_name()


def test_a_flow_run_has_the_name_of_its_experiment() -> None:
    assert name_of(preset="ppo", overrides=["seed=3"], experiment=None) == "ppo-1-1-seed3-1125-1403-9f2c"
    assert name_of(preset="ppo", overrides=None, experiment="mine") == "mine"
    assert name_of(preset="no such preset") == "dainty-otter"


def test_a_retry_keeps_the_name_and_so_the_experiment() -> None:
    assert name_of(run_count=1, preset="ppo") == "dainty-otter"
    assert name_of(preset="ppo") == name_of(preset="ppo")


@pytest.mark.parametrize("name", ["ppo", str(PROJECT / "tests" / "data" / "tiny.yaml")])
def test_prefects_form_lists_the_presets_and_accepts_a_file(name: str) -> None:
    from prefect.utilities.callables import parameter_schema_from_entrypoint
    from prefect.utilities.schema_tools import validate

    schema = parameter_schema_from_entrypoint("flows.train_mario.train_mario").model_dump_for_openapi()
    choice, text = schema["properties"]["preset"]["anyOf"]

    assert "ppo" in choice["enum"]
    assert text["type"] == "string"
    validate({"preset": name}, schema)
