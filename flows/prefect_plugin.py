"""Prefect's start-up hook of this project; enabled by `prefect.toml` and by the `mario` command.

It does two things that Prefect leaves to its user:

- A deployment is always named FLOW/DEPLOYMENT, and `prefect deployment run train-mario` is refused ("Expected format:
  <FLOW_NAME>/<DEPLOYMENT_NAME>"). Here a name without a slash means NAME/NAME.
- Where no server is configured (no `PREFECT_API_URL`, no profile), the one that `make ui` started on this machine is used, if
  it answers.

The hook is documented at https://docs.prefect.io/v3/advanced/plugins (group `prefect.plugins`, hook `setup_environment`).
"""

import functools
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.plugins import HookContext, SetupResult

# What `prefect.plugins.register_hook` is. Prefect loads this module while it is itself being imported, so that nothing of
# Prefect may be imported here at the top.
register_hook = pluggy.HookimplMarker("prefect-experimental")

DEFAULT_PORT = 4200

Read = Callable[["PrefectClient", str], Any]


class Plugin:
    """What the entry point names; see the module's text."""

    @register_hook
    def setup_environment(self, *, ctx: "HookContext") -> "SetupResult | None":
        """Prepare Prefect's client, and point it to the local server where nothing else is configured."""
        _accept_short_names()
        if ctx.api_url is not None or "PREFECT_API_URL" in os.environ or not _answers(DEFAULT_PORT):
            return None
        from prefect.plugins import SetupResult

        return SetupResult(env={"PREFECT_API_URL": local_api_url(DEFAULT_PORT)}, note="using the server of `make ui`")


def local_api_url(port: int) -> str:
    """URL of the Prefect server that `make ui` starts on `port`."""
    return f"http://127.0.0.1:{port}/api"


def full_name(name: str) -> str:
    """The deployment's name as Prefect wants it: `train-mario` is `train-mario/train-mario`."""
    return name if "/" in name else f"{name}/{name}"


def _accept_short_names() -> None:
    from prefect.client.orchestration import PrefectClient

    read: Read = PrefectClient.read_deployment_by_name
    if hasattr(read, "__wrapped__"):
        return

    @functools.wraps(read)
    async def read_deployment_by_name(self: "PrefectClient", name: str) -> "DeploymentResponse":
        response: DeploymentResponse = await read(self, full_name(name))
        return response

    # Prefect has no other place for it: the command line, `run_deployment` and the UI's links all come through this method.
    PrefectClient.read_deployment_by_name = read_deployment_by_name  # type: ignore[method-assign, assignment]


def _answers(port: int) -> bool:
    """Whether anything listens on the loopback `port`; a refused connection costs microseconds."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


plugin = Plugin()
