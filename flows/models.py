"""Which agent a person means, and whether its file is to be trusted."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from configs import PROJECT, Settings
from tracking import resolve_model, resolve_tracking_uri

if TYPE_CHECKING:
    from agents import Agent

SHIPPED = PROJECT / "models"
"""Models that are kept with the project."""


class UntrustedModelError(RuntimeError):
    """A file from elsewhere that nobody has vouched for; the message says how to."""


@dataclass(frozen=True)
class Trust:
    """What the person says of a file from elsewhere: its SHA-256 (hex), or that it is to be trusted whatever it is."""

    sha256: str | None = None
    anyway: bool = False


def load(reference: str, settings: Settings, trust: Trust) -> "tuple[Agent, Path | None]":
    """The agent that `reference` means, and the manifest it was shipped with, if it was.

    Names of models that are kept with the project come first, and need neither MLflow nor Postgres.

    Raises:
        ModelNotFoundError, CheckpointError: there is no such model, or its files are damaged.
        UntrustedModelError: it is a file from elsewhere, and `trust` does not vouch for it.
    """
    from agents import load_agent, load_shipped

    kept = SHIPPED / f"{reference}.json"
    if Path(reference).name == reference and kept.is_file():
        return load_shipped(kept), kept
    uri = resolve_tracking_uri(settings.tracking_uri, settings.home)
    path = resolve_model(reference, uri, downloads=settings.home / "downloads")
    if Path(reference).expanduser().exists():
        _require_trusted(path, settings, trust)
    if path.suffix == ".json":
        return load_shipped(path), path
    return load_agent(path), None


def _require_trusted(path: Path, settings: Settings, trust: Trust) -> None:
    """Refuse a file that is neither this machine's own nor vouched for.

    What is loaded is tensors and JSON, which cannot execute anything; but a policy that somebody exchanged would still be
    taken for the one whose figures are known.
    """
    own = any(path.resolve().is_relative_to(folder.resolve()) for folder in (settings.home, SHIPPED))
    if own or trust.anyway:
        return
    file = _weights(path)
    if not file.is_file():
        return  # loading it says what is missing
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if trust.sha256 is None:
        raise UntrustedModelError(
            f"{file} is not from this project's runs: say --sha256 with the SHA-256 its maker names (this file's is {digest}), "
            "or --trust to load it whatever it is"
        )
    if trust.sha256.lower() != digest:
        raise UntrustedModelError(f"{file}: its SHA-256 is {digest}, not {trust.sha256.lower()}: it is another file")


def _weights(path: Path) -> Path:
    if path.is_dir():
        return path / "model.zip"
    return path.with_suffix(".pth") if path.suffix == ".json" else path
