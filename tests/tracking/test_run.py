import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tracking import RunNotFoundError, TrackedRun, TrackingError
from tracking.client import connect


def artifact(run: TrackedRun, uri: str, path: str) -> str:
    from mlflow.artifacts import download_artifacts

    return Path(download_artifacts(run_id=run.run_id, artifact_path=path, tracking_uri=uri)).read_text(encoding="utf-8")


def test_a_run_keeps_everything_that_was_logged(uri: str, home: Path, tmp_path: Path) -> None:
    with TrackedRun.open(uri, "tests", "all", tags={"git_commit": "abc", "remote": "https://u:secret@h/r"}, home=home) as run:
        run.log_config({"name": "x", "agent": {"gamma": 0.9}, "password": "secret", "long": "a" * 9000})
        run.log_metrics({"rollout/ep_rew_mean": np.float32(1.5), "nan": math.nan, "flag": True, "a=b": 2}, step=10)
        run.log_metrics({"rollout/ep_rew_mean": 2.5}, step=20)
        run.log_dict({"steps": np.int64(3), "files": {"model.zip": 7}}, "checkpoints/100.json")
        run.set_tags({"device": "cpu"})
        (tmp_path / "report.html").write_text("<p>", encoding="utf-8")
        assert run.log_artifact(tmp_path / "report.html", "report")
        assert run.metric("rollout/ep_rew_mean") == 2.5
        assert run.metric("never logged") is None

    stored = connect(uri).get_run(run.run_id)
    assert stored.info.status == "FINISHED"
    assert stored.data.metrics == {"rollout/ep_rew_mean": 2.5, "a_b": 2.0}
    assert stored.data.params["agent.gamma"] == "0.9"
    assert len(stored.data.params["long"]) == 6000
    assert stored.data.tags["git_commit"] == "abc"
    assert stored.data.tags["device"] == "cpu"
    assert "secret" not in str(stored.to_dictionary())
    config = yaml.safe_load(artifact(run, uri, "config.yaml"))
    assert (config["long"], config["password"]) == ("a" * 9000, "***")
    assert json.loads(artifact(run, uri, "checkpoints/100.json")) == {"steps": 3, "files": {"model.zip": 7}}
    assert artifact(run, uri, "report/report.html") == "<p>"


def test_a_run_names_its_datasets_once(uri: str, home: Path) -> None:
    game = {"rom_sha256": "ab" * 32, "levels": ["1-1"]}
    played = {**game, "protocols": ["greedy"]}
    for _ in range(2):
        with TrackedRun.open(uri, "tests", "data", key="data", home=home) as run:
            run.log_dataset("training", "mario-1-1", game)
            run.log_dataset("evaluation", "mario-1-1", played)
    inputs = connect(uri).get_run(run.run_id).inputs.dataset_inputs
    found = {each.tags[0].value: each.dataset for each in inputs}
    assert len(inputs) == len(found) == 2
    assert json.loads(found["training"].source) == {"tags": game}
    assert json.loads(found["evaluation"].profile) == played
    assert {each.name for each in found.values()} == {"mario-1-1"}
    assert found["training"].digest != found["evaluation"].digest


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED")])
def test_the_way_a_run_ends_is_its_status(uri: str, error: type[BaseException], status: str) -> None:
    with pytest.raises(error), TrackedRun.open(uri, "tests", "ends") as run:  # noqa: PT012
        run.log_metrics({"last words": 1}, 1)
        raise error
    stored = connect(uri).get_run(run.run_id)
    assert stored.info.status == status
    assert stored.info.end_time is not None
    assert stored.data.metrics == {"last words": 1.0}


def test_a_run_goes_on_where_it_ended(uri: str, caplog: pytest.LogCaptureFixture) -> None:
    with TrackedRun.open(uri, "tests", "first") as first:
        first.log_params({"gamma": 0.9, "host": "a"})
        first.log_metrics({"loss": 3.0}, 100)
        first.close("KILLED")
    with TrackedRun.open(uri, "tests", "ignored", run_id=first.run_id, tags={"resumed": "yes"}) as second:
        assert second.resumed
        assert second.run_id == first.run_id
        assert connect(uri).get_run(first.run_id).info.status == "RUNNING"
        with caplog.at_level(logging.WARNING):
            second.log_params({"gamma": 0.9, "host": "b", "new": 1})
        second.log_metrics({"loss": 2.0}, 200)
    assert "these now differ: host" in caplog.text
    assert "gamma" not in caplog.text
    stored = connect(uri).get_run(first.run_id)
    assert stored.data.params == {"gamma": "0.9", "host": "a", "new": "1"}
    assert [(point.step, point.value) for point in connect(uri).get_metric_history(first.run_id, "loss")] == [
        (100, 3),
        (200, 2),
    ]
    assert stored.data.tags["resumed"] == "yes"
    assert stored.info.status == "FINISHED"


def test_a_part_of_a_run_says_nothing_of_its_end(uri: str) -> None:
    with TrackedRun.open(uri, "tests", "phases", leave_running=True) as first:
        first.log_metrics({"loss": 3.0}, 100)
    assert connect(uri).get_run(first.run_id).info.status == "RUNNING"
    with pytest.raises(ValueError), TrackedRun.open(uri, "tests", "", run_id=first.run_id, leave_running=True):  # noqa: PT011
        raise ValueError
    stored = connect(uri).get_run(first.run_id)
    assert (stored.info.status, stored.data.metrics) == ("RUNNING", {"loss": 3.0})
    with TrackedRun.open(uri, "tests", "", run_id=first.run_id, leave_running=True) as last:
        last.end("FAILED", pipeline_status="failed")
    stored = connect(uri).get_run(first.run_id)
    assert (stored.info.status, stored.data.tags["pipeline_status"]) == ("FAILED", "failed")


def test_tags_that_wait_do_not_undo_the_end(uri: str) -> None:
    with TrackedRun.open(uri, "tests", "late tags", leave_running=True) as run:
        run.set_tags({"pipeline_status": "running", "attempt": "2"})
        run.end("FAILED", pipeline_status="failed")
    stored = connect(uri).get_run(run.run_id)
    assert (stored.info.status, stored.data.tags["pipeline_status"], stored.data.tags["attempt"]) == ("FAILED", "failed", "2")


def test_a_run_whose_id_was_not_noted_is_found_by_its_key(uri: str) -> None:
    with TrackedRun.open(uri, "tests", "first", key="a, begun now") as first:
        pass
    with TrackedRun.open(uri, "tests", "second", key="a, begun now") as second:
        assert (second.resumed, second.run_id) == (True, first.run_id)
    with TrackedRun.open(uri, "tests", "third", key="a, begun later") as third:
        assert third.run_id != first.run_id


def test_a_run_that_is_not_there_is_said_so(uri: str) -> None:
    for missing in ("0" * 32, "no/run"):
        with pytest.raises(RunNotFoundError, match="has no run"):
            TrackedRun.open(uri, "tests", "x", run_id=missing)
    with TrackedRun.open(uri, "tests", "to be deleted") as run:
        pass
    connect(uri).delete_run(run.run_id)
    with pytest.raises(RunNotFoundError, match="was deleted"):
        TrackedRun.open(uri, "tests", "x", run_id=run.run_id)


def test_training_metrics_that_are_there_already_are_not_logged_again(uri: str) -> None:
    with TrackedRun.open(uri, "tests", "killed") as first:
        writer = first.kv_writer()
        for step in (100, 200, 300):
            writer.write({"train/loss": step, "time/fps": 5}, {}, step)
    with TrackedRun.open(uri, "tests", "killed", run_id=first.run_id) as second:
        writer = second.kv_writer()
        for step in (200, 300, 400):  # the last checkpoint was at 150
            writer.write({"train/loss": step}, {}, step)
    history = connect(uri).get_metric_history(first.run_id, "train/loss")
    assert [point.step for point in history] == [100, 200, 300, 400]


def test_what_stable_baselines3_dumps_arrives(uri: str, run: TrackedRun) -> None:
    from stable_baselines3.common.logger import Logger, Video

    logger = Logger(folder=None, output_formats=[run.kv_writer()])
    logger.record("rollout/ep_rew_mean", np.float64(12.5))
    logger.record("rollout/success rate (%)", 50)
    logger.record("train/loss", float("nan"))
    logger.record("note", "text")
    logger.record("video", Video(torch.zeros(1, 1, 3, 2, 2), fps=1), exclude=("stdout",))
    logger.record("hidden", 1, exclude=("mlflow",))
    logger.dump(step=2048)
    logger.close()
    assert run.flush()
    stored = connect(uri).get_run(run.run_id).data
    assert stored.metrics == {"rollout/ep_rew_mean": 12.5, "rollout/success rate ___": 50.0}
    assert connect(uri).get_metric_history(run.run_id, "rollout/ep_rew_mean")[0].step == 2048


def test_system_metrics_go_on_counting_in_a_run_that_is_continued(uri: str) -> None:
    with TrackedRun.open(uri, "tests", "system", system_metrics=True) as first:
        pass
    history = []
    for _ in range(50):
        with TrackedRun.open(uri, "tests", "system", run_id=first.run_id, system_metrics=True) as second:
            second.flush()
        history = connect(uri).get_metric_history(first.run_id, "system/cpu_utilization_percentage")
        if len(history) >= 2:
            break
    assert [point.step for point in history] == [0, 1]
    assert "system/system_memory_usage_megabytes" in connect(uri).get_run(first.run_id).data.metrics


def test_a_run_that_is_deleted_meanwhile_does_not_stop_training(uri: str, caplog: pytest.LogCaptureFixture) -> None:
    run = TrackedRun.open(uri, "tests", "deleted")
    connect(uri).delete_run(run.run_id)
    run.log_metrics({"a": 1}, 1)
    report = run.close()
    assert report.lost >= 1
    assert "are lost" in caplog.text
    assert run.close() == report


def test_an_experiment_that_was_deleted_is_said_so(uri: str) -> None:
    with TrackedRun.open(uri, "deleted experiment", "x") as run:
        pass
    connect(uri).delete_experiment(run.experiment_id)
    with pytest.raises(TrackingError, match="was deleted"):
        TrackedRun.open(uri, "deleted experiment", "x")


@pytest.mark.parametrize(
    "address", ["postgresql://mario:known-password@127.0.0.1:1/mlflow", "http://mario:known-password@127.0.0.1:1"]
)
def test_a_store_that_is_away_is_named_without_its_password(
    address: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 1)
    with pytest.raises(TrackingError, match=r"mario:\*\*\*@127\.0\.0\.1:1.*cannot be opened") as caught:
        TrackedRun.open(address, "tests", "x", home=tmp_path)
    assert "known-password" not in str(caught.value) + caplog.text + "".join(capfd.readouterr())
    assert caught.value.__cause__ is None
