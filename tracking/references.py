"""Finds the files of an agent by a path or a reference to a model in MLflow."""

import atexit
import difflib
import re
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from configs.masking import mask_urls
from tracking.client import connect, translate_errors
from tracking.errors import ModelNotFoundError, TrackingError
from tracking.location import normalise
from tracking.models import AGENT_ARTIFACT, SHA256_TAG, digest, logged_model_id

if TYPE_CHECKING:
    from mlflow import MlflowClient

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_MODEL_ID = re.compile(r"m-[0-9a-f]{32}")


def resolve_model(reference: str, uri: str, *, downloads: Path | None = None) -> Path:
    """The file or folder of an agent, ready to be loaded.

    Args:
        reference: a path; ``models:/name/3``, ``models:/name/latest``, ``models:/name@alias``; ``runs:/RUN/model``; a run's or
            a logged model's id; or a registered name, which means its newest version.
        uri: the tracking URI.
        downloads: the folder that keeps models downloaded from a server; None: a temporary folder that this process removes
            when it ends. Models on this machine are not copied.

    Raises:
        ModelNotFoundError: nothing has that name; the message lists similar ones.
        TrackingError: MLflow does not answer, or the SHA-256 of the files is not that of the registered ones.
    """
    path = Path(reference).expanduser()
    if path.exists():
        return path.absolute()
    if not reference.startswith(("models:", "runs:")) and (len(path.parts) > 1 or path.suffix in (".zip", ".pt", ".json")):
        raise ModelNotFoundError(f"there is no file or folder {reference}")
    uri = normalise(uri)
    client = connect(uri)
    with translate_errors(uri, f"the model {reference!r} cannot be fetched"):
        model_id = _model_id(client, reference)
        logged = client.get_logged_model(model_id)
        folder = _fetch(logged.artifact_location, uri, model_id, downloads)
        agent = _agent(folder, reference)
        expected = logged.tags.get(SHA256_TAG)
    if expected is not None and digest(agent) != expected:
        raise TrackingError(f"the model {reference!r} is damaged or was changed: the SHA-256 of {agent} is not {expected}")
    return Path(agent)


def registered_names(uri: str) -> list[str]:
    """All registered names, sorted."""
    uri = normalise(uri)
    with translate_errors(uri, "the registered models cannot be listed"):
        return _names(connect(uri))


def _model_id(client: "MlflowClient", reference: str) -> str:
    from mlflow.exceptions import MlflowException

    rest = reference.removeprefix("runs:/")
    if rest != reference or _RUN_ID.fullmatch(reference):
        return _model_of_run(client, *rest.partition("/")[::2])
    if _MODEL_ID.fullmatch(reference):
        return reference
    plain = not reference.startswith("models:/")
    wanted = reference.removeprefix("models:/").strip("/")
    if plain and "/" not in wanted and "@" not in wanted:
        wanted += "/latest"
    try:
        return logged_model_id(client, f"models:/{wanted}")
    except (ModelNotFoundError, MlflowException) as error:
        if isinstance(error, MlflowException) and error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise ModelNotFoundError(_unknown(client, reference, wanted)) from None


def _model_of_run(client: "MlflowClient", run_id: str, name: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise ModelNotFoundError(f"there is no run {run_id}") from None
    ids = [output.model_id for output in (run.outputs.model_outputs if run.outputs else [])]
    logged = sorted((client.get_logged_model(model_id) for model_id in ids), key=lambda model: model.creation_timestamp)
    ready = [model for model in logged if str(model.status) == "READY"]
    # MLflow's documentation writes `runs:/RUN/model`; a run of this project has one kind of model, whatever its name.
    fitting = [model for model in ready if name in ("", "model", model.name)]
    if not fitting:
        has = f"its models: {', '.join(sorted({model.name for model in ready}))}" if ready else "it has not finished training"
        raise ModelNotFoundError(f"the run {run_id} has no model{f' {name!r}' if name else ''}; {has}")
    return str(fitting[-1].model_id)


def _unknown(client: "MlflowClient", reference: str, wanted: str) -> str:
    names = _names(client)
    if not names:
        return f"there is no model {reference!r}: no model is registered yet; `mario run PRESET` registers one"
    name = re.split(r"[/@]", wanted)[0]
    if name in names:
        versions = client.search_model_versions(f"name='{name}'") if "'" not in name else []
        known = [str(version.version) for version in versions] + sorted(client.get_registered_model(name).aliases)
        return f"there is no {reference!r}; {name} has the versions and aliases {', '.join(known)}"
    near = difflib.get_close_matches(name, names, n=5, cutoff=0.4) or names[:5]
    return f"there is no path and no registered model {reference!r}; nearest: {', '.join(near)}"


def _names(client: "MlflowClient") -> list[str]:
    names: list[str] = []
    token = None
    while True:
        page = client.search_registered_models(page_token=token)
        names += [str(model.name) for model in page]
        token = page.token
        if not token:
            return sorted(names)


def _fetch(location: str, uri: str, model_id: str, downloads: Path | None) -> Path:
    """The model's folder on this machine, downloaded if a server has it."""
    from mlflow.artifacts import download_artifacts

    local = location.startswith("file:") or ("://" not in location and not location.startswith("mlflow-artifacts:"))
    target = None if local else (downloads or _temporary_folder()) / model_id
    if target is not None:
        note = target / "complete"
        if note.exists():
            return target / note.read_text(encoding="utf-8")
        target.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        destination = None if target is None else str(target)
        folder = Path(download_artifacts(artifact_uri=location, tracking_uri=uri, dst_path=destination))
    if target is not None:  # written last: an interrupted download is repeated
        note.write_text(folder.relative_to(target).as_posix(), encoding="utf-8")
    return folder


def _temporary_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="train-mario-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _agent(folder: Path, reference: str) -> Path:
    try:
        description = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
        relative = description["flavors"]["python_function"]["artifacts"][AGENT_ARTIFACT]["path"]
    except (OSError, KeyError, TypeError, yaml.YAMLError):
        raise ModelNotFoundError(f"{mask_urls(reference)!r} is not an agent of this project (see {folder})") from None
    agent = (folder / relative).resolve()
    if not agent.exists() or not agent.is_relative_to(folder.resolve()):
        raise ModelNotFoundError(f"the files of {mask_urls(reference)!r} are missing: {agent}")
    return Path(agent)
