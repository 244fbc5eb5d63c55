"""The errors of this package. Their messages say what to do."""

from __future__ import annotations

from pathlib import Path


class AgentError(RuntimeError):
    """Base of this package's errors."""


class DeviceError(AgentError):
    """The device asked for is not there."""


class DeviceLostError(AgentError):
    """The GPU failed in a way that lasts as long as the process: CUDA answers every later call with the same error."""


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


def is_out_of_memory(error: BaseException) -> bool:
    """The device had no room, which may be otherwise once what a failed attempt held is freed."""
    words = ("out of memory", "ALLOC_FAILED")
    return type(error).__name__ == "OutOfMemoryError" or (_is_of_device(error) and any(word in str(error) for word in words))


def is_device_lost(error: BaseException) -> bool:
    """The device failed otherwise (an illegal access, a failed assertion, unplugged): only a new process can use it again."""
    return _is_of_device(error) and not is_out_of_memory(error)


def _is_of_device(error: BaseException) -> bool:
    # torch says so by words alone: libraries below it raise a bare RuntimeError.
    return isinstance(error, RuntimeError) and any(
        word in str(error) for word in ("CUDA error", "CUBLAS_STATUS", "CUDNN_STATUS")
    )
