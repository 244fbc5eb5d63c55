"""The files of a report in its folder."""

import json
import os
import uuid
from collections.abc import Iterable
from pathlib import Path

FILES = "files.json"
"""The list of the files that the report has written into its folder."""


def remove_others(directory: Path, written: Iterable[Path | None]) -> None:
    """Remove files of an earlier report that this one has not written. Other files in the folder are not touched."""
    listing = directory / FILES
    try:
        earlier = {str(name) for name in json.loads(listing.read_text(encoding="utf-8"))}
    except (OSError, ValueError, TypeError):
        earlier = set()
    now = {path.name for path in written if path is not None}
    for name in earlier - now:
        if Path(name).name == name:
            (directory / name).unlink(missing_ok=True)
    write_file(listing, json.dumps(sorted(now)).encode())


def write_file(path: Path, data: bytes) -> Path:
    """Write a file atomically, because an earlier report may be open in a browser. Returns `path`."""
    partial = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}.part")
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path
