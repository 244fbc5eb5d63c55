"""The flow `train-mario`: five phases in order, with the data-quality checks between them."""

import logging
import shlex
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Annotated, Any

from prefect import flow
from prefect.context import FlowRunContext
from prefect.runtime import deployment, flow_run
from pydantic import WithJsonSchema

from configs import Config, ConfigError, load, preset_names
from episodes import ExperimentLockedError, FencedError
from flows.worker_home import flow_settings
from mario_env.console import check_rom
from tasks import phases
from tasks.evaluate import evaluate_agent
from tasks.experiment import Experiment, checked_name
from tasks.extension import apply_extension, require_extensible
from tasks.integration import integration_run
from tasks.links import label_flow_run, link
from tasks.naming import describe_level, run_name, stamp
from tasks.quality import check_rows
from tasks.report import write_report
from tasks.search import search_demonstrations
from tasks.smoke import smoke_test
from tasks.starting import finish_experiment, running_experiment
from tasks.teaching import fetch_teachers
from tasks.train import move_alias, train_agent
from tasks.transient import retry_options, retry_transient

logger = logging.getLogger(__name__)

_LEASE_MARGIN = 15.0  # seconds


# Prefect's form shows a list of presets, and accepts any other text as the path of a YAML file.
Preset = Annotated[
    str,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "title": "preset", "enum": preset_names()},
                {"type": "string", "title": "absolute path of a YAML file on the worker's machine"},
            ]
        }
    ),
]


def make_flow_run_name() -> str:
    """The name of this flow run, which is also the experiment's: the parameter, or preset, level, seed and a stamp.

    The stamp is made of the creation time and id of the flow run. A flow run that has run before keeps its name, so that a
    retry continues its own experiment.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("only a flow run has a name")
    run, parameters = context.flow_run, context.parameters or {}
    if parameters.get("experiment"):
        return str(parameters["experiment"])
    try:
        config = load(str(parameters.get("preset")), parameters.get("overrides") or [])
    except ConfigError:
        return run.name  # the flow raises the same error
    return run.name if run.run_count > 0 else run_name(config, stamp(run.created, str(run.id)))


@flow(name="train-mario", flow_run_name=make_flow_run_name, persist_result=False, validate_parameters=True)
def train_mario(
    preset: Preset = "dqn",
    overrides: list[str] | None = None,
    experiment: str | None = None,
    restart: bool = False,
    extend: int | None = None,
) -> dict[str, Any]:
    """Train, evaluate and report on one experiment.

    Args:
        preset: the name of a preset (`mario presets` lists them), or the path of a YAML file.
        overrides: `section.key=value`, like `--set` on the command line.
        experiment: the experiment's name. An existing experiment continues where it stopped. The default is the name of this
            flow run (preset, level, seed and a stamp), so that a retry of the flow run continues its own experiment.
        restart: start at step 0 even if the experiment exists. The existing one is kept under another name.
        extend: train an existing experiment to this number of steps, which must be larger than before.

    Returns:
        The experiment's name and folder, and the paths of report, videos and model.

    Raises:
        ConfigError, RomUnavailableError: preset, overrides or name are refused, before any work.
        FencedError: another process has taken the experiment over.
    """
    config = load(preset, overrides or [])
    check_rom(config.environment)
    settings = flow_settings()
    name = checked_name(experiment or flow_run.name)
    label_flow_run(config)
    if extend is not None:
        require_extensible(experiment, extend, settings, restart=restart)
    smoke = smoke_test.with_options(**retry_options(config.retry))(config, settings)
    with ExitStack() as stack:
        started = _once_unlocked(
            config,
            lambda: stack.enter_context(
                running_experiment(config, name, settings, flow_run.id, restart=restart, extend=extend)
            ),
        )
        try:
            started = retry_transient(config.retry, "the extension", lambda: apply_extension(started, extend))
            phases.save(started, smoke)
            link(started)
            summary = _run_phases(started)
            retry_transient(config.retry, "the end of the experiment", lambda: finish_experiment(started, "completed"))
        except FencedError:
            raise  # the status belongs to the attempt that has taken over
        except Exception:
            finish_experiment(started, "failed")
            raise
        except BaseException:
            # A signal, or a cancellation by Prefect. The training has written its checkpoint.
            finish_experiment(started, "interrupted")
            logger.warning("interrupted; to continue: %s", resume_command(preset, overrides or [], started.name))
            raise
    return summary


def _once_unlocked(config: Config, start: Callable[[], Experiment]) -> Experiment:
    """Start the experiment. A run of a deployment waits for the lease of a process that may have died on another machine.

    Raises:
        ExperimentLockedError: another process still runs it after that time, or this is no run of a deployment.
    """
    patience = config.retry.lease_seconds + _LEASE_MARGIN if deployment.id is not None else 0.0
    deadline = time.monotonic() + patience
    while True:
        try:
            return retry_transient(config.retry, "the start of the experiment", start)
        except ExperimentLockedError as error:
            if time.monotonic() >= deadline:
                raise
            logger.info("waiting at most %.0f s: %s", deadline - time.monotonic(), error)
            time.sleep(min(5.0, config.retry.lease_seconds / 4))


def _run_phases(experiment: Experiment) -> dict[str, Any]:
    options = retry_options(experiment.config.retry)
    curriculum = experiment.config.train.curriculum
    searched = curriculum is not None and curriculum.search is not None
    found = search_demonstrations.with_options(**options)(experiment) if searched else None
    if experiment.config.train.teacher is not None:
        fetch_teachers.with_options(**options)(experiment)

    integrated = integration_run.with_options(**options)(experiment, found)
    _check(experiment, "integration", integrated)

    trained = train_agent.with_options(**options)(experiment, found)
    _check(experiment, "train", trained)

    evaluated = evaluate_agent.with_options(**options)(experiment, trained)
    _check(experiment, "evaluate", evaluated)
    move_alias.with_options(**options)(experiment, trained)

    reported = write_report.with_options(**options)(experiment)
    return {
        "experiment": experiment.name,
        "directory": str(experiment.directory),
        "episodes": trained.details["episodes"],
        "model": trained.details["model_path"],
        "model_uri": trained.details["model_uri"],
        **reported.details,
    }


def _check(experiment: Experiment, phase: Any, record: Any) -> None:
    check_rows.with_options(**retry_options(experiment.config.retry))(experiment, phase, record)


def resume_command(preset: str, overrides: list[str], name: str) -> str:
    """The command that continues an experiment."""
    return shlex.join(["mario", *run_arguments(preset, overrides, name)])


def run_arguments(preset: str, overrides: list[str], name: str) -> list[str]:
    """The arguments of the command that continues an experiment, as a list without the program's name.

    `--restart` and `--extend` are left out: an interrupted run has already applied and recorded them.
    """
    settings = [part for override in overrides for part in ("--set", override)]
    return ["run", preset, *settings, "--experiment", name]


def describe_run(config: Config, extend: int | None = None) -> str:
    """A one-line description of a run for the console. `extend` is the number of steps of an extension."""
    steps = extend or config.train.total_steps
    return f"{config.name}: {config.agent.algorithm.upper()} on {describe_level(config)}, {steps:,} steps, seed {config.seed}"
