"""`mario run`: run the flow in this process, with or without a Prefect server."""

import asyncio
import logging
import signal
import ssl
from collections.abc import Mapping
from typing import Any

import httpx
from prefect.settings import get_current_settings
from rich.console import Console

from agents.errors import DeviceLostError
from configs import Config, Settings, load
from configs.masking import mask_url
from flows import faults, new_process, prefect_access
from flows.project_logs import show_project_logs
from flows.train_mario import describe_run, run_arguments, train_mario
from flows.worker_home import require_place_for_files
from mario_env.console import check_rom
from tasks.experiment import checked_name
from tasks.extension import require_extensible
from tasks.naming import run_name, stamp

console = Console(markup=False)
logger = logging.getLogger(__name__)

_INTERRUPTED = 128 + signal.SIGINT  # the exit code that shells report for a command ended by Ctrl-C
_TIMEOUT_SECONDS = 10.0


class NoPrefectServerError(RuntimeError):
    """The configured Prefect server does not answer, or is not Prefect; the message says what to do."""


def run_pipeline(
    preset: str, overrides: list[str], experiment: str | None, *, restart: bool = False, extend: int | None = None
) -> int:
    """Run the flow, and print where its results are.

    After a lost GPU a new process continues the run, at most `retry.attempts` times.

    Returns:
        The exit code: 0; 130 after Ctrl-C (the log says how to continue); 1 if a new process continues.

    Raises:
        ConfigError, RomUnavailableError: preset, overrides, name or extension are refused, before Prefect is started.
        NoPrefectServerError: `PREFECT_API_URL` names a server that does not answer.
        TrackingError: see :func:`flows.worker_home.require_place_for_files`.
        DeviceLostError: the GPU was lost more than `retry.attempts` times.
    """
    config = load(preset, overrides)
    check_rom(config.environment)
    # The flow would choose the same kind of name, but a new process needs to know it.
    name = checked_name(experiment or run_name(config, stamp()))
    settings = Settings.from_environment()
    require_place_for_files(settings)
    if extend is not None:
        require_extensible(experiment, extend, settings, restart=restart)
    require_reachable_server()
    faults.hide_external_tracebacks(settings.home)
    console.print(describe_run(config, extend), highlight=False)
    show_project_logs()
    try:
        summary = train_mario(preset, overrides, name, restart, extend)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except DeviceLostError as error:
        _restart_after_lost_gpu(config, error, run_arguments(preset, overrides, name))
        return 1
    _print_results(summary, settings)
    return 0


def _print_results(summary: Mapping[str, Any], settings: Settings) -> None:
    lines = {
        "report": summary["report"],
        "video": summary["video"] or "none (no episode was stored with its actions)",
        "model": f"{summary['model']}   ({summary['model_uri']})",
        "episodes": f"{summary['episodes']} in training; see `mario episodes` and `mario database`",
        "web pages": _web_pages(settings),
        "all files": str(settings.home),
    }
    console.print()
    for name, line in lines.items():
        console.print(f"{name:<10} {line}", highlight=False, soft_wrap=True)


def _web_pages(settings: Settings) -> str:
    """The addresses of this home's servers if they run, else how to start them."""
    running = prefect_access.running_server(settings.home)
    if running is None:
        return "`make ui`, then http://127.0.0.1:4200 (Prefect) and http://127.0.0.1:5000 (MLflow)"
    prefect = f"{running.url.removesuffix('/api')} (Prefect)"
    return prefect if running.mlflow is None else f"{prefect} and {running.mlflow} (MLflow)"


def _restart_after_lost_gpu(config: Config, error: DeviceLostError, arguments: list[str]) -> None:
    number = new_process.restarts() + 1
    if number > config.retry.attempts:
        raise error
    wait = config.retry.delay_seconds * 2 ** (number - 1)
    logger.error("%s", error)
    logger.warning(
        "continuing in a new process in %.0f s (%d of at most %d, retry.attempts)", wait, number, config.retry.attempts
    )
    new_process.restart_at_exit(arguments, wait)


def require_reachable_server() -> None:
    """Refuse a configured Prefect server that does not answer. Prefect's client would try for minutes.

    Raises:
        NoPrefectServerError: it does not answer, or is another kind of server.
    """
    api = get_current_settings().api
    if api.url is None:
        return
    advice = "start that server, correct PREFECT_API_URL (or Prefect's profile), or unset it: then no server is needed"
    # The certificates that Prefect's own client trusts.
    trusted: ssl.SSLContext | bool = not api.tls_insecure_skip_verify
    if trusted and api.ssl_cert_file:
        trusted = ssl.create_default_context(cafile=api.ssl_cert_file)
    try:
        status = asyncio.run(_get_status(f"{api.url.rstrip('/')}/health", trusted))
    except (httpx.HTTPError, TimeoutError) as error:
        raise NoPrefectServerError(
            f"the Prefect server {mask_url(api.url)} does not answer ({type(error).__name__}): {advice}"
        ) from None
    # Other servers answer so to unknown paths. A server that requires a login may refuse, which is not an error here.
    if status in (httpx.codes.NOT_FOUND, httpx.codes.NOT_IMPLEMENTED):
        raise NoPrefectServerError(f"the server at {mask_url(api.url)} is not a Prefect server: {advice}")


async def _get_status(url: str, trusted: "ssl.SSLContext | bool") -> int:
    """The status code of the response to GET `url`.

    httpx's own timeouts start again with each byte, so the whole request has a deadline of `_TIMEOUT_SECONDS`.

    Raises:
        httpx.HTTPError, TimeoutError: there was no response.
    """
    async with asyncio.timeout(_TIMEOUT_SECONDS), httpx.AsyncClient(timeout=None, verify=trusted) as client:
        return (await client.get(url)).status_code
