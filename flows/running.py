"""`mario run`: the flow in this process, with or without a server."""

import asyncio
import logging
import signal
import ssl

import httpx
from prefect.settings import get_current_settings
from rich.console import Console

from agents.errors import DeviceLostError
from configs import LOGGERS, Config, Settings, load
from configs.masking import mask_url
from flows import faults, new_process
from flows.train_mario import first_line, run_arguments, train_mario
from mario_env.console import check_rom
from tasks.experiment import checked_name
from tasks.extension import require_extensible
from tasks.naming import run_name, stamp

console = Console()
logger = logging.getLogger(__name__)

_INTERRUPTED = 128 + signal.SIGINT  # what a shell reports for a command that Ctrl-C ended
_ANSWER_SECONDS = 10.0


class NoPrefectServerError(RuntimeError):
    """The Prefect server that is configured does not answer as one; the message says what to do."""


def run_pipeline(
    preset: str, overrides: list[str], experiment: str | None, *, restart: bool = False, extend: int | None = None
) -> int:
    """Run the flow and print where everything is.

    A GPU that is lost to this process ends it, and a new one goes on; `retry.attempts` times at most.

    Returns:
        The exit code: 0, 130 after Ctrl-C (the flow has said how to go on), or 1 if a new process is to go on.

    Raises:
        ConfigError, RomUnavailableError: preset, overrides, name or extension are refused; Prefect has not been started then.
        NoPrefectServerError: `PREFECT_API_URL` names a server that does not answer.
        DeviceLostError: the GPU was lost once too often.
    """
    config = load(preset, overrides)
    check_rom(config.environment)
    # As the flow would name it, but known here: a new process needs the experiment's name.
    name = checked_name(experiment or run_name(config, stamp()))
    settings = Settings.from_environment()
    if extend is not None:
        require_extensible(experiment, extend, settings, restart=restart)
    _require_server()
    faults.show_no_tracebacks(settings.home)
    console.print(first_line(config, extend), highlight=False)
    _show_our_lines()
    try:
        summary = train_mario(preset, overrides, name, restart, extend)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except DeviceLostError as error:
        _go_on_in_a_new_process(config, error, run_arguments(preset, overrides, name))
        return 1
    lines = {
        "report": summary["report"],
        "video": summary["video"] or "none (no episode was stored with its actions)",
        "model": f"{summary['model']}   ({summary['model_uri']})",
        "episodes": f"{summary['episodes']} in training; `mario episodes` lists the latest, `mario database` opens psql",
        "web pages": "`make ui`, then http://127.0.0.1:4200 (Prefect) and http://127.0.0.1:5000 (MLflow)",
        "all files": str(settings.home),
    }
    console.print()
    for name, line in lines.items():
        console.print(f"{name:<10} {line}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _go_on_in_a_new_process(config: Config, error: DeviceLostError, arguments: list[str]) -> None:
    number = new_process.restarts() + 1
    if number > config.retry.attempts:
        raise error
    wait = config.retry.delay_seconds * 2 ** (number - 1)
    logger.error("%s", error)
    logger.warning(
        "a new process goes on in %.0f s, the %d. of at most %d (retry.attempts)", wait, number, config.retry.attempts
    )
    new_process.restart_at_exit(arguments, wait)


def _require_server() -> None:
    """Refuse a Prefect server that is configured and does not answer: its client would try for minutes."""
    api = get_current_settings().api
    if api.url is None:
        return
    advice = "start that server, correct PREFECT_API_URL (or Prefect's profile), or unset it: then no server is needed"
    # The certificates that Prefect's own client trusts.
    trusted: ssl.SSLContext | bool = not api.tls_insecure_skip_verify
    if trusted and api.ssl_cert_file:
        trusted = ssl.create_default_context(cafile=api.ssl_cert_file)
    try:
        status = asyncio.run(_status(f"{api.url.rstrip('/')}/health", trusted))
    except (httpx.HTTPError, TimeoutError) as error:
        raise NoPrefectServerError(
            f"the Prefect server {mask_url(api.url)} does not answer ({type(error).__name__}): {advice}"
        ) from None
    # What another server says to a path it does not know; a server with a login of its own may refuse, and is asked again.
    if status in (httpx.codes.NOT_FOUND, httpx.codes.NOT_IMPLEMENTED):
        raise NoPrefectServerError(f"what answers at {mask_url(api.url)} is not a Prefect server: {advice}")


async def _status(url: str, trusted: "ssl.SSLContext | bool") -> int:
    """The status code that GET `url` returns.

    httpx's own timeouts start again with each byte. Here the whole request has `_ANSWER_SECONDS`.

    Raises:
        httpx.HTTPError, TimeoutError: there was no answer.
    """
    async with asyncio.timeout(_ANSWER_SECONDS), httpx.AsyncClient(timeout=None, verify=trusted) as client:
        return (await client.get(url)).status_code


def _show_our_lines() -> None:
    """Show our packages' log lines on the console too: of other loggers, Prefect shows warnings alone."""
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)
