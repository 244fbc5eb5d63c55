"""The section `train.curriculum` of the configuration: episodes that begin along a demonstration."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from configs.section import Section

LevelName = Annotated[str, Field(pattern="^[1-8]-[1-4]$")]
"""A level by world and stage, such as `1-2`."""

DEMONSTRATED_FRAME_SKIP = 4
"""Frames that each action of the demonstrations lasts that come with the project."""


class CurriculumConfig(Section):
    """The backward algorithm (Salimans and Chen 2018): episodes begin near the end of a demonstration, then ever earlier.

    A position on a demonstration is the number of its decisions that an episode skips. The demonstration of each level has a
    point, first near its end. It moves back when enough of the episodes complete the level that began in the window before it.
    """

    demonstrations: dict[LevelName, Annotated[str, Field(pattern="^[0-9ab]+$", max_length=4096)]] = Field(
        {},
        description="play that completes a level, by level, as `mario episodes --demonstration ID` prints it; other levels: "
        "the play that comes with the project",
    )
    window: int = Field(8, ge=1, description="positions, up to the point, at which most episodes begin")
    step: int = Field(4, ge=1, description="decisions by which the point moves back")
    threshold: float = Field(0.3, gt=0, le=1, description="share of `tries` that must complete the level for that")
    tries: int = Field(40, ge=1, description="how many of the latest episodes from the window are looked at")
    elsewhere: float = Field(0.4, ge=0, lt=1, description="share of episodes that begin anywhere behind the point")
    from_start: float = Field(0.0, ge=0, lt=1, description="share of episodes that begin at the level's start")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.elsewhere + self.from_start >= 1:
            raise ValueError("elsewhere and from_start leave no episodes for the window: their sum must be below 1")
        return self
