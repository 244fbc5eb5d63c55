"""What the machine decides, not the experiment: where things are kept and which servers are used."""

import errno
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from configs.errors import ConfigError
from configs.masking import mask_url

LOGGERS = ("agents", "configs", "episodes", "flows", "mario_env", "reports", "spool", "tasks", "tracking")
"""The project's packages, each a logger."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")

PROJECT = Path(__file__).resolve().parent.parent
"""Where the packages lie: the source checkout, or the folder they are installed into."""

CHECKOUT = PROJECT if (PROJECT / "pyproject.toml").is_file() else None
"""The source checkout; None where the project is installed from a wheel."""

_LEAST_ROOM = 1 << 20  # bytes: with less, no server of ours starts


@dataclass(frozen=True, repr=False)
class Settings:
    """Places and servers.

    Attributes:
        home: folder of everything a run writes on this machine: `MARIO_HOME`; by default `.mario` in the source checkout, or in
            the working directory where the project is installed from a wheel.
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
        """Read the environment variables; one that is set but empty counts as not set.

        Raises:
            ConfigError: MARIO_HOME names the home folder of a user who does not exist.
        """
        environment = os.environ if environment is None else environment
        home = environment.get("MARIO_HOME")
        if home and home.startswith("~"):
            try:
                home = os.fspath(Path(home).expanduser())
            except RuntimeError as error:
                raise ConfigError(f"MARIO_HOME={home} names no folder: {error}") from None
        return cls(
            home=Path(home).resolve() if home else (CHECKOUT or Path.cwd()) / ".mario",
            database_url=environment.get("DATABASE_URL") or None,
            tracking_uri=environment.get("MLFLOW_TRACKING_URI") or None,
        )

    def create_home(self) -> Path:
        """Make `home`, for its user alone, and return it.

        Raises:
            ConfigError: it cannot be made.
        """
        with self._explained("made"):
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.home

    def check_home(self) -> None:
        """Make `home` and see that it takes a file, before any work.

        Raises:
            ConfigError: it cannot be made, or not be written: no right, a read-only disk, a full one.
        """
        self.create_home()
        with self._explained("written"), tempfile.NamedTemporaryFile(dir=self.home, prefix=".room-") as file:
            file.write(bytes(_LEAST_ROOM))
            file.flush()

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            remedy = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check the rights of this folder"
            raise ConfigError(
                f"{self.home}, where everything is kept, cannot be {what}: {error.strerror}; {remedy}, "
                "or name another in MARIO_HOME"
            ) from None

    def experiment_directory(self, name: str) -> Path:
        """Folder of one experiment's checkpoints, model, phases and reports."""
        return self.home / "experiments" / name

    def process_environment(self) -> dict[str, str]:
        """Environment variables for Prefect and MLflow, which read them when they are imported, and for processes of ours.

        Neither reports home, Prefect keeps its data below `home`, and its temporary server gets the time that a first start
        takes (migrations; 20 s are too few on a slow disk).
        """
        return {
            # Processes that work in another folder write into the same home.
            "MARIO_HOME": str(self.home),
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
        """Set :meth:`process_environment` where the person has not set the variable; call it before Prefect is imported.

        Loopback is reached past any proxy from then on.
        """
        target = os.environ if environment is None else environment
        for name, value in self.process_environment().items():
            target.setdefault(name, value)
        reach_loopback_directly(target)


def reach_loopback_directly(environment: "os._Environ[str] | dict[str, str]") -> None:
    """Have this machine's own servers reached past any proxy, by this process and its children.

    The libraries of HTTP take `no_proxy` before `NO_PROXY`, so both get what either says, and the names of loopback.
    """
    named = [environment.get(name, "") for name in ("no_proxy", "NO_PROXY")]
    hosts = [host.strip() for text in named for host in text.split(",") if host.strip()]
    merged = ",".join(dict.fromkeys([*hosts, *_LOOPBACK]))
    environment["no_proxy"] = environment["NO_PROXY"] = "*" if "*" in hosts else merged
