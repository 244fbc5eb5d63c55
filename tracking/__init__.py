"""MLflow: runs, models, and its server. The only package that imports mlflow.

MLflow takes seconds to import, so the first call that needs it imports it, never ``import tracking``.
"""

import configs  # noqa: F401 (before torch, which the metrics' writer loads: it sets how torch's threads wait)
from tracking.attended import attended, end_with
from tracking.delivery import DeliveryReport
from tracking.errors import ModelNotFoundError, RunNotFoundError, TrackingError
from tracking.location import SERVER_PAGE, resolve_tracking_uri
from tracking.models import ModelVersion
from tracking.references import registered_names, resolve_model
from tracking.run import TrackedRun
from tracking.server import (
    RunningServer,
    ServerCommand,
    end_process_group,
    mlflow_url,
    require_free,
    server_command,
    wait_for_server,
)

__all__ = [
    "SERVER_PAGE",
    "DeliveryReport",
    "ModelNotFoundError",
    "ModelVersion",
    "RunNotFoundError",
    "RunningServer",
    "ServerCommand",
    "TrackedRun",
    "TrackingError",
    "attended",
    "end_process_group",
    "end_with",
    "mlflow_url",
    "registered_names",
    "require_free",
    "resolve_model",
    "resolve_tracking_uri",
    "server_command",
    "wait_for_server",
]
