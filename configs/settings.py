"""Settings of the machine, as opposed to the experiment: where files are kept and which servers are used."""

import errno
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from configs.errors import ConfigError
from configs.masking import mask_url

LOGGERS = ("agents", "configs", "episodes", "flows", "inspection", "mario_env", "reports", "spool", "tasks", "tracking")
"""Names of the project's packages, which are also the names of their loggers."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")

PROJECT = Path(__file__).resolve().parent.parent
"""Where the packages lie: the source checkout, or the folder they are installed into."""

CHECKOUT = PROJECT if (PROJECT / "pyproject.toml").is_file() else None
"""The source checkout; None where the project is installed from a wheel."""

_MIN_FREE_BYTES = 1 << 20  # with less, none of the local servers starts


@dataclass(frozen=True, repr=False)
class Settings:
    """The home folder and the servers of this machine.

    Attributes:
        home: folder for everything that runs write on this machine: `MARIO_HOME`. The default is `.mario` in the source
            checkout, or in the working directory if the project is installed from a wheel.
        database_url: `DATABASE_URL`; None: the embedded Postgres below `home`.
        tracking_uri: `MLFLOW_TRACKING_URI`; None: SQLite below `home`.
        checkpoints_url: `MARIO_CHECKPOINTS`, the folder that machines share: a URL that fsspec knows, or an absolute path;
            None: checkpoints are in `home` alone.
    """

    home: Path
    database_url: str | None
    tracking_uri: str | None
    checkpoints_url: str | None = None

    def __repr__(self) -> str:
        database, tracking = (url and mask_url(url) for url in (self.database_url, self.tracking_uri))
        checkpoints = self.checkpoints_url and mask_url(self.checkpoints_url)
        return (
            f"Settings(home={self.home!r}, database_url={database!r}, tracking_uri={tracking!r}, "
            f"checkpoints_url={checkpoints!r})"
        )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Read the environment variables. An empty variable counts as unset.

        Raises:
            ConfigError: MARIO_HOME names the home folder of a user who does not exist, or MARIO_CHECKPOINTS is a relative path.
        """
        environment = os.environ if environment is None else environment
        home = environment.get("MARIO_HOME")
        if home and home.startswith("~"):
            try:
                home = os.fspath(Path(home).expanduser())
            except RuntimeError as error:
                raise ConfigError(f"MARIO_HOME={home} names no folder: {error}") from None
        checkpoints = environment.get("MARIO_CHECKPOINTS") or None
        if checkpoints is not None and "://" not in checkpoints and not Path(checkpoints).is_absolute():
            raise ConfigError(
                f"MARIO_CHECKPOINTS={checkpoints} is neither a URL nor an absolute path, so each process would use another "
                "folder: give a URL such as s3://bucket/folder, or an absolute path"
            )
        return cls(
            home=Path(home).resolve() if home else (CHECKOUT or Path.cwd()) / ".mario",
            database_url=environment.get("DATABASE_URL") or None,
            tracking_uri=environment.get("MLFLOW_TRACKING_URI") or None,
            checkpoints_url=checkpoints,
        )

    def create_home(self) -> Path:
        """Create `home` with access for its user only, and return it.

        Raises:
            ConfigError: it cannot be created.
        """
        with self._explained("created"):
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.home

    def check_home(self) -> None:
        """Create `home` and write a test file, before any work.

        Raises:
            ConfigError: it cannot be created or written, because of its permissions or a read-only or full disk.
        """
        self.create_home()
        with self._explained("written"), tempfile.NamedTemporaryFile(dir=self.home, prefix=".room-") as file:
            file.write(bytes(_MIN_FREE_BYTES))
            file.flush()

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            remedy = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check the folder's permissions"
            raise ConfigError(
                f"{self.home}, where everything is kept, cannot be {what}: {error.strerror}; {remedy}, "
                "or name another folder in MARIO_HOME"
            ) from None

    def experiment_directory(self, name: str) -> Path:
        """The folder with the checkpoints, models and reports of one experiment."""
        return self.home / "experiments" / name

    def process_environment(self) -> dict[str, str]:
        """Environment variables for Prefect and MLflow, which read them when they are imported, and for processes of ours.

        They disable telemetry, put Prefect's data below `home`, and give Prefect's temporary server enough time for its first
        start (the default of 20 s is too short for its migrations on a slow disk).
        """
        return {
            # Processes that work in another folder write into the same home.
            "MARIO_HOME": str(self.home),
            "DO_NOT_TRACK": "true",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
            "PREFECT_HOME": str(self.home / "prefect"),
            # A run that is missed is looked for (prefect.yaml). Prefect's default is 180 s.
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            # prefect.toml sets the same for `prefect` commands in the project's folder.
            "PREFECT_PLUGINS_ENABLED": "true",
            "PREFECT_PLUGINS_ALLOW": "train_mario",
            # Send the log lines of the project's packages to Prefect's console and UI.
            "PREFECT_LOGGING_EXTRA_LOGGERS": ",".join(LOGGERS),
            # Background threads have no flow run: their lines go to the console only.
            "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
            "GIT_PYTHON_REFRESH": "quiet",
        }

    def apply(self, environment: "os._Environ[str] | dict[str, str] | None" = None) -> None:
        """Set the variables of :meth:`process_environment` that are not set yet, and bypass proxies for loopback.

        Call this before Prefect is imported.
        """
        target = os.environ if environment is None else environment
        for name, value in self.process_environment().items():
            target.setdefault(name, value)
        bypass_proxy_for_loopback(target)


def bypass_proxy_for_loopback(environment: "os._Environ[str] | dict[str, str]") -> None:
    """Let this process and its children reach servers on this machine without a proxy.

    HTTP libraries prefer `no_proxy` over `NO_PROXY`, so both are set to the union of both and the names of loopback.
    """
    named = [environment.get(name, "") for name in ("no_proxy", "NO_PROXY")]
    hosts = [host.strip() for text in named for host in text.split(",") if host.strip()]
    merged = ",".join(dict.fromkeys([*hosts, *_LOOPBACK]))
    environment["no_proxy"] = environment["NO_PROXY"] = "*" if "*" in hosts else merged
