"""The result of a training, and the exception that has it when a signal ended the training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agents.checkpoints import Checkpoint
from agents.progress import EpisodeTotals, ValidationResult


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training. Steps, frames, episodes and reward_sum count from step 0, across resumptions.

    Attributes:
        seconds: wall-clock time of this call.
        model_path: the folder of the final model; None if interrupted.
        checkpoint: the newest complete checkpoint, or None.
        validations: the results of validations, oldest first.
        validated: number and reward sum of all episodes of validations.
        best: the checkpoint with the best validation; None without validations.
    """

    steps: int
    frames: int
    episodes: int
    reward_sum: float
    seconds: float
    model_path: Path | None
    checkpoint: Checkpoint | None
    interrupted: bool
    validations: Sequence[ValidationResult] = ()
    validated: EpisodeTotals = field(default_factory=lambda: EpisodeTotals(0, 0.0))
    best: Checkpoint | None = None


class TrainingInterrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM ended the training after a complete step; `result` has its state.

    It is a KeyboardInterrupt, so that no ``except Exception`` treats it as a failure to be retried.
    """

    def __init__(self, result: TrainingResult) -> None:
        kept = f"checkpoint {result.checkpoint.path}" if result.checkpoint else "no checkpoint could be written"
        super().__init__(f"training was interrupted at step {result.steps}: {kept}")
        self.result = result
