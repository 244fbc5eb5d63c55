"""Processes that hold experiments: their identity, and whether one of this machine has ended."""

import os
import sys
import uuid
from functools import cache
from pathlib import Path
from typing import Final

import psutil

_LINUX: Final = sys.platform == "linux"


def this_process() -> str:
    """The identity of this process: the boot of its machine, its process namespace, its number and its start.

    No other process ever has it: not one of another machine or container, and not a later one with the same number.
    """
    return f"{_machine()} {os.getpid()} {_start(os.getpid())}"


def has_ended(holder: str) -> bool:
    """Whether the process with this identity ran on this machine since it was booted, and has ended.

    False also if that cannot be known: it is a process of another machine, of another user, or of before the last boot.
    """
    machine, _, process = holder.rpartition(" ")[0].rpartition(" ")
    if machine != _machine() or not process.isdigit():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _start(int(process)) != holder.rpartition(" ")[2]


@cache
def _machine() -> str:
    if _LINUX:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # Containers on one machine share the boot, and have processes of the same number.
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return f"{uuid.getnode():x} {psutil.boot_time():.0f}"


def _start(pid: int) -> str:
    """When the process with this number started, as the system counts; empty if there is none, or it is a zombie."""
    try:
        if _LINUX:
            # psutil adds the time of the boot, which changes when the clock is set. The name may have spaces and parentheses.
            state, *rest = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            return "" if state in "ZX" else rest[18]
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.3f}"
    except (OSError, psutil.Error):
        return ""
