"""Validations evaluate the current policy and keep the best checkpoint, without changing the training."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3.common.logger import KVWriter, Logger
from twins import EVERY, TOTAL, Killed, Record, kill_at, outcome, run, twin_config

from agents import (
    EpisodeTotals,
    NonFiniteError,
    PlayedEpisode,
    TrainingInterrupted,
    Validation,
    ValidationResult,
    build,
    keep_best,
    latest_checkpoint,
    load_agent,
)
from agents.checkpoints import best_checkpoint
from agents.device import StopRequest
from agents.progress import Counters, ValidationCounters
from agents.training.callbacks import require_finite_weights
from agents.training.validation import Validator
from configs import Config, ConfigError, from_dict
from mario_env import make_vec

SETTINGS = {"episodes": 5, "protocol": "stochastic"}
DUE = [90, 180, 270, 360, TOTAL]


def config(variant: str, **train: Any) -> Config:
    return twin_config(variant, validation=SETTINGS, **train)


def history(directory: Path) -> list[dict[str, Any]]:
    """The history of validations in the newest checkpoint."""
    checkpoint = latest_checkpoint(directory)
    assert checkpoint is not None
    found: list[dict[str, Any]] = json.loads((checkpoint.path / "state.json").read_text())["counters"]["validation"]["history"]
    return found


def without_validation(found: dict[str, Any]) -> dict[str, Any]:
    state = json.loads(found["state"])
    del state["counters"]["validation"]
    return {**found, "state": state}


@pytest.mark.parametrize("variant", ["dqn, every switch", "qrdqn, every switch", "ppo"])
def test_validations_do_not_change_a_training(variant: str, tmp_path: Path) -> None:
    plain, record = tmp_path / "plain", Record()
    alone = without_validation(outcome(plain, run(twin_config(variant), plain, record), record))
    directory, record, validated = tmp_path / "validated", Record(), Record()
    result = run(config(variant), directory, record, validation=Validation(validated))

    assert without_validation(outcome(directory, result, record)) == alone
    # PPO: the first end of a rollout (48 steps) at or after each multiple.
    steps = [96, 192, 288, 384, TOTAL] if variant == "ppo" else DUE
    assert [each.steps for each in result.validations] == steps
    assert len(validated.rows) == 5 * len(steps) == result.validated.episodes
    assert result.validated.reward_sum == pytest.approx(sum(row["reward"] for row in validated.rows.values()))
    for each in result.validations:
        rows = [row for row in validated.rows.values() if row["global_step"] == each.steps]
        assert len(rows) == each.episodes == 5
        assert each.distance == pytest.approx(sum(row["distance_traveled"] for row in rows) / 5)


class Metrics(KVWriter):
    """Values by metric and step, except times. Values written again must be equal."""

    def __init__(self) -> None:
        self.at: dict[tuple[str, int], float] = {}

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, Any], step: int = 0) -> None:
        for name, value in key_values.items():
            if not name.startswith("time/"):
                assert self.at.setdefault((name, step), value) == value

    def close(self) -> None:
        raise AssertionError("writers are closed by their owner")


class KilledWhileValidating(Record):
    """Ends the training, as SIGKILL does, after `left` more episodes of its validations."""

    def __init__(self) -> None:
        super().__init__()
        self.left: int | None = None
        self.act: Callable[[], None] = self._kill

    def __call__(self, episode: PlayedEpisode) -> None:
        super().__call__(episode)
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                self.left = None
                self.act()

    def _kill(self) -> None:
        raise Killed


@pytest.mark.parametrize("variant", ["dqn", "ppo, levels"])
def test_a_killed_validation_is_repeated_exactly(variant: str, tmp_path: Path) -> None:
    uninterrupted, record, validated, metrics = tmp_path / "uninterrupted", Record(), Record(), Metrics()
    result = run(config(variant), uninterrupted, record, validation=Validation(validated), writers=[metrics])
    expected = (outcome(uninterrupted, result, record), validated.rows, metrics.at)

    directory, record, killed, metrics = tmp_path / "killed", Record(), KilledWhileValidating(), Metrics()
    # In the second validation, after it, and in the last one, when there is nothing left to train.
    for left, until in ((8, None), (None, kill_at(3 * EVERY + 20)), (9, None)):
        killed.left = left
        with pytest.raises(Killed):
            run(config(variant), directory, record, validation=Validation(killed), until=until, writers=[metrics])
    # As in the pipeline, the record has more episodes than the checkpoint counts.
    validation = Validation(killed, EpisodeTotals(500, 1e6), 70)
    result = run(config(variant), directory, record, validation=validation, writers=[metrics])

    assert killed.replayed > 4
    assert (outcome(directory, result, record), killed.rows, metrics.at) == expected


@pytest.mark.parametrize("variant", ["dqn", "ppo"])
def test_a_validation_that_a_signal_ends_is_repeated(variant: str, tmp_path: Path) -> None:
    uninterrupted, record, validated = tmp_path / "uninterrupted", Record(), Record()
    result = run(config(variant), uninterrupted, record, validation=Validation(validated))
    expected = (outcome(uninterrupted, result, record), validated.rows)

    directory, record, stopped, ends = tmp_path / "stopped", Record(), KilledWhileValidating(), []
    stopped.act = lambda: os.kill(os.getpid(), signal.SIGTERM)
    for left in (7, 5 * 3 + 4):
        stopped.left = left
        with pytest.raises(TrainingInterrupted) as caught:
            run(config(variant), directory, record, validation=Validation(stopped))
        ends.append(caught.value.result.steps)
        assert caught.value.result.checkpoint is not None
        assert caught.value.result.checkpoint.steps == ends[-1]
    result = run(config(variant), directory, record, validation=Validation(stopped))

    assert ends[1] == TOTAL
    assert (outcome(directory, result, record), stopped.rows) == expected


def test_the_best_checkpoint_is_kept(tmp_path: Path) -> None:
    validated = Record()
    # In so short a training more steps do not mean a better policy. The seed is chosen so that the last one is not the best.
    result = run(config("dqn", keep_checkpoints=1), tmp_path, Record(), validation=Validation(validated))
    best = max(result.validations, key=lambda each: (each.completed, each.distance, each.steps))

    assert result.best is not None
    assert result.best.steps == best.steps
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == sorted({f"step-{best.steps:09d}", f"step-{TOTAL:09d}"})
    if best.steps == TOTAL:
        pytest.fail("the last policy is the best one, so this test shows nothing: choose another seed")
    model = keep_best(tmp_path, result.best)
    agent = load_agent(model)
    assert (agent.manifest.kind, agent.manifest.steps) == ("model", best.steps)
    assert sorted(path.name for path in model.iterdir()) == ["config.json", "manifest.json", "model.zip"]
    weights = load_agent(result.best.path).model.state_dict()
    assert all((agent.model.state_dict()[name] == weights[name]).all() for name in weights)


def test_if_the_best_checkpoint_is_damaged_or_missing_the_next_best_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(config("dqn", keep_checkpoints=9), tmp_path, Record(), validation=Validation(Record()))
    validations = [ValidationResult(steps, 4, completed, 100.0) for steps, completed in ((90, 1), (180, 4), (270, 3), (360, 2))]
    folder = tmp_path / "checkpoints"

    def best() -> int | None:
        found = best_checkpoint(tmp_path, validations)
        return found.steps if found else None

    assert best() == 180
    (folder / "step-000000180" / "model.zip").write_bytes(b"damaged")
    assert best() == 270
    assert "step-000000180 is skipped" in caplog.text
    shutil.rmtree(folder / "step-000000270")
    assert best() == 360
    assert best_checkpoint(tmp_path, []) is None


def test_a_policy_with_weights_that_are_not_finite_is_not_validated() -> None:
    settings, validated = config("ppo"), Record()
    assert settings.train.validation is not None
    env = make_vec(settings.environment, settings.train.n_envs, seed=0)
    model = build(settings, env, device="cpu")
    model.set_logger(Logger(folder=None, output_formats=[]))
    model.num_timesteps = 90
    counters = Counters()
    validator = Validator(
        settings,
        settings.train.validation,
        model,
        counters,
        Validation(validated),
        StopRequest(),
        partial(require_finite_weights, model, None),
    )
    next(iter(model.policy.parameters())).data[0] = float("nan")
    with pytest.raises(NonFiniteError, match="at step 90"):
        validator.at_end()
    env.close()
    assert validated.rows == {}
    assert counters.validation.history == []


def test_rank_is_completion_then_distance_then_steps() -> None:
    ordered = [
        ValidationResult(500, 20, 3, 900.0),
        ValidationResult(100, 20, 4, 100.0),
        ValidationResult(200, 20, 4, 200.0),
        ValidationResult(300, 20, 4, 200.0),
        ValidationResult(50, 10, 3, 0.0),
    ]
    assert sorted(ordered, key=lambda each: each.rank) == ordered


def test_a_training_that_does_not_resume_exactly_counts_from_the_record(tmp_path: Path) -> None:
    validated = Record()
    run(config("dqn"), tmp_path, Record(), total=201, validation=Validation(validated))
    checkpoint = latest_checkpoint(tmp_path)
    assert checkpoint is not None
    for name in ("run_state.json", "run_state.npz"):
        (checkpoint.path / name).unlink()
    manifest = checkpoint.path / "manifest.json"
    values = json.loads(manifest.read_text())
    values["files"] = {name: entry for name, entry in values["files"].items() if not name.startswith("run_state")}
    manifest.write_text(json.dumps(values))

    again: list[PlayedEpisode] = []
    validation = Validation(again.append, EpisodeTotals(23, 7.5), 12)
    result = run(config("dqn"), tmp_path, Record(), total=270, validation=validation)

    assert [each["steps"] for each in history(tmp_path)] == [90, 180, 201, 270]
    assert {episode.episode_index for episode in again} == {12}  # each of the five is played in an environment of its own
    assert result.validated.episodes == 23 + 5
    assert result.validated.reward_sum == pytest.approx(7.5 + sum(float(episode.summary.reward) for episode in again))


def test_validation_counters_are_read_from_json() -> None:
    assert ValidationCounters().last_steps == 0
    kept = ValidationCounters([ValidationResult(90, 2, 1, 40.0)], 2, 3.5, 1)
    assert (
        ValidationCounters.from_json(
            {
                "history": [{"steps": 90, "episodes": 2, "completed": 1, "distance": 40.0}],
                "episodes": 2,
                "reward_sum": 3.5,
                "next_index": 1,
            }
        )
        == kept
    )


def test_evaluating_the_best_model_needs_validations() -> None:
    values = {"name": "x", "agent": {"algorithm": "ppo"}, "evaluate": {"model": "best"}}
    with pytest.raises(ConfigError, match="nothing tells which that is"):
        from_dict(values, source="x")
    assert from_dict({**values, "train": {"validation": {}}}, source="x").train.validation is not None
