"""Settings that would silently have no effect are refused with the reason, before any work."""

import pytest

from configs import ConfigError, from_dict, load, override, preset_names, to_dict
from configs.schema import RewardConfig

IDLE = [
    ("dqn", ["agent.gradient_steps=0"], "agent.gradient_steps is 0, so nothing is trained"),
    ("qrdqn", ["agent.gradient_steps=0"], "agent.gradient_steps is 0, so nothing is trained"),
    ("dqn", ["agent.tau=0.005"], "would lag 1600000 steps behind in a training of 2000000 steps"),
    ("dqn", ["agent.tau=0.5", "agent.target_update_interval=150_000"], "would lag 300000 steps behind"),
    ("dqn", ["agent.target_update_interval=2_000_000"], "the target network would keep its initial weights"),
    ("dqn", ["agent.learning_starts=60_000", "train.total_steps=60_000"], "is not below train.total_steps"),
    ("dqn", ["agent.buffer_size=31"], "agent.buffer_size (31) is below agent.batch_size (32)"),
    ("dqn", ["agent.buffer_size=64", "train.n_envs=16"], "divided by train.n_envs (16) is below agent.n_steps (5)"),
    ("dqn", ["agent.exploration_highest_eps=0.4", "train.n_envs=1"], "train.n_envs is 1"),
    ("pqn", ["agent.exploration_highest_eps=0.4", "agent.batch_size=64", "train.n_envs=1"], "train.n_envs is 1"),
    ("pqn", ["agent.average_decay=0.9999", "train.total_steps=1_000_000"], "10000 updates behind in a training of 31250"),
    ("ppo", ["agent.average_decay=0.999", "train.total_steps=100_000"], "1000 updates behind in a training of 586"),
    ("dqn", ["agent.average_decay=0.9999", "train.total_steps=600_000"], "10000 updates behind in a training of 36875"),
    ("ppo-tiles", ["environment.crop_status_bar=true"], "environment.observation tiles has none: set it to false"),
    ("ppo", ["agent.clip_range={start: 0, end: 0}"], "agent.clip_range: it is 0 throughout"),
    ("ppo", ["agent.learning_rate={start: 0, end: 0}"], "agent.learning_rate: it is 0 throughout"),
    ("ppo", ["train.milestones=[1_000, 1_000_001, 3_000_000]"], "1000001, 3000000 will not be reached"),
    ("ppo", ["tracking.videos=true", "report.video=false"], "report.video is false: set it to true"),
    ("ppo", [f"environment.reward.{name}=0.0" for name in RewardConfig().weights], "every weight is 0"),
]


@pytest.mark.parametrize(("preset", "overrides", "reason"), IDLE)
def test_a_setting_without_effect_is_refused_with_the_reason(preset: str, overrides: list[str], reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(preset, overrides)
    assert reason in str(caught.value)


@pytest.mark.parametrize("value", ["0", "-0.1"])
@pytest.mark.parametrize("key", ["clip_range", "clip_range_vf"])
def test_a_range_that_clips_everything_is_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match="greater than 0"):
        load("ppo", [f"agent.{key}={value}"])


@pytest.mark.parametrize(
    ("preset", "overrides"),
    [
        ("dqn", ["agent.tau=0.005", "agent.target_update_interval=16"]),
        ("dqn", ["agent.gradient_steps=-1"]),
        ("dqn", ["agent.exploration_highest_eps=0.4"]),
        ("dqn", ["agent.noisy=true", "agent.exploration_initial_eps=0.0", "agent.exploration_final_eps=0.0"]),
        ("ppo-tiles", ["train.total_steps=4_096"]),
        ("ppo", ["train.milestones=[1_000_000]"]),
        ("ppo", ["environment.reward.progress=0.0", "environment.reward.death=0.0"]),
        *((preset, []) for preset in preset_names()),
    ],
)
def test_settings_with_an_effect_are_accepted(preset: str, overrides: list[str]) -> None:
    load(preset, overrides)


def test_a_stored_configuration_is_read_even_with_such_a_setting() -> None:
    """A report on an experiment of an earlier version is still possible."""
    values = to_dict(load("dqn"))
    values["agent"]["gradient_steps"] = 0
    old = from_dict(values, "experiment old")
    assert old.agent.gradient_steps == 0  # type: ignore[union-attr]
    assert override(old, ["environment.stage=2"], ["environment"]).environment.stage == 2
