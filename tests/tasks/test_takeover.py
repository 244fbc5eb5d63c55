"""A process that runs an experiment is stopped, another takes over, and the first goes on: it records nothing more."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from configs import PROJECT, Settings, load
from episodes import ExperimentLockedError, FencedError
from episodes.attempts import attempts
from episodes.records import quality_results
from spool import Outbox, count_pending
from tasks import phases
from tasks.experiment import Experiment, open_run, open_store, open_writer, spool_of
from tasks.phases import PhaseRecord
from tasks.starting import finish_experiment, mark_crashed, running_experiment
from tasks.transient import is_transient
from tests.stopping import stop_between_writes
from tests.tasks.test_starting import episode_row
from tracking import resolve_tracking_uri
from tracking.client import connect

pytestmark = pytest.mark.one_python

TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")
FAST = ["retry.lease_seconds=2"]

# Writes all that an attempt can write, again and again. Every write is tried even when the one before was refused.
_TRAINER = """
import sys
from configs import Settings, load
from episodes import FencedError
from episodes.quality import QualityResult
from episodes.records import save_quality
from tasks import phases
from tasks.experiment import open_run, open_writer
from tasks.phases import PhaseRecord
from tasks.starting import finish_experiment, running_experiment
from tests.tasks.test_starting import episode_row

preset, name, model = sys.argv[1:]
settings = Settings.from_environment()
refused = set()

def attempt(what, action):
    try:
        action()
    except FencedError:
        refused.add(what)

with running_experiment(load(preset, ["retry.lease_seconds=2"]), name, settings, None) as experiment:
    claim = experiment.required_claim
    with open_run(experiment) as run, open_writer(experiment, claim.store) as writer:
        number = 0
        while len(refused) < 9:
            number += 1
            run.log_metrics({"step": number}, number)
            run.set_tags({"step": str(number)})
            run.log_dict({"step": number}, "step.json")
            attempt("row", lambda: (writer.put(episode_row(experiment.id, number)), writer.flush()))
            attempt("phase", lambda: phases.save(experiment, PhaseRecord("train", float(number))))
            quality = QualityResult(experiment.id, "train", [], number)
            attempt("quality", lambda: save_quality(claim.store, claim.token, quality))
            attempt("status", lambda: finish_experiment(experiment, "failed"))
            attempt("metric", lambda: run.metric("step"))
            attempt("alias", lambda: run.set_alias("taken-over", sys.argv[3], "newest"))
            attempt("artifact", lambda: run.log_artifact(experiment.directory / "config.json", "logged"))
            attempt("end", lambda: run.end("FAILED", pipeline_status="failed"))
            attempt("lease", claim.confirm)
            print("wrote" if not refused else f"refused {sorted(refused)}", flush=True)
    claim.require_current()
"""


@contextmanager
def trainer(settings: Settings, name: str, version: str) -> Iterator["subprocess.Popen[str]"]:
    environment = os.environ | {"MARIO_HOME": str(settings.home)}
    command = [sys.executable, "-c", _TRAINER, TINY, name, version]
    with subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def take_over(settings: Settings, name: str) -> Any:
    """Start the experiment as soon as its holder's lease has expired."""
    while True:
        try:
            manager = running_experiment(load(TINY, FAST), name, settings, None)
            return manager, manager.__enter__()
        except ExperimentLockedError:
            time.sleep(0.2)


def state_of(settings: Settings, experiment: Experiment, alias_of: str) -> dict[str, Any]:
    """All that is recorded of the experiment, in Postgres and in MLflow."""
    client = connect(resolve_tracking_uri(None, settings.home))
    assert experiment.run_id is not None
    run = client.get_run(experiment.run_id)
    with open_store(settings) as store:
        return {
            "experiment": store.experiment(experiment.id),
            "rows": store.count(experiment.id),
            "phase": phases.finished(experiment, "train"),
            "quality": quality_results(store, experiment.id),
            "metrics": client.get_metric_history(experiment.run_id, "step"),
            "tags": run.data.tags,
            "status": run.info.status,
            "artifact": client.download_artifacts(experiment.run_id, "step.json") and client.list_artifacts(experiment.run_id),
            "alias": client.get_model_version_by_alias("taken-over", "newest").version,
        }


@pytest.fixture
def versions(settings: Settings, tmp_path: Path) -> tuple[str, str]:
    """Two versions of the registered model `taken-over`."""
    client = connect(resolve_tracking_uri(None, settings.home))
    client.create_registered_model("taken-over")
    first, second = (client.create_model_version("taken-over", tmp_path.as_uri()).version for _ in range(2))
    return str(first), str(second)


def test_a_stopped_process_records_nothing_more_when_it_goes_on(settings: Settings, versions: tuple[str, str]) -> None:
    name = "taken-over"
    old, new = versions
    with trainer(settings, name, old) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "wrote\n", process.stderr and process.stderr.read()
        with pytest.raises(ExperimentLockedError), running_experiment(load(TINY, FAST), name, settings, None):
            pass
        with open_store(settings) as store:
            stop_between_writes(process.pid, store)
        manager, experiment = take_over(settings, name)
        with open_store(settings) as store, open_run(experiment) as run:
            run.log_metrics({"step": -1}, -1)
            run.set_tags({"step": "of the second attempt"})
            run.set_alias("taken-over", new, "newest")
            phases.save(experiment, PhaseRecord("train", 0.5))
            starts = attempts(store, experiment.id)
        before = state_of(settings, experiment, new)
        assert before["alias"] == int(new)
        assert before["tags"]["attempt"] == "2"

        os.kill(process.pid, signal.SIGCONT)
        output, errors = process.communicate(timeout=120)

        assert "refused ['alias', 'artifact', 'end', 'lease', 'metric', 'phase', 'quality', 'row', 'status']" in output
        message = f"FencedError: attempt 1 at experiment {name} is over, and records nothing more: attempt 2 took over on"
        assert message in errors.splitlines()[-1]
        assert process.returncode == 1
        assert state_of(settings, experiment, new) == before
        assert [each.attempt for each in starts] == [1, 2]
        aside = spool_of(experiment.directory, 1)
        aside = aside.with_name(f"{aside.name}-not-recorded")
        assert count_pending(aside / "episodes.sqlite") > 0, "what it could not record is kept"
        assert f"is kept in {aside} and not recorded" in errors
        experiment.required_claim.confirm()
        finish_experiment(experiment, "completed")
        manager.__exit__(None, None, None)
    with open_store(settings) as store:
        assert store.experiment(name).record.status == "completed"


def test_a_fenced_process_is_not_retried() -> None:
    assert not is_transient(FencedError("over"))


def test_the_next_attempt_records_what_the_one_before_left_on_the_disk(settings: Settings) -> None:
    with running_experiment(load(TINY), "adopting", settings, None) as experiment:
        leave_rows(experiment, 3)
    left = spool_of(experiment.directory, 1)
    assert count_pending(left / "episodes.sqlite") == 3
    with running_experiment(load(TINY), "adopting", settings, None) as experiment, open_store(settings) as store:
        assert store.count(experiment.id) == 3
    assert not left.exists()


def test_what_another_machine_has_played_again_is_set_aside(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    name = "of-two-machines"
    with running_experiment(load(TINY), name, settings, None) as experiment:
        leave_rows(experiment, 3)
    other = Settings(settings.home.with_name("of-another-machine"), None, None)
    shared = Settings(other.home, experiment.required_claim.store.url, resolve_tracking_uri(None, settings.home))
    with running_experiment(load(TINY), name, shared, None) as second:
        assert second.id == experiment.id
        assert second.directory != experiment.directory
    with running_experiment(load(TINY), name, settings, None), open_store(settings) as store:
        assert store.count(experiment.id) == 0
    aside = experiment.directory / "spool" / "attempt-0001-not-recorded"
    assert count_pending(aside / "episodes.sqlite") == 3
    assert f"another machine has run {name} since" in caplog.text


def test_an_experiment_that_was_marked_as_crashed_records_nothing_more(settings: Settings) -> None:
    def run() -> None:
        with running_experiment(load(TINY), "marked", settings, None) as experiment, open_store(settings) as store:
            with pytest.raises(ExperimentLockedError):
                mark_crashed("marked", settings)
            experiment.required_claim.release()  # type: ignore[attr-defined]
            mark_crashed("marked", settings)
            with open_writer(experiment, store) as writer:
                writer.put(episode_row(experiment.id))
                writer.flush()

    with pytest.raises(FencedError, match="a person recorded its end with --mark-crashed"):
        run()
    with open_store(settings) as store:
        stored = store.experiment("marked")
        assert stored.record.status == "failed"
        assert store.count(stored.id) == 0


def leave_rows(experiment: Experiment, number: int) -> None:
    """Leave rows on the disk, as a process that is killed while Postgres is away."""
    from episodes import pending

    outbox = Outbox(experiment.episode_outbox, experiment.owner)
    rows = [pending.convert(episode_row(experiment.id, index), {}, b"\0") for index in range(number)]
    outbox.append([pending.encode(row) for row in rows])
    outbox.close()
