"""Digests of the project's own code: equal digests mean that the same code computes a training."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from configs import LOGGERS, PROJECT

COMPUTING = ("agents", "configs", "mario_env")
"""The packages that determine what a training computes; the others record, show and start it."""


@cache
def code_digests(project: Path = PROJECT) -> dict[str, str]:
    """For each package, the SHA-256 (hex) of the names and contents of its Python files, at the first call in this process.

    A commit is less precise: there may be uncommitted changes, or no repository at all.
    """
    return {package: _digest(project / package) for package in LOGGERS}


def _digest(package: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{content}  {path.relative_to(package).as_posix()}\n".encode())
    return digest.hexdigest()
