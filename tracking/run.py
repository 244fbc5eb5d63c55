"""One MLflow run: opening, continuing and closing it, and logging to it."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import yaml

from configs.masking import mask_url
from spool import StoppedError
from tracking import models, requests
from tracking.client import after_races, connect, experiment_id, find_run, translate_errors, without_password
from tracking.datasets import Context
from tracking.delivery import Delivery, DeliveryReport, Entry, Lane, open_outboxes, pending_entries
from tracking.errors import TrackingError
from tracking.location import normalise, run_url
from tracking.models import Guard, ModelVersion
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


class TrackedRun:
    """An open MLflow run; a context manager that closes it as FINISHED, FAILED (an exception) or KILLED (an interruption).

    A run that several processes or phases use one after the other is opened with `leave_running`; the last one calls
    :meth:`end`.

    `log_params`, `log_metrics`, `log_dataset`, `log_dict` and `set_tags` return immediately: threads deliver, each kind in
    order. While MLflow is away they neither raise nor wait. What they logged is kept in the outbox (in memory without one) and
    sent when MLflow is back; there is one warning, and :meth:`close` reports what was lost. The next process that opens the run
    with this outbox sends what is left in it, before anything else. `open`, `metric`, `register_model` and `log_evaluation`
    need an answer: they wait for MLflow and raise :class:`TrackingError`. Credentials are masked in everything that is logged.

    MLflow itself has no conditional write. Each request that writes is made within `guard()`, a context manager that keeps the
    right to write while its block runs. If there is no such right any more, it raises :class:`spool.StoppedError`: nothing is
    sent from then on, and methods that need an answer raise it too. What was not sent stays in the outbox.

    Attributes:
        run_id: MLflow's id, with which the run can be continued.
        experiment_id: MLflow's id of the experiment.
        url: the run's page.
        resumed: whether the run existed before.
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
        guard: Guard = nullcontext,
    ) -> None:
        self._client = client
        self._guard = guard
        self._uri = uri
        self._leave_running = leave_running
        self._stored_params: dict[str, str] = dict(run.data.params)
        # The fetched run holds the newest value of each metric; its public attribute lacks the step.
        newest = getattr(run.data, "_metric_objs", None) or []
        self._last_steps: dict[str, int] = {metric.key: int(metric.step) for metric in newest}
        for outbox in (outboxes or {}).values():
            self._count_as_logged(outbox)
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
        guard: Guard = nullcontext,
    ) -> Self:
        """Start a run, or continue one.

        Args:
            uri: the tracking URI, see :func:`tracking.resolve_tracking_uri`.
            experiment: the MLflow experiment of a new run; created if it is missing.
            run_name: the run's name in the UI.
            run_id: the run to continue; its state becomes RUNNING again. None: a new run.
            key: the tag `experiment_key` of a new run; if a run has this key, in whatever experiment, it is continued instead.
                So a process that is killed before it has stored the run's id causes no second run.
            tags: set on the run, without credentials.
            system_metrics: log the use of processor, memory, disk, network and GPU; see :mod:`tracking.system_metrics`.
            leave_running: closing does not change the run's state; :meth:`end` does.
            home: the project's folder; needed where `uri` is a database other than SQLite.
            outbox: the file where metrics are stored until MLflow has them, with files for the other kinds beside it; one
                process at a time has them open.
            guard: keeps the right to write; see the class.

        Raises:
            StoppedError: there is no right to write.
            OutboxLockedError: another process has the outbox open.
            OutboxError, OSError: the outbox cannot be opened.
            RunNotFoundError: `run_id` is not in this store.
            TrackingError: MLflow cannot be reached or refuses.
        """
        uri = normalise(uri)
        client = connect(uri)
        clean = _tags(tags or {})
        with guard(), translate_errors(uri, "the run cannot be opened"):
            if run_id is None and key is not None:
                run_id = find_run(client, _KEY, key)
            if run_id is None:
                number = experiment_id(client, uri, experiment, home)
                run = client.create_run(number, run_name=run_name, tags=clean if key is None else {**clean, _KEY: key})
            else:
                run = requests.continue_run(client, uri, run_id)
        outboxes = None if outbox is None else open_outboxes(outbox, run.info.run_id)
        resumed = run_id is not None
        options: dict[str, Any] = {"leave_running": leave_running, "outboxes": outboxes, "guard": guard}
        opened = cls(client, uri, run, resumed=resumed, system_metrics=system_metrics, **options)
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
        """Log parameters; nested mappings become ``section.key``.

        MLflow does not allow a parameter to change. A continued run keeps the parameters it has, with a warning if their values
        differ.
        """
        fresh = parameters(values)
        changed = [name for name, value in fresh.items() if self._stored_params.get(name, value) != value]
        if changed:
            logger.warning("MLflow keeps the first value of a parameter; these now differ: %s", ", ".join(sorted(changed)))
        pairs = [(name, value) for name, value in fresh.items() if name not in self._stored_params]
        self._stored_params.update(pairs)
        for first in range(0, len(pairs), 100):
            self._delivery.put(Entry("params", tuple(pairs[first : first + 100])))

    def log_config(self, config: Mapping[str, Any]) -> None:
        """Log a configuration as parameters and as the artifact `config.yaml`."""
        self.log_params(config)
        self.log_dict(config, "config.yaml")

    def log_dataset(self, context: Context, name: str, description: Mapping[str, Any]) -> None:
        """Log what the run is trained or evaluated on; see :func:`tracking.datasets.dataset_input`. Repeats do no harm."""
        described = json.dumps({"name": name, "description": without_secrets(dict(description))})
        self._delivery.put(Entry("dataset", ((context, described),)))

    def log_metrics(self, values: Mapping[str, Any], step: int) -> None:
        """Log numbers at a step.

        Values that are not finite numbers (NaN, infinities, booleans, texts) are left out. Characters that MLflow refuses in a
        name become ``_``.
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
        """Log JSON-like data as an artifact: YAML for a path that ends in .yaml, else JSON."""
        clean = without_secrets(content)
        if path.endswith((".yaml", ".yml")):
            document = yaml.safe_dump(clean, sort_keys=False, allow_unicode=True)
        else:
            document = models.as_json(clean)
        self._delivery.put(Entry("document", ((path, document),)))

    def log_artifact(self, path: Path, folder: str | None = None) -> bool:
        """Copy a file or a folder with its contents to the run's artifacts, below `folder`.

        It blocks: call it between phases, not during training. Returns False, and logs a warning, if it failed.

        Raises:
            StoppedError: there is no right to write any more.
        """
        try:
            with self._guard():
                if path.is_dir():
                    self._client.log_artifacts(self.run_id, str(path), folder)
                else:
                    self._client.log_artifact(self.run_id, str(path), folder)
        except StoppedError:
            raise
        except Exception as error:  # the report is on disk; the run goes on
            logger.warning("MLflow did not take %s: %s", path, without_password(str(error), self._uri))
            return False
        return True

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags on the run. Credentials are masked, long texts cut."""
        pairs = list(_tags(tags).items())
        for first in range(0, len(pairs), 100):
            self._delivery.put(Entry("tags", tuple(pairs[first : first + 100])))

    def kv_writer(self) -> "KVWriter":
        """A writer for stable-baselines3's logger: it logs each dump at the dump's step.

        A run that continues from a checkpoint repeats steps whose metrics MLflow has. Those are left out, so that the step axis
        only goes forward.
        """
        from tracking.kv_writer import TrackingWriter

        return TrackingWriter(self.log_metrics, dict(self._last_steps))

    def register_model(self, name: str, agent: Path, *, python_model: Path, **details: Any) -> ModelVersion:
        """Register an agent as a model version of this run; see :func:`tracking.models.register`."""
        self._delivery.flush(lanes=("metrics", "params"))
        details |= {"python_model": python_model, "guard": self._guard}
        return models.register(self._client, self._uri, self.run_id, name, agent, **details)

    def set_alias(self, name: str, version: str, alias: str) -> None:
        """Set `alias` to this version of the registered model `name`.

        Raises:
            TrackingError: MLflow does not answer, or refuses.
        """
        with self._guard(), translate_errors(self._uri, f"version {version} of {name} cannot be named {alias}"):
            after_races(lambda: self._client.set_registered_model_alias(name, alias, version))

    def log_evaluation(self, model: ModelVersion | str, metrics: Mapping[str, Any], step: int = 0) -> None:
        """Log the metrics of an evaluation on the run and on the model, where MLflow compares models.

        Args:
            model: a registered version, or a reference such as ``models:/name/3`` or a logged model's id.
            metrics: names and numbers.
            step: the training step of the model.

        Raises:
            TrackingError: MLflow does not answer, or has no such model.
        """
        with self._guard():
            models.log_evaluation(self._client, self._uri, self.run_id, model, metrics, step)

    def metric(self, name: str) -> float | None:
        """The last value of a metric in MLflow, None if it has none. Sends pending metrics first.

        Raises:
            TrackingError: MLflow does not answer.
        """
        self._require_sent(("metrics",))
        with translate_errors(self._uri, f"the metric {name!r} cannot be read"):
            value = self._client.get_run(self.run_id).data.metrics.get(clean_name(name))
        return None if value is None else float(value)

    def flush(self, timeout: float = 30.0) -> bool:
        """Wait until MLflow has everything logged so far; False if it has not within `timeout` seconds, or is away."""
        return self._delivery.flush(timeout)

    def sync(self) -> bool:
        """Wait until everything logged so far is on the disk or in MLflow; False if not. Does not wait for MLflow."""
        return self._delivery.sync()

    def end(self, status: Status, **tags: str) -> None:
        """Set the run's state, and tags with it, after all pending tags.

        Raises:
            TrackingError: MLflow does not answer, or refuses.
        """
        from mlflow.entities import RunTag

        self._require_sent(("tags",))
        with self._guard(), translate_errors(self._uri, f"the run cannot be ended as {status}"):
            self._client.log_batch(self.run_id, tags=[RunTag(*tag) for tag in _tags(tags).items()], synchronous=True)
            self._client.set_terminated(self.run_id, status)

    def close(self, status: Status | None = "FINISHED", timeout: float = 30.0) -> DeliveryReport:
        """Send what is left, set the run's state, and report what is pending or lost; a second call returns the same report.

        Args:
            status: the state; None: it does not change.
            timeout: seconds to wait for MLflow.
        """
        if self._report is not None:
            return self._report
        if self._system is not None:
            self._system.stop()
        if status is not None:
            self._delivery.put(Entry("status", ((status, str(int(time.time() * 1000))),)))
        self._report = self._delivery.close(timeout)
        if self._report.pending and self._delivery.stopped is None:
            logger.warning(
                "MLflow at %s does not have all of run %s: %d entries wait on disk until the experiment is next started: %s",
                mask_url(self._uri),
                self.run_id,
                self._report.pending,
                self._report.reason,
            )
        if self._report.lost:
            logger.error(
                "MLflow does not have all of run %s: %d of %d entries are lost; the last reason: %s",
                self.run_id,
                self._report.lost,
                self._report.lost + self._report.sent + self._report.pending,
                self._report.reason,
            )
        return self._report

    def _require_sent(self, lanes: Sequence[Lane]) -> None:
        if self._delivery.flush(lanes=lanes):
            return
        if self._delivery.stopped is not None:
            raise self._delivery.stopped
        raise TrackingError(f"MLflow at {mask_url(self._uri)} does not accept what is logged; the log says why")

    def _count_as_logged(self, outbox: "Outbox") -> None:
        """Treat what is left in the outbox as logged: steps go on behind it, parameters are not logged twice."""
        for entry in pending_entries(outbox):
            for name, value, *rest in entry.values:
                if entry.kind == "metrics":
                    self._last_steps[name] = max(int(rest[-1]), self._last_steps.get(name, -1))
                elif entry.kind == "params":
                    self._stored_params.setdefault(name, str(value))

    def _send(self, entry: Entry) -> None:
        with self._guard():
            requests.send(self._client, self._uri, self.run_id, entry)


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {clean_name(name): text(value, MAX_TAG) for name, value in without_secrets(dict(tags)).items()}
