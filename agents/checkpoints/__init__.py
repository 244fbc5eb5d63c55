"""Resumption: checkpoints, their manifests, and the run state that makes a resumption exact."""

from agents.checkpoints import continuity
from agents.checkpoints.checkpoints import (
    CONFIG,
    MODEL,
    Checkpoint,
    best_checkpoint,
    checkpoints_folder,
    describe,
    latest_checkpoint,
    recorded_threads,
    restore,
    save_checkpoint,
    write_model,
)
from agents.checkpoints.manifests import (
    MANIFEST,
    FileEntry,
    Manifest,
    file_entry,
    parse_manifest,
    read_pinned,
    read_verified,
    remove_incomplete,
    verify,
    verify_file,
    write_folder,
)
from agents.checkpoints.progress_state import progress_state, set_progress_state, starts_of
from agents.checkpoints.run_state import RunState, conditions, exactness_obstacle
from agents.checkpoints.shared import SharedFolder

__all__ = [
    "CONFIG",
    "MANIFEST",
    "MODEL",
    "Checkpoint",
    "FileEntry",
    "Manifest",
    "RunState",
    "SharedFolder",
    "best_checkpoint",
    "checkpoints_folder",
    "conditions",
    "continuity",
    "describe",
    "exactness_obstacle",
    "file_entry",
    "latest_checkpoint",
    "parse_manifest",
    "progress_state",
    "read_pinned",
    "read_verified",
    "recorded_threads",
    "remove_incomplete",
    "restore",
    "save_checkpoint",
    "set_progress_state",
    "starts_of",
    "verify",
    "verify_file",
    "write_folder",
    "write_model",
]
