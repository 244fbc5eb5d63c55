"""What the configuration accepts as a name MLflow takes, and what it refuses MLflow refuses, or does not find again."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from configs import ConfigError, load
from configs.restrictions import MAX_NAME, alias_fault
from tracking import TrackedRun
from tracking.client import connect
from tracking.models import logged_model_id

ACCEPTED = [
    "a",
    "mario-1-1-ppo",
    "two words",
    "ä",
    "漢字",
    "a#b",
    "a+b&c=d",
    "(a), [b]",
    "-a",
    "_",
    "1",
    "latest",
    "x" * MAX_NAME,
]
REFUSED = ["team/mario", "mario:v1", "100%", " ", "", "v1.0", 'a"b', "a'b", ".", ".."]
NOT_FOUND_AGAIN = ["a?b", "a@b", "a\tb", "a\nb"]


def set_to(key: str, value: str) -> Any:
    """The configuration with this value; raises ConfigError."""
    from configs import from_dict, to_dict

    values = to_dict(load("demo"))
    section, _, name = key.rpartition(".")
    (values[section] if section else values)[name] = value
    return from_dict(values, "a test")


def registered(run: TrackedRun, uri: str, name: str) -> bool:
    """Whether MLflow registers a model of this name and finds it again by its URI."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.utils.models import _parse_model_uri

    from tracking.models import ModelNotFoundError, _create_version

    client = connect(uri)
    try:
        logged = client.create_logged_model(run.experiment_id, name=name, source_run_id=run.run_id)
        client.finalize_logged_model(logged.model_id, "READY")
        _create_version(client, uri, name, logged, run.run_id, {})
        found = logged_model_id(client, f"models:/{name}/latest") == logged.model_id
        return found and _parse_model_uri(f"models:/{name}/1").name == name == _parse_model_uri(f"models:/{name}@best").name
    except (MlflowException, ModelNotFoundError):
        return False


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_model_name_that_is_accepted_is_registered(name: str, run: TrackedRun, uri: str) -> None:
    assert set_to("tracking.registered_model", name).tracking.registered_model == name
    assert registered(run, uri, name)


@pytest.mark.parametrize("name", [*REFUSED, *NOT_FOUND_AGAIN])
def test_a_model_name_that_is_refused_cannot_be_used(name: str, run: TrackedRun, uri: str) -> None:
    with pytest.raises(ConfigError, match=r"tracking\.registered_model: .* cannot name a registered model: "):
        set_to("tracking.registered_model", name)
    assert not registered(run, uri, name)


@pytest.mark.parametrize("name", ["0" * 32, "m-" + "f" * 32])
def test_a_name_like_an_id_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="looks like the id"):
        set_to("tracking.registered_model", name)


def test_names_are_as_long_as_the_columns(uri: str, home: Path) -> None:
    connect(uri)
    database = sqlite3.connect(uri.removeprefix("sqlite:///"))
    for table in ("experiments", "registered_models"):
        columns = {name: kind for _, name, kind, *_ in database.execute(f"PRAGMA table_info({table})")}
        assert columns["name"] == f"VARCHAR({MAX_NAME})"
    database.close()
    for key in ("tracking.registered_model", "tracking.experiment"):
        with pytest.raises(ConfigError, match=str(MAX_NAME)):
            set_to(key, "x" * (MAX_NAME + 1))


@pytest.mark.parametrize("name", ["v1", "v23", "latest", "ppo", "v", "v1a", "1"])
def test_a_presets_name_is_an_alias(name: str, run: TrackedRun, uri: str) -> None:
    from mlflow.exceptions import MlflowException

    model = f"a model named {name}"
    assert registered(run, uri, model)
    reserved = False
    try:
        connect(uri).set_registered_model_alias(model, name, "1")
    except MlflowException as error:
        reserved = "is reserved" in str(error)
    assert reserved == (alias_fault(name) is not None)
    if reserved:
        with pytest.raises(ConfigError, match="cannot name a preset"):
            set_to("name", name)
    else:
        assert set_to("name", name).name == name


@pytest.mark.parametrize("name", ["a b", "team/mario", ".", "..", "~", "ä" * MAX_NAME, "a" * MAX_NAME, "CON"])
def test_an_experiment_that_is_accepted_takes_runs_and_files(name: str, uri: str, home: Path) -> None:
    assert set_to("tracking.experiment", name).tracking.experiment == name
    with TrackedRun.open(uri, name, "a run", home=home) as run:
        run.log_dict({}, "a.json")
        assert run.flush()
    assert connect(uri).get_experiment(run.experiment_id).name == name
    assert [each.path for each in connect(uri).list_artifacts(run.run_id)] == ["a.json"]
    folder = connect(uri).get_experiment(run.experiment_id).artifact_location.rpartition("/")[2]
    assert folder not in ("", ".", "..")


@pytest.mark.parametrize("name", ["", "a\nb"])
def test_an_experiment_that_has_no_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"tracking\.experiment"):
        set_to("tracking.experiment", name)
