"""Training and evaluation on the real game, under every protocol and in processes."""

import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_game import AGENTS

from agents import (
    Agent,
    PlayedEpisode,
    TrainingResult,
    build,
    episodes_to_play,
    evaluation_seed,
    load_agent,
    play_episodes,
    protocol_environment,
    train,
)
from agents.checkpoints import latest_checkpoint
from agents.policies import evaluation
from agents.policies.evaluation import games_at_a_time
from configs import PROTOCOLS, Config, EnvironmentConfig, EvaluateConfig, Protocol, from_dict
from configs.game_facts import END_REASONS
from mario_env import WorkerError, make_vec
from mario_env.observations import Frames
from mario_env.processors import usable_processors


def game_config(algorithm: str) -> Config:
    values: dict[str, Any] = {
        "name": "game",
        "seed": 5,
        # Episodes end after 12 decisions without progress, that is within seconds.
        "environment": {"stall_after": 12, "max_steps": 24},
        "agent": {
            **AGENTS[algorithm],
            "network": {"features": "small", "features_dim": 64},
            **({"n_steps": 32} if algorithm == "ppo" else {"train_freq": 8}),
        },
        "train": {
            "n_envs": 2,
            "progress_bar": True,
            "device": "cpu",
            "torch_threads": 1,
            "statistics_every": 1,
            "statistics_seconds": 0.0,
        },
        "evaluate": {"episodes": 3, "n_envs": 2, "sticky_actions": 0.5, "noop_frames": 5},
    }
    return from_dict(values, source="test")


@pytest.mark.parametrize("algorithm", ["dqn", "ppo"])
def test_a_short_training_on_the_game(algorithm: str, tmp_path: Path) -> None:
    config = game_config(algorithm)
    episodes: list[PlayedEpisode] = []
    env = make_vec(config.environment, 2, seed=config.seed)
    try:
        result = train(config, env=env, directory=tmp_path, on_episode=episodes.append, total_steps=128, device="cpu")
    finally:
        env.close()

    assert result.steps == 128
    assert 0 < result.frames <= 4 * 128
    assert result.episodes == len(episodes) >= 2
    assert result.reward_sum == pytest.approx(sum(episode.summary.reward for episode in episodes))
    for episode in episodes:
        assert episode.summary.end_reason in END_REASONS
        assert len(episode.summary.actions) == episode.summary.steps
    assert load_agent(tmp_path / "model").manifest.observation_shape == Frames.shape


@pytest.mark.parametrize("algorithm", ["dqn", "qrdqn", "ppo"])
def test_the_first_layer_gets_values_from_0_to_1(algorithm: str) -> None:
    env = make_vec(game_config(algorithm).environment, 1, seed=0, processes=False)
    model = build(game_config(algorithm), env, device="cpu")
    seen: list[tuple[float, float]] = []
    first = next(module for module in model.policy.modules() if type(module).__name__ == "Conv2d")
    first.register_forward_pre_hook(lambda _, inputs: seen.append((float(inputs[0].min()), float(inputs[0].max()))))

    observation = env.reset()
    model.predict(observation)  # type: ignore[arg-type]
    env.close()

    assert np.asarray(observation).max() > 128
    assert seen
    assert all(low >= 0.0 and 0.3 < high <= 1.0 for low, high in seen)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Agent:
    """An agent after a very short training."""
    directory = tmp_path_factory.mktemp("agent")
    config = game_config("dqn")
    env = make_vec(config.environment, 1, seed=0, processes=False)
    train(config, env=env, directory=directory, on_episode=lambda _: None, total_steps=80, device="cpu")
    env.close()
    return load_agent(directory / "model")


def played(agent: Agent | None, protocol: Protocol, **evaluate: Any) -> list[PlayedEpisode]:
    config = game_config("dqn")
    episodes: list[PlayedEpisode] = []
    settings = config.evaluate.model_copy(update=evaluate)
    count = play_episodes(
        agent, config.environment, protocol, settings, seed=config.seed, on_episode=episodes.append, processes=False
    )
    assert count == len(episodes)
    return episodes


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_plays_its_number_of_episodes(protocol: Protocol, agent: Agent) -> None:
    episodes = played(None if protocol == "random" else agent, protocol)
    places = sorted((episode.env_index, episode.episode_index) for episode in episodes)
    count = {"greedy": 1, "noop": 5}.get(protocol, 3)

    assert places == [(number, 0) for number in range(count)]
    assert all(episode.global_step == (0 if protocol == "random" else 80) for episode in episodes)
    starts = sorted(episode.summary.start.noop_frames for episode in episodes)
    assert starts == ([1, 2, 3, 4, 5] if protocol == "noop" else [0] * count)


def test_an_evaluation_can_be_repeated_and_a_random_one_varies() -> None:
    first, second = ([episode.summary.actions for episode in played(None, "random")] for _ in range(2))

    assert first == second
    assert len(set(first)) > 1


def test_greedy_episodes_are_equal_and_sticky_ones_differ(agent: Agent) -> None:
    greedy = played(agent, "greedy")[0].summary.actions
    sticky = [episode.summary.actions for episode in played(agent, "sticky", episodes=2)]
    random = [episode.summary.actions for episode in played(None, "random", episodes=2)]

    assert played(agent, "greedy")[0].summary.actions == greedy
    assert len({greedy, *random}) == 3
    assert all(len(actions) >= 1 for actions in sticky)


def test_evaluation_in_processes_gives_the_same_episodes(agent: Agent) -> None:
    config = game_config("dqn")
    together: list[PlayedEpisode] = []
    play_episodes(agent, config.environment, "stochastic", config.evaluate, seed=config.seed, on_episode=together.append)
    apart = played(agent, "stochastic")

    assert [episode.summary.actions for episode in together] == [episode.summary.actions for episode in apart]


def kill_a_worker() -> None:
    """One of the processes that play."""
    process = multiprocessing.active_children()[0]
    process.kill()
    process.join()


def on_nes_py(config: Config) -> Config:
    return config.model_copy(update={"environment": config.environment.model_copy(update={"emulator": "nes-py"})})


def test_an_evaluation_whose_process_dies_ends_with_its_name() -> None:
    """What it had played is handed over, whole episodes only."""
    episodes: list[PlayedEpisode] = []

    def note(episode: PlayedEpisode) -> None:
        episodes.append(episode)
        if len(episodes) == 1:
            kill_a_worker()

    environment, evaluate = on_nes_py(game_config("dqn")).environment, EvaluateConfig(episodes=4, n_envs=2)
    with pytest.raises(WorkerError, match=r"environment worker \d .* was killed by SIGKILL"):
        play_episodes(None, environment, "random", evaluate, seed=5, on_episode=note)

    assert 1 <= len(episodes) <= 2
    assert all(each.summary.steps == len(each.summary.actions) > 0 for each in episodes)


def test_a_training_whose_process_dies_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    config = on_nes_py(game_config("dqn"))
    episodes: list[PlayedEpisode] = []

    def note(episode: PlayedEpisode) -> None:
        episodes.append(episode)
        if len(episodes) == 2:
            kill_a_worker()

    def go_on() -> TrainingResult:
        env = make_vec(config.environment, 2, seed=config.seed)
        try:
            return train(config, env=env, directory=tmp_path, on_episode=note, total_steps=192, device="cpu")
        finally:
            env.close()

    with pytest.raises(WorkerError, match="was killed by SIGKILL"):
        go_on()
    kept = latest_checkpoint(tmp_path)
    assert kept is not None
    assert 0 < kept.steps < 192
    result = go_on()

    assert result.steps == 192
    assert result.episodes == len(episodes) > 4
    assert result.reward_sum == pytest.approx(sum(each.summary.reward for each in episodes))


def test_protocols_override_the_randomness_of_the_environment() -> None:
    trained_with = game_config("dqn").environment.model_copy(update={"sticky_actions": 0.1, "noop_frames": 7})
    evaluate = EvaluateConfig()
    chosen = {protocol: protocol_environment(trained_with, protocol, evaluate) for protocol in PROTOCOLS}

    assert {protocol: (env.sticky_actions, env.sticky_decisions, env.noop_frames) for protocol, env in chosen.items()} == {
        "greedy": (0.0, 0.0, 0),
        "stochastic": (0.0, 0.0, 0),
        "sticky": (0.25, 0.0, 0),
        "noop": (0.0, 0.0, 30),
        "random": (0.0, 0.0, 0),
        "sticky_decisions": (0.0, 0.25, 0),
    }


def test_every_evaluation_has_a_seed_of_its_own() -> None:
    seeds = {evaluation_seed(seed, protocol) for seed in range(50) for protocol in PROTOCOLS}

    assert len(seeds) == 50 * len(PROTOCOLS)
    assert all(1_000 < seed < 2**128 for seed in seeds)


def test_only_the_random_protocol_needs_no_agent() -> None:
    with pytest.raises(ValueError, match="the protocol greedy needs an agent"):
        played(None, "greedy")
    assert episodes_to_play("greedy", EvaluateConfig()) == 1
    assert episodes_to_play("noop", EvaluateConfig()) == 30
    assert episodes_to_play("sticky", EvaluateConfig()) == 100


@pytest.mark.parametrize("protocol", ["stochastic", "sticky", "sticky_decisions", "noop", "random"])
def test_the_number_of_games_at_a_time_does_not_change_the_episodes(protocol: Protocol, agent: Agent) -> None:
    def rows_with(n_envs: int) -> list[Any]:
        episodes = played(None if protocol == "random" else agent, protocol, episodes=5, n_envs=n_envs)
        rows = [(each.env_index, each.episode_index, replace(each.summary, duration_seconds=0.0)) for each in episodes]
        return sorted(rows, key=lambda row: row[0])

    one = rows_with(1)
    assert rows_with(2) == rows_with(5) == rows_with(16) == one
    if protocol in ("stochastic", "random"):
        assert len({summary.actions for _, _, summary in one}) > 1


def test_the_default_number_of_games_at_a_time() -> None:
    fast, nes_py = EnvironmentConfig(), EnvironmentConfig(emulator="nes-py")
    assert games_at_a_time(fast, EvaluateConfig()) == 32
    assert games_at_a_time(nes_py, EvaluateConfig()) == usable_processors()
    assert games_at_a_time(nes_py, EvaluateConfig(n_envs=3)) == 3


def test_the_number_of_threads_reaches_the_games(monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[int] = []

    def note(*arguments: Any, **keys: Any) -> Any:
        envs = make_vec(*arguments, **keys)
        parts.append(envs.games._parts)  # type: ignore[attr-defined]
        return envs

    monkeypatch.setattr(evaluation, "make_vec", note)
    for threads in (1, 3):
        settings = EvaluateConfig(episodes=4)
        play_episodes(
            None, game_config("dqn").environment, "random", settings, seed=0, on_episode=lambda _: None, threads=threads
        )
    assert parts == [1, 3]


def test_all_episodes_of_an_evaluation_have_different_random_numbers(agent: Agent) -> None:
    for protocol in ("random", "sticky"):
        episodes = played(None if protocol == "random" else agent, protocol, episodes=8, n_envs=3)
        assert len({(each.summary.actions, each.summary.delays) for each in episodes}) == 8
