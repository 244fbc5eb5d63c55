"""State that an algorithm of this project has beyond the library's, for trainings that go on exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm


class OwnState(BaseAlgorithm):
    """To be inherited by whatever gives an algorithm state that its next step depends on.

    Each such class adds its own to what ``super()`` has, under names of its own, and takes it from there again. Weights,
    optimiser, counters, replay memory and the global generators are kept without it.
    """

    def own_state(self) -> dict[str, Any]:
        """What it is now, as JSON types (`mario_env.snapshots.generator_state` makes them of a generator)."""
        return {}

    def set_own_state(self, state: Mapping[str, Any]) -> None:
        """Make it what it was when `own_state` returned `state`."""
