"""The project's own code, as digests: two equal ones mean that a training is computed by the same lines."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from configs import LOGGERS, PROJECT

COMPUTING = ("agents", "configs", "mario_env")
"""The packages that decide what a training computes; the others record, show and start it."""


@cache
def code_digests(project: Path = PROJECT) -> dict[str, str]:
    """SHA-256 (hex) of each package's Python files, their names and bytes, as they were when this process first asked.

    A commit does not tell as much: a tree may have changes that were not committed, or no repository at all.
    """
    return {package: _digest(project / package) for package in LOGGERS}


def _digest(package: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{content}  {path.relative_to(package).as_posix()}\n".encode())
    return digest.hexdigest()
