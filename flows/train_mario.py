"""The flow `train-mario`: five phases in order, with the data-quality checks between them."""

import logging
import shlex
from contextlib import ExitStack
from typing import Annotated, Any

from prefect import flow
from prefect.context import FlowRunContext
from prefect.runtime import flow_run
from pydantic import WithJsonSchema

from configs import Config, ConfigError, Settings, load, preset_names
from mario_env.console import check_rom
from tasks import phases
from tasks.evaluate import evaluate_agent
from tasks.experiment import Experiment, checked_name
from tasks.extension import extended, require_extensible
from tasks.integration import integration_run
from tasks.links import label_flow_run, link
from tasks.naming import run_name, stamp
from tasks.quality import check_rows
from tasks.report import write_report
from tasks.smoke import smoke_test
from tasks.starting import finish_experiment, running_experiment
from tasks.train import move_alias, train_agent
from tasks.transient import retried, retry_options

logger = logging.getLogger(__name__)


# A list to choose from in Prefect's form, or any text: a YAML file's path.
Preset = Annotated[
    str,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "title": "preset", "enum": preset_names()},
                {"type": "string", "title": "path of a YAML file"},
            ]
        }
    ),
]


def name_of_this_flow_run() -> str:
    """The experiment's name: the parameter, else preset, level, seed and a stamp.

    The stamp comes from when the flow run was created and from its id, and one that has run before keeps its name: a retry goes
    on with its own experiment.
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
        return run.name  # the flow says what is wrong
    return run.name if run.run_count > 0 else run_name(config, stamp(run.created, str(run.id)))


@flow(name="train-mario", flow_run_name=name_of_this_flow_run, persist_result=False, validate_parameters=True)
def train_mario(
    preset: Preset = "dqn",
    overrides: list[str] | None = None,
    experiment: str | None = None,
    restart: bool = False,
    extend: int | None = None,
) -> dict[str, Any]:
    """Train, evaluate and report on one experiment.

    Args:
        preset: a preset's name or a YAML file; `mario presets` lists them.
        overrides: `section.key=value`, as `--set` of the command line.
        experiment: the experiment's name. One that was begun before goes on where it stopped. Default: this flow run's name,
            which is made of preset, level, seed and a stamp, so that a retry of the flow run goes on with its own experiment.
        restart: begin the experiment at step 0 even if it was begun before, which is kept under another name.
        extend: train the experiment, which was begun before, to so many steps instead of those it was begun with.

    Returns:
        The experiment's name and folder, and the places of report, videos and model.

    Raises:
        ConfigError, RomUnavailableError: preset, overrides or name are refused; nothing has been done then.
    """
    config = load(preset, overrides or [])
    check_rom(config.environment)
    settings = Settings.from_environment()
    name = checked_name(experiment or flow_run.name)
    label_flow_run(config)
    if extend is not None:
        require_extensible(experiment, extend, settings, restart=restart)
    smoke = smoke_test.with_options(**retry_options(config.retry))(config, settings)
    with ExitStack() as held:
        begun = retried(
            config.retry,
            "the start of the experiment",
            lambda: held.enter_context(running_experiment(config, name, settings, flow_run.id, restart=restart, extend=extend)),
        )
        try:
            begun = retried(config.retry, "the extension", lambda: extended(begun, extend))
            phases.save(begun.directory, smoke)
            link(begun)
            summary = _phases(begun)
            retried(config.retry, "the end of the experiment", lambda: finish_experiment(begun, "completed"))
        except Exception:
            finish_experiment(begun, "failed")
            raise
        except BaseException:
            # A signal, or Prefect's cancellation: the training has written its checkpoint.
            finish_experiment(begun, "interrupted")
            logger.warning("interrupted; to go on: %s", resume_command(preset, overrides or [], begun.name))
            raise
    return summary


def _phases(experiment: Experiment) -> dict[str, Any]:
    options = retry_options(experiment.config.retry)
    integrated = integration_run.with_options(**options)(experiment)
    _check(experiment, "integration", integrated)

    trained = train_agent.with_options(**options)(experiment)
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
    """The command that goes on with an experiment."""
    return shlex.join(["mario", *run_arguments(preset, overrides, name)])


def run_arguments(preset: str, overrides: list[str], name: str) -> list[str]:
    """The same as a list, behind the program's name.

    Without `--restart` and `--extend`: both have been done by the time that a run can go on, and are on record.
    """
    settings = [part for override in overrides for part in ("--set", override)]
    return ["run", preset, *settings, "--experiment", name]


def first_line(config: Config, extend: int | None = None) -> str:
    """What is about to happen, for the console; `extend` is the number of steps of an extension."""
    environment = config.environment
    steps = extend or config.train.total_steps
    game = "the full game" if environment.game == "full" else f"level {environment.world}-{environment.stage}"
    return f"{config.name}: {config.agent.algorithm.upper()} on {game}, {steps:,} steps, seed {config.seed}"
