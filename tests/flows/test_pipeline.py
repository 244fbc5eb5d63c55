"""One whole run of the pipeline with the real game, Postgres, MLflow and Prefect, and checks of everything that it wrote."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents import load_agent
from configs import PROJECT, ConfigError, Settings, config_hash, from_dict, load
from episodes import EpisodeStore, StoredExperiment
from mario_env import EpisodeStart, play_back
from mario_env.console import rom_path
from mario_env.observations import Frames
from tasks import phases
from tasks.experiment import open_store
from tasks.phases import PHASES, finished
from tasks.starting import finish_experiment, running_experiment
from tasks.train import train_agent
from tracking import resolve_model, resolve_tracking_uri
from tracking.client import connect
from tracking.models import logged_model_id
from tracking.registry import Registry

TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")


@pytest.fixture(scope="module")
def store(settings: Settings, pipeline: Any) -> Any:
    with open_store(settings) as opened:
        yield opened


@pytest.fixture(scope="module")
def stored(store: EpisodeStore, pipeline: Any) -> StoredExperiment:
    return store.experiment(pipeline.name)


def test_it_prints_the_paths_of_its_results(pipeline: Any) -> None:
    for name in ("report", "video", "model"):
        line = re.search(rf"^{name} +(\S+)", pipeline.output, re.MULTILINE)
        assert line, pipeline.output
        assert Path(line[1]).exists(), line[0]
    assert "make ui" in pipeline.output


def test_it_writes_nothing_into_its_working_directory(pipeline: Any) -> None:
    assert list(pipeline.cwd.iterdir()) == []


def test_every_phase_is_recorded_as_finished(pipeline: Any) -> None:
    records = [finished(pipeline.experiment, phase) for phase in PHASES]
    assert all(record is not None and record.seconds > 0 for record in records)


def test_the_experiment_row_contains_its_provenance(stored: StoredExperiment, pipeline: Any) -> None:
    record = stored.record
    assert record.status == "completed"
    assert record.ended is not None
    assert record.ended > record.started
    assert record.config_hash == config_hash(load_agent(pipeline.directory / "model").config)
    assert record.mlflow_run_id
    assert record.prefect_flow_run_id
    assert record.torch_version is not None
    assert record.torch_version.startswith(record.packages["torch"])  # torch adds its build, +cpu or +cu130


def test_every_counted_episode_is_a_row(store: EpisodeStore, stored: StoredExperiment, pipeline: Any) -> None:
    for phase in ("integration", "train", "evaluate"):
        record = finished(pipeline.experiment, phase)
        assert record is not None
        rows = store.episodes(stored.id, phase=phase, protocol="training" if phase == "train" else None)
        assert len(rows) == record.details["episodes"] > 0
        assert float(rows["reward"].sum()) == pytest.approx(record.details["reward_sum"], rel=1e-9)


def test_the_best_policy_in_validation_is_evaluated(store: EpisodeStore, stored: StoredExperiment, pipeline: Any) -> None:
    record = finished(pipeline.experiment, "train")
    assert record is not None
    rows = store.episodes(stored.id, phase="train", protocol="stochastic")
    assert len(rows) == record.details["validation_episodes"] == 6
    validations = {each["steps"]: each for each in record.details["validations"]}
    assert sorted(validations) == [512, 1_024, 1_536]
    assert rows.groupby("global_step")["distance_traveled"].mean().to_dict() == {
        steps: each["distance"] for steps, each in validations.items()
    }
    best = max(validations.values(), key=lambda each: (each["completed"], each["distance"], each["steps"]))["steps"]
    assert record.details["model_steps"] == best
    assert Path(record.details["model_path"]).name == "best-model"
    agent = load_agent(Path(record.details["model_path"]))
    assert agent.manifest.steps == best
    assert set(store.episodes(stored.id, phase="evaluate", protocol="greedy")["global_step"]) == {best}
    checkpoint = load_agent(pipeline.directory / "checkpoints" / f"step-{best:09d}")
    assert checkpoint.manifest.files["model.zip"] == agent.manifest.files["model.zip"]


def test_the_integration_run_is_long_enough_and_has_an_episode(
    store: EpisodeStore, stored: StoredExperiment, pipeline: Any
) -> None:
    record = finished(pipeline.experiment, "integration")
    assert record is not None
    assert record.details["frames"] >= stored.record.config["integration"]["min_frames"]
    assert store.count(stored.id, "integration") >= 1


def test_every_protocol_was_played(store: EpisodeStore, stored: StoredExperiment) -> None:
    rows = store.episodes(stored.id, phase="evaluate")
    counts = rows["protocol"].value_counts().to_dict()
    assert counts == {"greedy": 1, "stochastic": 2, "sticky": 2, "noop": 2, "random": 2}


def test_any_stored_episode_can_be_replayed(store: EpisodeStore, stored: StoredExperiment) -> None:
    environment = from_dict(stored.record.config, "stored").environment
    rows = store.episodes(stored.id)
    chosen = [*rows[rows["phase"] == "train"]["id"].head(1), *rows[rows["protocol"].isin(["sticky", "noop"])]["id"]]
    for episode_id in chosen:
        episode = store.episode(int(episode_id))
        assert episode.start is not None
        assert episode.actions is not None
        *_, last = play_back(environment, EpisodeStart.from_json(episode.start), episode.actions)
        assert last.summary is not None
        for name in ("reward", "x_pos", "y_pos", "score", "steps", "frames", "time", "world", "stage", "end_reason"):
            assert getattr(last.summary, name) == getattr(episode.row, name), (episode_id, name)


def test_mlflow_has_parameters_metrics_and_artifacts(stored: StoredExperiment, settings: Settings, pipeline: Any) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(resolve_tracking_uri(None, settings.home))
    run = client.get_run(stored.record.mlflow_run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["agent.algorithm"] == "ppo"
    assert run.data.params["environment.frame_skip"] == "4"
    assert run.data.tags["git_commit"]
    assert run.data.tags["pipeline_status"] == "completed"
    trained = finished(pipeline.experiment, "train")
    assert trained is not None
    assert run.data.metrics["train/episodes"] == trained.details["episodes"]
    assert run.data.metrics["train/reward_sum"] == pytest.approx(trained.details["reward_sum"])
    validations = client.get_metric_history(run.info.run_id, "validate/distance_mean")
    assert [(each.step, each.value) for each in validations] == [
        (each["steps"], each["distance"]) for each in trained.details["validations"]
    ]
    assert any(name.startswith("system/") for name in run.data.metrics)
    # The run's description says that this file continues the experiment.
    config = client.download_artifacts(run.info.run_id, "config.yaml")
    assert config_hash(load(config)) == stored.record.config_hash
    top = {each.path for each in client.list_artifacts(run.info.run_id)}
    assert {"config.yaml", "provenance.json", "evaluation.json", "report", "quality", "checkpoints"} <= top


def test_mlflow_names_what_was_played(stored: StoredExperiment, settings: Settings) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(resolve_tracking_uri(None, settings.home))
    run = client.get_run(stored.record.mlflow_run_id)
    assert client.get_experiment(run.info.experiment_id).name == "mario-1-1"
    found = {each.tags[0].value: json.loads(each.dataset.profile) for each in run.inputs.dataset_inputs}
    assert set(found) == {"training", "evaluation"}
    rom = hashlib.sha256(rom_path("vanilla").read_bytes()).hexdigest()
    for game in found.values():
        assert (game["rom"], game["rom_sha256"], game["levels"]) == ("vanilla", rom, ["1-1"])
        assert game["observation"] == "frames, (4, 84, 84) uint8"
        assert len(game["environment_sha256"]) == 64
    assert "protocols" not in found["training"]
    assert found["evaluation"]["protocols"] == ["greedy", "stochastic", "sticky", "noop", "random"]


def test_the_model_is_registered_with_its_evaluation(
    stored: StoredExperiment, settings: Settings, pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    from mlflow import MlflowClient

    uri = resolve_tracking_uri(None, settings.home)
    client = MlflowClient(uri, uri)
    reference = model_version(pipeline)
    version = client.get_model_version("mario-test", reference.rpartition("/")[2])
    assert version.run_id == stored.record.mlflow_run_id
    assert version.tags["algorithm"] == "ppo"
    assert version.description.startswith("PPO on level 1-1 (preset `tiny`, observation frames, seed 0), after ")
    assert version.description.endswith(f"Watch it: `mario watch {version.run_id}`.")
    metrics = {metric.key for metric in client.get_logged_model(logged_model_id(client, reference)).metrics}
    assert {"evaluate/greedy/completion", "evaluate/random/distance_iqm"} <= metrics
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)  # set_tracking_uri would leave it to the tests that follow
    model = mlflow.pyfunc.load_model(reference)
    actions = model.predict(np.zeros((3, *Frames.shape), Frames.dtype))
    assert actions.shape == (3,)
    assert actions.dtype == np.int64


def test_every_way_of_naming_the_model_finds_it(stored: StoredExperiment, settings: Settings, pipeline: Any) -> None:
    """The newest version and the alias may be those of a later run of the same preset."""
    uri = resolve_tracking_uri(None, settings.home)
    expected = load_agent(pipeline.directory / "best-model").manifest.files
    for reference in (model_version(pipeline), str(stored.record.mlflow_run_id)):
        assert load_agent(resolve_model(reference, uri)).manifest.files == expected
    alias = Registry(uri).at_alias("mario-test", "tiny")
    assert alias is not None
    assert resolve_model("models:/mario-test@tiny", uri) == resolve_model(alias.reference, uri)
    newest = max(int(each.version) for each in connect(uri).search_model_versions("name='mario-test'"))
    assert resolve_model("mario-test", uri) == resolve_model(f"models:/mario-test/{newest}", uri)


def model_version(pipeline: Any) -> str:
    """The version that the run has registered."""
    record = finished(pipeline.experiment, "train")
    assert record is not None
    return f"models:/mario-test/{record.details['model_version']}"


def test_the_report_is_self_contained(pipeline: Any) -> None:
    report = pipeline.directory / "report" / "report.html"
    html = report.read_text()
    assert report.stat().st_size < 5_000_000
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", html)
    assert pipeline.name in html
    assert list(report.parent.glob("*.png"))
    assert (report.parent / "best.mp4").read_bytes()[4:8] == b"ftyp"


def test_another_configuration_under_the_same_name_is_refused(settings: Settings, pipeline: Any) -> None:
    with (
        pytest.raises(ConfigError, match="was begun with another configuration"),
        running_experiment(load(TINY, ["seed=5"]), pipeline.name, settings, None),
    ):
        pass


def test_a_training_phase_that_lost_its_record_registers_nothing_new(
    settings: Settings, pipeline: Any, prefect_away: None
) -> None:
    """This happens if the process is killed after the registration and before the record of the phase."""
    from mlflow import MlflowClient

    client = MlflowClient(resolve_tracking_uri(None, settings.home))
    before = {version.version for version in client.search_model_versions("name='mario-test'")}
    record = finished(pipeline.experiment, "train")
    assert record is not None
    train: Any = train_agent.fn
    with running_experiment(load(TINY), pipeline.name, settings, None) as experiment:
        phases.archive(experiment, ["train"], kept_as="lost")
        again = train(experiment)
        phases.save(experiment, record)
        finish_experiment(experiment, "completed")
    assert again.details == {**record.details, "training_seconds": again.details["training_seconds"]}
    assert {version.version for version in client.search_model_versions("name='mario-test'")} == before


def test_evaluating_the_model_gives_the_same_figures(mario: Any, pipeline: Any, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = mario("evaluate", model_version(pipeline), "--json", str(figures))
    assert done.returncode == 0, done.stdout + done.stderr
    record = finished(pipeline.experiment, "evaluate")
    assert record is not None
    now = json.loads(figures.read_text())["protocols"]
    assert now.keys() == record.details["protocols"].keys()
    for protocol in now:
        assert now[protocol] == record.details["protocols"][protocol], protocol


def test_an_episode_can_be_watched(mario: Any, store: EpisodeStore, stored: StoredExperiment, tmp_path: Path) -> None:
    video = tmp_path / "episode.mp4"
    episode_id = int(store.episodes(stored.id, phase="train")["id"].iloc[0])
    done = mario("watch", "--episode", str(episode_id), "--video", str(video))
    assert done.returncode == 0, done.stderr
    assert video.read_bytes()[4:8] == b"ftyp"


def test_a_model_can_be_watched(mario: Any, pipeline: Any, tmp_path: Path) -> None:
    video = tmp_path / "model.mp4"
    done = mario("watch", str(pipeline.directory / "model"), "--video", str(video))
    assert done.returncode == 0, done.stderr
    assert video.read_bytes()[4:8] == b"ftyp"


def test_several_experiments_are_compared(mario: Any, pipeline: Any, store: EpisodeStore, tmp_path: Path) -> None:
    others = [name for name in store.experiments()["name"] if name != pipeline.name]
    assert others, "the evaluation above is an experiment too"
    done = mario("report", pipeline.name, others[0], "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    html = (tmp_path / "report.html").read_text()
    assert pipeline.name in html
    assert others[0] in html


def test_the_latest_episodes_are_listed(mario: Any, pipeline: Any) -> None:
    done = mario("episodes", "--count", "2", "--experiment", pipeline.name, COLUMNS="80")
    assert done.returncode == 0, done.stderr
    _, heads, _, *rows = (line.split() for line in done.stdout.splitlines() if line.strip())
    assert heads == ["id", "experiment", "played", "as", "step", "level", "pixels", "reward", "ended"]
    assert [row[1:3] for row in rows] == [["tiny", "random"]] * 2, "a line each, in a narrow terminal too"
