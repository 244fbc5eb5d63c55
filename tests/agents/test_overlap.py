"""Learning while the environments play: the order of things, the same training each time, and a game that is learned."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn
from toy_game import late_wins, toy_config, toy_vec

from agents import build, train
from agents.callbacks import StopLearning
from configs import ConfigError
from configs.schema import EnvironmentConfig
from mario_env import make_vec


class Watched(VecEnvWrapper):
    """Writes down, at the start and end of each step, how many updates there have been and what was done."""

    def __init__(self, venv: VecEnv) -> None:
        super().__init__(venv)
        self.model: Any = None
        self.started: list[int] = []
        self.ended: list[int] = []
        self.actions: list[np.ndarray] = []

    def reset(self) -> VecEnvObs:
        return self.venv.reset()

    def step_async(self, actions: np.ndarray) -> None:
        self.started.append(self.model._n_updates)
        self.actions.append(actions)
        super().step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        self.ended.append(self.model._n_updates)
        return self.venv.step_wait()


def watched(overlap: bool, **agent: Any) -> Watched:
    """20 steps of 2 environments, an update after each second one from the fourth on."""
    env = Watched(toy_vec())
    config = toy_config("dqn", agent={"learning_starts": 6, "train_freq": 2, **agent}, overlap=overlap)
    env.model = build(config, env, device="cpu")
    env.model.learn(40)
    return env


def test_an_update_runs_between_the_start_and_the_end_of_the_next_step() -> None:
    plain, overlapped = watched(False), watched(True)

    # Rollouts of two steps, four transitions; the first update is after the second.
    after = [max(step // 2 - 1, 0) for step in range(20)]
    assert plain.started == plain.ended == after
    assert overlapped.started == [0, 0, 0, 0, 0, *after[4:-1]]
    assert overlapped.ended == after
    assert plain.model._n_updates == overlapped.model._n_updates == 9
    assert not overlapped.model.policy.training


def test_only_the_first_actions_after_an_update_are_those_of_before_it() -> None:
    """With a network that is replaced at its first update: greedy play shows when."""
    runs = {}
    for overlap in (False, True):
        env = Watched(toy_vec())
        agent = {"learning_starts": 6, "train_freq": 3, "exploration_initial_eps": 0.0, "exploration_final_eps": 0.0}
        env.model = build(toy_config("dqn", agent=agent, overlap=overlap), env, device="cpu")
        head = env.model.q_net.q_net[-1]
        head.weight.data.zero_()
        head.bias.data = torch.tensor([0.0, 0.0, 9.0])

        def replaced(model: Any = env.model, head: Any = head) -> None:
            head.bias.data = torch.tensor([0.0, 9.0, 0.0])

        env.model.policy.optimizer.register_step_post_hook(lambda *_, replaced=replaced: replaced())
        env.model.learn(30)
        runs[overlap] = [actions.tolist() for actions in env.actions[6:10]]

    assert runs[False] == [[1, 1], [1, 1], [1, 1], [1, 1]]
    assert runs[True] == [[2, 2], [1, 1], [1, 1], [1, 1]]


@pytest.mark.parametrize("algorithm", ["dqn", "qrdqn"])
@pytest.mark.parametrize("more", [{}, {"double": True, "prioritised": {}}])
def test_one_seed_gives_one_training(algorithm: str, more: dict[str, Any]) -> None:
    trained = []
    for _ in range(2):
        model = build(toy_config(algorithm, agent=more, overlap=True), toy_vec(), device="cpu")
        model.learn(300)
        trained.append(model.policy.state_dict())

    assert all(torch.equal(weights, trained[1][name]) for name, weights in trained[0].items())


def test_one_seed_gives_one_training_of_games_that_play_in_their_own_threads() -> None:
    trained = []
    agent = {"learning_starts": 40, "batch_size": 8, "train_freq": 1, "network": {"features": "small", "features_dim": 32}}
    for _ in range(2):
        env = make_vec(EnvironmentConfig(), 4, seed=0, ahead=True)
        model: Any = build(toy_config("dqn", agent=agent, n_envs=4, overlap=True), env, device="cpu")
        model.learn(400)
        env.close()
        trained.append((model.policy.state_dict(), model.replay_buffer.actions[:100]))

    assert model._n_updates == (400 - 40) // 4
    assert all(torch.equal(weights, trained[1][0][name]) for name, weights in trained[0][0].items())
    np.testing.assert_array_equal(trained[0][1], trained[1][1])


@pytest.mark.parametrize("algorithm", ["dqn", "qrdqn"])
def test_a_toy_game_is_learned(algorithm: str, tmp_path: Path) -> None:
    assert late_wins(toy_config(algorithm, overlap=True), tmp_path) >= 17


def test_a_training_goes_on_with_every_update_of_before(tmp_path: Path) -> None:
    config, updates = toy_config("dqn", agent={"learning_starts": 6, "train_freq": 2}, overlap=True), []
    for steps in (40, 80):
        result = train(
            config,
            env=toy_vec(),
            directory=tmp_path,
            on_episode=lambda _: None,
            total_steps=steps,
            device="cpu",
        )
        assert result.checkpoint is not None
        updates.append(json.loads((result.checkpoint.path / "state.json").read_text())["updates"])

    assert updates == [9, 19]


def test_the_update_that_is_due_is_done_when_training_is_stopped() -> None:
    model = build(toy_config("dqn", agent={"learning_starts": 6, "train_freq": 2}, overlap=True), toy_vec(), device="cpu")

    def stop(local: dict[str, Any], _: dict[str, Any]) -> bool:
        if model.num_timesteps == 14:
            raise StopLearning
        return True

    with pytest.raises(StopLearning):
        model.learn(40, callback=stop)

    # Due after steps 8 and 12, the second of them in the midst of step 14, which was given up.
    assert model._n_updates == 2


def test_an_update_that_fails_leaves_environments_that_can_go_on() -> None:
    env = toy_vec()
    model: Any = build(toy_config("dqn", agent={"learning_starts": 6, "train_freq": 2}, overlap=True), env, device="cpu")
    model.policy.optimizer.register_step_post_hook(lambda *_: pytest.fail("an update"))

    with pytest.raises(pytest.fail.Exception, match="an update"):
        model.learn(40)

    assert env.step(np.zeros(2, np.int64))[0].shape == (2, 4, 36, 36)


def test_ppo_cannot_learn_meanwhile() -> None:
    with pytest.raises(ConfigError, match=r"train\.overlap is for dqn and qrdqn"):
        toy_config("ppo", overlap=True)
