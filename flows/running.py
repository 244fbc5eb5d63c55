"""`mario run`: the flow in this process, with or without a server."""

import logging
import signal

from rich.console import Console

from agents.errors import DeviceLostError
from configs import LOGGERS, Config, Settings, load
from flows import new_process
from flows.train_mario import first_line, run_arguments, train_mario
from tasks.experiment import checked_name
from tasks.naming import run_name, stamp

console = Console()
logger = logging.getLogger(__name__)

_INTERRUPTED = 128 + signal.SIGINT  # what a shell reports for a command that Ctrl-C ended


def run_pipeline(preset: str, overrides: list[str], experiment: str | None) -> int:
    """Run the flow and print where everything is.

    A GPU that is lost to this process ends it, and a new one goes on; `retry.attempts` times at most.

    Returns:
        The exit code: 0, 130 after Ctrl-C (the flow has said how to go on), or 1 if a new process is to go on.

    Raises:
        ConfigError: preset, overrides or the experiment's name are refused; Prefect has not been started then.
        DeviceLostError: the GPU was lost once too often.
    """
    config = load(preset, overrides)
    # As the flow would name it, but known here: a new process needs the experiment's name.
    name = checked_name(experiment or run_name(config, stamp()))
    console.print(first_line(config), highlight=False)
    _show_our_lines()
    try:
        summary = train_mario(preset, overrides, name)
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
