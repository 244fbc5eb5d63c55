"""Agents in MLflow's model registry, and the metrics of their evaluation."""

import hashlib
import importlib.metadata
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tracking.client import after_races, translate_errors
from tracking.errors import ModelNotFoundError, TrackingError
from tracking.values import MAX_TAG, clean_name, finite, parameters, text, without_secrets

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

AGENT_ARTIFACT = "agent"
SHA256_TAG = "sha256"
Guard = Callable[[], AbstractContextManager[None]]
REQUIRED_PACKAGES = ("mlflow", "numpy", "stable-baselines3", "sb3-contrib", "torch")


@dataclass(frozen=True)
class ModelVersion:
    """A version of a registered model.

    Attributes:
        name: the registered name.
        version: its number, from 1.
        uri: ``models:/name/version``.
        model_id: MLflow's id of the logged model, on which metrics are kept.
        run_id: the run that trained it.
        sha256: digest of the agent's files, see :func:`digest`.
    """

    name: str
    version: int
    uri: str
    model_id: str
    run_id: str
    sha256: str


def register(
    client: "MlflowClient",
    uri: str,
    run_id: str,
    name: str,
    agent: Path,
    *,
    python_model: Path,
    input_example: NDArray[Any],
    tags: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    requirements: Iterable[str] | None = None,
    aliases: Iterable[str] = (),
    step: int = 0,
    description: str = "",
    guard: Guard = nullcontext,
) -> ModelVersion:
    """Log an agent as a model of a run and register it as a new version, unless the run has registered the same files.

    Repeating it after a process was killed does no harm: what that process left is used.

    The model is MLflow's pyfunc flavour: it takes observations (n, *shape) and returns actions int64 (n,), and is loaded by
    `mlflow.pyfunc.load_model("models:/name/1")` wherever this project is installed. The newest version is
    ``models:/name/latest`` without any alias (MLflow reserves the alias ``latest``).

    Args:
        client: connected to `uri`.
        uri: the tracking URI, for messages.
        run_id: the run the model belongs to.
        name: the registered name; created when it is new.
        agent: the agent's file or folder, as the loader in `python_model` reads it; copied into the model.
        python_model: a Python file that calls :func:`tracking.served_model.serve` (MLflow's models from code).
        input_example: a batch of observations, (n, *shape); the model's signature has its shape and dtype.
        tags: set on the logged model and on the version: algorithm, level, seed, experiment, git commit, steps.
        params: parameters shown with the model, nested ones flattened.
        requirements: pip requirements; None: the installed versions of what an agent needs.
        aliases: further names of this version, taken from the version that had them.
        step: the training step at which the agent was saved.
        description: of a new version, in Markdown.
        guard: keeps the right to write, see :class:`tracking.TrackedRun`. The upload and what makes it a version have one each:
            an upload takes long enough for another process to take over.

    Raises:
        StoppedError: there is no right to write any more.
        TrackingError: the agent or the Python file is missing, or MLflow refuses; nothing is registered then.
    """
    for path, what in ((agent, "the agent"), (python_model, "the Python file that loads it")):
        if not path.exists():
            raise TrackingError(f"the model {name!r} cannot be registered: {what} is missing: {path}")
    sha256 = digest(agent)
    labels = {clean_name(key): text(value, MAX_TAG) for key, value in without_secrets(dict(tags or {})).items()}
    labels[SHA256_TAG] = sha256
    with translate_errors(uri, f"the model {name!r} cannot be registered"):
        with guard():
            run = client.get_run(run_id)
            logged = _logged_before(client, run, name, sha256)
            if logged is None:
                shown = parameters(params) if params is not None else dict(run.data.params)
                logged = client.create_logged_model(
                    run.info.experiment_id, name=name, source_run_id=run_id, tags=labels, params=shown, model_type="agent"
                )
                try:
                    _upload(client, logged, run_id, agent, python_model, input_example, list(requirements or _installed()))
                except BaseException:
                    client.finalize_logged_model(logged.model_id, "FAILED")
                    raise
        with guard():
            if str(logged.status) != "READY":
                client.finalize_logged_model(logged.model_id, "READY")
            _link(client, run, logged.model_id, step)
            version = _version_of(client, name, run_id, logged.model_id)
            if version is None:
                version = _create_version(client, uri, name, logged, run_id, labels, description)
            for alias in aliases:
                after_races(partial(client.set_registered_model_alias, name, alias, str(version)))
    return ModelVersion(name, version, f"models:/{name}/{version}", logged.model_id, run_id, sha256)


def log_evaluation(
    client: "MlflowClient", uri: str, run_id: str, model: ModelVersion | str, metrics: Mapping[str, Any], step: int
) -> None:
    """Log metrics on a run and on a model; see :meth:`tracking.TrackedRun.log_evaluation`."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    with translate_errors(uri, "the evaluation cannot be logged"):
        model_id = model.model_id if isinstance(model, ModelVersion) else logged_model_id(client, model)
        numbers = [(clean_name(name), finite(value)) for name, value in metrics.items()]
        batch = [
            Metric(name, value, now, step, model_id=model_id, run_id=run_id) for name, value in numbers if value is not None
        ]
        for first in range(0, len(batch), 1000):
            client.log_batch(run_id, metrics=batch[first : first + 1000], synchronous=True)


def logged_model_id(client: "MlflowClient", reference: str) -> str:
    """The id of the logged model behind ``m-…``, ``models:/m-…``, ``models:/name/3``, ``…/latest`` or ``…@alias``.

    Raises:
        ModelNotFoundError: there is none.
    """
    from mlflow.exceptions import MlflowException

    rest = reference.removeprefix("models:/").strip("/")
    if rest.startswith("m-") and "/" not in rest and "@" not in rest:
        return rest
    try:
        version = _version(client, rest)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        version = None
    # The registry's tables have no column for the id; the source holds it.
    source = "" if version is None else str(version.source)
    if not source.startswith("models:/m-"):
        raise ModelNotFoundError(f"there is no model {reference!r}")
    return source.removeprefix("models:/")


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder: over the relative paths and digests of its files, in order."""
    if path.is_file():
        return _file_digest(path)
    files = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
    return hashlib.sha256("".join(f"{_file_digest(file)}  {name}\n" for name, file in files).encode()).hexdigest()


def as_json(content: Any) -> str:
    """JSON for people: indented, NumPy scalars as numbers, other types as text."""
    return json.dumps(content, indent=2, ensure_ascii=False, default=_plain) + "\n"


def signature(example: NDArray[Any]) -> "ModelSignature":
    """Input like `example` (n, *shape), output int64 (n,)."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    return ModelSignature(
        inputs=Schema([TensorSpec(example.dtype, (-1, *example.shape[1:]))]),
        outputs=Schema([TensorSpec(np.dtype(np.int64), (-1,))]),
    )


def _upload(
    client: "MlflowClient",
    logged: Any,
    run_id: str,
    agent: Path,
    python_model: Path,
    example: NDArray[Any],
    requirements: list[str],
) -> None:
    # mlflow.pyfunc.log_model does this too, but through global state (the active run, the tracking URI of the process), and
    # it reads the history of every metric of the run.
    from mlflow import pyfunc
    from mlflow.models import Model

    model = Model(artifact_path=logged.artifact_location, model_uuid=logged.model_id, run_id=run_id, model_id=logged.model_id)
    with tempfile.TemporaryDirectory(prefix="train-mario-model-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice about type hints, which do not suit arrays
        target = Path(folder) / "model"
        pyfunc.save_model(
            path=str(target),
            mlflow_model=model,
            python_model=str(python_model.absolute()),
            artifacts={AGENT_ARTIFACT: str(agent.absolute())},
            signature=signature(example),
            input_example=example,
            pip_requirements=requirements,
        )
        client.log_model_artifacts(logged.model_id, str(target))


def _logged_before(client: "MlflowClient", run: Any, name: str, sha256: str) -> Any:
    """The complete logged model of the run that holds the files with this digest; None if there is none.

    A model whose upload was interrupted is marked as failed: nothing will complete it.
    """
    query = f"source_run_id = '{run.info.run_id}' AND tags.`{SHA256_TAG}` = '{sha256}'"
    found = client.search_logged_models([run.info.experiment_id], filter_string=query)
    same = [model for model in found if model.name == name]
    for model in same:
        if str(model.status) == "PENDING":
            client.finalize_logged_model(model.model_id, "FAILED")
    return next((model for model in same if str(model.status) == "READY"), None)


def _version_of(client: "MlflowClient", name: str, run_id: str, model_id: str) -> int | None:
    """The version of the registered model `name` that the logged model has; None if it is not registered."""
    for version in client.search_model_versions(f"name={_quoted(name)} AND run_id='{run_id}'"):
        if version.source == f"models:/{model_id}":
            return int(version.version)
    return None


def _link(client: "MlflowClient", run: Any, model_id: str, step: int) -> None:
    from mlflow.entities import LoggedModelOutput

    if model_id not in [output.model_id for output in (run.outputs.model_outputs if run.outputs else [])]:
        client.log_outputs(run.info.run_id, [LoggedModelOutput(model_id, step=step)])


def _create_version(
    client: "MlflowClient", uri: str, name: str, logged: Any, run_id: str, labels: dict[str, str], description: str = ""
) -> int:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    with _global_store(uri):
        created = client.create_model_version(
            name, f"models:/{logged.model_id}", run_id, tags=labels, description=description, model_id=logged.model_id
        )
    # mlflow.register_model sets this tag too; the UI shows the version beside the model because of it.
    note = json.dumps([{"name": name, "version": created.version}])
    client.set_logged_model_tags(logged.model_id, {"mlflow.modelVersions": note})
    return int(created.version)


@contextmanager
def _global_store(uri: str) -> Iterator[None]:
    """Make `uri` the store of the whole process within the block.

    MLflow's registry in a database looks up the source ``models:/ID`` in the global store, not in the client's, and would
    create a store in the working folder if there is none.
    """
    import mlflow

    variable = "MLFLOW_TRACKING_URI"
    before = os.environ.get(variable)
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # this removes the variable too
        if before is not None:
            os.environ[variable] = before


def _version(client: "MlflowClient", rest: str) -> Any:
    """The registry's entry for ``name/3``, ``name/latest``, ``name@alias``; None if the name has no versions."""
    name, _, alias = rest.partition("@")
    if not alias:
        name, _, alias = rest.rpartition("/")
        if alias.isdigit():
            return client.get_model_version(name, alias)
    if alias.lower() != "latest":
        return client.get_model_version_by_alias(name, alias)
    versions = client.search_model_versions(f"name={_quoted(name)}", order_by=["version_number DESC"], max_results=1)
    return versions[0] if versions else None


def _quoted(name: str) -> str:
    return f'"{name}"' if "'" in name else f"'{name}'"


def _installed() -> Iterable[str]:
    for package in REQUIRED_PACKAGES:
        try:
            # pip finds no version with a local label (torch 2.13.0+cpu).
            yield f"{package}=={importlib.metadata.version(package).partition('+')[0]}"
        except importlib.metadata.PackageNotFoundError:
            continue


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(value: object) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)
