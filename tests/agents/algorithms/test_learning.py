"""A toy game is learned, trainings are deterministic, and they end at their total."""

from pathlib import Path

import pytest
import torch
from toy_game import AGENTS, toy_config, toy_vec

from agents import EpisodeTotals, PlayedEpisode, TrainingResult, build, load_agent, train
from configs import Config


def run(config: Config, directory: Path, steps: int, **more: object) -> tuple[TrainingResult, list[PlayedEpisode]]:
    episodes: list[PlayedEpisode] = []
    result = train(
        config,
        env=toy_vec(config.train.n_envs),
        directory=directory,
        on_episode=episodes.append,
        total_steps=steps,
        device="cpu",
        **more,  # type: ignore[arg-type]
    )
    return result, episodes


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_agent(path).model.state_dict()


@pytest.mark.parametrize(("algorithm", "steps"), [("dqn", 1_500), ("qrdqn", 1_500), ("ppo", 1_500), ("pqn", 1_500)])
def test_a_toy_game_is_learned(algorithm: str, steps: int, tmp_path: Path) -> None:
    _, episodes = run(toy_config(algorithm), tmp_path, steps)
    played_well = sum(episode.summary.level_completed for episode in episodes[-20:])

    # A random policy earns 8/3 of 8 and wins one episode in 6 561.
    assert played_well >= 17


def test_a_toy_game_is_learned_with_n_step_returns(tmp_path: Path) -> None:
    _, episodes = run(toy_config("dqn", agent={"n_steps": 3}), tmp_path, 1_500)

    assert sum(episode.summary.level_completed for episode in episodes[-20:]) >= 17


@pytest.mark.parametrize("algorithm", AGENTS)
def test_one_seed_gives_one_training(algorithm: str, tmp_path: Path) -> None:
    results = [run(toy_config(algorithm), tmp_path / str(attempt), 400) for attempt in range(2)]
    first, second = (weights(tmp_path / str(attempt) / "model") for attempt in range(2))

    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [episode.summary.actions for episode in results[0][1]] == [episode.summary.actions for episode in results[1][1]]


def test_another_seed_gives_another_training(tmp_path: Path) -> None:
    for seed in (1, 2):
        run(toy_config("dqn").model_copy(update={"seed": seed}), tmp_path / str(seed), 200)
    first, second = (weights(tmp_path / str(seed) / "model") for seed in (1, 2))

    assert any(not torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("algorithm", "steps"), [("dqn", 202), ("qrdqn", 202), ("ppo", 150), ("ppo", 40), ("pqn", 150), ("pqn", 20)]
)
def test_training_ends_at_its_total(algorithm: str, steps: int, tmp_path: Path) -> None:
    result, _ = run(toy_config(algorithm, agent={"gamma": 0.5}), tmp_path, steps)

    assert result.steps == steps
    assert result.frames == 4 * steps


def test_an_update_follows_the_shorter_last_rollout(tmp_path: Path) -> None:
    config = toy_config("ppo")  # rollouts of 64 x 2
    untrained = build(config, toy_vec(), device="cpu").policy.state_dict()
    run(config, tmp_path, 40)
    trained = weights(tmp_path / "model")

    assert any(not torch.equal(untrained[name], trained[name]) for name in untrained)


def test_an_odd_total_is_rounded_up_to_whole_steps_of_all_environments(tmp_path: Path) -> None:
    result, _ = run(toy_config("dqn", n_envs=3), tmp_path, 100)

    assert result.steps == 102


def test_every_ended_episode_is_passed_once_with_its_indices(tmp_path: Path) -> None:
    result, episodes = run(toy_config("dqn"), tmp_path, 160)

    assert [(episode.env_index, episode.episode_index) for episode in episodes] == [
        (env_index, index) for index in range(10) for env_index in range(2)
    ]
    assert [episode.global_step for episode in episodes[::2]] == list(range(16, 161, 16))
    assert result.episodes == len(episodes) == 20
    assert result.reward_sum == sum(episode.summary.reward for episode in episodes)
    assert all(episode.timestamp.tzinfo is not None for episode in episodes)


def test_the_exploration_rate_is_the_share_of_random_actions(tmp_path: Path) -> None:
    _, episodes = run(toy_config("dqn"), tmp_path, 640)  # learning starts at 64, exploration ends at 320
    rates = {episode.global_step: episode.exploration_rate for episode in episodes}

    assert rates[64] == 1.0
    assert 0.4 < rates[160] < 0.6
    assert rates[640] == 0.02
    assert all(episode.exploration_rate == 0.0 for episode in run(toy_config("ppo"), tmp_path / "ppo", 64)[1])


def test_episode_indices_and_sums_continue_from_the_record(tmp_path: Path) -> None:
    result, episodes = run(
        toy_config("dqn"), tmp_path, 32, episode_indices={0: 7, 1: 5}, recorded=EpisodeTotals(episodes=12, reward_sum=30.0)
    )

    assert [(episode.env_index, episode.episode_index) for episode in episodes] == [(0, 7), (1, 5), (0, 8), (1, 6)]
    assert result.episodes == 16
    assert result.reward_sum == pytest.approx(30.0 + sum(episode.summary.reward for episode in episodes))


@pytest.mark.parametrize("algorithm", ["dqn", "ppo"])
def test_a_caller_can_end_a_training_early(algorithm: str, tmp_path: Path) -> None:
    result, _ = run(
        toy_config(algorithm), tmp_path, 5_000, until=lambda progress: progress.frames >= 600 and progress.episodes >= 1
    )

    assert 600 <= result.frames < 640
    assert not result.interrupted
    assert result.model_path is not None
    assert result.checkpoint is not None
    assert result.checkpoint.steps == result.steps
