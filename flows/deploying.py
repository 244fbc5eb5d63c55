"""Work pools and deployments: `mario deploy`, and `python -m flows.deploying` in a process of its own for `mario ui`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from configs import CHECKOUT
from configs.errors import ConfigError

PROCESS_TEMPLATE: Final = Path(__file__).with_name("pools") / "process.json"
# A link to the file in the project's folder; a wheel has its content.
_DEPLOYMENTS: Final = Path(__file__).with_name("prefect.yaml")

POOLS: Final[dict[str, int | None]] = {"mario": None, "mario-gpu": 1}
"""The process pools, each with the number of flow runs that it runs at once when it is created; None: any number.

In `mario` the limit is the workers' (`--limit 1`). In `mario-gpu` it is the number of GPUs, which is 1 until it is changed.
"""


class DeployError(RuntimeError):
    """The work pools or deployments could not be created; the message says why."""


def deploy() -> None:
    """Create or update the process pools, and deploy what `prefect.yaml` lists, on the configured Prefect server.

    A limit that a person has given a pool stays.

    Raises:
        ConfigError: no Prefect server is configured.
        DeployError: `prefect deploy` failed.
    """
    if get_current_settings().api.url is None:
        raise ConfigError(
            "no Prefect server is configured: set PREFECT_API_URL (and PREFECT_API_AUTH_STRING if the server has a password), "
            "or start `mario ui`, which deploys by itself"
        )
    create_pools()
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(_DEPLOYMENTS)]
    done = subprocess.run(command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise DeployError(f"`prefect deploy` failed with exit code {done.returncode}; its messages are above")


def create_pools() -> None:
    """Create the process pools, or give those that exist the current job template."""
    template = json.loads(PROCESS_TEMPLATE.read_text(encoding="utf-8"))
    with get_client(sync_client=True) as client:
        for name, limit in POOLS.items():
            try:
                client.read_work_pool(name)
            except ObjectNotFound:
                client.create_work_pool(
                    WorkPoolCreate(name=name, type="process", base_job_template=template, concurrency_limit=limit)
                )
            else:
                client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))


if __name__ == "__main__":
    deploy()
