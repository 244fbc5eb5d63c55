"""The fast emulator as a console: the same game as on nes-py, frame by frame, in this process."""

from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from configs.schema import EnvironmentConfig
from mario_env.console import Console, Screen, check_rom, level_of, rom_path, world_and_stage
from mario_env.nes.machine import Fleet, Snapshot, insert_cartridge, make_rules
from mario_env.nes.rom import read_rom
from mario_env.observations import Frames, Observation, observation_of

__all__ = ["FastConsole", "start_of_game"]


@cache
def cartridge(rom: str) -> npt.NDArray[np.void]:
    """A variant of the ROM, decoded for a console that behaves as the installed nes-py does."""
    return insert_cartridge(read_rom(rom_path(rom)), wraps=int(version("nes-py").split(".")[0]) >= 9)


_FRAMES = Frames()


@cache
def start_of_game(rom: str, level: tuple[int, int] | None, observation: Observation = _FRAMES) -> Snapshot:
    """The state that every episode starts from.

    It does not depend on `observation`, which chooses the compiled code: one observation's code is enough in a process.
    """
    fleet = Fleet(cartridge(rom), make_rules(level), 1, observation)
    fleet.start(0)
    return fleet.snapshot(0)


class FastConsole(Console):
    """The emulator of `mario_env.nes`, playing the ROM that gym-super-mario-bros carries.

    Args:
        config: which level, levels or the full game, and which variant of the ROM.
        seed: of `np_random`.

    Raises:
        RomUnavailableError: the installed gym-super-mario-bros has no such ROM.
        RomError: the file is not a ROM of the supported kind.
    """

    def __init__(self, config: EnvironmentConfig, *, seed: int | None = None) -> None:
        super().__init__(seed)
        check_rom(config)
        self._config, self._observation = config, (observation := observation_of(config))
        self._fleet = Fleet(cartridge(config.rom), make_rules(level_of(config)), 1, observation)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Screen, dict[str, Any]]:
        """Start the game again. The game is always the same: the seed is for the wrappers' random numbers (`np_random`)."""
        super().reset(seed=seed)
        level = self.choose_level(self._config, options)
        target = level_of(self._config) if level is None else world_and_stage(level)
        self._fleet.restore(0, start_of_game(self._config.rom, target, self._observation))
        self.memory = self.frame_memory = self._fleet.machines["ram"][0].tobytes()
        return self.render(), {} if level is None else {"level": level}

    def advance(self, buttons: int) -> bool:
        """Play one frame with these buttons pressed, skip what no player can influence, and return whether the game is over."""
        terminated = self._fleet.step(0, buttons)
        self.frame_memory = self._fleet.frame_ram[0].tobytes()
        self.memory = self._fleet.machines["ram"][0].tobytes()
        return terminated

    def render(self) -> Screen:
        """The current screen, as an array of its own."""
        return self._fleet.screen(0)

    def snapshot(self) -> Snapshot:
        """A copy of the machine and its screen, from which :meth:`restore` goes on. It takes a microsecond."""
        return self._fleet.snapshot(0)

    def restore(self, snapshot: Snapshot) -> None:
        """Put the machine and its screen back as they were. `memory` and `frame_memory` both become the RAM of that moment."""
        self._fleet.restore(0, snapshot)
        self.memory = self.frame_memory = self._fleet.machines["ram"][0].tobytes()

    @property
    def machine(self) -> np.void:
        """The state of the machine, a record that shares its memory: see :mod:`mario_env.nes.machine`."""
        machine: np.void = self._fleet.machines[0]
        return machine

    def write_memory(self, address: int, value: int) -> None:
        """Write a byte into the RAM."""
        self._fleet.machines["ram"][0, address] = value
