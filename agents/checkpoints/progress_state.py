"""The progress of a training as JSON types: the file `state.json` of a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any, Final

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from agents.progress import Counters
from mario_env.starts import Starts

STATE: Final = "state.json"


def progress_state(model: BaseAlgorithm, counters: Counters) -> dict[str, Any]:
    """The counters of `model` and of its training, and what the starts of later episodes depend on."""
    return {
        "steps": int(model.num_timesteps),
        "updates": int(model._n_updates),
        "episodes_seen": int(model._episode_num),
        "target_calls": int(getattr(model, "_n_calls", 0)),
        "exploration_rate": float(getattr(model, "exploration_rate", 0.0)),
        "refilling": getattr(model, "gradient_steps", None) == 0,  # see `agents.training.callbacks.RefillFirst`
        "counters": counters.to_json(),
        "unwritten": _unwritten(model),
        "torch_threads": torch.get_num_threads() if model.device.type == "cpu" else None,
        **({} if (starts := starts_of(model)) is None else {"starts": starts.to_json()}),
    }


def set_progress_state(model: BaseAlgorithm, values: Mapping[str, Any]) -> Counters:
    """The inverse of `progress_state`."""
    model.num_timesteps = values["steps"]
    model._n_updates = values["updates"]
    model._episode_num = values["episodes_seen"]
    if isinstance(model, OffPolicyAlgorithm):
        model._n_calls = values["target_calls"]  # type: ignore[attr-defined]
        model.exploration_rate = values["exploration_rate"]  # type: ignore[attr-defined]
    if hasattr(model, "_logger"):
        for name, value in values.get("unwritten", {}).items():
            model.logger.record(name, value)
    starts = starts_of(model)
    if starts is not None and "starts" in values:
        starts.set_json(values["starts"])
    # Version 0.1 called them "tally".
    return Counters.from_json(values["counters"] if "counters" in values else values["tally"])


def starts_of(model: BaseAlgorithm) -> Starts | None:
    """What chooses where the episodes of the training begin; None: nothing does."""
    starts = None if model.env is None else getattr(model.env.unwrapped, "starts", None)
    return starts if isinstance(starts, Starts) else None


def _unwritten(model: BaseAlgorithm) -> dict[str, float]:
    """Metrics of the last update (losses, learning rate) that are not written yet, except NaN and infinities."""
    values: Mapping[str, Any] = model.logger.name_to_value if hasattr(model, "_logger") else {}
    return {name: float(value) for name, value in values.items() if isinstance(value, Real) and math.isfinite(value)}
