"""Environments in processes of their own: the same as without, and failures that have a name."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

from configs.schema import EnvironmentConfig, RetryConfig
from configs.seeds import game_seeds
from mario_env import WorkerError, make, make_vec
from mario_env.observations import Frames
from mario_env.vector import ProcessVecEnv

RANDOM = EnvironmentConfig(emulator="nes-py", sticky_actions=0.25, noop_frames=30, max_steps=20)


@pytest.fixture
def two() -> Iterator[ProcessVecEnv]:
    envs = make_vec(RANDOM, 2, seed=4)
    assert isinstance(envs, ProcessVecEnv)
    yield envs
    envs.close()


def _play(envs: VecEnv, steps: int = 45) -> list[Any]:
    seen: list[Any] = [envs.reset()]
    for step in range(steps):
        observations, rewards, dones, infos = envs.step(np.array([3, step % 7]))
        ends = [info["episode_summary"].actions for info in infos if "episode_summary" in info]
        seen.append((observations, rewards.astype(np.float32), dones, ends, [info["x_pos"] for info in infos]))
    return seen


def _same(first: list[Any], second: list[Any]) -> bool:
    def flat(value: Any) -> Any:
        return [flat(part) for part in value] if isinstance(value, (list, tuple)) else np.asarray(value).tolist()

    return bool(flat(first) == flat(second))


def test_processes_play_what_one_process_plays(two: ProcessVecEnv) -> None:
    together = make_vec(RANDOM, 2, seed=4, processes=False)
    first = _play(two)
    assert _same(first, _play(together))
    two.seed(4)
    assert _same(first, _play(two))
    two.seed(4)
    two.reset()
    assert two.reset_infos[0]["noop_frames"] != two.reset_infos[1]["noop_frames"]
    together.close()


@pytest.mark.parametrize("processes", [False, True])
def test_each_environment_has_a_seed_of_its_own(processes: bool) -> None:
    envs = make_vec(RANDOM, 3, seed=10, processes=processes)
    envs.reset()
    starts = [info["noop_frames"] for info in envs.reset_infos]
    assert starts == [make(RANDOM, seed=own).reset()[1]["noop_frames"] for own in game_seeds(10, 3)]
    envs.close()


def test_the_end_of_an_episode_is_told_as_stable_baselines3_expects(two: ProcessVecEnv) -> None:
    two.reset()
    for _ in range(20):
        observations, _, dones, infos = two.step(np.array([0, 0]))
    assert dones.all()
    for observation, info, reset_info in zip(observations, infos, two.reset_infos, strict=True):
        assert info["TimeLimit.truncated"] is True
        assert info["episode"]["l"] == 20
        assert info["terminal_observation"].shape == Frames.shape
        assert np.array_equal(observation[0], observation[3]), "the next episode has begun"
        assert reset_info["frame_count"] == 0


def _kill(envs: ProcessVecEnv, index: int) -> None:
    pid = envs.pids[index]
    os.kill(pid, signal.SIGKILL)
    _wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


@pytest.fixture
def make_two() -> Iterator[Callable[..., ProcessVecEnv]]:
    """Two environments; keywords are of `RetryConfig`."""
    made: list[ProcessVecEnv] = []

    def make_them(**keys: Any) -> ProcessVecEnv:
        envs = make_vec(RANDOM, 2, seed=4, retry=RetryConfig(**keys))
        assert isinstance(envs, ProcessVecEnv)
        made.append(envs)
        return envs

    yield make_them
    for envs in made:
        envs.close()


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_lost_worker_is_replaced_and_its_episode_ends_without_a_result(
    how: str, make_two: Callable[..., ProcessVecEnv], caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed, two = (make_two(worker_timeout=2.0) for _ in range(2))
    undisturbed.reset()
    two.reset()
    for _ in range(7):
        expected, *_ = undisturbed.step(np.array([3, 1]))
        before, *_ = two.step(np.array([3, 1]))
    assert np.array_equal(before, expected)
    pid = two.pids[1]
    if how == "killed":
        _kill(two, 1)
    else:
        os.kill(pid, signal.SIGSTOP)

    observations, rewards, dones, infos = two.step(np.array([3, 1]))

    expected, *_ = undisturbed.step(np.array([3, 1]))
    assert np.array_equal(observations[0], expected[0]), "the other plays on"
    assert list(dones) == [False, True]
    assert rewards[1] == infos[1]["frames"] == 0
    assert infos[1]["TimeLimit.truncated"] is True
    assert np.array_equal(infos[1]["terminal_observation"], before[1])
    assert "episode_summary" not in infos[1]
    what = {"killed": "was killed by SIGKILL", "stopped": "has not answered for 2 s and was killed"}[how]
    assert infos[1]["worker_lost"].startswith(f"environment worker 1 (process {pid}) {what}")
    assert f"{what}" in caplog.text
    assert "it is started anew, its episode is dropped" in caplog.text
    assert two.pids[1] != pid
    assert not psutil.pid_exists(pid)
    ended = [two.step(np.array([3, 1]))[3][1].get("episode_summary") for _ in range(20)]
    assert [summary.steps for summary in ended if summary is not None] == [20]


def test_a_worker_that_dies_again_and_again_is_given_up(make_two: Callable[..., ProcessVecEnv]) -> None:
    two = make_two(worker_restarts=1)
    two.reset()
    _kill(two, 0)
    for _ in range(22):  # an episode ends: the count begins anew
        two.step(np.array([0, 0]))
    _kill(two, 0)
    two.step(np.array([0, 0]))
    pid = two.pids[0]
    _kill(two, 0)
    with pytest.raises(
        WorkerError, match=rf"\(process {pid}\) was killed by SIGKILL.*started anew 1 time without ending an epi"
    ):
        two.step(np.array([0, 0]))


def test_a_worker_that_dies_before_a_reset_is_replaced_and_plays_something_else(make_two: Callable[..., ProcessVecEnv]) -> None:
    two = make_two()
    first = two.reset()
    _kill(two, 0)
    two.seed(4)
    again = two.reset()
    assert np.array_equal(again[1], first[1])
    (own, _) = game_seeds(4, 2)
    assert two.reset_infos[0]["noop_frames"] != make(RANDOM, seed=own).reset()[1]["noop_frames"]


def test_a_killed_worker_that_is_not_to_be_replaced_is_named(make_two: Callable[..., ProcessVecEnv]) -> None:
    two = make_two(worker_restarts=0)
    two.reset()
    _kill(two, 1)
    with pytest.raises(WorkerError) as caught:
        two.step(np.array([0, 0]))
    message = f"environment worker 1 (process {two.pids[1]}) was killed by SIGKILL; the system does that when memory runs out"
    assert str(caught.value) == message
    assert (caught.value.index, caught.value.pid) == (1, two.pids[1])
    with pytest.raises(WorkerError, match="was killed by SIGKILL"):
        two.reset()
    with pytest.raises(WorkerError, match="was killed by SIGKILL"):
        two.get_attr("spec")


def test_environments_do_not_end_of_a_signal_to_the_whole_group(two: ProcessVecEnv) -> None:
    two.reset()
    for pid in two.pids:
        os.kill(pid, signal.SIGTERM)
    two.step(np.array([3, 3]))
    assert not [info for info in two.step(np.array([3, 3]))[3] if "worker_lost" in info]


def test_an_error_in_an_environment_names_worker_and_cause(two: ProcessVecEnv) -> None:
    two.reset()
    with pytest.raises(WorkerError) as caught:
        two.step(np.array([0, 77]))
    first, *rest = str(caught.value).splitlines()
    cause = "ValueError: there is no action 77: the actions are 0 to 6"
    assert first == f"environment worker 1 (process {two.pids[1]}) failed: {cause}"
    assert "In the worker:" in rest
    assert rest[-1] == cause


def test_closing_with_dead_workers_neither_raises_nor_hangs(two: ProcessVecEnv) -> None:
    two.reset()
    two.step_async(np.array([0, 0]))
    for pid in two.pids:
        os.kill(pid, signal.SIGKILL)
    begin = time.monotonic()
    two.close()
    two.close()
    assert time.monotonic() - begin < 3
    assert not any(psutil.pid_exists(pid) for pid in two.pids)


def test_a_stuck_worker_is_killed_when_closing(two: ProcessVecEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mario_env.vector.CLOSE_SECONDS", 0.3)
    os.kill(two.pids[0], signal.SIGSTOP)
    two.close()
    assert not any(psutil.pid_exists(pid) for pid in two.pids)


def test_workers_ignore_ctrl_c(two: ProcessVecEnv) -> None:
    two.reset()
    for pid in two.pids:
        os.kill(pid, signal.SIGINT)
    two.step(np.array([3, 3]))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) & {signal.SIGINT} == set(), "this process does not"


def test_workers_are_small(two: ProcessVecEnv) -> None:
    two.reset()
    for pid in two.pids:
        worker = psutil.Process(pid)
        assert worker.num_threads() == 1
        assert not any("torch" in opened.path for opened in worker.memory_maps())


def test_the_rest_of_the_interface_works(two: ProcessVecEnv) -> None:
    two.reset()
    assert two.num_envs == 2
    assert two.get_attr("render_mode") == ["rgb_array", "rgb_array"]
    assert two.env_is_wrapped(TimeLimit) == [True, True]
    assert two.env_is_wrapped(Monitor, indices=[0]) == [False]
    assert two.has_attr("np_random")
    assert not two.has_attr("no_such_thing")
    two.set_attr("remembered", 5, indices=1)
    assert two.get_attr("remembered", indices=1) == [5]
    assert two.env_method("get_wrapper_attr", "remembered", indices=[1]) == [5]
    assert [image.shape for image in two.get_images() if image is not None] == [(240, 256, 3)] * 2
    with pytest.raises(WorkerError, match="no_such_thing"):
        two.get_attr("no_such_thing")


def test_importing_prints_nothing_and_leaves_the_environment_alone() -> None:
    # stable-baselines3 imports Gym, whose notice and whose choice of a sound driver are kept from the person
    code = "import mario_env.vector, os; print(os.environ.get('SDL_AUDIODRIVER'))"
    environment = {name: value for name, value in os.environ.items() if name != "SDL_AUDIODRIVER"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert (ended.stdout.strip(), ended.stderr) == ("None", "")


def test_no_environment_is_no_vector() -> None:
    with pytest.raises(ValueError, match=r"^n_envs: at least 1 environment is needed, not 0$"):
        make_vec(RANDOM, 0, seed=0)


def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    # A script without `if __name__ == "__main__"`, killed before it can close anything.
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal\n"
        "from configs.schema import EnvironmentConfig\n"
        "from mario_env import make_vec\n"
        "envs = make_vec(EnvironmentConfig(emulator='nes-py'), 2, seed=0)\n"
        "print(*envs.pids, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == -signal.SIGKILL
    pids = [int(pid) for pid in ended.stdout.split()]
    assert len(pids) == 2
    _wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids))


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
