"""Prioritised replay: the sum tree, proportions, weights, n-step returns, saving and loading, and learning."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from played import Player
from stable_baselines3.common.buffers import NStepReplayBuffer
from toy_game import BrightSide, late_wins, toy_config, toy_vec

from agents import build, memory_needs
from agents.checkpoints import restore, save_checkpoint
from agents.progress import Counters
from agents.replay import PrioritisedReplayBuffer, load_replay, save_replay
from agents.replay.sum_tree import SumTree

SHAPE = (4, 6, 12)
SPACE = gym.spaces.Box(0, 255, SHAPE, np.uint8)
ACTIONS = gym.spaces.Discrete(5)


def filled(steps: int, size: int = 60, n_envs: int = 3, **more: Any) -> PrioritisedReplayBuffer:
    buffer = PrioritisedReplayBuffer(size, SPACE, ACTIONS, "cpu", n_envs, **more)
    player = Player(n_envs, SHAPE, seed=0)
    for _ in range(steps):
        buffer.add(*player.play(player.ordinary(mean_length=5)))
    return buffer


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.floats(0, 1e6) | st.just(0.0), min_size=1, max_size=70).filter(any),
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=20),
)
def test_the_tree_finds_the_index_that_a_cumulative_sum_gives(values: list[float], shares: list[float]) -> None:
    tree = SumTree(len(values))
    tree.write(np.arange(len(values)), np.array(values))
    sums = np.cumsum(values)
    prefix_sums = np.array(shares) * tree.total

    indices = tree.find(prefix_sums)

    assert tree.total == pytest.approx(sums[-1])
    assert all(values[index] > 0 for index in indices)
    slack = 1e-9 * tree.total
    for index, prefix_sum in zip(indices, prefix_sums, strict=True):
        assert sums[index] - values[index] - slack <= prefix_sum <= sums[index] + slack


def test_the_last_of_two_values_for_one_index_counts() -> None:
    tree = SumTree(5)
    tree.write(np.array([3, 1, 3]), np.array([7.0, 1.0, 2.0]))

    assert tree.values.tolist() == [0, 1, 0, 2, 0]
    assert tree.total == 3
    assert tree.find(np.array([0.0, 0.99, 1.0, 2.9])).tolist() == [1, 1, 3, 3]


def test_transitions_are_sampled_in_proportion_to_their_priorities() -> None:
    buffer = filled(2, alpha=0.5)
    buffer.update_priorities(np.arange(6), np.array([0, 1, 4, 9, 16, 25], np.float32))

    drawn = np.concatenate([buffer.sample_weighted(30, beta=0.4).indices for _ in range(400)])

    np.testing.assert_allclose(np.bincount(drawn, minlength=6) / len(drawn), np.arange(6) / 15, atol=0.01)


def test_weights_correct_the_bias_of_sampling() -> None:
    buffer = filled(2, alpha=1.0)
    errors = np.array([1, 1, 2, 4, 8, 16], np.float32)
    buffer.update_priorities(np.arange(6), errors)

    drawn = buffer.sample_weighted(200, beta=1.0)

    # The least likely transition has the largest weight, 1.
    np.testing.assert_allclose(drawn.weights, 1 / errors[drawn.indices], rtol=1e-4)
    np.testing.assert_allclose(buffer.sample_weighted(200, beta=0.0).weights, 1)
    half = buffer.sample_weighted(200, beta=0.5)
    np.testing.assert_allclose(half.weights, errors[half.indices] ** -0.5, rtol=1e-4)


def test_a_new_transition_has_the_highest_priority_seen_so_far() -> None:
    buffer, player = filled(4, alpha=1.0), Player(3, SHAPE, seed=1)
    assert (buffer.priorities[:4] == 1).all()
    buffer.update_priorities(np.array([2]), np.array([5.0], np.float32))
    buffer.update_priorities(np.array([2]), np.array([0.5], np.float32))

    buffer.add(*player.play(["on"] * 3))

    np.testing.assert_allclose(buffer.priorities[4], 5, rtol=1e-6)
    assert not buffer.priorities[5:].any()


def test_the_first_errors_replace_the_initial_priority() -> None:
    """Errors of a scaled reward are about 0.03. With the paper's 1, new transitions would be sampled thirty times as often."""
    buffer, player = filled(4, alpha=1.0), Player(3, SHAPE, seed=1)
    buffer.update_priorities(np.array([2, 5]), np.array([0.03, 0.01], np.float32))
    buffer.add(*player.play(["on"] * 3))

    expected = np.full((5, 3), 0.03)
    expected[5 // 3, 5 % 3] = 0.01
    np.testing.assert_allclose(buffer.priorities[:5], expected, rtol=1e-3)
    np.testing.assert_allclose(buffer._tree.total, expected.sum(), rtol=1e-3)
    assert not buffer.priorities[5:].any()

    buffer.reset()
    buffer.add(*player.play(["on"] * 3))
    buffer.update_priorities(np.array([0]), np.array([7.0], np.float32))
    np.testing.assert_allclose(buffer.priorities[0], 7.0, rtol=1e-6)


def test_alpha_0_samples_uniformly() -> None:
    buffer = filled(4, alpha=0.0)
    buffer.update_priorities(np.arange(12), np.arange(12, dtype=np.float32))

    drawn = buffer.sample_weighted(12, beta=0.4)

    assert sorted(drawn.indices.tolist()) == list(range(12))  # each has an equal share of the sum
    np.testing.assert_allclose(drawn.weights, 1)


def test_errors_that_are_not_finite_are_ignored() -> None:
    buffer = filled(2)
    buffer.update_priorities(np.arange(3), np.array([np.nan, np.inf, 2.0], np.float32))

    assert np.isfinite(buffer.priorities).all()
    assert set(buffer.sample_weighted(60, beta=0.4).indices.tolist()) == set(range(6))


@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("steps", [7, 20, 33])
def test_n_step_transitions_equal_those_of_stable_baselines3(steps: int, n_steps: int) -> None:
    """With one environment stable-baselines3 does not choose environments at random, so all slots can be compared."""
    ours = filled(steps, 20, 1, n_steps=n_steps, gamma=0.9)
    theirs = NStepReplayBuffer(20, SPACE, ACTIONS, "cpu", 1, n_steps=n_steps, gamma=0.9)
    player = Player(1, SHAPE, seed=0)
    for _ in range(steps):
        theirs.add(*player.play(player.ordinary(mean_length=5)))
    slots = np.arange(ours.size())

    mine, expected = ours._transitions(slots, np.zeros_like(slots)), theirs._get_samples(slots)

    for name, one, other in zip(mine._fields, mine, expected, strict=True):
        assert one is not None, name
        assert other is not None, name
        assert (one.dtype, one.shape) == (other.dtype, other.shape), name
        torch.testing.assert_close(one, other, rtol=1e-6, atol=0)


def test_samples_come_from_the_right_environment() -> None:
    buffer = filled(10)
    drawn = buffer.sample_weighted(90, beta=0.4)
    slots, envs = drawn.indices // 3, drawn.indices % 3

    assert set(envs.tolist()) == {0, 1, 2}
    np.testing.assert_array_equal(drawn.samples.observations, buffer.observations[slots, envs])
    np.testing.assert_array_equal(drawn.samples.rewards[:, 0], buffer.rewards[slots, envs])


@pytest.mark.parametrize("steps", [0, 7, 33])
def test_priorities_are_saved_and_loaded(steps: int, tmp_path: Path) -> None:
    original, copy = filled(steps), filled(5)
    used = original.size() * 3
    original.update_priorities(np.arange(used), np.linspace(0, 9, used, dtype=np.float32))
    save_replay(original, tmp_path / "replay.npz")
    load_replay(copy, tmp_path / "replay.npz")

    player = Player(3, SHAPE, seed=1)
    for _ in range(2):
        np.testing.assert_array_equal(copy.priorities, original.priorities)
        if original.size():
            np.random.seed(4)
            expected = original.sample_weighted(40, beta=0.4)
            np.random.seed(4)
            drawn = copy.sample_weighted(40, beta=0.4)
            assert (drawn.indices == expected.indices).all()
            assert torch.equal(drawn.weights, expected.weights)
            assert torch.equal(drawn.samples.observations, expected.samples.observations)
        transition = player.play(["on"] * 3)
        original.add(*transition)
        copy.add(*transition)


def test_removed_transitions_are_not_sampled() -> None:
    buffer = filled(10)
    buffer.reset()
    player = Player(3, SHAPE, seed=1)
    buffer.add(*player.play(["on"] * 3))

    assert set(buffer.sample_weighted(50, beta=0.4).indices.tolist()) == {0, 1, 2}


PRIORITISED = {"prioritised": {"alpha": 0.6, "beta_start": 0.4}}


@pytest.mark.parametrize("algorithm", ["dqn", "qrdqn"])
@pytest.mark.parametrize("more", [{}, {"double": True, "dueling": True, "n_steps": 2}])
def test_a_toy_game_is_learned(algorithm: str, more: dict[str, Any], tmp_path: Path) -> None:
    assert late_wins(toy_config(algorithm, agent={**PRIORITISED, **more}), tmp_path) >= 17


def test_beta_rises_to_1_over_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = build(toy_config("dqn", agent={"prioritised": {"beta_start": 0.2}}), toy_vec(), device="cpu")
    betas: list[float] = []
    sample = model.replay_buffer.sample_weighted

    def recorded(count: int, beta: float) -> Any:
        betas.append(beta)
        return sample(count, beta)

    monkeypatch.setattr(model.replay_buffer, "sample_weighted", recorded)

    model.learn(400)

    expected = [0.2 + 0.8 * steps / 400 for steps in range(68, 401, 4)]
    np.testing.assert_allclose(betas, expected)


def test_training_is_deterministic_and_a_checkpoint_keeps_the_priorities(tmp_path: Path) -> None:
    config = toy_config("dqn", agent=PRIORITISED)
    models: list[Any] = []
    for _ in range(2):
        models.append(build(config, toy_vec(), device="cpu"))
        models[-1].learn(300)
    first, second = models
    again: Any = build(config, toy_vec(), device="cpu")

    restore(save_checkpoint(tmp_path, config, first, Counters()), config, again)

    assert all(torch.equal(weights, second.policy.state_dict()[name]) for name, weights in first.policy.state_dict().items())
    assert len(np.unique(first.replay_buffer.priorities)) > 50
    np.testing.assert_array_equal(again.replay_buffer.priorities, first.replay_buffer.priorities)
    again.learn(40, reset_num_timesteps=False)
    assert again._n_updates > first._n_updates


@pytest.mark.parametrize("n_envs", [1, 3])
def test_memory_needs_equal_the_size_of_the_buffer(n_envs: int) -> None:
    config = toy_config("dqn", agent={**PRIORITISED, "buffer_size": 100}, n_envs=n_envs)
    model: Any = build(config, toy_vec(n_envs), device="cpu")

    assert memory_needs(config, BrightSide.observation_space).replay == model.replay_buffer.nbytes
