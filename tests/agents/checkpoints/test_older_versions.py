"""Checkpoints of earlier versions: read and resumed from, or refused by name."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from toy_game import toy_vec

from agents import build, latest_checkpoint, load_agent, train
from agents.checkpoints import restore
from configs import from_dict


def test_a_checkpoint_of_version_0_1_can_be_resumed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its configuration has keys that no longer exist, and its run state another format."""
    shutil.copytree(Path(__file__).parent.parent / "data" / "version_0_1" / "dqn", tmp_path, dirs_exist_ok=True)
    old = latest_checkpoint(tmp_path)
    assert old is not None
    stored = json.loads((old.path / "config.json").read_text())
    assert stored["train"]["overlap"] is False
    config = from_dict(stored, source="version 0.1")
    before = load_agent(old.path).model.state_dict()

    model = build(config, toy_vec(), device="cpu")
    counters, refill, _ = restore(old, config, model)
    with caplog.at_level(logging.INFO):
        result = train(config, env=toy_vec(), directory=tmp_path, on_episode=lambda _: None, total_steps=224, device="cpu")

    assert all(torch.equal(weights, model.policy.state_dict()[name]) for name, weights in before.items())
    assert (counters.episodes, counters.frames, refill) == (24, 768, False)
    assert model.replay_buffer.size() == 30  # type: ignore[attr-defined]
    assert (result.steps, result.episodes) == (224, 28)
    assert "with new games and other random numbers" in caplog.text
