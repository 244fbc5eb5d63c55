"""The search for demonstrations before a training."""

import json
from pathlib import Path
from typing import Any

import pytest

from configs import PROJECT, Settings, load
from mario_env import DemonstrationError, SearchError, training_starts
from tasks.experiment import Experiment
from tasks.search import Demonstrations, search_demonstrations
from tasks.starting import running_experiment
from tasks.transient import is_transient
from tracking import resolve_tracking_uri

TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")
pytestmark = pytest.mark.usefixtures("prefect_away")

SETTINGS = ["environment.levels=[1-1, 1-3]", "environment.observation=tiles", "agent.network.features=tiles"]
SEARCH = "train.curriculum.search={demonstrations: 2, decisions: 60_000, refine: 2_000}"


def run(experiment: Experiment) -> Demonstrations:
    found: Demonstrations = search_demonstrations.fn(experiment)
    return found


def test_it_finds_each_once_and_goes_on_after_an_interruption(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    given = "train.curriculum.demonstrations={1-3: '34'}"
    config = load(TINY, [*SETTINGS, given, SEARCH])
    with pytest.raises(DemonstrationError, match="there is no demonstration of 1-1 yet: `mario run` searches for one"):
        training_starts(config)
    with running_experiment(config, "searched", settings, None) as experiment:
        found = run(experiment)
        assert list(found) == ["1-1"], "a level whose demonstration is given needs none"
        assert len(set(found["1-1"])) == 2
        file = experiment.directory / "demonstrations.json"
        kept = json.loads(file.read_text())
        assert [each["actions"] for each in kept["1-1"]] == found["1-1"]
        assert kept["1-1"][0]["changes"] < kept["1-1"][0]["changes_first"]

        file.write_text(json.dumps({"1-1": kept["1-1"][:1]}))  # as if it had been killed while it searched for the second
        assert run(experiment) == found
        file.write_text(json.dumps({"1-1": [{**kept["1-1"][0], "actions": "34"}, kept["1-1"][1]]}))
        assert run(experiment)["1-1"][0] == "34", "what is there is not searched for again"
        assert logged(experiment)["1-1"][0]["actions"] == "34"
        for damaged in ("", "{", "[]", '{"1-1": [{}]}', '{"1-1": 5}', "\xff"):
            file.write_text(damaged, encoding="latin-1")
            assert run(experiment) == found, "it is found again"
        assert caplog.text.count(f"{file} is damaged") == 6

    starts = training_starts(config, found)
    assert starts is not None
    assert starts.curriculum is not None
    assert [bytes(map(int, actions)) for actions in found["1-1"]] == list(starts.curriculum.demonstrations["1-1"])


def logged(experiment: Experiment) -> Any:
    """What MLflow has of the search."""
    from mlflow import MlflowClient

    client = MlflowClient(resolve_tracking_uri(experiment.settings.tracking_uri, experiment.settings.home))
    assert experiment.run_id is not None
    return json.loads(Path(client.download_artifacts(experiment.run_id, "demonstrations.json")).read_text())


def test_if_it_finds_nothing_the_run_ends_and_is_not_tried_again(settings: Settings) -> None:
    config = load(TINY, [*SETTINGS, "train.curriculum.search={decisions: 200}"])
    with (
        running_experiment(config, "not-found", settings, None) as experiment,
        pytest.raises(
            SearchError, match=r"in 200 decisions no play was found that completes 1-1\. The furthest came to x"
        ) as caught,
    ):
        run(experiment)
    assert not is_transient(caught.value)
