"""The output of a training: metrics at a bounded rate, statistics, a progress bar."""

import fcntl
import itertools
import logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3.common.logger import KVWriter
from toy_game import toy_config, toy_vec

from agents import TrainingResult, train
from agents.training import reporting
from agents.training.reporting import Pace


class Metrics(KVWriter):
    def __init__(self) -> None:
        self.dumps: list[tuple[int, dict[str, Any]]] = []

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        self.dumps.append((step, dict(key_values)))

    def close(self) -> None:
        raise AssertionError("writers are closed by their owner")


def run(directory: Path, algorithm: str = "dqn", steps: int = 3_200, **train_section: Any) -> tuple[TrainingResult, Metrics]:
    metrics = Metrics()
    agent = {"train_freq": 50} if algorithm == "dqn" else {"n_steps": 16, "n_epochs": 1}
    result = train(
        toy_config(algorithm, agent=agent, n_envs=8, **train_section),
        env=toy_vec(n_envs=8),
        directory=directory,
        on_episode=lambda _: None,
        total_steps=steps,
        device="cpu",
        writers=[metrics],
    )
    return result, metrics


@pytest.mark.parametrize("algorithm", ["dqn", "ppo"])
def test_metrics_are_written_at_a_bounded_rate_and_at_reproducible_steps(algorithm: str, tmp_path: Path) -> None:
    _, metrics = run(tmp_path / "1", algorithm)
    _, again = run(tmp_path / "2", algorithm)
    steps = [step for step, _ in metrics.dumps]

    assert steps == [step for step, _ in again.dumps]
    assert len(steps) == 4
    assert steps[-1] == 3_200
    assert all(1_000 <= later - earlier <= 1_100 for earlier, later in itertools.pairwise(steps[:-1]))


def test_metrics_are_written_even_if_no_episode_ends(tmp_path: Path) -> None:
    metrics = Metrics()
    train(
        toy_config("dqn", agent={"learning_starts": 100_000}, n_envs=20),
        env=toy_vec(n_envs=20, length=10**9),
        directory=tmp_path,
        on_episode=lambda _: None,
        total_steps=12_000,
        device="cpu",
        writers=[metrics],
    )

    assert [step for step, _ in metrics.dumps] == [10_000, 12_000]


@pytest.mark.parametrize("algorithm", ["dqn", "ppo"])
def test_the_last_metrics_have_the_totals_of_the_training(algorithm: str, tmp_path: Path) -> None:
    result, metrics = run(tmp_path, algorithm)
    last: Mapping[str, Any] = metrics.dumps[-1][1]
    everything = set().union(*(values for _, values in metrics.dumps))

    assert last["train/episodes"] == result.episodes
    assert last["train/reward_sum"] == result.reward_sum
    assert last["train/frames"] == result.frames == 12_800
    assert everything >= {
        "rollout/ep_rew_mean",
        "rollout/ep_len_mean",
        "rollout/distance_mean",
        "rollout/distance_max",
        "rollout/completion_rate",
        "rollout/reward_progress",
        "rollout/reward_death",
        "rollout/exploration_rate",
        "time/steps_per_second",
        "train/loss",
        "train/learning_rate",
    }
    assert 0 <= last["rollout/completion_rate"] <= 1
    assert last["rollout/reward_progress"] == pytest.approx(last["rollout/ep_rew_mean"])


def test_statistics_are_logged_every_given_number_of_episodes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run(tmp_path, steps=320, statistics_every=12, statistics_seconds=0.0)
    lines = [record.getMessage() for record in caplog.records if "episodes" in record.getMessage()]

    assert len(lines) == 2
    assert re.fullmatch(
        r"step 128 of 320 \| episodes 16 \| reward \d\.\d \| distance \d+ \(best \d+\) \| completed \d+ of 16 "
        r"\| exploration \d\.\d{3} \| \d+ steps/s",
        lines[0],
    )


def test_lines_are_at_least_the_given_seconds_apart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        started = time.perf_counter()
        run(tmp_path, steps=6_400, statistics_every=1, statistics_seconds=0.2)
        seconds = time.perf_counter() - started
    lines = [record for record in caplog.records if record.getMessage().startswith("step ")]

    # The times of the records are not compared: a busy machine may delay a record after the decision to write it.
    assert 1 < len(lines) <= seconds / 0.2


def test_the_speed_includes_updates(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        config = toy_config("ppo", agent={"n_steps": 64, "n_epochs": 30}, n_envs=8, statistics_every=1, statistics_seconds=0.0)
        result = train(
            config, env=toy_vec(n_envs=8), directory=tmp_path, on_episode=lambda _: None, total_steps=2_048, device="cpu"
        )
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("step ")]
    shown = float(lines[-1].split("|")[-1].split()[0])
    # Within a rollout it is ten times as fast. The last of four updates comes after the last line.
    assert shown < 2 * result.steps / result.seconds


def test_the_pace_counts_complete_rollouts() -> None:
    now = 100.0
    pace = Pace(lambda: now)
    pace.begin(0)
    now += 2.0
    assert pace.rate(4_000) == 2_000  # no rollout is complete yet
    for rollout in range(1, 31):
        now = 100.0 + 10 * rollout  # 2 s of play, 8 s of learning
        pace.mark(4_000 * rollout)
        now += 2.0
        assert pace.rate(4_000 * (rollout + 1)) == pytest.approx(400)
    for _ in range(12):  # the training slows down, which shows within a minute
        now += 20.0
        rollout += 1
        pace.mark(4_000 * rollout)
    assert pace.rate(4_000 * rollout) == pytest.approx(200)


def test_without_a_terminal_only_log_lines_are_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "_SECONDS_BETWEEN_PLAIN_LINES", 0.005)
    with caplog.at_level(logging.INFO):
        run(tmp_path, steps=1_000, progress_bar=True)
    captured = capfd.readouterr()

    assert captured.out == captured.err == ""
    plain = [record.getMessage() for record in caplog.records if record.getMessage().startswith("training: ")]
    assert plain
    assert re.fullmatch(r"training: [\d,]+ of 1,000 steps \(\d+\.\d%\), \d+ steps/s, \d\d:\d\d left", plain[0])


def test_a_progress_bar_in_a_terminal(tmp_path: Path, process_environment: dict[str, str]) -> None:
    program = (
        "import logging, sys\n"
        "from pathlib import Path\n"
        "from agents import train\n"
        "from toy_game import toy_config, toy_vec\n"
        "logging.basicConfig(level=logging.INFO, format='%(message)s')\n"
        "config = toy_config('ppo', progress_bar=True, keep_awake=True, statistics_seconds=0.0)\n"
        "train(config, env=toy_vec(), directory=Path(sys.argv[1]), on_episode=lambda _: None, total_steps=600, device='cpu')\n"
    )
    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))  # a new terminal has no size
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program, str(tmp_path)],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=process_environment,
    ) as process:
        os.close(terminal)
        output = _read_all(master)

    assert process.returncode == 0, output
    assert re.search(r"training: 100%\S* 600/600 \[\d\d:\d\d<\d\d:\d\d, .*steps/s, distance \d+, completed .*\]", output), (
        output
    )
    # Only the bar, which also shows the statistics.
    assert "step " not in output
    assert "wakepy" not in output
    assert "Traceback" not in output


def _read_all(descriptor: int) -> str:
    data = b""
    try:
        while block := os.read(descriptor, 4096):
            data += block
    except OSError:  # on Linux, when the other end has been closed
        pass
    os.close(descriptor)
    return data.decode()
