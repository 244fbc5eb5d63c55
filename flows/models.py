"""Loading of agents by name, path or MLflow reference, and the check whether a file may be trusted."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from configs import CHECKOUT, PROJECT, Settings
from tracking import ModelNotFoundError, resolve_model, resolve_tracking_uri

if TYPE_CHECKING:
    from agents import Agent

SHIPPED = CHECKOUT / "models" if CHECKOUT else PROJECT / "mario_models"
"""Folder of the models that are part of the project; `pyproject.toml` says where a wheel has them."""


_LEVEL_POLICY = re.compile(r"world-\d+-\d+[A-Za-z0-9.-]*")


class UntrustedModelError(RuntimeError):
    """A model file from elsewhere without a SHA-256; the message says how to load it."""


@dataclass(frozen=True)
class Trust:
    """How the user vouches for a model file from elsewhere.

    Attributes:
        sha256: the expected SHA-256 (hex) of its manifest.
        anyway: load it without a SHA-256.
    """

    sha256: str | None = None
    anyway: bool = False


def shipped_names() -> list[str]:
    """Names of the policies that come with the project, sorted."""
    return sorted(path.stem for path in SHIPPED.glob("*.json"))


def _are(names: list[str]) -> str:
    return f"{'is' if len(names) == 1 else 'are'} {', '.join(names)}" if names else "is none"


def load(reference: str, settings: Settings, trust: Trust) -> "Agent":
    """Load the agent `reference`.

    Models of the project take precedence. They need neither MLflow nor Postgres.

    Raises:
        ModelNotFoundError, CheckpointError: there is no such model, or its files are damaged.
        UntrustedModelError: it is a file from elsewhere, and `trust` does not cover it.
    """
    from agents import load_agent, load_shipped

    kept = SHIPPED / f"{reference}.json"
    if Path(reference).name == reference and kept.is_file():
        return load_shipped(kept)
    if _LEVEL_POLICY.fullmatch(reference) and not Path(reference).exists():
        raise ModelNotFoundError(
            f"no policy {reference!r} comes with the project; there {_are(shipped_names())}. A run of your own is named by its "
            "run id, its folder, or models:/NAME@ALIAS"
        )
    uri = resolve_tracking_uri(settings.tracking_uri, settings.home)
    path = resolve_model(reference, uri, downloads=settings.home / "downloads")
    sha256 = _required_sha256(path, settings, trust) if Path(reference).expanduser().exists() else None
    if path.suffix == ".json":
        return load_shipped(path, sha256=sha256)
    return load_agent(path, sha256=sha256)


def is_own(path: Path, settings: Settings) -> bool:
    """Whether a model was made on this machine, or is part of the project."""
    return any(path.resolve().is_relative_to(folder.resolve()) for folder in (settings.home, SHIPPED))


def _required_sha256(path: Path, settings: Settings, trust: Trust) -> str | None:
    """The SHA-256 that the model at `path` must have. None if it was made on this machine, or is loaded anyway.

    Models consist of tensors and JSON, which cannot execute code. But a policy that was exchanged would pass for the one whose
    figures are known. The SHA-256 is that of the manifest, which contains the SHA-256 of all other files. It is checked on the
    bytes that are loaded.

    Raises:
        UntrustedModelError: the model is from elsewhere, and there is no SHA-256.
    """
    from agents import manifest_path

    if is_own(path, settings) or trust.anyway:
        return None
    manifest = manifest_path(path)
    if trust.sha256 is not None or not manifest.is_file():
        return trust.sha256  # if there is no manifest, loading reports it
    digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
    raise UntrustedModelError(
        f"{path} is not from this project's runs: give --sha256 with the SHA-256 of {manifest.name} that its author names, "
        f"which covers the whole model (the SHA-256 of this file is {digest}), or --trust to load it without one"
    )
