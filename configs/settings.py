"""What the machine decides, not the experiment: where things are kept and which servers are used."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from configs.masking import mask_url

LOGGERS = ("agents", "configs", "episodes", "flows", "mario_env", "reports", "spool", "tasks", "tracking")
"""The project's packages, each a logger."""

PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, repr=False)
class Settings:
    """Places and servers.

    Attributes:
        home: folder of everything a run writes on this machine (`MARIO_HOME`, default: `.mario` in the project's folder).
        database_url: `DATABASE_URL`; None: the embedded Postgres below `home`.
        tracking_uri: `MLFLOW_TRACKING_URI`; None: SQLite below `home`.
    """

    home: Path
    database_url: str | None
    tracking_uri: str | None

    def __repr__(self) -> str:
        database, tracking = (url and mask_url(url) for url in (self.database_url, self.tracking_uri))
        return f"Settings(home={self.home!r}, database_url={database!r}, tracking_uri={tracking!r})"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Read the environment variables; one that is set but empty counts as not set."""
        environment = os.environ if environment is None else environment
        home = environment.get("MARIO_HOME")
        return cls(
            home=Path(home).expanduser().resolve() if home else PROJECT / ".mario",
            database_url=environment.get("DATABASE_URL") or None,
            tracking_uri=environment.get("MLFLOW_TRACKING_URI") or None,
        )

    def create_home(self) -> Path:
        """Make `home`, for its user alone, and return it."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.home

    def experiment_directory(self, name: str) -> Path:
        """Folder of one experiment's checkpoints, model, phases and reports."""
        return self.home / "experiments" / name

    def process_environment(self) -> dict[str, str]:
        """Environment variables that Prefect and MLflow read when they are imported.

        Neither reports home, Prefect keeps its data below `home`, and its temporary server gets the time that a first start
        takes (migrations; 20 s are too few on a slow disk).
        """
        return {
            "DO_NOT_TRACK": "true",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
            "PREFECT_HOME": str(self.home / "prefect"),
            # prefect.toml says the same, to `prefect` commands in the project's folder.
            "PREFECT_PLUGINS_ENABLED": "true",
            "PREFECT_PLUGINS_ALLOW": "train_mario",
            # Log lines of our packages reach Prefect's console and UI.
            "PREFECT_LOGGING_EXTRA_LOGGERS": ",".join(LOGGERS),
            # Their background threads have no flow run: those lines are for the console alone.
            "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
            "GIT_PYTHON_REFRESH": "quiet",
        }

    def apply(self, environment: "os._Environ[str] | dict[str, str] | None" = None) -> None:
        """Set :meth:`process_environment` where the person has not set the variable; call it before Prefect is imported."""
        target = os.environ if environment is None else environment
        for name, value in self.process_environment().items():
            target.setdefault(name, value)
