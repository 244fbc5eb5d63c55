"""`mario run`: the flow in this process, with or without a server."""

import logging
import signal

from prefect.utilities.names import generate_slug
from rich.console import Console

from agents.errors import DeviceLostError
from configs import LOGGERS, Config, ConfigError, Settings, load
from flows import new_process
from flows.train_mario import first_line, run_arguments, train_mario
from mario_env.console import check_rom
from tasks.experiment import checked_name

console = Console()
logger = logging.getLogger(__name__)

_INTERRUPTED = 128 + signal.SIGINT  # what a shell reports for a command that Ctrl-C ended


def run_pipeline(
    preset: str, overrides: list[str], experiment: str | None, *, restart: bool = False, extend: int | None = None
) -> int:
    """Run the flow and print where everything is.

    A GPU that is lost to this process ends it, and a new one goes on; `retry.attempts` times at most.

    Returns:
        The exit code: 0, 130 after Ctrl-C (the flow has said how to go on), or 1 if a new process is to go on.

    Raises:
        ConfigError, RomUnavailableError: preset, overrides or name are refused; Prefect has not been started then.
        DeviceLostError: the GPU was lost once too often.
    """
    config = load(preset, overrides)
    check_rom(config.environment)
    if extend is not None and (experiment is None or restart):
        raise ConfigError("--extend STEPS goes on with an experiment: name it with --experiment, without --restart")
    # As Prefect would name it, but known here: a new process needs the experiment's name.
    slug = generate_slug(2)
    name = checked_name(experiment or f"{config.name}-{slug}")
    console.print(first_line(config), highlight=False)
    _show_our_lines()
    try:
        summary = train_mario.with_options(flow_run_name=slug)(preset, overrides, name, restart, extend)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except DeviceLostError as error:
        _go_on_in_a_new_process(config, error, run_arguments(preset, overrides, name))
        return 1
    home = Settings.from_environment().home
    lines = {
        "report": summary["report"],
        "video": summary["video"] or "none (no episode was stored with its actions)",
        "model": f"{summary['model']}   ({summary['model_uri']})",
        "episodes": f"{summary['episodes']} in training; `mario episodes` lists the latest, `mario database` opens psql",
        "web pages": "`make ui`, then http://127.0.0.1:4200 (Prefect) and http://127.0.0.1:5000 (MLflow)",
        "all files": str(home),
    }
    console.print()
    for name, line in lines.items():
        console.print(f"{name:<10} {line}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _go_on_in_a_new_process(config: Config, error: DeviceLostError, arguments: list[str]) -> None:
    number = new_process.so_far() + 1
    if number > config.retry.attempts:
        raise error
    wait = config.retry.delay_seconds * 2 ** (number - 1)
    logger.error("%s", error)
    logger.warning(
        "a new process goes on in %.0f s, the %d. of at most %d (retry.attempts)", wait, number, config.retry.attempts
    )
    new_process.at_exit(arguments, wait)


def _show_our_lines() -> None:
    """Show our packages' log lines on the console too: of other loggers, Prefect shows warnings alone."""
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)
