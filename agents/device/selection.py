"""Selection of the device that a network is trained on."""

from __future__ import annotations

import torch

from agents.errors import DeviceError


def resolve_device(device: str) -> str:
    """Return `device`, where "auto" becomes "cuda" if there is a usable GPU, otherwise "cpu".

    Raises:
        DeviceError: `device` is "cuda", and torch finds no GPU.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(
            "train.device is cuda, but torch sees no GPU: install torch with CUDA and a driver, or set train.device to auto"
        )
    return device
