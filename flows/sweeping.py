"""`mario sweep`: run a sweep in this process and show a table that fills."""

import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from prefect.settings import get_current_settings
from rich.console import Console
from rich.live import Live
from rich.text import Text

from configs import ConfigError, Settings
from configs.sweep import plan_with_teachers, read_sweep, sweep_file
from flows import faults
from flows.project_logs import show_project_logs
from flows.running import require_reachable_server
from flows.sweep_mario import Show, shown_by, sweep_mario
from flows.tables import table_of
from flows.worker_home import require_place_for_files

console = Console(markup=False)

_INTERRUPTED = 128 + signal.SIGINT


def run_sweep(file: str, local: int | None) -> int:
    """Run the sweep that `file` describes, and print its progress.

    Args:
        file: a YAML file (`configs.sweep.SweepConfig`), or the name of a sweep that comes with the project.
        local: processes on this machine; None: the workers of a Prefect server.

    Returns:
        The exit code: 0, or 130 after Ctrl-C.

    Raises:
        ConfigError: the file is refused, or there is no Prefect server and `local` is None.
        SweepError: a run has failed.
        TrackingError: see :func:`flows.worker_home.require_place_for_files`.
    """
    sweep = read_sweep(sweep_file(file))
    runs = plan_with_teachers(sweep)
    settings = Settings.from_environment()
    require_place_for_files(settings)
    if local is None and get_current_settings().api.url is None:
        raise ConfigError(
            "a sweep on workers needs a Prefect server: start one (`make ui`, or set PREFECT_API_URL), or give --local N to "
            "run it in N processes on this machine"
        )
    require_reachable_server()
    faults.hide_external_tracebacks(settings.home)
    console.print(f"sweep {sweep.name}: {len(runs)} runs", highlight=False)
    show_project_logs()
    with _table(sweep.name) as show:
        token = shown_by.set(show)
        try:
            done = sweep_mario(sweep.model_dump(mode="json"), local)
        except KeyboardInterrupt:
            return _INTERRUPTED
        finally:
            shown_by.reset(token)
    for name, place in (("comparison", done["report"]), ("MLflow", done["mlflow_run"])):
        console.print(f"{name}: {place}", highlight=False, soft_wrap=True)
    return 0


@contextmanager
def _table(name: str) -> Iterator[Show]:
    """What shows the rows: a table that is drawn over, or a line for each change where the output is no terminal."""
    if not console.is_terminal:
        yield _Changes().show
        return
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:

        def show(rows: Sequence[Mapping[str, str]]) -> None:
            table = table_of(rows, f"sweep {name}", console.width)
            live.update(table or Text(f"sweep {name}: {summary(rows)}"), refresh=True)

        yield show


class _Changes:
    """Prints a line for each run whose state has changed."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}

    def show(self, rows: Sequence[Mapping[str, str]]) -> None:
        for row in rows:
            if self._states.get(row["run"]) != row["state"]:
                console.print(f"{row['run']}: {row['state']}", highlight=False, soft_wrap=True)
            self._states[row["run"]] = row["state"]


def summary(rows: Sequence[Mapping[str, str]]) -> str:
    """How many runs are in each state."""
    states = Counter(row["state"] for row in rows)
    return ", ".join(f"{number} {state}" for state, number in states.items())
