"""Folders that exist completely or not at all: they are written under a temporary name, synced, and then renamed.

The manifest is written last and lists every other file with size and SHA-256. Verifying a folder against it reveals files that
a kill, a full disk or a disk error has damaged.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agents.errors import CheckpointError

MANIFEST = "manifest.json"
_ASIDE = ".incomplete-"
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and SHA-256 (hex) of a file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Description of a checkpoint or model, with the size and SHA-256 of its files.

    Attributes:
        kind: "checkpoint", "model", or "policy" for a shipped one.
        name: the configuration's name.
        config_hash: SHA-256 of the settings that determine the experiment.
        algorithm: `agent.algorithm`, for example "dqn".
        steps: the number of decisions the agent was trained for.
        observation_shape: the shape of one observation, uint8.
        n_actions: the size of the action space.
        created: the time, ISO 8601, UTC.
        files: every other file of the folder, by name.
    """

    kind: str
    name: str
    config_hash: str
    algorithm: str
    steps: int
    observation_shape: tuple[int, ...]
    n_actions: int
    created: str
    files: Mapping[str, FileEntry]

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return {**asdict(self), "observation_shape": list(self.observation_shape), "files": _entries_to_json(self.files)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Manifest:
        """The inverse of `to_json`; raises TypeError, KeyError or ValueError if `values` is no manifest."""
        files = {str(name): FileEntry(int(entry["size"]), str(entry["sha256"])) for name, entry in values["files"].items()}
        shape = tuple(int(size) for size in values["observation_shape"])
        return cls(**{**values, "observation_shape": shape, "files": files})


def now() -> str:
    """The current time in the format of `Manifest.created`."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_folder(target: Path, write: Callable[[Path], Manifest]) -> Manifest:
    """Create the folder `target` completely or not at all. An existing folder is replaced.

    Args:
        target: the folder.
        write: fills the empty folder it is given, and returns the manifest without `files`.

    Returns:
        The manifest that was written, with `files`.

    Raises:
        CheckpointError: the folder could not be written, for instance because the disk is full. `target` is unchanged.
    """

    def fill(aside: Path) -> Manifest:
        manifest = write(aside)
        manifest = replace(manifest, files={path.name: file_entry(path) for path in sorted(aside.iterdir())})
        _write_json(aside / MANIFEST, manifest.to_json())
        return manifest

    return replace_folder(target, fill)


def replace_folder(target: Path, fill: Callable[[Path], Manifest]) -> Manifest:
    """Create the folder `target` completely or not at all, with the files that `fill` puts into the empty folder it is given.

    Returns:
        The result of `fill`.

    Raises:
        CheckpointError: as `write_folder`, and those of `fill`. `target` is unchanged.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f"{_ASIDE}{target.name}-", dir=target.parent))
    except OSError as error:
        raise CheckpointError(f"{target} could not be written: {_reason(error)}") from error
    try:
        manifest = fill(aside)
        _put_in_place(aside, target)
        return manifest
    except OSError as error:
        raise CheckpointError(f"{target} could not be written: {_reason(error)}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of `folder`. The files it lists are not verified.

    Raises:
        CheckpointError: the manifest is missing or damaged.
    """
    path = folder / MANIFEST
    try:
        return parse_manifest(path, path.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"{path}: missing; the folder was never completed, or is not a model of this project") from None
    except OSError as error:
        raise CheckpointError(f"{path}: {_reason(error)}") from None


def parse_manifest(path: Path, data: bytes) -> Manifest:
    """Parse `data`, the content of the manifest at `path`; raises CheckpointError if it is damaged."""
    try:
        return Manifest.from_json(json.loads(data))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged ({type(error).__name__}: {error})") from None


def read_pinned(path: Path, sha256: str | None) -> bytes:
    """Read the file at `path` and compare its SHA-256 (hex) with `sha256`, unless that is None.

    The returned bytes are those that were compared, so a file that is replaced in the meantime does no harm.

    Raises:
        CheckpointError: the file cannot be read, or has another SHA-256.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: {_reason(error)}") from None
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None and digest != sha256.strip().lower():
        raise CheckpointError(f"{path}: its SHA-256 is {digest}, not {sha256.strip().lower()}: it is another model")
    return data


def read_verified(path: Path, entry: FileEntry) -> bytes:
    """Read the file at `path`; raises CheckpointError, which names the file and the fault, if `entry` does not match."""
    try:
        with path.open("rb") as file:
            data = file.read(entry.size + 1)
            size = max(len(data), path.stat().st_size)
    except OSError as error:
        raise CheckpointError(f"{path}: {_reason(error)}") from None
    if size != entry.size:
        raise CheckpointError(f"{path}: {size} bytes instead of {entry.size}")
    _require_digest(path, hashlib.sha256(data).hexdigest(), entry)
    return data


def verify(folder: Path) -> Manifest:
    """Verify every file of `folder` against the manifest, and return the manifest.

    Raises:
        CheckpointError: a file is missing or has changed; the message names it.
    """
    manifest = read_manifest(folder)
    for name, entry in manifest.files.items():
        verify_file(folder / name, entry)
    return manifest


def file_entry(path: Path) -> FileEntry:
    """Size and SHA-256 of the file at `path`."""
    return FileEntry(path.stat().st_size, _sha256(path))


def verify_file(path: Path, entry: FileEntry) -> None:
    """Verify one file against its entry; raises CheckpointError, which names the file and the fault."""
    try:
        size = path.stat().st_size
        if size != entry.size:
            raise CheckpointError(f"{path}: {size} bytes instead of {entry.size}")
        digest = _sha256(path)
    except OSError as error:
        raise CheckpointError(f"{path}: {_reason(error)}") from None
    _require_digest(path, digest, entry)


def _require_digest(path: Path, digest: str, entry: FileEntry) -> None:
    if digest != entry.sha256:
        raise CheckpointError(f"{path}: SHA-256 is {digest[:12]}… instead of {entry.sha256[:12]}…: its bytes have changed")


def drop_file(folder: Path, name: str) -> None:
    """Remove one file from a complete folder: first from the manifest, so that it never lists a missing file."""
    manifest = read_manifest(folder)
    if name not in manifest.files:
        return
    files = {other: entry for other, entry in manifest.files.items() if other != name}
    replacement = folder / f"{MANIFEST}.new"
    _write_json(replacement, {**manifest.to_json(), "files": _entries_to_json(files)})
    replacement.replace(folder / MANIFEST)
    _sync(folder)
    (folder / name).unlink(missing_ok=True)


def remove_incomplete(parent: Path) -> None:
    """Delete the temporary folders that killed processes left in `parent`."""
    for leftover in parent.glob(f"{_ASIDE}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _put_in_place(aside: Path, target: Path) -> None:
    for path in aside.iterdir():
        _sync(path)
    aside.chmod(0o755)  # mkdtemp's 0700 would prevent other users of the machine from reading a shared model
    _sync(aside)
    if target.exists():
        # A folder cannot be renamed to the name of one that is not empty. A kill between the two calls does no harm: the
        # existing folder is damaged or of the same step, and the checkpoint before it still exists.
        shutil.rmtree(target)
    aside.rename(target)
    _sync(target.parent)


def _entries_to_json(files: Mapping[str, FileEntry]) -> dict[str, dict[str, Any]]:
    return {name: asdict(entry) for name, entry in files.items()}


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(values, file, indent=1, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open directories
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
