"""What a flow run needs of its machine: its home folder, a place for MLflow's files, and the project's log lines."""

import os

from configs import CHECKOUT, ConfigError, Settings
from flows.project_logs import show_project_logs
from tracking import resolve_tracking_uri
from tracking.location import artifact_root

_STARTED_BY_WORKER = "PREFECT__FLOW_RUN_ID"  # Prefect's runners set this variable for the process of a flow run


def flow_settings() -> Settings:
    """The settings of the machine that runs this flow. The project's log lines appear in the flow run from now on.

    Raises:
        ConfigError: a worker started it, and its home would be a temporary folder.
        TrackingError: see :func:`require_place_for_files`.
    """
    show_project_logs()
    if CHECKOUT is None and _STARTED_BY_WORKER in os.environ and not os.environ.get("MARIO_HOME"):
        raise ConfigError(
            "a worker runs this flow in a temporary folder, where its checkpoints would be lost: set MARIO_HOME to a permanent "
            "folder and start the worker again"
        )
    settings = Settings.from_environment()
    require_place_for_files(settings)
    return settings


def require_place_for_files(settings: Settings) -> None:
    """Refuse a database of MLflow that machines share, unless a place for its files is set that they share too.

    Raises:
        TrackingError: there is none; the message says what to set. It names MLFLOW_TRACKING_URI too if that cannot be used.
    """
    artifact_root(resolve_tracking_uri(settings.tracking_uri, settings.home), settings.home)
