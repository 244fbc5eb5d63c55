"""One MLflow run: what a training logs while it goes on, and how it is opened, continued and closed."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import yaml

from configs.masking import mask_url
from tracking import models
from tracking.client import connect, experiment_id, find_run, speaking_errors, without_password
from tracking.delivery import Delivery, DeliveryReport, Entry, Lane, RefusedError, open_outboxes, pending_entries
from tracking.errors import RunNotFoundError, TrackingError
from tracking.location import normalise, run_url
from tracking.models import ModelVersion
from tracking.system_metrics import SystemMetrics
from tracking.values import MAX_TAG, clean_name, finite, parameters, text, without_secrets

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from stable_baselines3.common.logger import KVWriter

    from spool import Outbox

logger = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]

_KEY = "experiment_key"

# MLflow's codes for a request that would be refused again; anything else may be the network, a lock or a restart.
_FINAL = {
    "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "PERMISSION_DENIED", "UNAUTHENTICATED",
    "BAD_REQUEST", "INVALID_STATE", "MALFORMED_REQUEST", "ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED",
}  # fmt: skip


class TrackedRun:
    """An open MLflow run; a context manager that closes it as FINISHED, FAILED (an exception) or KILLED (an interruption).

    A run that several processes or phases have one after the other is opened with `leave_running`: who ends it calls
    :meth:`end`.

    `log_params`, `log_metrics`, `log_dict` and `set_tags` return at once: threads deliver, each kind in order. When MLflow is
    away they neither raise nor wait: what they logged is kept in the outbox (in memory without one) and sent when it is back,
    one warning is given, and :meth:`close` reports what was lost. The next process that opens the run with this outbox sends
    what is left in it, before anything else. `open`, `metric`, `register_model` and `log_evaluation` need an answer: they wait
    for MLflow and raise :class:`TrackingError`. Credentials are masked in everything that is logged.

    Attributes:
        run_id: MLflow's id, with which the run can be continued.
        experiment_id: MLflow's id of the experiment.
        url: where a person sees the run.
        resumed: whether the run was there before.
    """

    def __init__(
        self,
        client: "MlflowClient",
        uri: str,
        run: "Run",
        *,
        resumed: bool,
        system_metrics: bool,
        leave_running: bool = False,
        outboxes: "Mapping[Lane, Outbox] | None" = None,
    ) -> None:
        self._client = client
        self._uri = uri
        self._leave_running = leave_running
        self._stored_params: dict[str, str] = dict(run.data.params)
        # The newest value of each metric is part of the run that was fetched; the public attribute leaves its step out.
        newest = getattr(run.data, "_metric_objs", None) or []
        self._last_steps: dict[str, int] = {metric.key: int(metric.step) for metric in newest}
        for outbox in (outboxes or {}).values():
            self._adopt(outbox)
        self._report: DeliveryReport | None = None
        self.run_id: str = run.info.run_id
        self.experiment_id: str = run.info.experiment_id
        self.url = run_url(uri, self.experiment_id, self.run_id)
        self.resumed = resumed
        self._delivery = Delivery(self._send, outboxes=outboxes, server=f"MLflow at {mask_url(uri)}")
        self._system = SystemMetrics(self.log_metrics, self._last_steps) if system_metrics else None

    @classmethod
    def open(
        cls,
        uri: str,
        experiment: str,
        run_name: str,
        *,
        run_id: str | None = None,
        key: str | None = None,
        tags: Mapping[str, str] | None = None,
        system_metrics: bool = False,
        leave_running: bool = False,
        home: Path | None = None,
        outbox: Path | None = None,
    ) -> Self:
        """Starts a run, or continues one.

        Args:
            uri: the tracking URI, see :func:`tracking.resolve_tracking_uri`.
            experiment: MLflow's experiment; created when it is not there.
            run_name: the run's name in the UI.
            run_id: the run to continue; its state becomes RUNNING again. None: a new run.
            key: of a new run, kept as its tag `experiment_key`: a run of `experiment` that has it is continued instead. So a
                process that was killed before it could note the run's id leaves no second run behind.
            tags: set on the run, without credentials.
            system_metrics: log processor, memory, disk, network and GPU every ten seconds.
            leave_running: closing the run says nothing of how it ended; :meth:`end` does.
            home: the project's folder; needed where `uri` is a database other than SQLite.
            outbox: the file where metrics are stored until MLflow has them, with files for the other kinds beside it; one
                process at a time has them open.

        Raises:
            OutboxLockedError: another process has the outbox open.
            OutboxError, OSError: the outbox cannot be opened.
            RunNotFoundError: `run_id` is not in this store.
            TrackingError: MLflow cannot be reached or refuses.
        """
        uri = normalise(uri)
        client = connect(uri, home)
        clean = _tags(tags or {})
        with speaking_errors(uri, "the run cannot be opened"):
            if run_id is None:
                number = experiment_id(client, uri, experiment, home)
                run_id = None if key is None else find_run(client, number, _KEY, key)
            if run_id is None:
                run = client.create_run(number, run_name=run_name, tags=clean if key is None else {**clean, _KEY: key})
            else:
                run = _continue(client, uri, run_id)
        outboxes = None if outbox is None else open_outboxes(outbox, run.info.run_id)
        resumed = run_id is not None
        opened = cls(
            client, uri, run, resumed=resumed, system_metrics=system_metrics, leave_running=leave_running, outboxes=outboxes
        )
        if resumed:
            opened.set_tags(clean)
        return opened

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._leave_running:
            self.close(None)
        elif kind is None:
            self.close("FINISHED")
        else:
            self.close("FAILED" if issubclass(kind, Exception) else "KILLED")

    def log_params(self, values: Mapping[str, Any]) -> None:
        """Logs parameters; nested mappings become ``section.key``.

        MLflow lets nobody change a parameter. In a run that is continued those it has are left alone, with a warning if
        their values differ.
        """
        fresh = parameters(values)
        changed = [name for name, value in fresh.items() if self._stored_params.get(name, value) != value]
        if changed:
            logger.warning("MLflow keeps the first value of a parameter; these differ now: %s", ", ".join(sorted(changed)))
        pairs = [(name, value) for name, value in fresh.items() if name not in self._stored_params]
        self._stored_params.update(pairs)
        for first in range(0, len(pairs), 100):
            self._delivery.put(Entry("params", tuple(pairs[first : first + 100])))

    def log_config(self, config: Mapping[str, Any]) -> None:
        """Logs a configuration as parameters and, whole, as the artifact `config.yaml`."""
        self.log_params(config)
        self.log_dict(config, "config.yaml")

    def log_metrics(self, values: Mapping[str, Any], step: int) -> None:
        """Logs numbers at a step.

        What is no finite number (NaN, infinities, booleans, texts) is left out; characters MLflow refuses in a name become
        ``_``.
        """
        now = int(time.time() * 1000)
        metrics = []
        for name, value in values.items():
            number = finite(value)
            if number is not None:
                metrics.append((clean_name(name), number, now, int(step)))
        for first in range(0, len(metrics), 1000):
            self._delivery.put(Entry("metrics", tuple(metrics[first : first + 1000])))

    def log_dict(self, content: Any, path: str) -> None:
        """Writes JSON-like data as an artifact: YAML for a path that ends in .yaml, else JSON."""
        clean = without_secrets(content)
        if path.endswith((".yaml", ".yml")):
            document = yaml.safe_dump(clean, sort_keys=False, allow_unicode=True)
        else:
            document = models.as_json(clean)
        self._delivery.put(Entry("document", ((path, document),)))

    def log_artifact(self, path: Path, folder: str | None = None) -> bool:
        """Copies a file, or a folder with all it holds, to the run's artifacts, below `folder`.

        This one waits until it is done: call it between phases, not within training. False, and a warning, if it failed.
        """
        try:
            if path.is_dir():
                self._client.log_artifacts(self.run_id, str(path), folder)
            else:
                self._client.log_artifact(self.run_id, str(path), folder)
        except Exception as error:  # a report that is on disk is no reason to lose a run
            logger.warning("MLflow did not take %s: %s", path, without_password(str(error), self._uri))
            return False
        return True

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Sets tags on the run; credentials are masked, long texts cut."""
        pairs = list(_tags(tags).items())
        for first in range(0, len(pairs), 100):
            self._delivery.put(Entry("tags", tuple(pairs[first : first + 100])))

    def kv_writer(self) -> "KVWriter":
        """A writer for stable-baselines3's logger: everything it dumps is logged at the dump's step.

        In a run that is continued from a checkpoint, steps are played again whose metrics MLflow has: those are left out,
        so that the step axis only goes forward.
        """
        from tracking.kv_writer import TrackingWriter

        return TrackingWriter(self.log_metrics, dict(self._last_steps))

    def register_model(self, name: str, agent: Path, *, python_model: Path, **details: Any) -> ModelVersion:
        """Registers an agent as a model version of this run; see :func:`tracking.models.register`."""
        self._delivery.flush(lanes=("metrics", "params"))
        return models.register(self._client, self._uri, self.run_id, name, agent, python_model=python_model, **details)

    def set_alias(self, name: str, version: str, alias: str) -> None:
        """Lets `alias` mean this version of the registered model `name`, and no longer the one that had it.

        Raises:
            TrackingError: MLflow does not answer, or refuses.
        """
        with speaking_errors(self._uri, f"version {version} of {name} cannot be named {alias}"):
            self._client.set_registered_model_alias(name, alias, version)

    def log_evaluation(self, model: ModelVersion | str, metrics: Mapping[str, Any], step: int = 0) -> None:
        """Logs an evaluation's numbers on the run and on the model, where MLflow compares models side by side.

        Args:
            model: a registered version, or a reference such as ``models:/name/3`` or a logged model's id.
            metrics: names and numbers.
            step: the training step of the model.

        Raises:
            TrackingError: MLflow does not answer, or has no such model.
        """
        models.log_evaluation(self._client, self._uri, self.run_id, model, metrics, step)

    def metric(self, name: str) -> float | None:
        """The last value of a metric as MLflow has it, None if it has none. Sends the metrics that wait first."""
        if not self._delivery.flush(lanes=("metrics",)):
            raise TrackingError(f"MLflow at {mask_url(self._uri)} does not take what is logged; the log says why")
        with speaking_errors(self._uri, f"the metric {name!r} cannot be read"):
            value = self._client.get_run(self.run_id).data.metrics.get(clean_name(name))
        return None if value is None else float(value)

    def flush(self, timeout: float = 30.0) -> bool:
        """Waits until MLflow has everything logged so far; False if it does not take it (now)."""
        return self._delivery.flush(timeout)

    def sync(self) -> bool:
        """Waits until everything logged so far is on the disk or in MLflow; False if some is not. Does not wait for MLflow."""
        return self._delivery.sync()

    def end(self, status: Status, **tags: str) -> None:
        """Sets the run's state, and tags with it, behind all tags that wait.

        Raises:
            TrackingError: MLflow does not answer, or refuses.
        """
        from mlflow.entities import RunTag

        if not self._delivery.flush(lanes=("tags",)):
            raise TrackingError(f"MLflow at {mask_url(self._uri)} does not take what is logged; the log says why")
        with speaking_errors(self._uri, f"the run cannot be ended as {status}"):
            self._client.log_batch(self.run_id, tags=[RunTag(*tag) for tag in _tags(tags).items()], synchronous=True)
            self._client.set_terminated(self.run_id, status)

    def close(self, status: Status | None = "FINISHED", timeout: float = 30.0) -> DeliveryReport:
        """Sends what is left, sets the run's state, and says what waits or was lost; a second call changes nothing.

        Args:
            status: the state; None: it stays as it is.
            timeout: seconds to wait for MLflow.
        """
        if self._report is not None:
            return self._report
        if self._system is not None:
            self._system.stop()
        if status is not None:
            self._delivery.put(Entry("status", ((status, str(int(time.time() * 1000))),)))
        self._report = self._delivery.close(timeout)
        if self._report.pending:
            logger.warning(
                "MLflow at %s has not got all of run %s: %d entries wait on disk until the experiment is next started: %s",
                mask_url(self._uri),
                self.run_id,
                self._report.pending,
                self._report.reason,
            )
        if self._report.lost:
            logger.error(
                "MLflow has not got everything of run %s: %d of %d entries are lost; the last reason: %s",
                self.run_id,
                self._report.lost,
                self._report.lost + self._report.sent + self._report.pending,
                self._report.reason,
            )
        return self._report

    def _adopt(self, outbox: "Outbox") -> None:
        """Treat what is left in the outbox as logged: steps go on behind it, parameters are not logged twice."""
        for entry in pending_entries(outbox):
            for name, value, *rest in entry.values:
                if entry.kind == "metrics":
                    self._last_steps[name] = max(int(rest[-1]), self._last_steps.get(name, -1))
                elif entry.kind == "params":
                    self._stored_params.setdefault(name, str(value))

    def _send(self, entry: Entry) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._send_to_mlflow(entry)
        except MlflowException as error:
            message = without_password(str(error), self._uri)
            raise RefusedError(message) if error.error_code in _FINAL else TrackingError(message) from None
        except Exception as error:
            raise TrackingError(without_password(str(error) or type(error).__name__, self._uri)) from None

    def _send_to_mlflow(self, entry: Entry) -> None:
        from mlflow.entities import Metric, Param, RunTag

        client, run_id = self._client, self.run_id
        values: Any = entry.values
        if entry.kind == "metrics":
            client.log_batch(run_id, metrics=[Metric(*value) for value in values], synchronous=True)
        elif entry.kind == "params":
            client.log_batch(run_id, params=[Param(*value) for value in values], synchronous=True)
        elif entry.kind == "tags":
            client.log_batch(run_id, tags=[RunTag(*value) for value in values], synchronous=True)
        elif entry.kind == "status":
            for status, end in values:
                client.set_terminated(run_id, str(status), int(end))
        else:
            for path, content in values:
                client.log_text(run_id, str(content), str(path))


def _continue(client: "MlflowClient", uri: str, run_id: str) -> "Run":
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise RunNotFoundError(f"MLflow at {mask_url(uri)} has no run {run_id!r} to continue") from None
    if run.info.lifecycle_stage == "deleted":
        raise RunNotFoundError(f"MLflow's run {run_id} was deleted: restore it, or start a new run")
    client.update_run(run_id, status="RUNNING")
    return run


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {clean_name(name): text(value, MAX_TAG) for name, value in without_secrets(dict(tags)).items()}
