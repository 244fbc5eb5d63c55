"""A bad row stops the pipeline. The error names it, and it is not deleted."""

from collections.abc import Iterator
from typing import Any, cast

import pytest
from sqlalchemy import create_engine, delete, insert, select

from configs import PROJECT, Settings, load
from episodes.records import quality_results
from episodes.schema import EPISODES
from tasks.experiment import open_run, open_store
from tasks.phases import PhaseRecord, finished, save
from tasks.starting import running_experiment
from tasks.train import move_alias, register
from tracking import resolve_tracking_uri
from tracking.client import connect

pytestmark = pytest.mark.one_python

TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")


@pytest.fixture
def bad_row(pipeline: Any, settings: Settings) -> Iterator[int]:
    """The id of an impossible training row, which is deleted after the test."""
    with open_store(settings) as store:
        experiment = store.experiment(pipeline.name)
        engine = create_engine(store.url)
    with engine.begin() as connection:
        training = (EPISODES.c.experiment_id == experiment.id) & (EPISODES.c.phase == "train")
        row = dict(connection.execute(select(EPISODES).where(training).limit(1)).one()._mapping)
        row |= {"episode_index": 9999, "time": 777, "frames": 1, "level_completed": True}
        del row["id"]
        number = connection.execute(insert(EPISODES).values(row).returning(EPISODES.c.id)).scalar_one()
    yield int(number)
    with engine.begin() as connection:
        connection.execute(delete(EPISODES).where(EPISODES.c.id == number))
    engine.dispose()


def test_a_bad_row_stops_the_following_phases(mario: Any, pipeline: Any, settings: Settings, bad_row: int) -> None:
    with open_store(settings) as store:
        before = store.count(store.experiment(pipeline.name).id)
    report = pipeline.directory / "report" / "report.html"
    written = report.stat().st_mtime_ns
    done = mario("run", TINY, "--experiment", pipeline.name)
    assert done.returncode == 1, done.stdout + done.stderr
    error = done.stderr[done.stderr.index("error: ") :]
    assert "rows of the phase train" in error
    assert str(bad_row) in error
    assert str(pipeline.directory / "quality" / "train.html") in error
    page = (pipeline.directory / "quality" / "train.html").read_text()
    assert "777" in page
    assert str(bad_row) in page
    with open_store(settings) as store:
        result = quality_results(store, store.experiment(pipeline.name).id)["train"]
    broken = {rule.column for rule in result.rules if not rule.passed}
    assert "time" in broken
    assert report.stat().st_mtime_ns == written, "the report was written over bad rows"
    with open_store(settings) as store:
        experiment = store.experiment(pipeline.name)
        assert store.count(experiment.id) == before, "nothing is deleted"
        assert experiment.record.status == "failed"
    run = connect(resolve_tracking_uri(None, settings.home)).get_run(experiment.record.mlflow_run_id)
    assert (run.info.status, run.data.tags["pipeline_status"]) == ("FAILED", "failed"), "one status everywhere"

    shown = mario("quality", pipeline.name)
    assert any("time in range" in line and "broken" in line for line in shown.stdout.splitlines()), shown.stdout + shown.stderr
    for arguments, message in [
        (["--accept", "time in range"], "say why the broken rule is acceptable: --because TEXT"),
        (["--accept", "time in rang", "--because", "x"], "there is no rule 'time in rang'; the nearest: time in range"),
        (["--accept", "score in range", "--because", "x"], "the rule 'score in range' holds in"),
    ]:
        refused = mario("quality", pipeline.name, *arguments)
        assert (refused.returncode, message in refused.stderr) == (1, True), refused.stderr
    accepted = mario("quality", pipeline.name, "--accept", "time in range", "--because", "put in by a test")
    assert accepted.returncode == 0, accepted.stderr
    assert "accepted in train" in accepted.stdout
    assert "put in by a test" in accepted.stdout
    again = mario("run", TINY, "--experiment", pipeline.name)
    assert again.returncode == 1
    stopped = again.stderr[again.stderr.index("error: ") :]
    assert "frames at least steps" in stopped
    assert "- time in range" not in stopped
    assert "time in range: 1 of" in again.stdout + again.stderr, "it is shown as accepted"
    assert "put in by a test" in (pipeline.directory / "quality" / "train.html").read_text()


def test_the_alias_does_not_move_before_the_rows_of_the_evaluation_have_passed(
    mario: Any, pipeline: Any, settings: Settings
) -> None:
    """The evaluation of a second experiment has bad rows. Its model is registered, but does not get the alias."""
    client = connect(resolve_tracking_uri(None, settings.home))
    before = client.get_model_version_by_alias("mario-test", "tiny").version
    name = "bad-evaluation"
    with running_experiment(load(TINY), name, settings, None) as experiment:
        trained = PhaseRecord("train", 1.0, {})
        for phase in ("smoke", "integration", "train", "evaluate"):
            record = finished(pipeline.experiment, cast(Any, phase))
            assert record is not None
            save(experiment, record)
        trained = finished(experiment, "train")
        assert trained is not None
        with open_run(experiment) as run:
            version = register(experiment, run, pipeline.directory / "model", 1)
        details = {**trained.details, "model_version": str(version.version)}
        save(experiment, PhaseRecord("train", 1.0, details))
    done = mario("run", TINY, "--experiment", name)
    assert done.returncode == 1, "it has no rows in Postgres"
    assert client.get_model_version_by_alias("mario-test", "tiny").version == before
    assert int(version.version) > int(before)

    move: Any = move_alias.fn
    with running_experiment(load(TINY), name, settings, None) as experiment:
        move(experiment, PhaseRecord("train", 1.0, details))
        assert int(client.get_model_version_by_alias("mario-test", "tiny").version) == int(version.version)
        client.set_registered_model_alias("mario-test", "tiny", before)
        move(experiment, PhaseRecord("train", 1.0, details))
        assert client.get_model_version_by_alias("mario-test", "tiny").version == before, "it moves only once"


@pytest.mark.parametrize("phase", ["integration", "train", "evaluate"])
def test_good_rows_have_a_page_too(pipeline: Any, phase: str) -> None:
    assert (pipeline.directory / "quality" / f"{phase}.html").exists()
