"""The project's start-up hook for Prefect, enabled by `prefect.toml` and by the `mario` command.

It configures what users would otherwise have to configure themselves:

- Prefect's deployments are named FLOW/DEPLOYMENT, and it refuses `prefect deployment run train-mario` ("Expected format:
  <FLOW_NAME>/<DEPLOYMENT_NAME>"). With this hook, a name without a slash means NAME/NAME.
- If no server is configured (no `PREFECT_API_URL`, no profile), Prefect uses the one that `make ui` started for this home, with
  its secret and after verification; see :mod:`flows.prefect_access`.
- If there is none, the command `mario` starts a temporary server, which has a secret too.
- A temporary server ends with the process that started it, even if that process is killed.
- Requests to loopback bypass proxies.

The hook is documented at https://docs.prefect.io/v3/advanced/plugins (group `prefect.plugins`, hook `setup_environment`).
"""

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pluggy

from configs import Settings, bypass_proxy_for_loopback
from flows import prefect_access

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.plugins import HookContext, SetupResult

# The same marker as `prefect.plugins.register_hook`. Prefect loads this module while Prefect is being imported, so this module
# must not import Prefect at the top.
register_hook = pluggy.HookimplMarker("prefect-experimental")

_TEMPORARY_SERVER = "PREFECT__SERVER_EPHEMERAL"  # Prefect sets this variable only in the process of its temporary server

Read = Callable[["PrefectClient", str], Any]


class Plugin:
    """The plugin that the entry point names; see the module's docstring."""

    @register_hook
    def setup_environment(self, *, ctx: "HookContext") -> "SetupResult | None":
        """Prepare Prefect's client, and point it to the local server if nothing else is configured."""
        _accept_short_names()
        bypass_proxy_for_loopback(os.environ)
        if _TEMPORARY_SERVER in os.environ:
            _end_with_parent()
            return None
        environment = _environment(ctx.api_url or os.environ.get("PREFECT_API_URL"))
        if not environment:
            return None
        from prefect.plugins import SetupResult

        return SetupResult(env=environment, note="using a local Prefect server of train-mario")


def _environment(configured: str | None) -> dict[str, str]:
    """The environment variables to set; `configured` is the API's URL if one is configured."""
    if configured is not None and "PREFECT_API_AUTH_STRING" in os.environ:
        return {}
    found = prefect_access.running_server(Settings.from_environment().home)
    if found is not None and configured in (None, found.url):
        return found.environment
    if configured is None and os.environ.get(prefect_access.MARIO_PROCESS) == str(os.getpid()):
        auth = prefect_access.make_secret()
        return {"PREFECT_SERVER_API_AUTH_STRING": auth, "PREFECT_API_AUTH_STRING": auth}
    return {}


def _end_with_parent() -> None:
    from tracking import end_with

    parent = os.getppid()
    named = os.environ.get(prefect_access.MARIO_PROCESS)
    if named is not None and _has_ended(int(named)):
        parent = int(named)  # it was killed before this line
    end_with(parent)


def _has_ended(pid: int) -> bool:
    """Whether the process has ended, even if it has not been waited for."""
    import psutil

    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def full_name(name: str) -> str:
    """The full name of a deployment: `train-mario` means `train-mario/train-mario`."""
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

    # Prefect has no hook for this: the command line, `run_deployment` and the UI's links all call this method.
    PrefectClient.read_deployment_by_name = read_deployment_by_name  # type: ignore[method-assign, assignment]


plugin = Plugin()
