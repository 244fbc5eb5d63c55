"""The section `train.curriculum` of the configuration: episodes that begin along a demonstration."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from configs.hashing import added
from configs.section import Section

LevelName = Annotated[str, Field(pattern="^[1-8]-[1-4]$")]
"""A level by world and stage, such as `1-2`."""

DEMONSTRATED_FRAME_SKIP = 4
"""Frames that each action of the demonstrations lasts that come with the project."""


Play = Annotated[str, Field(pattern="^[0-9ab]+$", max_length=4096)]
"""Play that completes a level, as `mario episodes --demonstration ID` prints it."""

Share = Annotated[float, Field(gt=0, le=1)]


class ThresholdByPosition(Section):
    """A threshold that changes linearly along the demonstration."""

    finish: Share = Field(description="at the end of the demonstration, where nearly every try should complete the level")
    start: Share = Field(description="at the level's start")

    def at(self, position: float) -> float:
        """The threshold at a position, as a fraction of the demonstration; 0: the level's start."""
        return self.start + (self.finish - self.start) * position


class SearchConfig(Section):
    """The search for demonstrations, before the training. One seed finds the same demonstrations again."""

    demonstrations: int = Field(1, ge=1, le=32, description="how many are searched for, for each level")
    decisions: int = Field(500_000, ge=1, description="most decisions until one is found")
    refine: int = Field(150_000, ge=0, description="further decisions to make it shorter and smoother; 0: it stays as found")


class CurriculumConfig(Section):
    """Episodes that begin along a demonstration.

    A position on a demonstration is the number of its decisions that an episode skips. There are two methods:

    - `uniform`: episodes begin at positions that are drawn uniformly, or at the level's start (`from_start`). So every part of
      the level is practised from the first rollout on (reference state initialisation, Peng et al. 2018, "DeepMimic").
    - `backward`: the backward algorithm (Salimans and Chen 2018). Each demonstration of a level has a point, first near its
      end. Most episodes begin in the window before it. It moves back when enough of them complete the level.
    """

    method: Literal["backward", "uniform"] = added(
        "backward", description="how positions are chosen; uniform uses only `from_start` and `tries` of the numbers below"
    )

    demonstrations: dict[LevelName, Play | Annotated[list[Play], Field(min_length=1, max_length=32)]] = Field(
        {},
        description="play that completes a level, by level, as `mario episodes --demonstration ID` prints it, or a list of "
        "such; other levels: the play that `search` finds, or that comes with the project",
    )
    search: SearchConfig | None = added(
        None, description="search for demonstrations of the levels that have none in `demonstrations`; null: do not"
    )
    window: int = Field(8, ge=1, description="positions, up to the point, at which most episodes begin")
    step: int = Field(4, ge=1, description="decisions by which the point moves back")
    threshold: Share | ThresholdByPosition = Field(0.3, description="share of `tries` that must complete the level for that")
    tries: int = Field(
        40, ge=1, description="how many of the latest episodes from the window (uniform: from the level's start) are looked at"
    )
    elsewhere: float = Field(0.4, ge=0, lt=1, description="share of episodes that begin anywhere behind the point")
    from_start: float = Field(0.0, ge=0, lt=1, description="share of episodes that begin at the level's start")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.method == "uniform":
            if not self.from_start:
                raise ValueError("method uniform: from_start must be above 0, or hardly an episode begins at the level's start")
        elif self.elsewhere + self.from_start >= 1:
            raise ValueError("elsewhere and from_start leave no episodes for the window: their sum must be below 1")
        return self

    def threshold_at(self, position: float) -> float:
        """The threshold at a position, as a fraction of the demonstration; 0: the level's start."""
        return self.threshold if isinstance(self.threshold, float) else self.threshold.at(position)

    def plays(self, level: str) -> list[str]:
        """The demonstrations of a level that are given; none if others are to be used."""
        given = self.demonstrations.get(level, [])
        return [given] if isinstance(given, str) else given
