"""The search for play that completes a level: demonstrations that nobody has played.

An archive of states is explored until a play completes the level (:mod:`~mario_env.search.archive`). The play is then made
shorter and smoother (:mod:`~mario_env.search.refinement`), because what a search has found is jerky, and hard to learn from.
"""

from mario_env.search.archive import Archive
from mario_env.search.finding import Found, find
from mario_env.search.player import Player
from mario_env.search.refinement import changes, refine

__all__ = ["Archive", "Found", "Player", "changes", "find", "refine"]
