"""The game under its names in Gymnasium, with Gymnasium's own checks, wrappers and vector environments."""

import copy
import doctest
import pickle
import re
import subprocess
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.wrappers import RecordEpisodeStatistics, RenderCollection
from gymnasium.wrappers.vector import RecordEpisodeStatistics as RecordVectorStatistics

import mario_env
from configs import PROJECT, ConfigError
from configs.schema import EnvironmentConfig
from mario_env import make, registration

LEVEL = "mario_env/SuperMarioBros-1-1-v0"
FULL = "mario_env/SuperMarioBros-v0"
EMULATORS = ["fast", "nes-py"]
# Random starts, delayed actions, and episodes that are truncated soon, some before others.
RULES: dict[str, Any] = {"noop_frames": 30, "sticky_actions": 0.25, "stall_after": 9, "max_steps": 14}


def test_every_level_and_the_full_game_have_a_name() -> None:
    names = {name for name in gymnasium.registry if name.startswith("mario_env/")}
    assert names == {FULL} | {f"mario_env/SuperMarioBros-{world}-{stage}-v0" for world in range(1, 9) for stage in range(1, 5)}


def test_the_examples_in_the_documentation_do_what_they_say() -> None:
    failures, examples = doctest.testmod(registration)
    assert (failures, examples > 8) == (0, True)


def test_the_name_alone_is_enough_with_the_module_before_it() -> None:
    code = f"import gymnasium; print(gymnasium.make('mario_env:{LEVEL}').spec.id)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == LEVEL


@pytest.mark.parametrize("name", [LEVEL, FULL])
@pytest.mark.parametrize("emulator", EMULATORS)
def test_gymnasiums_own_check_finds_nothing(emulator: str, name: str) -> None:
    env = gymnasium.make(name, emulator=emulator, render_mode="rgb_array")
    check_env(env.unwrapped)
    env.close()


@pytest.mark.parametrize(("name", "world", "stage"), [(FULL, 1, 1), (LEVEL, 1, 1), ("mario_env/SuperMarioBros-8-3-v0", 8, 3)])
def test_a_name_means_its_level(name: str, world: int, stage: int) -> None:
    env = gymnasium.make(name)
    _, info = env.reset()
    assert (info["world"], info["stage"], info["life"]) == (world, stage, 3)
    env.close()


@pytest.mark.parametrize("emulator", EMULATORS)
def test_it_plays_what_the_pipelines_environment_plays(emulator: Any) -> None:
    ours = make(EnvironmentConfig(emulator=emulator, **RULES))
    env = gymnasium.make(LEVEL, emulator=emulator, **RULES)
    (expected, expected_info), (observation, info) = ours.reset(seed=3), env.reset(seed=3)
    np.testing.assert_array_equal(observation, expected)
    assert info == expected_info
    truncated: Any = False
    while not truncated:
        (expected, *wanted, expected_info), (observation, *found, info) = ours.step(4), env.step(4)
        np.testing.assert_array_equal(observation, expected)
        assert found == wanted
        truncated = wanted[2]
        summaries = [each.pop("episode_summary") for each in (expected_info, info) if truncated]
        assert info == {key: value for key, value in expected_info.items() if key != "episode"}
    assert len({summary.actions for summary in summaries}) == 1
    ours.close()
    env.close()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"frame_skp": 2}, r"gymnasium\.make: environment\.frame_skp: unknown key; did you mean environment\.frame_skip\?"),
        ({"frame_skip": 0}, r"environment\.frame_skip: input should be greater than or equal to 1, not 0"),
        ({"reward": {"deth": -1.0}}, r"environment\.reward\.deth: unknown key; did you mean environment\.reward\.death\?"),
        ({"actions": []}, r"actions: the list is empty"),
        ({"render_mode": "ansi"}, r"render_mode: 'ansi' is unknown; there are None and 'rgb_array'"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*that is not in the possible render_modes:UserWarning")
def test_what_is_wrong_is_refused_in_the_words_of_the_configuration(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        gymnasium.make(LEVEL, **keys)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"frame_skp": 2}, r"gymnasium\.make_vec: environment\.frame_skp: unknown key"),
        ({"num_envs": 0}, r"gymnasium\.make_vec: num_envs: at least 1 environment is needed, not 0"),
        ({"emulator": "nes-py"}, r"nes-py plays one game in a process; choose vectorization_mode='async' or 'sync'"),
        ({"autoreset_mode": "never"}, r"autoreset_mode: 'never' is unknown; there are 'NextStep', 'SameStep', 'Disabled'"),
    ],
)
def test_what_several_games_cannot_be_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        gymnasium.make_vec(LEVEL, **keys)


def test_an_action_that_does_not_exist_is_refused() -> None:
    for env, action in ((gymnasium.make(LEVEL, disable_env_checker=True), 7), (gymnasium.make_vec(LEVEL, 2), [0, 7])):
        env.reset()
        with pytest.raises(ValueError, match=r"there is no action 7: the actions are 0 to 6"):
            env.step(action)
        env.close()


def test_without_a_render_mode_nothing_is_rendered() -> None:
    env, envs = gymnasium.make(LEVEL, disable_env_checker=True), gymnasium.make_vec(LEVEL, 2)
    for each in (env, envs):
        each.reset()
        with pytest.warns(UserWarning, match="make the environment with render_mode"):
            assert each.render() is None
        each.close()


@pytest.mark.parametrize("skip", [1, 4])
def test_a_recording_runs_as_fast_as_the_game(skip: int) -> None:
    env = gymnasium.make(LEVEL, render_mode="rgb_array_list", frame_skip=skip)
    assert isinstance(env, RenderCollection)
    assert env.metadata["render_fps"] == 60 / skip
    env.reset()
    for _ in range(3):
        env.step(3)
    frames: Any = env.render()
    assert [frame.shape for frame in frames] == [(240, 256, 3)] * 4
    env.close()


@pytest.mark.parametrize("emulator", EMULATORS)
def test_statistics_are_recorded(emulator: str) -> None:
    env = RecordEpisodeStatistics(gymnasium.make(LEVEL, emulator=emulator, max_steps=12))
    for _ in range(2):
        env.reset()
        truncated = False
        while not truncated:
            *_, truncated, info = env.step(3)
        assert (info["episode"]["l"], info["episode_summary"].steps) == (12, 12)
        assert info["episode"]["r"] == pytest.approx(info["episode_summary"].reward, rel=1e-6)
    env.close()


def test_the_specification_makes_the_same_environment_again() -> None:
    env = gymnasium.make(LEVEL, sticky_actions=0.5)
    assert env.spec is not None
    again = gymnasium.make(env.spec)
    for each in (env, again):
        each.reset(seed=5)
    for _ in range(20):
        assert np.array_equal(env.step(3)[0], again.step(3)[0])
    env.close()
    again.close()


def test_a_copy_goes_on_in_the_middle_of_an_episode() -> None:
    env = gymnasium.make(LEVEL, sticky_actions=0.5)
    env.reset(seed=5)
    for _ in range(20):
        env.step(3)
    copies = [copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
    for action in [3, 4, 0, 4, 4, 3]:
        expected = env.step(action)[0]
        assert all(np.array_equal(each.step(action)[0], expected) for each in copies)


def _without_summaries(infos: dict[str, Any]) -> dict[str, Any]:
    """Summaries tell the time it took."""
    plain = {key: _without_summaries(value) if isinstance(value, dict) else value for key, value in infos.items()}
    return {key: value for key, value in plain.items() if "episode_summary" not in key}


def _vectorised(mode: AutoresetMode, how: str | None) -> VectorEnv[Any, Any, Any]:
    keys: dict[str, Any] = {"autoreset_mode": mode} if how is None else {"vector_kwargs": {"autoreset_mode": mode}}
    envs = gymnasium.make_vec(LEVEL, 3, vectorization_mode=how, **keys, **RULES)
    assert envs.metadata["autoreset_mode"] is mode
    return envs


@pytest.mark.parametrize("mode", AutoresetMode)
def test_the_vector_environment_does_what_gymnasiums_own_does(mode: AutoresetMode) -> None:
    ours, theirs = _vectorised(mode, None), _vectorised(mode, "sync")
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    expected, found = (envs.reset(seed=11) for envs in (theirs, ours))
    np.testing.assert_array_equal(found[0], expected[0])
    assert data_equivalence(found[1], expected[1])
    ends = 0
    for actions in np.random.default_rng(2).integers(0, 7, (60, 3)):
        expected_step, step = theirs.step(actions), ours.step(actions)
        for values, wanted in zip(step[:4], expected_step[:4], strict=True):
            np.testing.assert_array_equal(values, wanted)
        assert data_equivalence(_without_summaries(step[4]), _without_summaries(expected_step[4]))
        ended = step[2] | step[3]
        ends += ended.sum()
        if mode is AutoresetMode.DISABLED and ended.any():
            with pytest.raises(ResetNeeded, match=r"have ended: call reset"):
                ours.step(actions)
            expected, found = (envs.reset(options={"reset_mask": ended}) for envs in (theirs, ours))
            np.testing.assert_array_equal(found[0], expected[0])
            assert data_equivalence(found[1], expected[1])
    assert ends > 6
    ours.close()
    theirs.close()


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_statistics_of_several_games_are_recorded(mode: AutoresetMode) -> None:
    envs = RecordVectorStatistics(_vectorised(mode, None))
    envs.reset(seed=0)
    lengths, summaries = [], []
    for _ in range(40):
        *_, terminated, truncated, infos = envs.step(np.array([0, 3, 3]))
        for index in np.flatnonzero(terminated | truncated):
            own = infos["final_info"] if mode is AutoresetMode.SAME_STEP else infos
            lengths.append(infos["episode"]["l"][index])
            summaries.append(own["episode_summary"][index].steps)
    assert lengths == summaries
    assert {9, 14} <= set(lengths)
    envs.close()


def test_processes_of_gymnasium_play_it() -> None:
    inline, processes = (gymnasium.make_vec(LEVEL, 2, vectorization_mode=how, **RULES) for how in ("sync", "async"))
    assert np.array_equal(inline.reset(seed=1)[0], processes.reset(seed=1)[0])
    for _ in range(20):
        expected, found = (envs.step(np.array([3, 4])) for envs in (inline, processes))
        assert all(np.array_equal(*pair) for pair in zip(expected[:4], found[:4], strict=True))
    inline.close()
    processes.close()


def test_several_games_can_be_seen() -> None:
    envs = gymnasium.make_vec(LEVEL, 2, render_mode="rgb_array")
    envs.reset()
    frames: Any = envs.render()
    assert [frame.shape for frame in frames] == [(240, 256, 3)] * 2
    envs.close()
    envs.close()


def test_importing_again_changes_nothing() -> None:
    before = dict(gymnasium.registry)
    mario_env.registration.register_environments()
    assert gymnasium.registry == before


def test_the_example_of_the_documentation_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (PROJECT / "docs" / "game.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)  # the project's own page
    names["envs"].close()
    assert re.fullmatch(r"\d+ [a-z_]+\n", capsys.readouterr().out)
