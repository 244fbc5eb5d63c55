"""Prefect artifacts are best effort: a phase does not fail if the server drops the connection."""

import logging
from typing import Any

import pytest
from prefect.client.schemas.actions import ArtifactCreate

from configs import PROJECT, Settings, load
from tasks.artifacts import show_markdown, show_table
from tasks.evaluate import evaluate_agent
from tasks.phases import archive, finished, save
from tasks.smoke import smoke_test
from tasks.starting import finish_experiment, running_experiment

TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")


def test_a_failure_to_create_an_artifact_is_logged(prefect_away: None, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "tasks"):
        show_markdown("training", "text", "description")
        show_table("evaluation", [{"a": 1}], "numbers")
    warnings = [record.message for record in caplog.records if record.name == "tasks.artifacts"]
    assert [message.partition(": ")[0] for message in warnings] == [
        "the Prefect artifact training was not created",
        "the Prefect artifact evaluation was not created",
    ]


def test_a_phase_is_saved_without_prefect(
    pipeline: Any, settings: Settings, prefect_away: None, caplog: pytest.LogCaptureFixture
) -> None:
    evaluate: Any = evaluate_agent.fn
    before = finished(pipeline.experiment, "evaluate")
    assert before is not None
    with running_experiment(load(TINY), pipeline.name, settings, None) as experiment:
        archive(experiment, ["evaluate"], kept_as="lost")
        with caplog.at_level(logging.WARNING, "tasks"):
            record = evaluate(experiment, finished(experiment, "train"))
        assert finished(experiment, "evaluate") == record
        save(experiment, before)
        finish_experiment(experiment, "completed")  # restore its status
    assert "the Prefect artifact evaluation was not created" in caplog.text


def test_the_smoke_test_passes_without_prefect(settings: Settings, prefect_away: None) -> None:
    smoke: Any = smoke_test.fn
    assert smoke(load(TINY), settings).phase == "smoke"


@pytest.mark.parametrize("phase", ["integration", "train", "evaluate"])
def test_prefect_accepts_every_key(phase: str) -> None:
    for key in ("smoke-test", "training", "evaluation", "report", f"quality-{phase}", f"quality-{phase}-failed"):
        assert ArtifactCreate(key=key).key == key
    with pytest.raises(ValueError, match="key"):
        ArtifactCreate(key=f"quality_{phase}")
