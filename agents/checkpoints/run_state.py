"""The run state of a training: everything its next step depends on besides weights, optimiser, counters and replay buffer.

It consists of the games in the middle of their episodes, the state of every random number generator, and the extra state of the
algorithm (`AlgorithmBase.get_extra_state`). With it a killed training resumes *exactly*: decisions, episodes and weights equal
those of an uninterrupted training bit for bit. This needs games that can be saved (those of the fast emulator), a CPU, the same
versions of the libraries and of this project's code, and the same number of threads. Otherwise `ContinuationError` gives the
reason.

Python's own generator is left alone: nothing in a training uses it, and other code in the process may.
"""

from __future__ import annotations

import io
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import gymnasium
import numpy as np
import sb3_contrib
import stable_baselines3
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.algorithms import AlgorithmBase
from agents.device import COMPUTING, code_digests
from agents.errors import ContinuationError
from mario_env import SnapshotError
from mario_env.snapshots import GamesSnapshot, Snapshots, differences, generator_state, set_generator_state

VALUES_FILE: Final = "run_state.json"
ARRAYS_FILE: Final = "run_state.npz"

_GAMES = "games."  # prefix of the names of their arrays


def exactness_obstacle(model: BaseAlgorithm) -> str | None:
    """Why a training of `model` can never resume exactly; None if it can."""
    if model.device.type != "cpu":
        return f"on {model.device.type} the same computation does not give the same bits twice"
    if _games(model) is None:
        return "these games cannot be saved in the middle of an episode (those of environment.emulator: fast can)"
    return None


@dataclass(frozen=True)
class RunState:
    """The run state, as JSON types and arrays."""

    values: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]

    @classmethod
    def capture(cls, model: BaseAlgorithm) -> Self | None:
        """The current run state of `model`, between two rollouts; None if there is an obstacle. Nothing is changed."""
        games = _games(model)
        if exactness_obstacle(model) is not None or games is None:
            return None
        snapshot = games.snapshot()
        starts = model._last_episode_starts
        values = {
            "conditions": conditions(),
            "progress_remaining": float(model._current_progress_remaining),
            "numpy": _numpy_state(),
            "action_space": generator_state(model.action_space.np_random),
            "algorithm": model.get_extra_state() if isinstance(model, AlgorithmBase) else {},
            "games": snapshot.values,
        }
        arrays = {
            "torch": torch.get_rng_state().numpy(),
            "episode_starts": np.ones(model.n_envs, bool) if starts is None else starts.copy(),
            **{_GAMES + name: array for name, array in snapshot.arrays.items()},
        }
        return cls(values, arrays)

    def restore(self, model: BaseAlgorithm) -> None:
        """Restore `model`, its games and the global generators to this state.

        Raises:
            ContinuationError: there is an obstacle, which the message names; nothing is changed.
        """
        games, reason = _games(model), exactness_obstacle(model)
        if games is None or reason is not None:
            raise ContinuationError(reason)
        values, arrays = self.values, self.arrays
        if differing := differences(values["conditions"], conditions()):
            raise ContinuationError(f"the checkpoint was written under other conditions ({'; '.join(differing)})")
        theirs = {name.removeprefix(_GAMES): array for name, array in arrays.items() if name.startswith(_GAMES)}
        try:
            # If an observation is set, stable-baselines3 does not reset the games.
            model._last_obs = games.restore(GamesSnapshot(values["games"], theirs))
        except SnapshotError as error:
            raise ContinuationError(str(error)) from None
        model._last_episode_starts = arrays["episode_starts"].copy()
        model._current_progress_remaining = values["progress_remaining"]
        if isinstance(model, AlgorithmBase):
            model.set_extra_state(values["algorithm"])
        set_generator_state(model.action_space.np_random, values["action_space"])
        _set_numpy_state(values["numpy"])
        torch.set_rng_state(torch.from_numpy(arrays["torch"].copy()))

    def write(self, folder: Path) -> None:
        """Write it into `folder` as JSON and .npz; raises OSError when the disk is full."""
        (folder / VALUES_FILE).write_text(json.dumps(self.values, indent=1, allow_nan=False), encoding="utf-8")
        # Through memory: given a path, NumPy leaves the file open when the disk is full.
        archive = io.BytesIO()
        # Any: in NumPy 2's type hints a keyword of the function clashes with the arrays' names.
        arrays: dict[str, Any] = dict(self.arrays)
        np.savez_compressed(archive, **arrays)
        # Released at once: after an error a view that is collected late would keep the archive from being freed.
        with archive.getbuffer() as view:
            (folder / ARRAYS_FILE).write_bytes(view)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The inverse of `write`, from files whose bytes have been verified; nothing is unpickled."""
        values = json.loads((folder / VALUES_FILE).read_text(encoding="utf-8"))
        with np.load(folder / ARRAYS_FILE, allow_pickle=False) as archive:
            return cls(values, {name: archive[name] for name in archive.files})


def conditions() -> dict[str, Any]:
    """What determines every bit of a result besides configuration and seed: code, versions, threads, processor."""
    return {
        "format": 2,
        **{f"code of {package}": code_digests()[package][:12] for package in COMPUTING},
        "gymnasium": gymnasium.__version__,
        "numpy": np.__version__,
        "sb3-contrib": sb3_contrib.__version__,
        "stable-baselines3": stable_baselines3.__version__,
        "torch": torch.__version__,
        "torch's threads": torch.get_num_threads(),
        "processor": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
    }


def _games(model: BaseAlgorithm) -> Snapshots | None:
    env = None if model.env is None else model.env.unwrapped
    return env if isinstance(env, Snapshots) else None


def _numpy_state() -> dict[str, Any]:
    """NumPy's global generator (a Mersenne twister), which stable-baselines3 uses for sampling and exploration."""
    state = np.random.get_state(legacy=False)
    assert isinstance(state, dict)
    key, pos = state["state"]["key"].tolist(), int(state["state"]["pos"])
    return {"key": key, "pos": pos, "has_gauss": int(state["has_gauss"]), "gauss": float(state["gauss"])}


def _set_numpy_state(state: Mapping[str, Any]) -> None:
    key = np.array(state["key"], np.uint32)
    np.random.set_state(("MT19937", key, state["pos"], state["has_gauss"], state["gauss"]))
