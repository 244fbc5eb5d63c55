"""Feature extractors compiled by torch (`train.compile`): fewer passes over memory, for a minute at the start.

Compiled is a module's call, in place: weights keep their names, so that checkpoints and models are the same files as without,
and are loaded with it or without it. CUDA graphs are left out, since each of their results is only good until the next call.
"""

from __future__ import annotations

import warnings

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from agents.errors import DeviceError


def require_compiler(device: str) -> None:
    """Compile something tiny, which takes a few seconds the first time.

    Raises:
        DeviceError: torch cannot compile for `device`, for want of a compiler or its headers.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of parts of torch that its compiler imports
            torch.compile(_tiny, dynamic=False)(torch.ones(8, device=device))
    except Exception as error:  # each part of torch's compiler, and each missing piece, has exceptions of its own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DeviceError(
            f"train.compile is true, but torch cannot compile for this {device} ({reason}): install a C++ compiler and "
            "Python's headers (apt-get install g++ python3-dev), or set train.compile to false"
        ) from error


def compile_networks(model: BaseAlgorithm) -> None:
    """Compile the feature extractors of `model`, each when it is first called with a batch of a size."""
    # torch keeps at most eight versions of a function in a process, and all modules are called by the same one.
    torch.compiler.reset()
    for extractor in _extractors(model):
        # A version for each size of batch, of which there are few: acting's and updates'.
        extractor.compile(dynamic=False)


def is_compiled(model: BaseAlgorithm) -> bool:
    """Whether `compile_networks` has had `model`."""
    return any(extractor._compiled_call_impl is not None for extractor in _extractors(model))


def _extractors(model: BaseAlgorithm) -> list[BaseFeaturesExtractor]:
    """Nearly all of the work is theirs; what the libraries do around them, torch cannot compile in one piece."""
    return [module for module in model.policy.modules() if isinstance(module, BaseFeaturesExtractor)]


def _tiny(tensor: torch.Tensor) -> torch.Tensor:
    return tensor * 2 + 1
