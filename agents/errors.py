"""The errors of this package. Each message says what to do."""

from __future__ import annotations

from pathlib import Path


class AgentError(RuntimeError):
    """Base of this package's errors."""


class DeviceError(AgentError):
    """The configured device is not available."""


class DeviceLostError(AgentError):
    """The GPU failed and this process cannot use it any more: CUDA fails every later call with the same error."""


class CheckpointError(AgentError):
    """A checkpoint or model on disk is unusable, or could not be written."""


class TeamError(AgentError):
    """Policies cannot play one game together, or not this one."""


class TeacherError(AgentError):
    """A trained policy cannot teach the one that is to be trained."""


class SharedStorageError(AgentError):
    """The storage that machines share cannot be read or written."""


class ContinuationError(AgentError):
    """A training cannot resume exactly; the message is the reason."""


class NonFiniteError(AgentError):
    """A loss or a weight is NaN or infinite, so training cannot continue.

    Attributes:
        step: the number of decisions taken when it was detected.
        name: the quantity, e.g. ``train/loss``.
        value: its value.
        checkpoint: the last good checkpoint, or None.
    """

    def __init__(self, step: int, name: str, value: float, checkpoint: Path | None) -> None:
        kept = f"the last good checkpoint is {checkpoint}" if checkpoint else "there is no earlier checkpoint"
        super().__init__(
            f"{name} became {value} at step {step}; training was stopped and no model was written; {kept}. "
            "A smaller agent.learning_rate, agent.max_grad_norm or environment.reward.scale usually helps."
        )
        self.step, self.name, self.value, self.checkpoint = step, name, value, checkpoint


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device ran out of memory. Another attempt may succeed once the memory of this one is freed."""
    words = ("out of memory", "ALLOC_FAILED")
    return type(error).__name__ == "OutOfMemoryError" or (_is_of_device(error) and any(word in str(error) for word in words))


def is_device_lost(error: BaseException) -> bool:
    """Whether the device failed in another way (illegal access, failed assertion, removal). Only a new process can use it."""
    return _is_of_device(error) and not is_out_of_memory(error)


def _is_of_device(error: BaseException) -> bool:
    # Only the message tells: the libraries below torch raise a plain RuntimeError.
    return isinstance(error, RuntimeError) and any(
        word in str(error) for word in ("CUDA error", "CUBLAS_STATUS", "CUDNN_STATUS")
    )
