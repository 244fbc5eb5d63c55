"""Feature extractors of this project, for the policies of all algorithms."""

from agents.extractors.tiles import TileNetwork

__all__ = ["TileNetwork"]
