"""Signals end a training cleanly; a kill loses only the steps after the last checkpoint."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from toy_game import BrightSide, toy_config, toy_vec

from agents import DeviceLostError, PlayedEpisode, Progress, TrainingInterrupted, latest_checkpoint, load_agent, train
from agents.device import StopRequest
from mario_env import WorkerError

# Prints a line for each episode. A pause after each keeps the program running until the test has sent its signal.
PROGRAM = """
import logging, sys, time
from pathlib import Path
from agents import TrainingInterrupted, train
from toy_game import toy_config, toy_vec

algorithm, directory, total, pause = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])

def on_episode(episode):
    print(episode.env_index, episode.episode_index, episode.global_step, flush=True)
    time.sleep(pause)

config = toy_config(algorithm, checkpoint_every=100)
try:
    result = train(config, env=toy_vec(), directory=directory, on_episode=on_episode, total_steps=total, device="cpu")
except TrainingInterrupted as interruption:
    print("interrupted", interruption.result.steps, interruption.result.checkpoint.steps, flush=True)
    sys.exit(7)
print("done", result.steps, result.frames, flush=True)
"""


def start(environment: dict[str, str], algorithm: str, directory: Path, total: int, pause: float) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", PROGRAM, algorithm, str(directory), str(total), str(pause)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment, text=True)


def is_beyond(steps: int, line: str) -> bool:
    return int(line.split()[2]) > steps


def read_until(process: subprocess.Popen[str], condition: Callable[[str], bool]) -> None:
    assert process.stdout is not None
    while not condition(line := process.stdout.readline()):
        assert line, f"ended early with {process.wait()}"


@pytest.mark.parametrize(("algorithm", "kills"), [("dqn", (200, 400)), ("ppo", (400,))])
def test_a_killed_training_resumes_from_its_last_checkpoint_and_ends_at_the_total(
    algorithm: str, kills: tuple[int, ...], tmp_path: Path, process_environment: dict[str, str]
) -> None:
    for steps in kills:
        with start(process_environment, algorithm, tmp_path, 100_000, 0.005) as process:
            read_until(process, partial(is_beyond, steps))
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
    last = latest_checkpoint(tmp_path)
    assert last is not None
    assert 300 <= last.steps < 1_000
    state = json.loads((last.path / "state.json").read_text())

    with start(process_environment, algorithm, tmp_path, 1_000, 0) as process:
        output = process.communicate()[0].splitlines()

    assert process.returncode == 0
    assert output[-1] == "done 1000 4000"
    # It resumed at the step of the checkpoint, with the next episode of each environment.
    assert output[0] == f"0 {state['counters']['next_index']['0']} {last.steps + 16}"


@pytest.mark.parametrize(("algorithm", "number"), [("dqn", signal.SIGTERM), ("ppo", signal.SIGINT)])
def test_a_signal_ends_a_training_with_a_checkpoint(
    algorithm: str, number: signal.Signals, tmp_path: Path, process_environment: dict[str, str]
) -> None:
    with start(process_environment, algorithm, tmp_path, 100_000, 0.01) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(30)]
        sent = time.monotonic()
        process.send_signal(number)
        output = process.communicate(timeout=30)[0].splitlines()

    assert process.returncode == 7
    assert time.monotonic() - sent < 10
    word, steps, checkpoint_steps = output[-1].split()
    assert (word, steps) == ("interrupted", checkpoint_steps)
    assert int(steps) >= int(lines[-1].split()[2])
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.steps == int(steps)
    assert not (tmp_path / "model").exists()


def test_a_second_signal_aborts_at_once(tmp_path: Path, process_environment: dict[str, str]) -> None:
    with start(process_environment, "dqn", tmp_path, 100_000, 60) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the first episode has ended, and the program sleeps in its callback
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)

        assert process.wait(timeout=5) == -signal.SIGTERM


def test_handlers_are_restored_and_the_exception_has_the_result(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def interrupt(episode: PlayedEpisode) -> None:
        if episode.global_step == 160 and episode.env_index == 0:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingInterrupted, match=r"interrupted at step 160: checkpoint .*step-000000160") as caught:
        train(toy_config("dqn"), env=toy_vec(), directory=tmp_path, on_episode=interrupt, total_steps=5_000, device="cpu")

    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    result = caught.value.result
    assert result.interrupted
    assert result.model_path is None
    assert result.checkpoint is not None
    assert result.checkpoint.steps == result.steps == 160
    # The training resumes from the checkpoint of the interruption.
    finished = train(
        toy_config("dqn"), env=toy_vec(), directory=tmp_path, on_episode=lambda _: None, total_steps=200, device="cpu"
    )
    assert finished.steps == 200


def test_outside_the_main_thread_signal_handlers_are_unchanged() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def look() -> None:
        with StopRequest() as request:
            seen.extend([signal.getsignal(signal.SIGTERM), request.requested])

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()

    assert seen == [before, False]


class DyingVec:
    """A toy environment whose process dies at a given step, with or without a signal to the whole process group."""

    def __init__(self, at: int, number: signal.Signals | None) -> None:
        self.env = toy_vec()
        self._step, self._left, self._number = self.env.step, at, number
        self.env.step = self.step  # type: ignore[method-assign]

    def step(self, actions: object) -> object:
        self._left -= 1
        if self._left == 0:
            if self._number:
                threading.Timer(0.1, os.kill, (os.getpid(), self._number)).start()
            raise WorkerError(1, 4711, "was killed by SIGTERM")
        return self._step(actions)  # type: ignore[arg-type]


def test_after_the_death_of_an_environment_a_checkpoint_is_written(tmp_path: Path) -> None:
    env = DyingVec(150, None).env

    with pytest.raises(WorkerError, match="environment worker 1"):
        train(toy_config("dqn"), env=env, directory=tmp_path, on_episode=lambda _: None, total_steps=1_000, device="cpu")

    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.steps == 298


def test_an_environment_that_the_same_signal_kills_is_part_of_the_interruption(tmp_path: Path) -> None:
    env = DyingVec(150, signal.SIGTERM).env

    with pytest.raises(TrainingInterrupted) as caught:
        train(toy_config("dqn"), env=env, directory=tmp_path, on_episode=lambda _: None, total_steps=1_000, device="cpu")

    assert caught.value.result.steps == 298


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nmore"), DeviceLostError),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), DeviceLostError),
        (torch.OutOfMemoryError("CUDA out of memory"), torch.OutOfMemoryError),
        (RuntimeError("another error"), RuntimeError),
    ],
)
def test_a_lost_device_is_distinguished_from_lack_of_memory(
    fault: RuntimeError, expected: type[Exception], tmp_path: Path
) -> None:
    def fail(progress: Progress) -> bool:
        if progress.steps >= 150:
            raise fault
        return False

    config = toy_config("dqn", checkpoint_every=100)
    with pytest.raises(RuntimeError) as caught:
        train(config, env=toy_vec(), directory=tmp_path, on_episode=lambda _: None, total_steps=400, device="cpu", until=fail)

    assert type(caught.value) is expected
    if expected is DeviceLostError:
        assert "at step 150" in str(caught.value)
        assert "step-000000100. Give the command again" in str(caught.value)
        assert str(fault).partition("\n")[0] in str(caught.value)
        assert caught.value.__cause__ is fault


def test_a_failed_attempt_releases_its_memory(tmp_path: Path) -> None:
    model: list[object] = []

    def fail(_: object) -> bool:
        frame = sys._getframe()
        while "self" not in frame.f_locals or not hasattr(frame.f_locals["self"], "replay_buffer"):
            assert frame.f_back is not None
            frame = frame.f_back
        model.append(frame.f_locals["self"])
        raise RuntimeError("an error of the caller")

    with pytest.raises(RuntimeError, match="an error of the caller"):
        train(
            toy_config("dqn"),
            env=toy_vec(),
            directory=tmp_path,
            on_episode=lambda _: None,
            total_steps=100,
            device="cpu",
            until=fail,
        )

    assert model[0].replay_buffer is None  # type: ignore[attr-defined]
    assert not hasattr(model[0], "policy")


def test_the_agent_of_an_interrupted_training_can_play(tmp_path: Path) -> None:
    """The checkpoint has the weights of the training at its interruption."""

    def interrupt(episode: PlayedEpisode) -> None:
        if episode.global_step == 800 and episode.env_index == 0:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(TrainingInterrupted) as caught:
        train(toy_config("ppo"), env=toy_vec(), directory=tmp_path, on_episode=interrupt, total_steps=5_000, device="cpu")

    checkpoint = caught.value.result.checkpoint
    assert checkpoint is not None
    agent = load_agent(checkpoint.path)
    game = BrightSide()
    observation, _ = game.reset(seed=1)
    reward, done = 0.0, False
    while not done:
        observation, earned, done, _, _ = game.step(agent.act(observation[None])[0])
        reward += earned
    assert reward >= 7
    assert all(bool(torch.isfinite(tensor).all()) for tensor in agent.model.state_dict().values())
