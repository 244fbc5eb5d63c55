"""What teachers say, and which are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import KVWriter
from torch.nn import functional
from twins import Record, run, twin_config, untrained_teacher

from agents import TeacherError, Teachers
from agents.training import reporting
from configs import Config
from mario_env import make_training_vec

LEVELS = {"levels": ["1-1", "1-2", "4-2"]}


def taught(**environment: Any) -> Config:
    config = twin_config("ppo, taught")
    return config.model_copy(update={"environment": config.environment.model_copy(update=environment)})


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_each_level_has_its_own_teacher(temperature: float) -> None:
    config = taught(**LEVELS)
    assert config.train.teacher is not None
    advised = config.train.teacher.model_copy(update={"temperature": temperature})
    config = config.model_copy(update={"train": config.train.model_copy(update={"teacher": advised})})
    agents = {level: untrained_teacher(seed) for seed, level in enumerate(LEVELS["levels"])}
    teachers, env = Teachers(agents, config), make_training_vec(config.model_copy(update={"seed": 1}))
    env.reset()
    seen = set()
    for step in np.random.default_rng(0).integers(7, size=(60, 3)):
        games: Any = env
        for part in (slice(0, 3), slice(1, 3)):
            advice = teachers.advise(env, part)
            assert advice.sum(dim=1).numpy() == pytest.approx(1.0)
            for row, game in enumerate(range(part.start, part.stop)):
                model: Any = agents[games.levels[game]].model
                with torch.no_grad():
                    logits = model.get_distribution(
                        torch.from_numpy(games.view.observations[game : game + 1])
                    ).distribution.logits
                assert advice[row].numpy() == pytest.approx(
                    functional.softmax(logits / temperature, dim=1)[0].numpy(), abs=1e-6
                )
        seen |= set(games.levels)
        env.step(step)
    env.close()
    assert seen == set(LEVELS["levels"])
    assert not np.allclose(advice[0], advice[1]) or games.levels[1] == games.levels[2], "the teachers differ"


def test_those_that_do_not_fit_are_refused() -> None:
    config, agent = taught(), untrained_teacher(0)
    Teachers({"1-1": agent, "1-2": agent}, config)
    with pytest.raises(TeacherError, match="there is no teacher for 1-2"):
        Teachers({"1-1": agent}, config)
    for changes, fault in [
        ({"actions": "right_only"}, "its environment.actions are simple, and here they are right_only"),
        ({"frame_skip": 2}, "its environment.frame_skip is 4, and here it is 2"),
    ]:
        with pytest.raises(TeacherError, match=f"the teacher of 1-1 does not fit: {fault}"):
            Teachers({"1-1": agent, "1-2": agent}, taught(**changes))
    for variant, fault in [
        ("ppo", "it sees frames, not tiles"),
        ("dqn", "it was trained with dqn, not with ppo; it sees frames"),
    ]:
        with pytest.raises(TeacherError, match=f"the teacher of 1-2 does not fit: {fault}"):
            Teachers({"1-1": agent, "1-2": untrained_teacher(0, variant)}, config)


class Divergences(KVWriter):
    """What a training reports of the difference between teacher and pupil."""

    def __init__(self) -> None:
        self.found: list[float] = []
        self.names: set[str] = set()

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, Any], step: int = 0) -> None:
        self.names |= key_values.keys()
        if "train/teacher_divergence" in key_values:
            self.found.append(float(key_values["train/teacher_divergence"]))

    def close(self) -> None:
        raise AssertionError("writers are closed by their owner")


def test_the_pupil_comes_to_choose_as_its_teachers_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "_MIN_STEPS_BETWEEN_DUMPS", 40)
    config = taught()
    decided = {level: untrained_teacher(seed) for seed, level in enumerate(("1-1", "1-2"))}
    for agent, action in zip(decided.values(), (3, 5), strict=True):
        net: Any = agent.model
        with torch.no_grad():
            net.action_net.bias[action] = 4.0  # untrained policies hardly prefer anything
    with_teachers, alone = Divergences(), Divergences()
    run(config, tmp_path / "taught", Record(), total=1_500, writers=[with_teachers], teachers=Teachers(decided, config))
    assert len(with_teachers.found) > 10
    assert with_teachers.found[0] > 1.0
    assert with_teachers.found[-1] < with_teachers.found[0] / 4

    run(twin_config("ppo, levels"), tmp_path / "alone", Record(), writers=[alone])
    assert "train/loss" in alone.names
    assert not alone.found
