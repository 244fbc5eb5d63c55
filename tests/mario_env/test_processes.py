"""Environments in processes of their own: the same as without, and failures that have a name."""

import os
import re
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
from mario_env.processes import ProcessVecEnv
from mario_env.stable_baselines import begin_episode

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


def _pids(envs: ProcessVecEnv) -> list[int]:
    return [process.pid or 0 for process in envs.processes]


def _kill(envs: ProcessVecEnv, index: int) -> None:
    envs.processes[index].kill()
    envs.processes[index].join()


def test_a_process_that_was_killed_is_named(two: ProcessVecEnv) -> None:
    """Its episode ends nowhere: from then on there is no result but the error."""
    two.reset()
    _kill(two, 1)
    message = f"environment worker 1 (process {_pids(two)[1]}) was killed by SIGKILL; the system does that when memory runs out"
    calls: list[Callable[[], Any]] = [lambda: two.step(np.array([0, 0])), two.reset, lambda: two.get_attr("spec")]
    for call in calls:
        with pytest.raises(WorkerError) as caught:
            call()
        assert str(caught.value) == message
        assert (caught.value.index, caught.value.pid) == (1, _pids(two)[1])


def test_a_process_that_dies_during_a_step_is_named(two: ProcessVecEnv) -> None:
    two.reset()
    os.kill(_pids(two)[0], signal.SIGSTOP)
    two.step_async(np.array([0, 0]))
    _kill(two, 0)
    with pytest.raises(WorkerError, match=r"environment worker 0 .* was killed by SIGKILL"):
        two.step_wait()


def test_a_process_that_does_not_answer_is_killed_and_named() -> None:
    envs: Any = make_vec(RANDOM, 2, seed=4, retry=RetryConfig(worker_timeout=0.5))
    envs.reset()
    os.kill(_pids(envs)[1], signal.SIGSTOP)
    with pytest.raises(WorkerError, match=r"environment worker 1 \(process \d+\) has not answered for 0\.5 s and was killed"):
        envs.step(np.array([0, 0]))
    assert envs.processes[1].exitcode == -signal.SIGKILL
    envs.close()


def test_beginning_an_episode_with_a_dead_process_names_it(two: ProcessVecEnv) -> None:
    two.reset()
    first = begin_episode(two, 1, seed=3, options={"noop_frames": 5})
    alone, info = make(RANDOM, seed=3).reset(options={"noop_frames": 5})
    assert np.array_equal(first, alone)
    assert two.reset_infos[1] == info
    _kill(two, 1)
    with pytest.raises(WorkerError, match="environment worker 1"):
        begin_episode(two, 1, seed=3, options={})


def test_an_environment_that_cannot_be_made_is_told() -> None:
    config = RANDOM.model_copy(update={"frame_skip": "four"})
    with pytest.raises(
        WorkerError, match=r"environment worker 0 \(process \d+\) ended with exit code 1; if its environment raised"
    ):
        make_vec(config, 2, seed=4)


def test_environments_do_not_end_of_a_signal_to_the_whole_group(two: ProcessVecEnv) -> None:
    two.reset()
    for pid in _pids(two):
        os.kill(pid, signal.SIGTERM)
    two.step(np.array([3, 3]))
    two.step(np.array([3, 3]))


def test_an_error_in_an_environment_names_its_process_and_the_cause_is_printed(tmp_path: Path) -> None:
    ended = _script(
        tmp_path, "envs = make_vec(EnvironmentConfig(emulator='nes-py'), 2, seed=0)\nenvs.reset()\nenvs.step([0, 77])\n"
    )
    assert ended.returncode == 1
    assert re.search(
        r"WorkerError: environment worker 1 \(process \d+\) ended with exit code 1; "
        r"if its environment raised an error, the traceback is on the standard error\n",
        ended.stderr,
    )
    assert "ValueError: there is no action 77: the actions are 0 to 6" in ended.stderr


def test_closing_with_dead_workers_neither_raises_nor_hangs(two: ProcessVecEnv) -> None:
    two.reset()
    two.step_async(np.array([0, 0]))
    for pid in _pids(two):
        os.kill(pid, signal.SIGKILL)
    begin = time.monotonic()
    two.close()
    two.close()
    assert time.monotonic() - begin < 3
    assert not any(psutil.pid_exists(pid) for pid in _pids(two))


def test_a_stuck_worker_is_killed_when_closing(two: ProcessVecEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mario_env.processes._CLOSE_SECONDS", 0.3)
    os.kill(_pids(two)[0], signal.SIGSTOP)
    two.close()
    assert not any(psutil.pid_exists(pid) for pid in _pids(two))


def test_workers_ignore_ctrl_c(two: ProcessVecEnv) -> None:
    two.reset()
    for pid in _pids(two):
        os.kill(pid, signal.SIGINT)
    two.step(np.array([3, 3]))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) & {signal.SIGINT} == set(), "this process does not"


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
    with pytest.raises(WorkerError, match="ended with exit code 1"):
        two.get_attr("no_such_thing")


def test_importing_prints_nothing_and_leaves_the_environment_alone() -> None:
    # stable-baselines3 imports Gym, whose notice and whose choice of a sound driver are kept from the person
    code = "import mario_env.stable_baselines, os; print(os.environ.get('SDL_AUDIODRIVER'))"
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
    """A script that is killed before it can close anything."""
    ended = _script(
        tmp_path,
        "envs = make_vec(EnvironmentConfig(emulator='nes-py'), 2, seed=0)\n"
        "print(*[process.pid for process in envs.processes], flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n",
    )
    assert ended.returncode == -signal.SIGKILL
    pids = [int(pid) for pid in ended.stdout.split()]
    assert len(pids) == 2
    _wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids))


def _script(folder: Path, body: str) -> "subprocess.CompletedProcess[str]":
    script = folder / "script.py"
    script.write_text(
        "import os, signal\n"
        "from configs.schema import EnvironmentConfig\n"
        "from mario_env import make_vec\n"
        "if __name__ == '__main__':\n" + "".join(f"    {line}\n" for line in body.splitlines())
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False, timeout=120)


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
