"""Prefect's start-up hook of this project; enabled by `prefect.toml` and by the `mario` command.

It does what Prefect leaves to its user:

- A deployment is always named FLOW/DEPLOYMENT, and `prefect deployment run train-mario` is refused ("Expected format:
  <FLOW_NAME>/<DEPLOYMENT_NAME>"). Here a name without a slash means NAME/NAME.
- Where no server is configured (no `PREFECT_API_URL`, no profile), the one that `make ui` started for this home is used, with
  its secret, if it proves to be that one; see :mod:`flows.prefect_access`.
- Otherwise the command `mario` gets a temporary server of its own. That server has a secret too.
- A temporary server ends with the process that started it, even if that one is killed.
- Loopback is reached past any proxy.

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

# What `prefect.plugins.register_hook` is. Prefect loads this module while it is itself being imported, so that nothing of
# Prefect may be imported here at the top.
register_hook = pluggy.HookimplMarker("prefect-experimental")

_TEMPORARY_SERVER = "PREFECT__SERVER_EPHEMERAL"  # Prefect sets it for the process of its temporary server alone

Read = Callable[["PrefectClient", str], Any]


class Plugin:
    """What the entry point names; see the module's text."""

    @register_hook
    def setup_environment(self, *, ctx: "HookContext") -> "SetupResult | None":
        """Prepare Prefect's client, and point it to the local server where nothing else is configured."""
        _accept_short_names()
        bypass_proxy_for_loopback(os.environ)
        if _TEMPORARY_SERVER in os.environ:
            _end_with_parent()
            return None
        environment = _environment(ctx.api_url or os.environ.get("PREFECT_API_URL"))
        if not environment:
            return None
        from prefect.plugins import SetupResult

        return SetupResult(env=environment, note="using a Prefect server of train-mario's own")


def _environment(configured: str | None) -> dict[str, str]:
    """The variables to set, given the API's URL that is configured already."""
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
    if named is not None and _gone(int(named)):
        parent = int(named)  # it was killed before this process came so far
    end_with(parent)


def _gone(pid: int) -> bool:
    """Whether the process has ended, though it may not have been waited for."""
    import psutil

    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


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


plugin = Plugin()
