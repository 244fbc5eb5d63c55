"""The smoke test finds faults that would otherwise appear after hours."""

import sys
from pathlib import Path

import pytest

from configs import Settings, load
from tasks.checks import CheckResult, run_checks
from tasks.integration import short_run

TINY = str(Path(__file__).parents[1] / "data" / "tiny.yaml")


def by_name(results: list[CheckResult]) -> dict[str, CheckResult]:
    return {result.name: result for result in results}


def test_a_replay_buffer_that_cannot_fit_is_refused(settings: Settings) -> None:
    result = by_name(run_checks(load("dqn", ["agent.buffer_size=100_000_000", "train.n_envs=1"]), settings))["disk and memory"]
    assert not result.passed
    assert "smaller agent.buffer_size" in result.detail


def test_a_rollout_that_cannot_fit_is_refused(settings: Settings) -> None:
    """No machine has memory for 200 000 steps of 256 games: 2 048 steps take twice 14.8 GB."""
    overrides = ["train.n_envs=256", "agent.n_steps=200_000"]
    result = by_name(run_checks(load("ppo", overrides), settings))["disk and memory"]
    assert not result.passed
    assert "a rollout takes" in result.detail
    assert "smaller agent.n_steps or train.n_envs" in result.detail


def test_a_missing_gpu_is_refused(settings: Settings) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    result = by_name(run_checks(load(TINY, ["train.device=cuda"]), settings))["device"]
    assert not result.passed
    assert "torch sees no GPU" in result.detail


def test_every_fault_is_reported_at_once_and_passwords_are_masked(tmp_path: Path) -> None:
    away = Settings(tmp_path, "postgresql://mario:hunter2@127.0.0.1:1/mario", "http://mario:hunter2@127.0.0.1:1")
    results = by_name(run_checks(load(TINY), away))
    assert [name for name, result in results.items() if not result.passed] == ["database", "tracking"]
    assert results["game"].passed
    for result in results.values():
        assert "hunter2" not in result.detail


@pytest.mark.skipif(sys.version_info < (3, 13), reason="this stack has every ROM")
def test_a_rom_that_is_not_installed_is_refused(settings: Settings) -> None:
    result = by_name(run_checks(load(TINY, ["environment.rom=rectangle"]), settings))["game"]
    assert not result.passed
    assert "rectangle" in result.detail


def test_the_short_run_differs_only_in_its_length() -> None:
    config = load("dqn")
    short = short_run(config)
    assert short.environment == config.environment
    assert short.agent.algorithm == "dqn"
    assert short.agent.learning_starts == 1_000
    assert short.train.total_steps * config.environment.frame_skip >= config.integration.max_frames
