"""Feature extractors of this project, for the policies of all algorithms."""

from agents.extractors.pictures import NatureCNN, PictureNetwork, SmallCNN, UnscaledPictures
from agents.extractors.tiles import TileNetwork

__all__ = ["NatureCNN", "PictureNetwork", "SmallCNN", "TileNetwork", "UnscaledPictures"]
