"""The environments that are registered with Gymnasium; :mod:`mario_env.registration` has their names."""

from collections.abc import Sequence
from typing import Any, Final

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import logger
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from configs import ConfigError
from configs.loader import environment_from
from configs.schema import EnvironmentConfig
from mario_env.console import FRAMES_PER_SECOND, Screen
from mario_env.factory import make
from mario_env.games import Games
from mario_env.snapshots import generator_state, set_generator_state

__all__ = ["SuperMarioBrosEnv", "SuperMarioBrosVectorEnv"]

_RENDER_MODES: Final = ["rgb_array"]

# The statistics that stable-baselines3 reads. Gymnasium's RecordEpisodeStatistics writes the same key, and refuses an
# environment that has it already.
_STATISTICS: Final = "episode"


class SuperMarioBrosEnv(gymnasium.Env[npt.NDArray[np.uint8], Any]):
    """One game of Super Mario Bros.

    Observations are uint8 of shape (4, 84, 84) in [0, 255]: the last four pictures, the newest last. With `observation="tiles"`
    they are a table of blocks and objects, see :class:`~mario_env.observations.Tiles`. Actions are `Discrete(n)`, one for each
    combination of buttons. The reward is a float, see :class:`configs.schema.RewardConfig`. An episode terminates with the
    game, or with the level, and is truncated after `max_steps` steps, or `stall_after` steps without progress.

    The info of each step has facts of the game (`x_pos`, `score`, `coins`, `time`, `life`, `world`, `stage` and others), the
    `reward_components` and the `frames` that the step lasted. That of the last step has `end_reason` and `episode_summary`, a
    :class:`~mario_env.summary.EpisodeSummary`.

    Args:
        render_mode: "rgb_array" or None.
        keys: of the configuration's section `environment`: `frame_skip=4`, `actions="simple"`, `reward={"death": -50.0}` …

    Raises:
        ConfigError: a key is unknown, or a value is refused.
        RomUnavailableError: the installed gym-super-mario-bros has no such ROM.
    """

    metadata: dict[str, Any] = {"render_modes": _RENDER_MODES, "render_fps": FRAMES_PER_SECOND}  # noqa: RUF012

    def __init__(self, *, render_mode: str | None = None, **keys: Any) -> None:
        config = environment_from(keys, "gymnasium.make")
        self.render_mode = _checked_render_mode(render_mode)
        self.metadata = {**self.metadata, "render_fps": FRAMES_PER_SECOND / config.frame_skip}
        # The same game either way; without wrappers, in compiled code, it takes a sixth of the time.
        self._game = make(config) if config.emulator == "nes-py" else Games(config, 1, threads=1).slots[0]
        self.observation_space, self.action_space = self._game.observation_space, self._game.action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[np.uint8], dict[str, Any]]:
        """Start an episode.

        Args:
            seed: of the random numbers (idle frames at the start, sticky actions). The game itself has none.
            options: `noop_frames`: idle for so many frames, instead of the number that would be drawn.
        """
        observation, info = self._game.reset(seed=seed, options=options)
        self._np_random, self._np_random_seed = self._game.np_random, self._game.unwrapped.np_random_seed
        return observation, info

    def step(self, action: Any) -> tuple[npt.NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Hold the buttons of `action` for `frame_skip` frames.

        Raises:
            ValueError: the action is not between 0 and n - 1.
            ResetNeeded: there was no reset yet.
        """
        observation, reward, terminated, truncated, info = self._game.step(action)
        info.pop(_STATISTICS, None)
        return observation, float(reward), terminated, truncated, info

    def render(self) -> Screen | None:
        """The screen, RGB, uint8 of shape (240, 256, 3); None without a render mode."""
        screens = _screens(self.render_mode, [self._game])
        return None if screens is None else screens[0]

    def close(self) -> None:
        """Free the emulator. Closing twice is no error."""
        self._game.close()


class SuperMarioBrosVectorEnv(VectorEnv[npt.NDArray[np.uint8], Any, npt.NDArray[Any]]):
    """Several games on the fast emulator, played by threads of this process.

    Observations are uint8 of shape (num_envs, 4, 84, 84), or of another shape if `observation` names another kind. Rewards are
    float64, terminations and truncations bool, of shape (num_envs,). All three autoreset modes play what
    `gymnasium.vector.SyncVectorEnv` plays in that mode.

    Args:
        num_envs: how many games.
        render_mode: "rgb_array" or None.
        autoreset_mode: when a game that has ended is reset; "NextStep", "SameStep", "Disabled" or a member of `AutoresetMode`.
        threads: how many threads play; None: one for each processor that this process may use.
        keys: as for :class:`SuperMarioBrosEnv`, with `emulator="fast"` only.

    Raises:
        ConfigError: a key is unknown, or a value is refused.
        RomUnavailableError: the installed gym-super-mario-bros has no such ROM.
    """

    metadata: dict[str, Any] = {"render_modes": _RENDER_MODES, "render_fps": FRAMES_PER_SECOND}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        *,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        threads: int | None = None,
        **keys: Any,
    ) -> None:
        config = environment_from(keys, "gymnasium.make_vec")
        _check_vectorisable(config, num_envs)
        self.render_mode = _checked_render_mode(render_mode)
        self._autoreset = _checked_autoreset_mode(autoreset_mode)
        self.metadata = {
            **self.metadata,
            "render_fps": FRAMES_PER_SECOND / config.frame_skip,
            "autoreset_mode": self._autoreset,
        }
        self._games = Games(config, num_envs, threads=threads)
        self.num_envs = num_envs
        self.single_observation_space = self._games.observation_space
        self.single_action_space = Discrete(self._games.actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._ended = np.zeros(num_envs, np.bool_)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[np.uint8], dict[str, Any]]:
        """Start an episode of every game.

        Args:
            seed: game i gets `seed + i`, as in `SyncVectorEnv`; or one for each game.
            options: as for :meth:`SuperMarioBrosEnv.reset`; and `reset_mask`, bool of shape (num_envs,): which games.

        Raises:
            ValueError: there are not as many seeds, or entries of the mask, as games.
        """
        options = dict(options or {})
        chosen = np.asarray(options.pop("reset_mask", np.ones(self.num_envs, np.bool_)), np.bool_)
        seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else seed or [None] * self.num_envs
        if len(seeds) != self.num_envs or chosen.shape != (self.num_envs,):
            raise ValueError(f"{self.num_envs} games need as many seeds and as many entries of options['reset_mask']")
        infos: dict[str, Any] = {}
        for index in np.flatnonzero(chosen).tolist():
            infos = self._add_info(infos, self._games.reset(index, seed=seeds[index], options=options), index)
        self._ended[chosen] = False
        return self._games.fleet.observations.copy(), infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Take a step in every game.

        In the mode NEXT_STEP a game that has ended is reset instead, whatever its action: reward 0, and the info of the reset.
        In the mode SAME_STEP it is reset at once: infos have `final_obs` and `final_info`.

        Raises:
            ValueError: an action is not between 0 and n - 1.
            ResetNeeded: a game has not been reset; in the mode DISABLED also one that has ended.
        """
        waiting = np.flatnonzero(self._ended).tolist()
        if waiting and self._autoreset is AutoresetMode.DISABLED:
            raise ResetNeeded(f"games {waiting} have ended: call reset(options={{'reset_mask': …}}) before the next step")
        begun, outcome = self._step_all_but(waiting, actions)
        observations, rewards, terminations, truncations, all_infos = outcome
        infos: dict[str, Any] = {}
        for index, info in enumerate(all_infos):
            if index in begun:
                info = begun[index]
                rewards[index], terminations[index], truncations[index] = 0.0, False, False
            info.pop(_STATISTICS, None)
            if self._autoreset is AutoresetMode.SAME_STEP and (terminations[index] or truncations[index]):
                final = {"final_obs": observations[index].copy(), "final_info": info}
                info = {**final, **self._games.reset(index)}
            infos = self._add_info(infos, info, index)
        ends = np.array(terminations), np.array(truncations)
        if self._autoreset is not AutoresetMode.SAME_STEP:
            self._ended = ends[0] | ends[1]
        return observations.copy(), np.array(rewards), *ends, infos

    def _step_all_but(self, waiting: list[int], actions: Any) -> tuple[dict[int, dict[str, Any]], Any]:
        """Play one decision, and reset the games that are `waiting` for it; returns the infos of these resets by game.

        All games are stepped together. One that has ended must not be stepped further: it is put at its start, and what it
        plays there is dropped. Its random numbers go on as if it had not played.
        """
        slots, states = self._games.slots, {}
        for index in waiting:
            states[index] = generator_state(slots[index].np_random)
            self._games.reset(index)
        outcome = self._games.step(actions)
        for index, state in states.items():
            set_generator_state(slots[index].np_random, state)
        return {index: self._games.reset(index) for index in waiting}, outcome

    def render(self) -> tuple[Screen, ...] | None:
        """The screens, each RGB, uint8 of shape (240, 256, 3); None without a render mode."""
        return _screens(self.render_mode, self._games.slots)

    def close_extras(self, **kwargs: Any) -> None:
        """End the threads."""
        self._games.close()


def _check_vectorisable(config: EnvironmentConfig, num_envs: int) -> None:
    if num_envs < 1:
        raise ConfigError(f"gymnasium.make_vec: num_envs: at least 1 environment is needed, not {num_envs}")
    if config.emulator == "nes-py":
        raise ConfigError(
            "gymnasium.make_vec: environment.emulator: nes-py plays one game in a process; choose vectorization_mode='async' "
            "or 'sync', or emulator='fast'"
        )


def _checked_render_mode(render_mode: str | None) -> str | None:
    if render_mode not in (None, *_RENDER_MODES):
        raise ConfigError(f"render_mode: {render_mode!r} is unknown; there are None and {', '.join(map(repr, _RENDER_MODES))}")
    return render_mode


def _checked_autoreset_mode(mode: AutoresetMode | str) -> AutoresetMode:
    try:
        return AutoresetMode(mode)
    except ValueError:
        modes = ", ".join(repr(each.value) for each in AutoresetMode)
        raise ConfigError(f"gymnasium.make_vec: autoreset_mode: {mode!r} is unknown; there are {modes}") from None


def _screens(render_mode: str | None, games: Sequence[gymnasium.Env[Any, Any]]) -> tuple[Screen, ...] | None:
    if render_mode is None:
        logger.warn('render() shows nothing without a render mode: make the environment with render_mode="rgb_array"')
        return None
    return tuple(np.asarray(game.render()) for game in games)
