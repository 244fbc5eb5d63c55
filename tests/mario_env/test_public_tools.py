"""The environment as others use it: with public tools, as their documentation shows."""

import importlib.util
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium
import numpy as np
import pytest
from gymnasium.error import DependencyNotInstalled, ResetNeeded
from gymnasium.wrappers import RecordVideo
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecMonitor, VecNormalize, VecVideoRecorder

from configs.schema import EnvironmentConfig
from mario_env import make, make_vec
from mario_env.observations import Frames

SHORT = EnvironmentConfig(max_steps=15, crop_status_bar=True, sticky_actions=0.25)
EMULATORS = ("fast", "nes-py")
HAS_MOVIEPY = importlib.util.find_spec("moviepy") is not None


def short(emulator: Any) -> EnvironmentConfig:
    return SHORT.model_copy(update={"emulator": emulator})


@pytest.mark.parametrize("emulator", EMULATORS)
def test_a_step_before_the_reset_is_refused_as_gymnasium_refuses_it(emulator: Any) -> None:
    env = make(short(emulator))
    with pytest.raises(ResetNeeded, match=r"call reset\(\) before the first step"):
        env.step(0)
    env.reset()
    env.step(0)
    env.close()


def test_a_step_of_several_games_before_the_reset_is_refused() -> None:
    envs = make_vec(SHORT, 2, seed=0)
    with pytest.raises(ResetNeeded, match=r"call reset\(\) before the first step"):
        envs.step(np.array([0, 0]))
    envs.reset()
    envs.step(np.array([0, 0]))
    envs.close()


def follow(env: gymnasium.Env[Any, Any], actions: list[int]) -> list[Any]:
    seen = []
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        seen.append((observation.tobytes(), float(reward), terminated, truncated, info["x_pos"], info["action_delay"]))
    return seen


@pytest.mark.parametrize("module", [pickle, cloudpickle])
def test_a_pickled_environment_goes_on_in_the_midst_of_an_episode(module: Any) -> None:
    env = make(SHORT, seed=3)
    env.reset()
    follow(env, [3] * 6)
    again = module.loads(module.dumps(env))
    actions = [4, 3, 0, 6, 3, 4, 4]
    assert follow(again, actions) == follow(env, actions)


@pytest.mark.parametrize("module", [pickle, cloudpickle])
def test_a_pickled_environment_of_nes_py_begins_with_a_reset(module: Any) -> None:
    env = make(short("nes-py"), seed=3)
    env.reset()
    again = module.loads(module.dumps(env))
    with pytest.raises(ResetNeeded):
        again.step(0)
    observations = [each.reset(seed=1)[0] for each in (env, again)]
    assert np.array_equal(*observations)
    assert follow(again, [3] * 10) == follow(env, [3] * 10)
    env.close()
    again.close()


def test_processes_of_stable_baselines3_play_it() -> None:
    envs = SubprocVecEnv([partial(make, SHORT, seed=0), lambda: make(SHORT, seed=1)])
    try:
        first = envs.reset()
        assert isinstance(first, np.ndarray)
        assert first.shape == (2, *Frames.shape)
        for _ in range(16):
            _, _, dones, infos = envs.step(np.array([3, 3]))
        assert not dones.any()
        assert all("episode_summary" not in info for info in infos)
    finally:
        envs.close()


@pytest.mark.parametrize("emulator", EMULATORS)
def test_stable_baselines3s_own_check_finds_nothing_in_the_registered_environment(emulator: Any) -> None:
    env = gymnasium.make("mario_env/SuperMarioBros-1-1-v0", emulator=emulator, render_mode="rgb_array")
    check_env(env.unwrapped)
    env.close()


def test_processes_of_stable_baselines3_play_the_registered_environment() -> None:
    envs = SubprocVecEnv([partial(gymnasium.make, "mario_env:mario_env/SuperMarioBros-1-1-v0", max_steps=15)] * 2)
    try:
        envs.reset()
        for _ in range(15):
            _, _, dones, infos = envs.step(np.array([3, 3]))
        assert dones.all()
        assert all(info["episode_summary"].steps == 15 for info in infos)
    finally:
        envs.close()


def test_policies_are_evaluated_and_trained_through_wrappers() -> None:
    envs = VecMonitor(VecNormalize(make_vec(SHORT, 2, seed=0), norm_obs=False))
    model = PPO("CnnPolicy", envs, n_steps=16, batch_size=16, n_epochs=1, device="cpu")
    model.learn(32)
    assert len(model.ep_info_buffer or []) == 2, "both episodes of 15 decisions have ended"
    envs.close()
    single = Monitor(make(SHORT))
    rewards, lengths = evaluate_policy(model, single, n_eval_episodes=2, return_episode_rewards=True)
    assert lengths == [15, 15]
    assert all(np.isfinite(rewards))  # type: ignore[arg-type]


def record_by_gymnasium(folder: Path) -> None:
    env = RecordVideo(
        gymnasium.make("mario_env/SuperMarioBros-1-1-v0", render_mode="rgb_array", max_steps=15),
        str(folder),
        disable_logger=True,
    )
    env.reset()
    for _ in range(15):
        env.step(3)
    env.close()


def record_by_stable_baselines3(folder: Path) -> None:
    inner = DummyVecEnv([lambda: make(SHORT)])
    envs = VecVideoRecorder(inner, str(folder), record_video_trigger=lambda step: step == 0, video_length=10)
    envs.reset()
    for _ in range(12):
        envs.step(np.array([3]))
    envs.close()


@pytest.mark.parametrize("record", [record_by_gymnasium, record_by_stable_baselines3])
def test_video_recorders_write_videos_or_name_the_package_they_need(record: Any, tmp_path: Path) -> None:
    if not HAS_MOVIEPY:
        with pytest.raises((DependencyNotInstalled, ImportError), match=r"(?i)moviepy"):
            record(tmp_path)
        return
    folder = tmp_path / "videos"
    record(folder)
    (video,) = folder.glob("*.mp4")
    assert video.read_bytes()[4:8] == b"ftyp"
