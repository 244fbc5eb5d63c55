"""What goes wrong in learning, as exceptions that say what to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agents.progress import TrainingResult


class AgentError(RuntimeError):
    """Base of this package's errors."""


class DeviceError(AgentError):
    """The device asked for is not there."""


class CheckpointError(AgentError):
    """A checkpoint or a model on disk cannot be used, or could not be written."""


class ContinuationError(AgentError):
    """A training cannot go on exactly as it would have without an interruption; the message is the reason."""


class NonFiniteError(AgentError):
    """The loss or a weight is no longer a finite number: what follows would be noise.

    Attributes:
        step: decisions taken when it was seen.
        name: the quantity, e.g. ``train/loss``.
        value: its value.
        checkpoint: the last good checkpoint, or None.
    """

    def __init__(self, step: int, name: str, value: float, checkpoint: Path | None) -> None:
        kept = f"the last good checkpoint is {checkpoint}" if checkpoint else "there is no checkpoint from before"
        super().__init__(
            f"{name} became {value} at step {step}; training was stopped and no model was written; {kept}. "
            "A smaller agent.learning_rate, agent.max_grad_norm or environment.reward.scale usually helps."
        )
        self.step, self.name, self.value, self.checkpoint = step, name, value, checkpoint


class TrainingInterrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM ended the training after a complete step; ``result`` tells how far it came and what was kept.

    A KeyboardInterrupt, so that no ``except Exception`` on the way takes it for a fault to be retried.
    """

    def __init__(self, result: TrainingResult) -> None:
        kept = f"checkpoint {result.checkpoint.path}" if result.checkpoint else "no checkpoint could be written"
        super().__init__(f"training was interrupted at step {result.steps}: {kept}")
        self.result = result
