import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from configs import PROJECT
from mario_env.observations import Frames
from tracking import ModelNotFoundError, ModelVersion, TrackedRun, TrackingError, registered_names, resolve_model
from tracking.client import connect
from tracking.models import digest
from tracking.registry import Registry

POLICY = Path(__file__).with_name("linear_policy.py")
EXAMPLE = np.zeros((1, *Frames.shape), Frames.dtype)


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    folder = tmp_path / "final"
    folder.mkdir()
    layer = torch.nn.Linear(4, 7)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[5] = 1.0  # anything bright means action 5
        layer.bias.zero_()
        layer.bias[2] = 0.1  # darkness means action 2
    torch.save(layer.state_dict(), folder / "policy.pt")
    return folder


def register(run: TrackedRun, name: str, agent: Path, **details: object) -> ModelVersion:
    return run.register_model(name, agent, python_model=POLICY, input_example=EXAMPLE, **details)


def test_a_registered_model_is_loaded_back_and_plays(
    run: TrackedRun, uri: str, agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    tags = {"algorithm": "dqn", "level": "1-1", "seed": 3}
    version = register(run, "mario-1-1-dqn", agent, tags=tags, description="An agent.")
    assert (version.name, version.version, version.uri) == ("mario-1-1-dqn", 1, "models:/mario-1-1-dqn/1")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    served = mlflow.pyfunc.load_model("models:/mario-1-1-dqn/latest")
    observations = np.repeat(EXAMPLE, 3, axis=0)
    observations[1] = 255
    actions = served.predict(observations)
    assert actions.tolist() == [2, 5, 2]
    assert actions.dtype == np.int64
    (taken,) = served.metadata.get_input_schema()
    assert (taken.type, taken.shape) == (EXAMPLE.dtype, (-1, *EXAMPLE.shape[1:]))
    assert [(spec.type, spec.shape) for spec in served.metadata.get_output_schema()] == [(np.int64, (-1,))]
    assert served.input_example.shape == EXAMPLE.shape
    with pytest.raises(mlflow.exceptions.MlflowException, match="schema"):
        served.predict(np.moveaxis(EXAMPLE, 1, -1))

    registered = Registry(uri)
    for decision in ("not shown", "promoted"):
        registered.describe(registered.version(version.name, version.version), {"promotion": decision}, f"It is {decision}.")
    stored = connect(uri).get_model_version("mario-1-1-dqn", "1")
    assert stored.description == "An agent.\n\nIt is promoted."
    assert stored.run_id == run.run_id
    assert stored.tags == {
        "algorithm": "dqn",
        "level": "1-1",
        "seed": "3",
        "sha256": digest(agent),
        "promotion": "promoted",
    }


def test_versions_count_up_and_aliases_move(run: TrackedRun, uri: str, agent: Path) -> None:
    versions = []
    for number, names in enumerate((["best"], ["best"], [])):
        (agent / "number").write_text(str(number))
        versions.append(register(run, "counted", agent, aliases=names))
    first, second, third = versions
    assert [first.version, second.version, third.version] == [1, 2, 3]
    client = connect(uri)
    assert client.get_model_version_by_alias("counted", "best").source == f"models:/{second.model_id}"
    outputs = client.get_run(run.run_id).outputs
    assert outputs is not None
    assert {output.model_id for output in outputs.model_outputs} == {first.model_id, second.model_id, third.model_id}


def test_the_same_files_are_registered_once(run: TrackedRun, uri: str, agent: Path) -> None:
    first = register(run, "once", agent, step=7)
    assert register(run, "once", agent, step=7) == first
    with TrackedRun.open(uri, "tests", "another run") as other:
        assert register(other, "once", agent, step=7).version == 2, "another run's model is another version"
    (agent / "more").write_text("newer")
    assert register(run, "once", agent, step=7).version == 3


@pytest.mark.parametrize("where", ["_upload", "_create_version"])
def test_a_kill_on_the_way_leaves_one_version(where: str, run: TrackedRun, uri: str, agent: Path) -> None:
    name = f"killed-before{where}"
    code = f"""
import os, signal, sys
from pathlib import Path
import numpy as np
from tracking import TrackedRun, models
models.{where} = lambda *details: os.kill(os.getpid(), signal.SIGKILL)
run = TrackedRun.open(sys.argv[1], "tests", "", run_id=sys.argv[2])
run.register_model(sys.argv[3], Path(sys.argv[4]), python_model=Path(sys.argv[5]), input_example=np.zeros((1, 4)))
"""
    command = [sys.executable, "-c", code, uri, run.run_id, name, str(agent), str(POLICY)]
    assert subprocess.run(command, cwd=PROJECT, capture_output=True, check=False).returncode == -signal.SIGKILL

    version = register(run, name, agent)
    assert register(run, name, agent) == version
    client = connect(uri)
    assert [int(each.version) for each in client.search_model_versions(f"name='{name}'")] == [1]
    found = [model for model in client.search_logged_models([run.experiment_id]) if model.name == name]
    assert sorted(str(model.status) for model in found) == (["FAILED", "READY"] if where == "_upload" else ["READY"])
    assert [model.model_id for model in found if str(model.status) == "READY"] == [version.model_id]
    assert digest(resolve_model(version.uri, uri)) == version.sha256


def test_an_alias_moves_when_it_is_told_to(run: TrackedRun, uri: str, agent: Path) -> None:
    first = register(run, "aliased", agent)
    (agent / "more").write_text("newer")
    second = register(run, "aliased", agent)
    for version in (first, second):
        run.set_alias(version.name, str(version.version), "demo")
        assert int(connect(uri).get_model_version_by_alias("aliased", "demo").version) == version.version
    with pytest.raises(TrackingError, match="cannot be named latest"):
        run.set_alias("aliased", "1", "latest")


def test_evaluations_stand_side_by_side(uri: str, agent: Path) -> None:
    """What the UI's comparison of models shows: metrics by logged model."""
    expected = {}
    for seed, distance in ((0, 700.5), (1, 1200.0)):
        with TrackedRun.open(uri, "compared", f"seed {seed}") as run:
            run.log_params({"seed": seed})
            version = register(run, f"compared-{seed}", agent, step=5000)
            numbers = {"greedy/distance_mean": distance, "greedy/completion": np.float64(0.25), "greedy/note": "text"}
            run.log_evaluation(version if seed else version.uri, numbers, step=5000)
            assert run.metric("greedy/distance_mean") == distance
            expected[version.model_id] = {"greedy/distance_mean": (distance, 5000), "greedy/completion": (0.25, 5000)}
    models = connect(uri).search_logged_models([run.experiment_id])
    found = {model.model_id: {metric.key: (metric.value, metric.step) for metric in model.metrics or []} for model in models}
    assert found == expected
    best = connect(uri).search_logged_models([run.experiment_id], filter_string="metrics.`greedy/distance_mean` > 1000")
    assert [model.params["seed"] for model in best] == ["1"]
    with pytest.raises(ModelNotFoundError, match="no model"):
        run.log_evaluation("models:/compared-0/99", {"a": 1})


def test_every_way_to_name_a_model_leads_to_its_files(run: TrackedRun, uri: str, agent: Path) -> None:
    first = register(run, "named", agent, aliases=["best"])
    (agent / "more").write_text("newer", encoding="utf-8")
    second = register(run, "named", agent)
    old = (first.uri, "models:/named@best", first.model_id, f"models:/{first.model_id}")
    new = (second.uri, "named", "models:/named/latest", "models:/named@latest", run.run_id, f"runs:/{run.run_id}/model")
    for reference in old:
        assert digest(resolve_model(reference, uri)) == first.sha256
    for reference in (*new, f"runs:/{run.run_id}/named"):
        assert digest(resolve_model(reference, uri)) == second.sha256
    assert resolve_model(str(agent), "http://127.0.0.1:1") == agent  # a path needs no MLflow


def test_an_unknown_model_is_answered_with_the_nearest(run: TrackedRun, uri: str, agent: Path) -> None:
    register(run, "mario-4-2-ppo", agent)
    assert "mario-4-2-ppo" in registered_names(uri)
    for reference, answer in (
        ("mario-4-2-pp", r"nearest: mario-4-2-ppo"),
        ("models:/mario-4-2-ppo/7", "versions and aliases 1$"),
        ("models:/mario-4-2-ppo@champion", "versions and aliases 1$"),
        ("0" * 32, "no run"),
        (f"runs:/{run.run_id}/other", "its models: mario-4-2-ppo"),
        ("m-" + "0" * 32, "m-0000"),
        ("checkpoints/final", "no file or folder"),
        ("model.zip", "no file or folder"),
    ):
        with pytest.raises(TrackingError, match=answer):
            resolve_model(reference, uri)
    with TrackedRun.open(uri, "tests", "unfinished") as empty, pytest.raises(ModelNotFoundError, match="has no model"):
        resolve_model(empty.run_id, uri)


def test_a_model_that_was_changed_is_refused(run: TrackedRun, uri: str, agent: Path) -> None:
    register(run, "changed", agent)
    with (resolve_model("changed", uri) / "policy.pt").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(TrackingError, match="SHA-256"):
        resolve_model("changed", uri)


def test_nothing_is_registered_of_an_agent_that_is_not_there(run: TrackedRun, uri: str, agent: Path, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="the agent is missing"):
        register(run, "missing", agent / "nowhere")
    with pytest.raises(TrackingError, match="loads it is missing"):
        run.register_model("missing", agent, python_model=tmp_path / "nowhere.py", input_example=EXAMPLE)
    broken = tmp_path / "broken.py"
    broken.write_text("raise ValueError('broken')", encoding="utf-8")
    with pytest.raises(TrackingError, match="cannot be registered"):
        run.register_model("missing", agent, python_model=broken, input_example=EXAMPLE)
    assert "missing" not in registered_names(uri)


def test_digest_depends_on_names_and_content(agent: Path, tmp_path: Path) -> None:
    whole = digest(agent)
    shutil.copytree(agent, tmp_path / "copy")
    assert digest(tmp_path / "copy") == whole
    (tmp_path / "copy" / "policy.pt").rename(tmp_path / "copy" / "other.pt")
    assert digest(tmp_path / "copy") != whole
    assert len(digest(agent / "policy.pt")) == 64
