"""How many processors a process may use: the real affinity of this one, and control groups as files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from configs.schema import EnvironmentConfig
from mario_env import make_vec
from mario_env.processors import usable_processors

MANY = pytest.mark.skipif(usable_processors() < 2, reason="this process may use one processor only")


def tree(root: Path, groups: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    return root


@MANY
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="not on this system")
def test_affinity_is_heeded() -> None:
    code = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from configs.schema import EnvironmentConfig
from mario_env import make_vec
from mario_env.processors import usable_processors
games = make_vec(EnvironmentConfig(), 4, seed=0).games
print(usable_processors(), games._parts, os.cpu_count())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240)
    usable, parts, machine = (int(word) for word in done.stdout.split())
    assert (usable, parts) == (1, 1)
    assert machine > 1


@MANY
@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/a/b", {"sys/fs/cgroup/a/b/cpu.max": "100000 100000"}, 1),
        ("0::/a/b", {"sys/fs/cgroup/a/cpu.max": "50000 100000", "sys/fs/cgroup/a/b/cpu.max": "max 100000"}, 1),
        ("0::/a", {"sys/fs/cgroup/a/cpu.max": "150000 100000"}, 2),
        # In a container: the host's path, but the container's group is what is mounted.
        ("0::/docker/1234", {"sys/fs/cgroup/cpu.max": "100000 100000"}, 1),
        (
            "5:memory:/m\n4:cpu,cpuacct:/a",
            {"sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "80000", "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000"},
            1,
        ),
    ],
)
def test_quotas_of_control_groups_are_heeded(groups: str, files: dict[str, str], expected: int, tmp_path: Path) -> None:
    assert usable_processors(tree(tmp_path, groups, files)) == expected


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/a", {"sys/fs/cgroup/a/cpu.max": "max 100000"}),
        ("0::/a", {"sys/fs/cgroup/a/cpu.max": "6400000 100000"}),
        ("0::/", {}),
        (
            "4:cpu,cpuacct:/a",
            {"sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000"},
        ),
        ("4:cpuset:/a", {"sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "1", "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000"}),
    ],
)
def test_what_is_no_limit_limits_nothing(groups: str, files: dict[str, str], tmp_path: Path) -> None:
    assert usable_processors(tree(tmp_path, groups, files)) == usable_processors(tmp_path / "without-proc") >= 1


def test_the_number_of_threads_can_be_told() -> None:
    for threads in (1, 3):
        envs = make_vec(EnvironmentConfig(), 4, seed=0, threads=threads)
        assert envs.games._parts == threads  # type: ignore[attr-defined]
        envs.close()
