"""`mario run`: the flow in this process, with or without a server."""

import logging
import signal

from rich.console import Console

from configs import LOGGERS, Settings, load
from flows.train_mario import first_line, train_mario

console = Console()

_INTERRUPTED = 128 + signal.SIGINT  # what a shell reports for a command that Ctrl-C ended


def run_pipeline(preset: str, overrides: list[str], experiment: str | None) -> int:
    """Run the flow and print where everything is.

    Returns:
        The exit code: 0, or 130 after Ctrl-C (the flow has said how to go on).

    Raises:
        ConfigError: preset or overrides are refused; Prefect has not been started then.
    """
    config = load(preset, overrides)
    console.print(first_line(config), highlight=False)
    _show_our_lines()
    try:
        summary = train_mario(preset, overrides, experiment)
    except KeyboardInterrupt:
        return _INTERRUPTED
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


def _show_our_lines() -> None:
    """Show our packages' log lines on the console too: of other loggers, Prefect shows warnings alone."""
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)
