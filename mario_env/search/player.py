"""One game that plays a level, decision by decision, from any state that was saved before."""

from typing import Any

import numpy as np
import numpy.typing as npt

from configs.schema import EnvironmentConfig
from mario_env.console import world_and_stage
from mario_env.fast import cartridge, start_of_game
from mario_env.nes.machine import Fleet, make_rules
from mario_env.observations import observation_of
from mario_env.wrappers.actions import button_combinations, pressed_buttons

__all__ = ["Player", "Saved"]

Saved = npt.NDArray[np.uint8]
"""A state of the emulator, as :meth:`Player.save` returns it."""


class Player:
    """Plays a level with the actions of an environment. Nothing truncates the play.

    Args:
        config: the environment. Its actions, frame skip and ROM count.
        level: the level, such as "1-2"; None: the full game.

    Attributes:
        combinations: the buttons of each action.
        decisions: how many it has played.
        ram: the console's RAM, uint8 (2048,).
        outcomes: what the last decision came to: a record of :data:`mario_env.nes.play.OUTCOME`.
    """

    def __init__(self, config: EnvironmentConfig, level: str | None) -> None:
        self.combinations = button_combinations(config)
        self._pressed = pressed_buttons(self.combinations)
        target = None if level is None else world_and_stage(level)
        observation = observation_of(config)  # nobody looks at it, but its compiled code is the one that training needs
        self._fleet = Fleet(cartridge(config.rom), make_rules(target, frame_skip=config.frame_skip), 1, observation)
        self._fleet.restore(0, start_of_game(config.rom, target, observation))
        self._fleet.begin(0)
        self.decisions = 0
        self.ram: npt.NDArray[np.uint8] = self._fleet.machines["ram"][0]
        self.outcomes: Any = self._fleet.outcomes[0]

    def play(self, action: int) -> None:
        """Play a decision."""
        self._fleet.decide([self._pressed[action]])
        self.decisions += 1

    @property
    def completed(self) -> bool:
        """Whether the level was completed by the last decision."""
        return bool(self.outcomes["flag_get"])

    @property
    def ended(self) -> bool:
        """Whether the last decision completed the level or lost the life."""
        return bool(self.outcomes["terminated"])

    def save(self) -> Saved:
        """The present state."""
        return self._fleet.save(0)

    def restore(self, state: Saved) -> None:
        """Continue from a state that was saved."""
        self._fleet.put_back(0, state)
