"""Versions of registered models: which one an alias names, and what is said of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tracking.client import after_races, connect, translate_errors
from tracking.errors import ModelNotFoundError
from tracking.location import normalise
from tracking.models import as_json
from tracking.values import MAX_TAG, clean_name, text


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of a registered model.

    Attributes:
        name: the registered name.
        version: its number, from 1.
        run_id: the run that trained it.
        tags: of the version.
    """

    name: str
    version: int
    run_id: str
    tags: Mapping[str, str]

    @property
    def reference(self) -> str:
        """What names this version wherever a model is asked for."""
        return f"models:/{self.name}/{self.version}"


class Registry:
    """The model registry at a tracking URI.

    Args:
        uri: as :func:`tracking.location.resolve_tracking_uri` returns it.

    Raises:
        TrackingError: by every method, if MLflow does not answer or refuses.
    """

    def __init__(self, uri: str) -> None:
        self._uri = normalise(uri)
        self._client = connect(self._uri)

    def at_alias(self, name: str, alias: str) -> RegisteredVersion | None:
        """The version that `alias` names; None if there is no such model or alias."""
        from mlflow.exceptions import MlflowException

        with translate_errors(self._uri, f"the alias {alias} of {name} cannot be read"):
            try:
                return _registered(self._client.get_model_version_by_alias(name, alias))
            except MlflowException as error:
                if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    raise
                return None

    def version(self, name: str, version: int) -> RegisteredVersion:
        """A version by its number.

        Raises:
            ModelNotFoundError: there is none.
        """
        from mlflow.exceptions import MlflowException

        with translate_errors(self._uri, f"version {version} of {name} cannot be read"):
            try:
                return _registered(self._client.get_model_version(name, str(version)))
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                raise ModelNotFoundError(f"there is no version {version} of a registered model {name}") from None

    def set_alias(self, version: RegisteredVersion, alias: str) -> None:
        """Let `alias` name this version, and no other of the model."""
        with translate_errors(self._uri, f"{version.reference} cannot be named {alias}"):
            after_races(lambda: self._client.set_registered_model_alias(version.name, alias, str(version.version)))

    def describe(self, version: RegisteredVersion, tags: Mapping[str, Any], description: str) -> None:
        """Set tags of a version, and what its description says after the first paragraph, which is what the version is."""
        with translate_errors(self._uri, f"{version.reference} cannot be described"):
            before = self._client.get_model_version(version.name, str(version.version)).description or ""
            description = "\n\n".join(part for part in (before.partition("\n\n")[0], description) if part)
            for name, value in tags.items():
                self._client.set_model_version_tag(version.name, str(version.version), clean_name(name), text(value, MAX_TAG))
            self._client.update_model_version(version.name, str(version.version), description)

    def log_evidence(self, version: RegisteredVersion, evidence: Mapping[str, Any], path: str) -> None:
        """Log JSON as an artifact of the run that trained a version."""
        with translate_errors(self._uri, f"the evidence for {version.reference} cannot be logged"):
            self._client.log_text(version.run_id, as_json(dict(evidence)), path)


def _registered(found: Any) -> RegisteredVersion:
    return RegisteredVersion(str(found.name), int(found.version), str(found.run_id), dict(found.tags or {}))
