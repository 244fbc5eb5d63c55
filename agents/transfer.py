"""Between the host's memory and a GPU's, without one waiting for the other.

A copy from ordinary memory to a GPU is made while the host waits; one from pinned memory is queued behind the work that the GPU
has already, and the host goes on. torch keeps pinned memory that was let go of for the next copy, and hands it out only when
the one before is done. On a CPU nothing is copied at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def to_device(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """A tensor of `array`, of its shape, dtype and layout; on a CPU the same memory, on a GPU a copy that is under way.

    `array` may be written to as soon as this returns, if `device` is a GPU.
    """
    tensor = torch.as_tensor(array)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class Arriving:
    """Numbers that the host will want, sent for when the GPU has them: what was queued after them is not waited for.

    Args:
        numbers: of any shape; on a CPU they are there at once.
    """

    def __init__(self, numbers: torch.Tensor) -> None:
        # Into pinned memory, as torch chooses itself for a copy to the host that does not block.
        self._numbers = numbers.detach().to("cpu", non_blocking=True)
        self._sent: torch.cuda.Event | None = None
        if numbers.device.type == "cuda":
            self._sent = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._sent.record(torch.cuda.current_stream(numbers.device))

    @property
    def there(self) -> bool:
        """Whether `numpy` would return at once."""
        return self._sent is None or bool(self._sent.query())  # type: ignore[no-untyped-call]

    def numpy(self) -> NDArray[np.float32]:
        """The numbers, when they have arrived."""
        if self._sent is not None:
            self._sent.synchronize()
        array: NDArray[np.float32] = self._numbers.numpy()
        return array
