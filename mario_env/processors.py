"""How many processors this process may use: fewer than the machine has, where it is confined to some of them or to a share.

`os.cpu_count` counts the machine's. A thread for each of those would make two trainings side by side, each confined to one
half, or a container with a quota, wait for processors that they are not given.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["usable_processors"]

_ROOT: Final = Path("/")


def usable_processors(root: Path = _ROOT) -> int:
    """The processors that this process may use at once, at least 1.

    The least of: its affinity (`taskset`, `os.sched_setaffinity`; from Python 3.13 on also ``-X cpu_count``), and the quota of
    each control group that it is in, rounded up (`docker run --cpus`, systemd's `CPUQuota`; versions 1 and 2).

    Args:
        root: below which /proc and /sys are; for tests.
    """
    quotas = [math.ceil(quota) for quota in _quotas(root)]
    return max(1, min([_allowed(), *quotas]))


def _allowed() -> int:
    counted = getattr(os, "process_cpu_count", None)  # Python 3.13
    if counted is not None:
        return counted() or 1
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """The limits, in processors, of the control groups of this process and of those above them."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return  # not Linux
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            mount = root / "sys/fs/cgroup"
        elif "cpu" in controllers.split(","):
            mount = root / "sys/fs/cgroup/cpu"
        else:
            continue
        folder = mount / group.lstrip("/")
        # In a container the path may be the host's, while what is mounted begins with the container's own group.
        for each in (folder, *folder.parents):
            if each == mount.parent:
                break
            quota = _quota_v1(each) if controllers else _quota_v2(each)
            if quota is not None:
                yield quota


def _quota_v2(folder: Path) -> float | None:
    match _read(folder / "cpu.max").split():
        case [quota, period] if quota != "max":
            return int(quota) / int(period)
    return None


def _quota_v1(folder: Path) -> float | None:
    quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    return int(quota) / int(period) if quota and period and int(quota) > 0 else None


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
