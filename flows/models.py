"""Which agent a person means, and whether its file is to be trusted."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from configs import CHECKOUT, PROJECT, Settings
from tracking import resolve_model, resolve_tracking_uri

if TYPE_CHECKING:
    from agents import Agent

SHIPPED = CHECKOUT / "models" if CHECKOUT else PROJECT / "mario_models"
"""Models that are kept with the project; `pyproject.toml` says where a wheel has them."""


class UntrustedModelError(RuntimeError):
    """A file from elsewhere that nobody has vouched for; the message says how to."""


@dataclass(frozen=True)
class Trust:
    """What the person says of a file from elsewhere: its SHA-256 (hex), or that it is to be trusted whatever it is."""

    sha256: str | None = None
    anyway: bool = False


def load(reference: str, settings: Settings, trust: Trust) -> "Agent":
    """The agent that `reference` means.

    Names of models that are kept with the project come first, and need neither MLflow nor Postgres.

    Raises:
        ModelNotFoundError, CheckpointError: there is no such model, or its files are damaged.
        UntrustedModelError: it is a file from elsewhere, and `trust` does not vouch for it.
    """
    from agents import load_agent, load_shipped

    kept = SHIPPED / f"{reference}.json"
    if Path(reference).name == reference and kept.is_file():
        return load_shipped(kept)
    uri = resolve_tracking_uri(settings.tracking_uri, settings.home)
    path = resolve_model(reference, uri, downloads=settings.home / "downloads")
    sha256 = _wanted(path, settings, trust) if Path(reference).expanduser().exists() else None
    if path.suffix == ".json":
        return load_shipped(path, sha256=sha256)
    return load_agent(path, sha256=sha256)


def _wanted(path: Path, settings: Settings, trust: Trust) -> str | None:
    """The SHA-256 that a model from elsewhere must have; None for one that is this machine's own, or to be loaded anyway.

    What is loaded is tensors and JSON, which cannot execute anything; but a policy that somebody exchanged would still be
    taken for the one whose figures are known. The SHA-256 is that of the model's manifest, which has those of all its files. It
    is compared with what is loaded, when it is loaded.

    Raises:
        UntrustedModelError: nobody vouches for it.
    """
    from agents import described_by

    own = any(path.resolve().is_relative_to(folder.resolve()) for folder in (settings.home, SHIPPED))
    if own or trust.anyway:
        return None
    manifest = described_by(path)
    if trust.sha256 is not None or not manifest.is_file():
        return trust.sha256  # without a manifest, loading it says what is missing
    digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
    raise UntrustedModelError(
        f"{path} is not from this project's runs: say --sha256 with the SHA-256 that its maker names, which is that of "
        f"{manifest.name} and covers the whole model (here it is {digest}), or --trust to load it whatever it is"
    )
