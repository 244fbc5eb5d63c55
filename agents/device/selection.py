"""Which device a network learns on."""

from __future__ import annotations

import torch

from agents.errors import DeviceError


def resolve_device(device: str) -> str:
    """ "auto" becomes "cuda" where there is a usable GPU, else "cpu".

    Raises:
        DeviceError: "cuda" was asked for and torch sees none.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(
            "train.device is cuda, but torch sees no GPU: install torch with CUDA and a driver, or set train.device to auto"
        )
    return device
