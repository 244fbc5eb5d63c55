"""Compiled networks learn the same, and leave no trace in what is kept. To compile takes minutes where nothing is cached."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_game import SHAPE, late_wins, toy_config, toy_vec

from agents import build, load_agent
from agents.compilation import is_compiled


def test_nothing_is_compiled_unless_asked() -> None:
    assert not is_compiled(build(toy_config("dqn"), toy_vec(), device="cpu"))


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("default")  # torch's compiler warns of itself, and takes warnings that are errors for its own
@pytest.mark.parametrize("algorithm", ["dqn", "ppo"])
def test_compiled_networks_compute_what_others_compute(algorithm: str) -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(256, (32, *SHAPE), dtype=torch.uint8, generator=generator)
    found: list[dict[str, torch.Tensor]] = []
    for switch in (False, True):
        model: Any = build(toy_config(algorithm, compile=switch), toy_vec(), device="cpu")
        assert is_compiled(model) == switch
        # One seed: the same weights, under the same names.
        network = model.policy if algorithm == "ppo" else model.policy.q_net
        features = network.extract_features(pictures, network.features_extractor)
        features.square().mean().backward()
        gradients = {name: tensor.grad for name, tensor in network.features_extractor.named_parameters()}
        found.append({"features": features.detach(), **gradients, **model.policy.state_dict()})

    assert list(found[0]) == list(found[1])
    for name, tensor in found[0].items():
        torch.testing.assert_close(tensor, found[1][name], rtol=1e-3, atol=1e-5)


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("default")
def test_a_game_is_learned_compiled_and_the_model_played_without(tmp_path: Path) -> None:
    wins = late_wins(toy_config("qrdqn", agent={"double": True}, compile=True), tmp_path)
    observations = np.asarray(toy_vec(8).reset())

    agent = load_agent(tmp_path / "model")
    again = load_agent(tmp_path / "checkpoints" / "step-000001500")

    assert wins >= 17
    assert all(module._compiled_call_impl is None for module in agent.model.modules())
    right_halves = observations[:, -1, 0, -1] == 255
    assert (agent.act(observations) == right_halves).all()
    assert (again.act(observations) == right_halves).all()


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_without_a_compiler_nothing_is_begun(tmp_path: Path, process_environment: dict[str, str]) -> None:
    code = """
from toy_game import toy_config, toy_vec
from agents import DeviceError, build
try:
    build(toy_config("dqn", compile=True), toy_vec(), device="cpu")
except DeviceError as error:
    print(error)
"""
    environment = {
        **process_environment,
        "CXX": os.fspath(tmp_path / "no-such-compiler"),
        "TORCHINDUCTOR_CACHE_DIR": os.fspath(tmp_path / "cache"),
    }

    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=800
    )

    assert "train.compile is true, but torch cannot compile for this cpu" in done.stdout
    assert "install a C++ compiler" in done.stdout
