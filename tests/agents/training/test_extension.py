"""An extended training continues from its end, and its schedules keep their last values."""

from pathlib import Path
from typing import Any

import pytest
from stable_baselines3.common.logger import KVWriter
from twins import TOTAL, Record, outcome, run, twin_config

from agents import build, latest_checkpoint
from agents.checkpoints import restore
from configs import Config
from mario_env import make_vec

HALF = 192  # four rollouts of PPO


def to(config: Config, total: int, planned: int | None) -> Config:
    return config.model_copy(update={"train": config.train.model_copy(update={"total_steps": total, "planned_steps": planned})})


@pytest.mark.parametrize("variant", ["dqn", "dqn, every switch", "ppo"])
def test_an_extended_training_equals_one_with_all_steps_and_the_same_schedules(variant: str, tmp_path: Path) -> None:
    config = twin_config(variant, validation={"episodes": 1})
    planned = to(config, TOTAL, HALF)
    extended, whole = Record(), Record()

    run(to(config, HALF, None), tmp_path / "extended", extended, total=HALF)
    result = run(planned, tmp_path / "extended", extended)
    expected = run(planned, tmp_path / "whole", whole)

    assert outcome(tmp_path / "extended", result, extended) == outcome(tmp_path / "whole", expected, whole)


@pytest.mark.parametrize("variant", ["dqn", "ppo"])
def test_schedules_keep_their_last_values(variant: str, tmp_path: Path) -> None:
    config = twin_config(variant)
    seen: list[tuple[int, dict[str, float]]] = []
    run(to(config, HALF, None), tmp_path, lambda _: None, total=HALF)
    run(to(config, TOTAL, HALF), tmp_path, lambda _: None, writers=[_Kept(seen)])

    rates = [values["train/learning_rate"] for step, values in seen if step > HALF + 48 and "train/learning_rate" in values]
    assert rates, seen
    assert rates == pytest.approx([1e-4] * len(rates))
    if variant == "dqn":
        assert [values["rollout/exploration_rate"] for step, values in seen if step > HALF][-1] == pytest.approx(0.2)


def test_planned_steps_come_from_the_configuration_not_the_checkpoint(tmp_path: Path) -> None:
    """A training that is not extended may resume from a checkpoint of one that is."""
    config = twin_config("ppo")
    run(to(config, HALF, 96), tmp_path, lambda _: None, total=HALF)
    checkpoint = latest_checkpoint(tmp_path)
    assert checkpoint is not None
    env = make_vec(config.environment, config.train.n_envs, seed=0)
    model: Any = build(config, env, device="cpu")
    restore(checkpoint, config, model)
    env.close()
    assert model.planned_steps is None


class _Kept(KVWriter):
    """A writer that collects metrics."""

    def __init__(self, seen: list[tuple[int, dict[str, float]]]) -> None:
        self._seen = seen

    def write(self, values: dict[str, float], excluded: Any, step: int = 0) -> None:
        self._seen.append((step, dict(values)))

    def close(self) -> None:
        pass
