"""The section `train.teacher` of the configuration: trained policies that see tiles advise the one in training."""

from collections.abc import Sequence

from pydantic import Field, field_validator

from configs.agent import Rate
from configs.hashing import added
from configs.section import Section

LEVEL = "{level}"
"""What the name of a teacher's experiment has in place of the level."""


class TeacherConfig(Section):
    """Kickstarting (Schmitt et al. 2018): the loss gets the cross-entropy between a teacher's choices and the pupil's.

    The pupil plays, and the teacher says in each state what it would do. It sees the tiles of that state, whatever the pupil
    sees. So an agent that sees pictures learns from one that was trained on tiles within minutes.
    """

    experiment: str = Field(
        min_length=1,
        max_length=120,
        description="name of the completed experiment that trained the teacher; {level} in it stands for each level",
    )
    weight: Rate = Field(1.0, description="of the cross-entropy in the loss; a number, or a schedule")
    temperature: float = added(
        1.0,
        gt=0,
        le=10,
        description="the teacher's logits are divided by it: below 1 the pupil learns to draw its actions less at random",
    )

    @field_validator("experiment")
    @classmethod
    def _no_other_braces(cls, value: str) -> str:
        if set("{}") & set(value.replace(LEVEL, "")):
            raise ValueError(f"{value!r}: only {LEVEL} may be in braces")
        return value

    @field_validator("weight")
    @classmethod
    def _some(cls, value: Rate) -> Rate:
        if isinstance(value, float | int) and value <= 0:
            raise ValueError("the weight must be above 0; without a teacher leave train.teacher out")
        return value

    def experiments(self, levels: Sequence[str]) -> dict[str, str]:
        """The experiment of each level's teacher, by level."""
        return {level: self.experiment.replace(LEVEL, level) for level in levels}
