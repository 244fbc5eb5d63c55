"""Agents are loaded from models, checkpoints and archives, verified, without executing pickled code."""

import json
import zipfile
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
from toy_game import AGENTS, toy_config, toy_vec

from agents import CheckpointError, load_agent, train
from agents.checkpoints.manifests import FileEntry, _sha256


def trained(directory: Path, algorithm: str = "dqn", **agent: object) -> Path:
    config = toy_config(algorithm, agent=agent)
    env = toy_vec()
    train(config, env=env, directory=directory, on_episode=lambda _: None, total_steps=200, device="cpu")
    return directory


def observations(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(count, 4, 36, 36), dtype=np.uint8)


@pytest.mark.parametrize("algorithm", AGENTS)
def test_model_checkpoint_and_zip_give_the_same_agent(algorithm: str, tmp_path: Path) -> None:
    trained(tmp_path, algorithm)
    paths = [tmp_path / "model", tmp_path / "model" / "model.zip", tmp_path / "checkpoints" / "step-000000200"]
    agents = [load_agent(path) for path in paths]
    actions = [agent.act(observations(50)) for agent in agents]

    assert actions[0].dtype == np.int64
    assert actions[0].shape == (50,)
    assert all((other == actions[0]).all() for other in actions)
    assert agents[0].manifest.algorithm == algorithm
    assert agents[0].manifest.steps == 200
    assert agents[0].config == toy_config(algorithm)


@pytest.mark.parametrize("algorithm", ["dqn", "ppo"])
def test_a_finished_training_run_again_does_not_rewrite_the_model(algorithm: str, tmp_path: Path) -> None:
    """The model may have been registered before the process was killed, so its files must not change."""
    before = {path: path.read_bytes() for path in (trained(tmp_path, algorithm) / "model").iterdir()}
    trained(tmp_path, algorithm)
    assert {path: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before

    damaged = tmp_path / "model" / "model.zip"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    trained(tmp_path, algorithm)
    assert load_agent(tmp_path / "model").manifest.steps == 200, "a damaged model is written again"


def test_value_based_agents_explore_as_often_as_configured(tmp_path: Path) -> None:
    agent = load_agent(trained(tmp_path, exploration_final_eps=0.3) / "model")
    repeated = np.repeat(observations(1), 6_000, axis=0)
    greedy = agent.act(repeated)

    agent.seed(1)
    stochastic = agent.act(repeated, deterministic=False)
    agent.seed(1)

    assert (agent.act(repeated, deterministic=False) == stochastic).all()
    # One in three random actions equals the greedy one.
    assert (stochastic != greedy).mean() == pytest.approx(0.3 * 2 / 3, abs=0.03)


def test_ppo_samples_from_its_policy(tmp_path: Path) -> None:
    agent = load_agent(trained(tmp_path, "ppo") / "model")
    observation = observations(1)
    tensor, _ = agent.model.obs_to_tensor(observation)
    expected = agent.model.get_distribution(tensor).distribution.probs.detach().numpy()[0]  # type: ignore[operator]

    agent.seed(1)
    sampled = agent.act(np.repeat(observation, 6_000, axis=0), deterministic=False)

    assert np.bincount(sampled, minlength=3) / 6_000 == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(
    "given",
    [np.zeros((1, 4, 36, 35), np.uint8), np.zeros((4, 36, 36), np.uint8), np.zeros((1, 4, 36, 36), np.float32)],
)
def test_observations_of_another_shape_or_dtype_are_refused(given: np.ndarray, tmp_path: Path) -> None:
    agent = load_agent(trained(tmp_path) / "model")

    with pytest.raises(ValueError, match=r"expected uint8 \(n, 4, 36, 36\)"):
        agent.act(given)


def test_errors_name_the_missing_or_changed_file(tmp_path: Path) -> None:
    model = trained(tmp_path) / "model"

    with pytest.raises(CheckpointError, match="nowhere: there is no such model"):
        load_agent(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"no manifest\.json"):
        load_agent(tmp_path)
    with (model / "config.json").open("a") as file:
        file.write(" ")
    with pytest.raises(CheckpointError, match=r"config\.json: \d+ bytes instead of"):
        load_agent(model)


def seal(folder: Path) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in manifest["files"]:
        entry = FileEntry((folder / name).stat().st_size, _sha256(folder / name))
        manifest["files"][name] = {"size": entry.size, "sha256": entry.sha256}
    path.write_text(json.dumps(manifest))


def replace_member(archive: Path, member: str, data: bytes) -> None:
    with zipfile.ZipFile(archive) as old:
        members = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(archive, "w") as new:
        for name, content in {**members, member: data}.items():
            new.writestr(name, content)


class Trap:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.marker,))


def test_pickled_code_in_a_model_is_not_executed(tmp_path: Path) -> None:
    model, marker = trained(tmp_path) / "model", tmp_path / "executed"
    trap = cloudpickle.dumps(Trap(marker))

    replace_member(model / "model.zip", "data", trap)
    seal(model)
    load_agent(model)
    replace_member(model / "model.zip", "policy.pth", trap)
    seal(model)
    with pytest.raises(CheckpointError, match="no readable weights"):
        load_agent(model)

    assert not marker.exists()


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    model = trained(tmp_path) / "model"
    config = json.loads((model / "config.json").read_text())
    config["agent"]["network"]["features_dim"] = 48
    (model / "config.json").write_text(json.dumps(config))
    seal(model)

    with pytest.raises(CheckpointError, match="do not fit the configured network"):
        load_agent(model)
