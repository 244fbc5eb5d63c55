"""Provenance: commit, versions, device. And the keep-awake lock."""

import platform
import subprocess
from pathlib import Path

import pytest
import torch

from agents import provenance
from agents.device import keep_awake


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    return subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def test_commit_and_uncommitted_changes_are_found(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "--quiet", "-m", "One")

    clean = provenance("cpu", tmp_path)
    (tmp_path / "file").write_text("two")

    assert clean.git_commit == git(tmp_path, "rev-parse", "HEAD")
    assert clean.git_dirty is False
    assert provenance("cpu", tmp_path).git_dirty is True


def test_without_git_all_other_values_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = provenance("cpu")

    assert found.git_commit is None
    assert found.git_dirty is None
    assert found.python == platform.python_version()
    assert found.torch == torch.__version__
    assert found.device == "cpu"
    assert found.host
    assert {"numpy", "stable-baselines3", "sb3-contrib", "gymnasium"} <= found.packages.keys()


def test_outside_a_work_tree_there_is_no_commit(tmp_path: Path) -> None:
    assert provenance("cpu", tmp_path).git_commit is None


@pytest.mark.parametrize("wanted", [True, False])
def test_keeping_awake_never_fails_and_prints_nothing(wanted: bool, capfd: pytest.CaptureFixture[str]) -> None:
    with keep_awake(wanted) as held:
        assert held in (True, False)
        assert wanted or not held

    assert capfd.readouterr() == ("", "")
