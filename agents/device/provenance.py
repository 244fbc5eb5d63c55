"""Provenance of a result: code, versions, machine."""

from __future__ import annotations

import getpass
import importlib.metadata
import platform
import socket
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agents.device.code import code_digests
from configs import CHECKOUT

PACKAGES = (
    "train-mario",
    "gym-super-mario-bros",
    "gymnasium",
    "mlflow",
    "nes-py",
    "numpy",
    "prefect",
    "sb3-contrib",
    "stable-baselines3",
    "torch",
)


@dataclass(frozen=True)
class Provenance:
    """The code, versions and machine that produced a result. Unknown values are None; they never raise an error.

    Attributes:
        git_commit: 40 hex digits; None outside a git work tree or without git.
        git_dirty: whether there are uncommitted changes or untracked files; None without a commit.
        code: for each package of this project the SHA-256 of its source files, see :mod:`agents.device.code`.
        python: the version of Python.
        torch: the version of torch.
        packages: the installed versions of `PACKAGES`.
        device: "cpu", or "cuda" with the GPU's name.
        host: the name of the machine.
        platform: operating system and processor, as `platform.platform` gives them.
        cpu_count: the number of logical processors.
        user: the name of the user who started the process.
    """

    git_commit: str | None
    git_dirty: bool | None
    code: dict[str, str]
    python: str
    torch: str
    packages: dict[str, str]
    device: str
    host: str
    platform: str
    cpu_count: int | None
    user: str

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)


def provenance(device: str = "auto", project: Path | None = CHECKOUT) -> Provenance:
    """The provenance of results that this process produces.

    Args:
        device: "auto", "cpu" or "cuda".
        project: the work tree of the code; None if the project is installed without one.

    Raises:
        DeviceError: `device` is "cuda" and there is none.
    """
    import os

    import torch

    from agents.device.selection import resolve_device

    resolved = resolve_device(device)
    if resolved.startswith("cuda"):
        resolved = f"{resolved} ({torch.cuda.get_device_name(resolved)})"
    commit = _git(project, "rev-parse", "HEAD") if project else None
    changes = _git(project, "status", "--porcelain") if project and commit else None
    return Provenance(
        git_commit=commit or None,
        git_dirty=None if changes is None else bool(changes),
        code=dict(code_digests()),
        python=platform.python_version(),
        torch=torch.__version__,
        packages=_versions(),
        device=resolved,
        host=socket.gethostname(),
        platform=platform.platform(),
        cpu_count=os.cpu_count(),
        user=_user(),
    )


def _git(project: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=project, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # the user of a container may have no name
        return "unknown"


def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
