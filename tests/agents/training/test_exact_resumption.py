"""A killed training equals its uninterrupted twin bit for bit: weights, episodes, counts and metrics."""

import json
import logging
import math
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import KVWriter
from twins import EVERY, VARIANTS, Killed, Record, digest, kill_at, outcome, run, signal_at, twin_config

from agents import EpisodeTotals, Progress, TrainingInterrupted, build, latest_checkpoint
from agents.checkpoints import Manifest, RunState, save_checkpoint, set_progress_state, starts_of, write_folder
from agents.progress import Counters
from agents.training import reporting
from mario_env import make_training_vec, make_vec

Twins = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    """A function that returns the outcome of a variant without interruptions, with only the last checkpoint."""
    known: dict[str, dict[str, Any]] = {}

    def find(variant: str) -> dict[str, Any]:
        if variant not in known:
            directory, record = tmp_path_factory.mktemp("uninterrupted"), Record()
            result = run(twin_config(variant, checkpoint_every=10_000), directory, record)
            assert result.episodes == len(record.rows) > 20
            known[variant] = outcome(directory, result, record)
        return known[variant]

    return find


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_killed_training_ends_as_its_uninterrupted_twin(variant: str, uninterrupted: Twins, tmp_path: Path) -> None:
    config, record = twin_config(variant), Record()
    # Before the first checkpoint, soon after one, and shortly before another, when the replay buffer has wrapped around.
    for steps in (51, EVERY + 12, 4 * EVERY - 3):
        # The state of the global generators between the runs must not matter.
        np.random.seed(steps)
        torch.manual_seed(steps)
        with pytest.raises(Killed):
            run(config, tmp_path, record, until=kill_at(steps))
    # As in the pipeline, the record has more episodes than the checkpoint counts.
    result = run(config, tmp_path, record, episode_indices={0: 90, 1: 91, 2: 92}, recorded=EpisodeTotals(500, 1e6))

    assert record.replayed > 2
    assert outcome(tmp_path, result, record) == uninterrupted(variant)


@pytest.mark.parametrize("variant", ["dqn, curriculum", "ppo, levels"])
def test_a_stopped_training_ends_as_its_uninterrupted_twin(variant: str, uninterrupted: Twins, tmp_path: Path) -> None:
    config, record, stopped = twin_config(variant, checkpoint_every=10_000), Record(), []
    for steps in (93, 315):
        with pytest.raises(TrainingInterrupted) as caught:
            run(config, tmp_path, record, until=signal_at(steps))
        result = caught.value.result
        assert result.checkpoint is not None
        assert result.checkpoint.steps == result.steps
        stopped.append(result.steps)
    result = run(config, tmp_path, record)

    # PPO abandons its rollout of 48 steps; DQN completes its rollout of two steps of all games.
    assert stopped == {"dqn, curriculum": [96, 318], "ppo, levels": [48, 288]}[variant]
    assert outcome(tmp_path, result, record) == uninterrupted(variant)


class Metrics(KVWriter):
    """Metrics by step, except times. Values written again must be equal."""

    def __init__(self) -> None:
        self.at: dict[int, dict[str, float]] = {}

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, Any], step: int = 0) -> None:
        values = {name: float(value) for name, value in key_values.items() if not name.startswith("time/")}
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        assert self.at.setdefault(step, finite) == finite

    def close(self) -> None:
        raise AssertionError("writers are closed by their owner")


@pytest.mark.parametrize(("variant", "signals"), [("dqn, curriculum", False), ("ppo, levels", True)])
def test_metrics_of_a_killed_training_equal_those_of_its_uninterrupted_twin(
    variant: str, signals: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "_MIN_STEPS_BETWEEN_DUMPS", 40)
    config, uninterrupted, killed = twin_config(variant), Metrics(), Metrics()
    run(config, tmp_path / "uninterrupted", Record(), writers=[uninterrupted])
    for steps in (102, 147, 315):
        with pytest.raises(TrainingInterrupted if signals else Killed):
            run(config, tmp_path / "killed", Record(), until=(signal_at if signals else kill_at)(steps), writers=[killed])
    run(config, tmp_path / "killed", Record(), writers=[killed])

    assert len(uninterrupted.at) >= 5
    assert any("train/loss" in values for values in uninterrupted.at.values())
    for name in ("1-3/1", "1-3/2") if variant == "dqn, curriculum" else ("1-1",):
        points = [values[f"curriculum/{name}/point"] for values in uninterrupted.at.values()]
        assert points == sorted(points, reverse=True)
        assert points[-1] < points[0]
    assert killed.at == uninterrupted.at


def test_counts_of_an_abandoned_rollout_are_those_of_its_start(tmp_path: Path) -> None:
    config, record, before = twin_config("ppo", checkpoint_every=10_000), Record(), {}

    def look(progress: Progress) -> bool:
        if progress.steps == 5 * 48:
            before.update(frames=progress.frames, episodes=progress.episodes, reward_sum=progress.reward_sum)
        return signal_at(5 * 48 + 45)(progress)

    with pytest.raises(TrainingInterrupted) as caught:
        run(config, tmp_path, record, until=look)

    result = caught.value.result
    assert result.steps == 5 * 48
    assert {name: getattr(result, name) for name in before} == before
    assert len(record.rows) > before["episodes"]


@pytest.mark.parametrize("variant", ["ppo"])
def test_taking_checkpoints_changes_nothing(variant: str, uninterrupted: Twins, tmp_path: Path) -> None:
    record = Record()
    result = run(twin_config(variant, checkpoint_every=21), tmp_path, record)

    assert outcome(tmp_path, result, record) == uninterrupted(variant)


PROGRAM = """
import json, sys
from pathlib import Path
from twins import run, to_row, twin_config

def on_episode(episode):
    print(json.dumps(to_row(episode)), flush=True)

config = twin_config(sys.argv[1])
result = run(config, Path(sys.argv[2]), on_episode)
print(json.dumps([result.steps, result.frames, result.episodes, result.reward_sum]), flush=True)
"""


def test_real_kills_at_any_moment(uninterrupted: Twins, tmp_path: Path, process_environment: dict[str, str]) -> None:
    variant, draw, kills, output = "dqn, every switch", random.Random(3), 0, ""
    rows: dict[tuple[int, int], dict[str, Any]] = {}
    while not output.startswith("["):
        arguments = [sys.executable, "-c", PROGRAM, variant, str(tmp_path)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=process_environment, text=True) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            if kills < 2:
                time.sleep(draw.uniform(0, 0.4))
                process.kill()
                kills += 1
            lines = [first, *process.stdout.readlines()]
        for line in lines:
            if not line.endswith("\n") or line.startswith("["):
                continue
            row = json.loads(line)
            assert rows.setdefault((row["env_index"], row["episode_index"]), row) == row
        output = lines[-1]

    expected = uninterrupted(variant)
    assert rows == expected["rows"]
    assert json.loads(output) == list(expected["counts"])
    assert digest(tmp_path) == expected["weights"]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of DQN that was killed after its checkpoint at step 180, for tests to copy."""
    directory = tmp_path_factory.mktemp("interrupted")
    with pytest.raises(Killed):
        run(twin_config("dqn"), directory, Record(), until=kill_at(200))
    return directory


def change(file: str, *path: str, to: Any) -> Callable[[Path], None]:
    """A function that writes another value into a JSON file of a checkpoint, and updates the manifest."""

    def apply(folder: Path) -> None:
        content = json.loads((folder / file).read_text())
        inner = content
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = to
        (folder / file).write_text(json.dumps(content))
        seal(folder)

    return apply


def remove_run_state(folder: Path) -> None:
    for name in ("run_state.json", "run_state.npz"):
        (folder / name).unlink()
    seal(folder)


def seal(folder: Path) -> None:
    """Write the manifest again, with the current sizes and digests."""
    manifest = Manifest.from_json(json.loads((folder / "manifest.json").read_text()))

    def copy(aside: Path) -> Manifest:
        for path in folder.iterdir():
            if path.name != "manifest.json":
                shutil.copy(path, aside / path.name)
        return manifest

    write_folder(folder, copy)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (remove_run_state, "it has no run state, because it was written in the middle of a rollout or by an older version"),
        (change("run_state.json", "conditions", "torch", to="1.0"), "under other conditions (torch: 1.0 then, 2."),
        (change("run_state.json", "conditions", "torch's threads", to=4), "(torch's threads: 4 then, 1 now)"),
        (change("run_state.json", "games", "of", "emulator", to="another"), "(emulator: another then, "),
        (change("run_state.json", "games", "of", "environment", "frame_skip", to=2), "(environment.frame_skip: 2 then, 4 now)"),
    ],
)
def test_an_obstacle_is_named_and_new_games_are_played(
    damage: Callable[[Path], None], reason: str, interrupted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(interrupted, tmp_path, dirs_exist_ok=True)
    found = latest_checkpoint(tmp_path)
    assert found is not None
    damage(found.path)
    record = Record()

    with caplog.at_level(logging.INFO):
        result = run(twin_config("dqn"), tmp_path, record, total=300, episode_indices={0: 50}, recorded=EpisodeTotals(100, 7.0))

    assert reason in caplog.text
    assert "with new games and other random numbers" in caplog.text
    # Counts continue from those on record.
    assert min(index for env, index in record.rows if env == 0) == 50
    assert result.episodes == 100 + len(record.rows)


def test_the_curriculum_goes_on_even_if_the_games_do_not(tmp_path: Path) -> None:
    config = twin_config("dqn, curriculum")
    with pytest.raises(Killed):
        run(config, tmp_path, Record(), until=kill_at(200))
    found = latest_checkpoint(tmp_path)
    assert found is not None
    state = json.loads((found.path / "state.json").read_text())
    env = make_training_vec(config)
    model = build(config, env, device="cpu")
    fresh = starts_of(model)
    assert fresh is not None
    before = fresh.to_json()

    set_progress_state(model, state)

    env.close()
    assert before != fresh.to_json() == state["starts"]


def test_a_checkpoint_with_a_damaged_run_state_is_skipped(interrupted: Path, tmp_path: Path) -> None:
    shutil.copytree(interrupted, tmp_path, dirs_exist_ok=True)
    newest = tmp_path / "checkpoints" / "step-000000180"
    data = bytearray((newest / "run_state.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (newest / "run_state.npz").write_bytes(data)

    found = latest_checkpoint(tmp_path)

    assert found is not None
    assert found.steps == 90


def test_without_its_replay_buffer_a_training_does_not_resume_exactly(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = twin_config("dqn", checkpoint_replay_buffer=False)
    with pytest.raises(Killed):
        run(config, tmp_path, Record(), until=kill_at(200))

    with caplog.at_level(logging.INFO):
        result = run(config, tmp_path, Record(), total=300)

    assert "its replay buffer is missing" in caplog.text
    assert result.steps == 300


def test_games_of_nes_py_have_no_run_state(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = twin_config("dqn", n_envs=1)
    config = config.model_copy(update={"environment": config.environment.model_copy(update={"emulator": "nes-py"})})
    env = make_vec(config.environment, 1, seed=0, processes=False)
    model = build(config, env, device="cpu")
    model.learn(20)

    checkpoint = save_checkpoint(tmp_path, config, model, Counters())

    env.close()
    assert RunState.capture(model) is None
    assert not set(checkpoint.manifest.files) & {"run_state.json", "run_state.npz"}


def test_a_restart_on_request_adds_to_the_record(tmp_path: Path) -> None:
    """As when the integration run is repeated: its episodes get new indices."""
    record = Record()
    run(twin_config("dqn"), tmp_path, record, total=90, resume=False, episode_indices={0: 4}, recorded=EpisodeTotals(4, 1.0))

    assert min(index for env, index in record.rows if env == 0) == 4


def test_before_checkpoint_is_called_before_each_checkpoint_is_written(tmp_path: Path) -> None:
    """Pending episodes must be stored before the checkpoint: after a resumption they are not played again."""
    seen: list[tuple[str, int]] = []
    record = Record()

    def written() -> int:
        return len(list((tmp_path / "checkpoints").glob("step-*")))

    run(
        twin_config("dqn", keep_checkpoints=10),
        tmp_path,
        record,
        total=2 * EVERY + 12,
        before_checkpoint=lambda: seen.append(("before", written())),
        on_checkpoint=lambda _: seen.append(("after", written())),
    )

    assert seen == [("before", 0), ("after", 1), ("before", 1), ("after", 2), ("before", 2), ("after", 3)]


def test_restoring_a_run_state_restores_the_generators() -> None:
    """The global generators return to the run state, whatever used them in the meantime."""
    config = twin_config("ppo")
    env = make_vec(config.environment, 3, seed=0)
    model = build(config, env, device="cpu")
    model.learn(48)
    np.random.normal()  # leaves a second value in the generator
    state = RunState.capture(model)
    assert state is not None

    def draw() -> list[Any]:
        return [np.random.normal(), np.random.randint(1 << 30), torch.rand(3).tolist(), model.action_space.sample()]

    expected = draw()
    state.restore(model)

    assert draw() == expected
    env.close()
