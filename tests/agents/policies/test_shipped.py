"""A shipped policy plays like its model, and is refused when any byte of it has changed."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_game import toy_config, toy_vec

from agents import CheckpointError, load_agent, load_shipped, ship, train
from agents.algorithms.build import build_policy
from agents.policies import shipped
from configs import load
from mario_env import observation_space
from mario_env.wrappers import button_combinations

FIGURES = {"greedy": {"episodes": 1, "completed": 1, "completion": {"low": 0.2, "high": 1.0}}}


@pytest.fixture(scope="module", params=["dqn", "ppo"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model's folder."""
    directory = tmp_path_factory.mktemp(request.param)
    config = toy_config(request.param)
    train(config, env=toy_vec(), directory=directory, on_episode=lambda _: None, total_steps=200, device="cpu")
    return directory / "model"


def test_a_shipped_policy_acts_like_its_model(model: Path, tmp_path: Path) -> None:
    description = ship(model, tmp_path / "models" / "world-9.1", evaluation=FIGURES, origin={"commit": "abc", "seed": 3})
    ours, theirs = load_shipped(description), load_agent(model)
    observations = np.random.default_rng(0).integers(256, size=(50, 4, 36, 36), dtype=np.uint8)

    assert sorted(path.name for path in description.parent.iterdir()) == ["world-9.1.json", "world-9.1.pth"]
    assert (ours.act(observations) == theirs.act(observations)).all()
    assert len(set(ours.act(observations).tolist())) > 1
    assert ours.config == theirs.config
    assert ours.exploration_rate == theirs.exploration_rate
    assert ours.manifest.steps == 200
    assert (ours.evaluation, theirs.evaluation) == (FIGURES, None)
    assert json.loads(description.read_text())["origin"] == {"commit": "abc", "seed": 3}
    # The optimiser's state is left out.
    assert (tmp_path / "models" / "world-9.1.pth").stat().st_size < (model / "model.zip").stat().st_size


def test_half_precision_takes_half_the_space_and_plays_with_the_rounding(model: Path, tmp_path: Path) -> None:
    whole = ship(model, tmp_path / "whole", evaluation=FIGURES, origin={})
    half = ship(model, tmp_path / "half", evaluation=FIGURES, origin={}, half_precision=True)
    theirs, ours = (load_shipped(each).model.state_dict() for each in (whole, half))
    stored = torch.load(half.with_suffix(".pth"), weights_only=True)
    assert all(stored[name].nbytes == tensor.nbytes // 2 for name, tensor in theirs.items() if tensor.is_floating_point())
    assert half.with_suffix(".pth").stat().st_size < whole.with_suffix(".pth").stat().st_size, "shared tensors stay shared"
    assert any(not torch.equal(ours[name], theirs[name]) for name in theirs)
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype
        assert torch.equal(ours[name], tensor.half().to(tensor.dtype) if tensor.is_floating_point() else tensor)


def test_weights_beyond_half_precision_are_refused() -> None:
    first = {"w": torch.tensor([65_504.0]), "count": torch.tensor([70_000])}
    assert [each.tolist() for each in shipped._rounded(first, Path("m")).values()] == [[65_504.0], [70_000]]
    with pytest.raises(CheckpointError, match=r"^m: w has .*cannot represent: ship it without --half"):
        shipped._rounded({"w": torch.tensor([70_000.0])}, Path("m"))


def test_changed_or_missing_weights_are_refused(model: Path, tmp_path: Path) -> None:
    description = ship(model, tmp_path / "one", evaluation=FIGURES, origin={})
    weights = tmp_path / "one.pth"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"one\.pth: SHA-256 is"):
        load_shipped(description)

    weights.write_bytes(data[:-10])
    with pytest.raises(CheckpointError, match=r"one\.pth: \d+ bytes instead of \d+"):
        load_shipped(description)

    weights.unlink()
    with pytest.raises(CheckpointError, match=r"one\.pth: No such file"):
        load_shipped(description)


@pytest.mark.parametrize("text", ["", "[]", "{}", "not JSON", '{"config": 1, "evaluation": 2, "origin": 3}'])
def test_a_damaged_manifest_is_an_error(tmp_path: Path, text: str) -> None:
    description = tmp_path / "one.json"
    description.write_text(text)
    with pytest.raises(CheckpointError, match=r"one\.json: damaged"):
        load_shipped(description)


def test_a_manifest_may_only_name_a_file_in_its_folder(model: Path, tmp_path: Path) -> None:
    description = ship(model, tmp_path / "one", evaluation=FIGURES, origin={})
    values = json.loads(description.read_text())
    values["files"] = {"../elsewhere.pth": values["files"]["one.pth"]}
    description.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"must name one file of weights in the same folder, not \.\./elsewhere\.pth"):
        load_shipped(description)


def test_large_weights_are_refused(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "MAX_WEIGHT_BYTES", 1_000)
    with pytest.raises(CheckpointError, match="shipped models may take at most"):
        ship(model, tmp_path / "one", evaluation=FIGURES, origin={})
    assert not list(tmp_path.iterdir())


def test_a_policy_for_each_level_takes_at_most_700_000_bytes_in_half_precision() -> None:
    """32 of them, with their descriptions, take 25 MB."""
    config = load("ppo-robust")
    actions = len(button_combinations(config.environment))
    policy = build_policy(config, observation_space(config.environment), actions)
    buffer = io.BytesIO()
    torch.save(shipped._rounded(policy.state_dict(), Path("ppo-robust")), buffer)
    assert 500_000 < buffer.tell() <= 700_000
