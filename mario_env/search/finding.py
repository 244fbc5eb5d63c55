"""The search for a demonstration of a level, within a budget of decisions."""

from dataclasses import dataclass

import numpy as np

from configs.curriculum import SearchConfig
from configs.levels import FINISH_X
from configs.schema import EnvironmentConfig
from mario_env.console import world_and_stage
from mario_env.errors import SearchError
from mario_env.search.archive import Archive
from mario_env.search.player import Player
from mario_env.search.refinement import refine

__all__ = ["Found", "find"]


@dataclass(frozen=True)
class Found:
    """Play that completes a level with its last decision.

    Attributes:
        actions: of the environment.
        first: the actions that were found first, before they were made shorter and smoother.
        searched: how many decisions were played to find them.
        played: the same, with those that were played to refine them.
    """

    actions: bytes
    first: bytes
    searched: int
    played: int


def find(config: EnvironmentConfig, level: str, search: SearchConfig, seed: int) -> Found:
    """Search for play that completes a level. The same arguments find the same play.

    Args:
        config: the environment. The play has its actions and frame skip, and begins without idle frames.
        level: the level, such as "1-2".
        search: the budgets.
        seed: of the random numbers; at least 0.

    Raises:
        SearchError: nothing was found. The message says how far the search came.
    """
    player = Player(config, level)
    archive = Archive(player, np.random.default_rng(seed))
    first = None
    while first is None:
        if player.decisions >= search.decisions:
            raise SearchError(_failure(level, archive, search))
        first = archive.explore()
    searched = player.decisions
    actions = refine(archive, first, search.refine) if search.refine else first
    return Found(actions, first, searched, player.decisions)


def _failure(level: str, archive: Archive, search: SearchConfig) -> str:
    return (
        f"train.curriculum.search: in {search.decisions:,} decisions no play was found that completes {level}. The furthest "
        f"came to x {archive.furthest}, and the level ends at x {FINISH_X[world_and_stage(level)]}. Raise "
        "train.curriculum.search.decisions, set environment.actions to complex, or give a demonstration of the level in "
        "train.curriculum.demonstrations"
    )
