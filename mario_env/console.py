"""The console: executes the ROM frame by frame. The one place that knows which stack of packages is installed.

On Python 3.13 and later, gym-super-mario-bros 9 speaks Gymnasium's API itself. On 3.11 and 3.12 the last release is 7.4.0,
which speaks the old Gym API; shimmy bridges it. Both execute the game alike, byte for byte; what they report about it differs
(rewards, info), so neither report is used: everything else in this project is read from RAM.
"""

import hashlib
import importlib
import importlib.util
import os
from abc import abstractmethod
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import cv2
import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box, Discrete
from gymnasium.utils.seeding import np_random
from numpy.typing import NDArray

from configs.schema import EnvironmentConfig
from mario_env import memory as ram
from mario_env.errors import RomUnavailableError
from mario_env.starts import draw_level

__all__ = [
    "FRAMES_PER_SECOND",
    "SCREEN_SHAPE",
    "Console",
    "NesPyConsole",
    "Screen",
    "check_rom",
    "level_of",
    "rom_path",
    "rom_sha256",
    "world_and_stage",
]

Screen: TypeAlias = NDArray[np.uint8]

SCREEN_SHAPE: Final = (240, 256, 3)
FRAMES_PER_SECOND: Final = 60

_ROM_FILES: Final = {
    "vanilla": "super-mario-bros.nes",
    "downsample": "super-mario-bros-downsample.nes",
    "pixel": "super-mario-bros-pixel.nes",
    "rectangle": "super-mario-bros-rectangle.nes",
}


def _quiet_old_gym() -> bool:
    """Import the old Gym, where it is installed, without its notice; say whether it is there.

    The notice ("Gym has been unmaintained since 2022 …") is printed on import, once for each process, to people who cannot act
    on it. It is taken from the table that the package prints from, so that real warnings pass. Importing Gym also sets SDL's
    sound driver to one that modern systems lack, for the whole process; that is undone.
    """
    if importlib.util.find_spec("gym") is None:
        return False
    importlib.import_module("gym_notices.notices").notices.clear()
    driver = os.environ.get("SDL_AUDIODRIVER")
    import gym  # noqa: F401

    if driver is None:
        os.environ.pop("SDL_AUDIODRIVER", None)
    else:
        os.environ["SDL_AUDIODRIVER"] = driver
    return True


# On import, not on first use: stable-baselines3 imports Gym too where it is installed, and whoever comes first is asked.
_OLD_GYM: Final = _quiet_old_gym()


class Console(gymnasium.Env[Screen, Any]):
    """An emulator that runs Super Mario Bros: what the rest of this package needs of one.

    An action is a byte of pressed buttons (bit 7 to 0: right, left, down, up, start, select, B, A); a step is one frame;
    an observation is the screen, RGB, uint8 of shape (240, 256, 3), an array of its own. Between two steps the console skips
    what no player can influence, as gym-super-mario-bros does: the death animation, pipes and scene changes, the black
    screens between lives and levels. Reward is always 0, and only what must not be stepped beyond terminates: a level's one
    life lost or its goal reached, the game over, the last princess saved.

    Attributes:
        memory: the RAM (2048 bytes) after the last reset or step.
        frame_memory: the RAM at the end of the last frame of play, before anything was skipped: shows how a life or a level
            ended, which `memory` no longer does.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": FRAMES_PER_SECOND}  # noqa: RUF012
    memory: bytes
    frame_memory: bytes

    def __init__(self, seed: int | None = None) -> None:
        self.render_mode = "rgb_array"
        self._np_random, self._np_random_seed = np_random(seed)
        self.observation_space = Box(0, 255, SCREEN_SHAPE, np.uint8)
        self.action_space = Discrete(256)

    def choose_level(self, config: EnvironmentConfig, options: dict[str, Any] | None) -> str | None:
        """The level to play next: that of the option `level`, or one of several that is drawn; None: there is only one.

        Raises:
            ValueError: the option names a level that `config` does not have.
        """
        level = (options or {}).get("level")
        if level is not None and level not in config.level_names:
            raise ValueError(f"there is no level {level!r}: the levels are {', '.join(config.level_names) or 'the full game'}")
        if not config.levels:
            return None
        return str(level) if level is not None else draw_level(config.levels, self.np_random)

    def step(self, action: Any) -> tuple[Screen, float, bool, bool, dict[str, Any]]:
        """Play one frame with these buttons pressed, then skip what no player can influence.

        Raises:
            ResetNeeded: there was no reset yet.
        """
        if not hasattr(self, "memory"):
            raise ResetNeeded("the game has not been reset: call reset() before the first step")
        terminated = self.advance(int(action))
        return self.render(), 0.0, terminated, False, {}

    @abstractmethod
    def advance(self, buttons: int) -> bool:
        """Play one frame as :meth:`step` does, without copying the screen; whether it terminated."""

    @abstractmethod
    def render(self) -> Screen:
        """The current screen."""

    @abstractmethod
    def write_memory(self, address: int, value: int) -> None:
        """Write a byte into the RAM, as a cheat device would: brings about in tests what is too rare to be played."""


def world_and_stage(level: str) -> tuple[int, int]:
    """World and stage of a level's name."""
    world, _, stage = level.partition("-")
    return int(world), int(stage)


def level_of(config: EnvironmentConfig) -> tuple[int, int] | None:
    """World and stage of the first level, or None for the full game."""
    return world_and_stage(config.level_names[0]) if config.game == "level" else None


def check_rom(config: EnvironmentConfig) -> None:
    """Refuse a ROM that the installed gym-super-mario-bros does not carry, without making a game.

    Raises:
        RomUnavailableError: the variant is not there; the message says which stack has it.
    """
    available = [name for name, file in _ROM_FILES.items() if (_rom_folder() / file).is_file()]
    if config.rom not in available:
        raise RomUnavailableError(
            f"environment.rom: {config.rom!r} is not in the installed gym-super-mario-bros, which has only "
            f"{', '.join(available)}; the other variants exist in release 7.4.0, that is on Python 3.11 and 3.12"
        )


def rom_path(variant: str) -> Path:
    """Where the installed gym-super-mario-bros keeps a variant of the ROM."""
    return _rom_folder() / _ROM_FILES[variant]


@cache
def rom_sha256(variant: str) -> str:
    """SHA-256 (hex) of a variant of the ROM, as :func:`rom_path` finds it."""
    return hashlib.sha256(rom_path(variant).read_bytes()).hexdigest()


@cache
def _rom_folder() -> Path:
    spec = importlib.util.find_spec("gym_super_mario_bros")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("gym-super-mario-bros is not installed; `make setup` installs what the project needs")
    return Path(spec.submodule_search_locations[0]) / "_roms"


@cache
def _game_class() -> tuple[Any, bool]:
    """The game as this project plays it, and whether it speaks the old Gym API."""
    from gym_super_mario_bros import SuperMarioBrosEnv

    class Game(SuperMarioBrosEnv):  # type: ignore[misc]
        """gym-super-mario-bros' game through nes-py's hooks: its own reward and info are not computed at all."""

        frame_memory = b""

        def _get_reward(self) -> float:
            return 0.0

        def _get_info(self) -> dict[str, Any]:
            return {}

        def _get_done(self) -> bool:
            # Without the second half the full game never returns from the step that reaches the last axe: it skips the
            # ending until the next world begins, and there is none.
            return bool(self._is_over()) or ram.is_last_princess_saved(self.ram.tobytes())

        _get_terminated = _get_done

        def _is_over(self) -> Any:
            return super()._get_terminated() if hasattr(SuperMarioBrosEnv, "_get_terminated") else super()._get_done()

        def _did_step(self, done: bool) -> None:
            self.frame_memory = self.ram.tobytes()
            super()._did_step(done)

    return Game, _OLD_GYM


class NesPyConsole(Console):
    """nes-py playing the ROM that gym-super-mario-bros carries.

    Args:
        config: which level, levels or the full game, and which variant of the ROM.
        seed: of `np_random`.

    Raises:
        RomUnavailableError: see :func:`check_rom`.

    Copies made by pickling have to be reset first: nes-py cannot write its state down.
    """

    def __init__(self, config: EnvironmentConfig, *, seed: int | None = None) -> None:
        super().__init__(seed)
        check_rom(config)
        self._config = config
        self._start()

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_game", "_env", "_others", "memory", "frame_memory")
        return {name: value for name, value in self.__dict__.items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def _start(self) -> None:
        self._level = (self._config.level_names or [""])[0]
        self._others: dict[str, tuple[Any, gymnasium.Env[Screen, Any]]] = {}  # games of the other levels, by level
        self._game, self._env = self._new_game(level_of(self._config))

    def _change_level(self, level: str) -> None:
        self._others[self._level] = self._game, self._env
        known = level in self._others
        self._game, self._env = self._others.pop(level) if known else self._new_game(world_and_stage(level))
        self._level = level

    def _new_game(self, target: tuple[int, int] | None) -> tuple[Any, gymnasium.Env[Screen, Any]]:
        """A game of this level, or the full game, and the environment that steps it. It cannot change its level."""
        game_class, old = _game_class()
        arguments: dict[str, Any] = {"target": target}
        if old:
            arguments["rom_mode"] = self._config.rom
        game = env = game_class(**arguments)
        if old:
            from shimmy.openai_gym_compatibility import GymV21CompatibilityV0

            env = GymV21CompatibilityV0(env=game)
        return game, env

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Screen, dict[str, Any]]:
        """Start the game again: always the same game, the seed is for the wrappers' random numbers (`np_random`)."""
        super().reset(seed=seed)
        level = self.choose_level(self._config, options)
        if level is not None and level != self._level:
            self._change_level(level)
        self._env.reset()
        self.memory = self.frame_memory = self._game.ram.tobytes()
        return self.render(), {} if level is None else {"level": level}

    def advance(self, buttons: int) -> bool:
        """Play one frame with these buttons pressed, then skip what no player can influence; whether it terminated."""
        _, _, terminated, _, _ = self._env.step(buttons)
        self.frame_memory = self._game.frame_memory
        self.memory = self._game.ram.tobytes()
        return bool(terminated)

    def render(self) -> Screen:
        """The current screen, as an array of its own."""
        return _copy_rgb(self._game.screen)

    def write_memory(self, address: int, value: int) -> None:
        """Write a byte into the RAM."""
        self._game.ram[address] = value

    def close(self) -> None:
        """Free the emulator; closing twice is no error."""
        if self._game is not None:
            for env in (self._env, *(env for _, env in self._others.values())):
                env.close()
            self._game, self._others = None, {}


def _copy_rgb(screen: Screen) -> Screen:
    """Copy nes-py's view of its screen into a contiguous RGB array.

    The view steps backwards through pixels of four bytes (blue, green, red, nothing), which NumPy copies in 170-190 µs.
    OpenCV needs 15 µs for the same bytes read forwards: at a frame skip of 4 that is 8 % of a decision.
    """
    if screen.strides != (1024, 4, -1):  # not the layout this shortcut is for (a big-endian machine)
        return np.ascontiguousarray(screen)
    pixels = np.lib.stride_tricks.as_strided(screen[:, :, ::-1], (240, 256, 4), (1024, 4, 1))
    return cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB).astype(np.uint8, copy=False)
