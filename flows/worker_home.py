"""What a flow run needs that a worker started: its home folder, and the project's log lines."""

import os

from configs import CHECKOUT, ConfigError, Settings
from flows.project_logs import show_project_logs

_STARTED_BY_WORKER = "PREFECT__FLOW_RUN_ID"  # Prefect's runners set this variable for the process of a flow run


def flow_settings() -> Settings:
    """The settings of the machine that runs this flow. The project's log lines appear in the flow run from now on.

    Raises:
        ConfigError: a worker started it, and its home would be a temporary folder.
    """
    show_project_logs()
    if CHECKOUT is None and _STARTED_BY_WORKER in os.environ and not os.environ.get("MARIO_HOME"):
        raise ConfigError(
            "a worker runs this flow in a temporary folder, where its checkpoints would be lost: set MARIO_HOME to a permanent "
            "folder and start the worker again"
        )
    return Settings.from_environment()
