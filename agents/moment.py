"""The moment between two rollouts: what a training's next step depends on beside weights, optimiser, counters and memories.

These are the games in the midst of their episodes, all generators of random numbers, and what an algorithm of this project adds
(`agents.own_state`). With all of it, a training that was killed goes on as if it had not been: the same decisions, the same
episodes, the same weights, bit by bit. That holds for games that can be written down (the fast emulator's), on a CPU, with the
same versions of the libraries and as many threads; elsewhere `ContinuationError` says what is in the way.

Python's own generator is left alone: nothing in a training draws from it, and others in the process may.
"""

from __future__ import annotations

import io
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import sb3_contrib
import stable_baselines3
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.compilation import is_compiled
from agents.errors import ContinuationError
from agents.overlap import Meanwhile
from agents.own_code import COMPUTING, code_digests
from agents.own_state import OwnState
from mario_env import SnapshotError
from mario_env.snapshots import GamesSnapshot, Snapshots, differences, generator_state, set_generator_state

MOMENT_VALUES, MOMENT_ARRAYS = "moment.json", "moment.npz"

_GAMES = "games."  # before the names of their arrays


@dataclass(frozen=True)
class Moment:
    """What it is, as JSON types and arrays."""

    values: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]


def obstacle(model: BaseAlgorithm) -> str | None:
    """Why no training of `model` can go on exactly; None if one can."""
    if model.device.type != "cpu":
        return f"on {model.device.type} the same computation twice is not the same to the last bit"
    if _games(model) is None:
        return "these games cannot be saved in the midst of an episode (those of environment.emulator: fast can)"
    return None


def take(model: BaseAlgorithm) -> Moment | None:
    """The present moment, which must be one between two rollouts; None where there is an obstacle. Nothing is changed."""
    games = _games(model)
    if obstacle(model) is not None or games is None:
        return None
    snapshot = games.snapshot()
    starts = model._last_episode_starts
    values = {
        "surroundings": surroundings(model),
        "progress_remaining": float(model._current_progress_remaining),
        "numpy": _global_generator(),
        "action_space": generator_state(model.action_space.np_random),
        "algorithm": model.own_state() if isinstance(model, OwnState) else {},
        "games": snapshot.values,
    }
    arrays = {
        "torch": torch.get_rng_state().numpy(),
        "episode_starts": np.ones(model.n_envs, bool) if starts is None else starts.copy(),
        **{_GAMES + name: array for name, array in snapshot.arrays.items()},
    }
    return Moment(values, arrays)


def put_back(model: BaseAlgorithm, moment: Moment) -> None:
    """Make `model`, its games and the global generators what they were at `moment`.

    Raises:
        ContinuationError: something is in the way, and says what; nothing was changed.
    """
    games, reason = _games(model), obstacle(model)
    if games is None or reason is not None:
        raise ContinuationError(reason)
    values, arrays = moment.values, moment.arrays
    if differing := differences(values["surroundings"], surroundings(model)):
        raise ContinuationError(f"the checkpoint was written under other conditions ({'; '.join(differing)})")
    theirs = {name.removeprefix(_GAMES): array for name, array in arrays.items() if name.startswith(_GAMES)}
    try:
        # With an observation the library does not reset the games.
        model._last_obs = games.restore(GamesSnapshot(values["games"], theirs))
    except SnapshotError as error:
        raise ContinuationError(str(error)) from None
    model._last_episode_starts = arrays["episode_starts"].copy()
    model._current_progress_remaining = values["progress_remaining"]
    if isinstance(model, OwnState):
        model.set_own_state(values["algorithm"])
    set_generator_state(model.action_space.np_random, values["action_space"])
    _set_global_generator(values["numpy"])
    torch.set_rng_state(torch.from_numpy(arrays["torch"].copy()))


def write_moment(moment: Moment, folder: Path) -> None:
    """Put `moment` into `folder`, as JSON and .npz; raises OSError when the disk is full."""
    (folder / MOMENT_VALUES).write_text(json.dumps(moment.values, indent=1, allow_nan=False), encoding="utf-8")
    # By way of memory: given a path, NumPy leaves the file open when the disk is full.
    archive = io.BytesIO()
    np.savez_compressed(archive, **moment.arrays)
    (folder / MOMENT_ARRAYS).write_bytes(archive.getbuffer())


def read_moment(folder: Path) -> Moment:
    """The inverse of `write_moment`, of files whose bytes are known to be good; nothing is unpickled."""
    values = json.loads((folder / MOMENT_VALUES).read_text(encoding="utf-8"))
    with np.load(folder / MOMENT_ARRAYS, allow_pickle=False) as archive:
        return Moment(values, {name: archive[name] for name in archive.files})


def _games(model: BaseAlgorithm) -> Snapshots | None:
    env = None if model.env is None else model.env.unwrapped
    return env if isinstance(env, Snapshots) else None


def surroundings(model: BaseAlgorithm) -> dict[str, Any]:
    """What the last bit of a result may depend on, and what the course of a training depends on beyond its agent and games."""
    return {
        "format": 1,
        **{f"code of {package}": code_digests()[package][:12] for package in COMPUTING},
        "gymnasium": gymnasium.__version__,
        "numpy": np.__version__,
        "sb3-contrib": sb3_contrib.__version__,
        "stable-baselines3": stable_baselines3.__version__,
        "torch": torch.__version__,
        "torch's threads": torch.get_num_threads(),
        "processor": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "train.overlap": isinstance(model.env, Meanwhile),
        # Left out where it is off: checkpoints of before do not have it.
        **({"train.compile": True} if is_compiled(model) else {}),
    }


def _global_generator() -> dict[str, Any]:
    """NumPy's global generator (a Mersenne twister), which the library draws samples and coins from."""
    state = np.random.get_state(legacy=False)
    assert isinstance(state, dict)
    key, pos = state["state"]["key"].tolist(), int(state["state"]["pos"])
    return {"key": key, "pos": pos, "has_gauss": int(state["has_gauss"]), "gauss": float(state["gauss"])}


def _set_global_generator(state: Mapping[str, Any]) -> None:
    key = np.array(state["key"], np.uint32)
    np.random.set_state(("MT19937", key, state["pos"], state["has_gauss"], state["gauss"]))
