"""What Prefect's page shows is best effort: a server that drops the connection takes no phase with it."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from prefect import flow
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from configs import PROJECT, Settings, load
from tasks.artifacts import show_markdown, show_table
from tasks.evaluate import evaluate_agent
from tasks.experiment import load_experiment
from tasks.phases import finished
from tasks.smoke import smoke_test

TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")


@pytest.fixture
def prefect_away() -> Iterator[None]:
    """Prefect's server is where nobody listens."""
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api", PREFECT_CLIENT_MAX_RETRIES: 0}):
        yield


def test_what_cannot_be_shown_is_logged(prefect_away: None, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "tasks"):
        show_markdown("training", "text")
        show_table("evaluation", [{"a": 1}], "numbers")
    told = [record.message for record in caplog.records if record.name == "tasks.artifacts"]
    assert [message.partition(": ")[0] for message in told] == [
        "Prefect does not show training",
        "Prefect does not show evaluation",
    ]


def test_a_phase_is_saved_without_prefect(
    pipeline: Any, settings: Settings, prefect_away: None, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = load_experiment(pipeline.name, settings)
    trained = finished(pipeline.directory, "train")
    path = pipeline.directory / "phases" / "evaluate.json"
    before = path.read_bytes()
    path.unlink()
    evaluate: Any = evaluate_agent.fn
    with caplog.at_level(logging.WARNING, "tasks"):
        record = evaluate(experiment, trained)
    assert finished(pipeline.directory, "evaluate") == record
    assert "Prefect does not show evaluation" in caplog.text
    path.write_bytes(before)


def test_the_smoke_test_passes_without_prefect(settings: Settings, prefect_away: None) -> None:
    smoke: Any = smoke_test.fn
    assert smoke(load(TINY), settings).phase == "smoke"


def test_prefect_takes_every_key() -> None:
    @flow
    def show() -> list[Any]:
        from prefect.artifacts import create_markdown_artifact

        keys = ["smoke-test", "training", "evaluation", "report"]
        keys += [f"quality-{phase}{end}" for phase in ("integration", "train", "evaluate") for end in ("", "-failed")]
        return [create_markdown_artifact(key=key, markdown="text") for key in keys]

    with prefect_test_harness(server_startup_timeout=90):
        assert len(show()) == 10
