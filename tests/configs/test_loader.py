"""A configuration is valid, or it is refused before any work with a message that names place and fault."""

import re
from pathlib import Path
from typing import Any

import pytest

from configs import ConfigError, config_hash, from_dict, load, preset_names, to_dict
from configs.agent import ALGORITHMS
from configs.loader import override
from configs.source import parse_value


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def test_the_documented_presets_exist() -> None:
    expected = {"baseline", "dqn", "qrdqn", "ppo", "ppo-sticky", "ppo-robust", "ppo-tiles", "pqn", "demo", "quick"}
    assert expected <= set(preset_names())


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_under_its_name_and_survives_storage(name: str) -> None:
    config = load(name)
    assert config.name == name
    assert from_dict(to_dict(config), "stored") == config


@pytest.mark.parametrize("algorithm", ["dqn", "qrdqn"])
def test_a_replay_buffer_of_tiles_is_refused(algorithm: str) -> None:
    with pytest.raises(ConfigError, match=rf"agent.algorithm {algorithm} keeps stacks of frames in its replay buffer"):
        load(algorithm, ["environment.observation=tiles", "environment.crop_status_bar=false"])


def test_a_stored_configuration_may_contain_retired_keys() -> None:
    stored = to_dict(load("dqn"))
    stored["agent"]["optimize_memory_usage"] = False
    stored["retry"]["worker_restarts"] = 3

    assert from_dict(stored, "stored") == load("dqn")
    assert stored["agent"]["optimize_memory_usage"] is False
    with pytest.raises(ConfigError, match="optimize_memory_usage"):
        load("dqn", ["agent.optimize_memory_usage=true"])


@pytest.mark.parametrize(
    ("key", "neutral", "other"), [("overlap", False, True), ("compile", False, True), ("precision", "float32", "bfloat16")]
)
def test_a_retired_key_is_refused_by_name_where_it_meant_something(key: str, neutral: object, other: object) -> None:
    stored = to_dict(load("dqn"))

    assert from_dict({**stored, "train": {**stored["train"], key: neutral}}, "stored") == load("dqn")
    with pytest.raises(ConfigError, match=rf"stored: train\.{key} is {other!r}, which is no longer supported: train again"):
        from_dict({**stored, "train": {**stored["train"], key: other}}, "stored")


def test_baseline_is_the_predecessors_environment() -> None:
    config = load("baseline")
    assert (config.environment.game, config.environment.frame_skip, config.environment.actions) == ("full", 1, "simple")
    assert (config.agent.algorithm, config.train.total_steps) == ("dqn", 2_000_000)
    assert (config.environment.stall_after, config.environment.max_steps) == (None, None)


@pytest.mark.parametrize("name", ["dqn", "qrdqn", "ppo", "pqn"])
def test_the_presets_for_level_one_differ_only_in_their_algorithm(name: str) -> None:
    config = load(name)
    assert (config.environment.world, config.environment.stage, config.environment.frame_skip) == (1, 1, 4)
    assert config.agent.algorithm == name
    assert 0.85 <= config.agent.gamma <= 0.95
    assert config.train.total_steps == (1_000_000 if name == "ppo" else 2_000_000)


@pytest.mark.parametrize("preset", ["ppo-robust", "ppo-tiles-robust"])
@pytest.mark.parametrize("change", ["environment.emulator=nes-py", "environment.game=full"])
def test_a_trained_policy_may_play_where_it_could_not_be_trained(preset: str, change: str) -> None:
    with pytest.raises(ConfigError, match=r"train\.(teacher|curriculum)"):
        load(preset, [change])
    trained = load(preset)
    assert override(trained, [change], ["environment"]).environment != trained.environment


def test_an_override_replaces_one_value() -> None:
    config = load("demo", ["train.total_steps=60_000", "agent.learning_rate=1e-4", "environment.actions=[[right],[right,A]]"])
    assert config.train.total_steps == 60_000
    assert config.agent.learning_rate == 1e-4
    assert config.environment.actions == [["right"], ["right", "A"]]
    assert config.train.n_envs == load("demo").train.n_envs


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("train.total_stps=3", "--set train.total_stps=3: train.total_stps: unknown key; did you mean train.total_steps?"),
        ("trian.total_steps=3", "--set trian.total_steps=3: trian: unknown key; did you mean train?"),
        (
            "agent.lerning_rate=1",
            "--set agent.lerning_rate=1: agent.lerning_rate: unknown key; did you mean agent.learning_rate?",
        ),
        (
            "train.total_steps=abc",
            "--set train.total_steps=abc: train.total_steps: input should be a valid integer, not 'abc'",
        ),
        (
            "environment.world=9",
            "--set environment.world=9: environment.world: input should be less than or equal to 8, not 9",
        ),
        (
            "agent.algorithm=dqm",
            "--set agent.algorithm=dqm: agent.algorithm: 'dqm' is unknown; did you mean dqn? Valid: " + ", ".join(ALGORITHMS),
        ),
        ("train", "--set train: write it as section.key=value, for example train.total_steps=60000"),
        ("train.n_envs.x=1", "--set train.n_envs.x=1: train.n_envs is a single value without a key 'x'"),
        ("train=3", "--set train=3: train: expected keys and values, not 3"),
        (
            "agent.learning_rate={start: 1}",
            "--set agent.learning_rate={start: 1}: agent.learning_rate.end: is missing and has no default",
        ),
        ("seed=true", "--set seed=true: seed: input should be a valid integer, not True"),
        ("agent.gamma=.nan", "--set agent.gamma=.nan: agent.gamma: input should be a finite number, not nan"),
    ],
)
def test_a_wrong_override_is_refused_by_name(wrong: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load("ppo", [wrong])
    assert str(caught.value) == message


def test_impossible_combinations_are_refused() -> None:
    with pytest.raises(ConfigError, match="the full game starts at world 1, stage 1"):
        load("dqn", ["environment.game=full", "environment.world=2"])
    with pytest.raises(ConfigError, match=r"agent\.batch_size 100000 is larger than one rollout"):
        load("ppo", ["agent.batch_size=100000"])
    with pytest.raises(ConfigError, match="life_loss_ends_episode is for game: full"):
        load("dqn", ["environment.life_loss_ends_episode=true"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["environment.levels=[1-1, 1-5]"], r"environment\.levels\.1: string should match pattern"),
        (["environment.levels=[1-1, 1-2, 1-1]"], "levels: 1-1 is named twice"),
        (["environment.levels=[1-1, 1-2]", "environment.stage=2"], "levels: world and stage name a level, too"),
        (["environment.levels=[1-1]", "environment.game=full"], "levels: the full game plays all levels"),
        (["environment.levels=[1-1, 1-2]", "train.level_sampling={1-1: 2}"], "weighs 1-1, and environment.levels has 1-1, 1-2"),
        (["train.level_sampling=failure"], "chooses among several levels, and there is one"),
        (
            ["environment.levels=[1-1, 1-2]", "train.level_sampling=failure", "environment.emulator=nes-py"],
            "with environment.emulator nes-py each process chooses levels uniformly",
        ),
        (["evaluate.levels=[1-1]"], "1-1 is trained on, and evaluated anyway"),
        (["environment.game=full", "evaluate.levels=[1-2]"], "evaluate.levels is for game: level"),
        (["train.curriculum={}", "environment.emulator=nes-py"], "nes-py saves none: set environment.emulator to fast"),
        (["train.curriculum={}", "environment.game=full"], "train.curriculum is for game: level"),
        (["train.curriculum={}", "environment.frame_skip=2"], "lasts 4 frames: set it to 4, or give a demonstration"),
        (["train.curriculum={demonstrations: {1-2: '34'}}"], "demonstrations: 1-2 is not played; the levels are 1-1"),
        (["train.curriculum={demonstrations: {1-1: '3c'}}"], r"train\.curriculum\.demonstrations\.1-1: string should match"),
        (["train.curriculum={demonstrations: {1-1: ['34', '3c']}}"], r"demonstrations\.1-1\.1: string should match"),
        (["train.curriculum={demonstrations: {1-1: '34'}, search: {}}"], "demonstrations has one of every level: leave one"),
        (["train.curriculum={threshold: {finish: 1.2, start: 0.1}}"], r"threshold\.finish: input should be less than or equal"),
        (["train.curriculum={elsewhere: 0.7, from_start: 0.3}"], "elsewhere and from_start leave no episodes for the window"),
    ],
)
def test_impossible_levels_and_starts_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load("ppo", overrides)


def test_several_levels_have_a_name_that_fits_everywhere() -> None:
    few = load("ppo", ["environment.levels=[1-1, 1-2]"]).environment
    many = load("ppo", ["environment.levels=[1-1, 1-2, 1-3, 1-4, 2-1]"]).environment
    assert (few.level_name, few.level_names) == ("1-1_1-2", ["1-1", "1-2"])
    assert re.fullmatch("5-levels-[0-9a-f]{4}", many.level_name)
    assert few.at_level("3-1").level_name == "3-1"
    assert load("ppo", ["environment.stage=2"]).environment.level_names == ["1-2"]


def test_a_fault_in_a_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "mine.yaml", "extends: ppo\ntrain:\n  n_envs: 2\n  totl_steps: 5\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value) == f"{path}:4: train.totl_steps: unknown key; did you mean train.total_steps?"


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "mine.yaml", "extends: ppo\ntrain: {n_envs: 0}\nseed: -1\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert len(str(caught.value).splitlines()) == 2


def test_a_preset_extends_another_key_by_key(tmp_path: Path) -> None:
    write(tmp_path, "first.yaml", "extends: ppo\nagent: {n_epochs: 7}\n")
    config = load(write(tmp_path, "second.yaml", "extends: first.yaml\nagent: {gamma: 0.95}\n"))
    assert config.agent.algorithm == "ppo"
    assert (config.agent.n_epochs, config.agent.gamma, config.name) == (7, 0.95, "second")


def test_another_algorithm_starts_from_its_own_defaults(tmp_path: Path) -> None:
    config = load(write(tmp_path, "mine.yaml", "extends: ppo\nagent: {algorithm: dqn}\n"))
    assert config.agent.algorithm == "dqn"
    assert config.agent.n_steps == 1
    assert load("ppo", ["agent.algorithm=dqn"]).agent == config.agent


def test_circular_extends_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.yaml", "extends: b.yaml\n")
    write(tmp_path, "b.yaml", "extends: a.yaml\n")
    with pytest.raises(ConfigError, match=r"extends is circular: a\.yaml -> b\.yaml -> a\.yaml"):
        load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n", "expected keys and values, found a list"),
        ("a: [1\n", "not valid YAML"),
        ("seed: 1\nseed: 2\n", ":2: seed is given twice"),
        ("a: &x 1\nb: *x\n", "aliases (*x) are not supported"),
        ("? [1]\n: 2\n", "a key must be a word, not a list"),
        ("seed: !!python/object/apply:os.system [true]\n", "os.system) are not supported"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
    ],
)
def test_an_invalid_preset_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, "mine.yaml", text))
    assert message in str(caught.value)


def test_a_missing_preset_or_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no preset is named 'demmo'; did you mean demo"):
        load("demmo")
    with pytest.raises(ConfigError, match=r"no preset is named 'elsewhere'\. The presets are baseline, demo, "):
        load("elsewhere")
    with pytest.raises(ConfigError, match="no such file"):
        load(str(tmp_path / "none.yaml"))


def test_the_hash_does_not_depend_on_the_name() -> None:
    config = load("ppo")
    renamed = config.model_copy(update={"name": "other", "description": "other"})
    assert config_hash(renamed) == config_hash(config)
    assert config_hash(load("ppo", ["retry.worker_timeout=5.0"])) == config_hash(config)
    assert config_hash(load("ppo", ["seed=1"])) != config_hash(config)


def test_a_configuration_cannot_be_changed() -> None:
    config = load("ppo")
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(("text", "value"), [("1e-4", 1e-4), ("2.5e-4", 2.5e-4), ("1_000", 1000), ("null", None), ("a", "a")])
def test_values_are_parsed_as_people_mean_them(text: str, value: object) -> None:
    assert parse_value(text, "--set") == value


def _stored_by_an_earlier_version(preset: str) -> dict[str, Any]:
    values = to_dict(load(preset))
    del values["environment"]["sticky_decisions"]
    return values


def test_sticky_actions_of_an_earlier_version_keep_their_meaning() -> None:
    values = _stored_by_an_earlier_version("ppo-sticky")
    config = from_dict(values, "stored")
    assert (config.environment.sticky_actions, config.environment.sticky_decisions) == (0.0, 0.25)
    assert config.train.validation is not None
    assert config.train.validation.protocol == "sticky_decisions"
    assert from_dict(to_dict(config), "stored again") == config


def test_sticky_actions_of_this_version_are_read_unchanged() -> None:
    config = load("ppo-sticky")
    assert (config.environment.sticky_actions, config.environment.sticky_decisions) == (0.25, 0.0)
    assert from_dict(to_dict(config), "stored") == config
    assert from_dict(_stored_by_an_earlier_version("ppo"), "stored") == load("ppo")


def test_sticky_actions_and_sticky_decisions_at_once_are_refused() -> None:
    with pytest.raises(ConfigError, match="sticky_actions and sticky_decisions are alternatives"):
        load("ppo-sticky", ["environment.sticky_decisions=0.25"])


def test_a_key_that_affects_only_speed_does_not_change_the_hash() -> None:
    for key in ("evaluate.n_envs=3", "train.game_threads=1"):
        assert config_hash(load("ppo", [key])) == config_hash(load("ppo")), key
    assert config_hash(load("ppo", ["evaluate.noop_frames=3"])) != config_hash(load("ppo"))
