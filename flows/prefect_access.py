"""Discovery and verification of the Prefect server that `make ui` started.

Two files below the home are readable for its user only: a permanent secret, and the URLs of the running servers. By now another
program may listen there. So a client first sends a random challenge, and the server answers with a code that requires
the secret (HMAC, RFC 2104). The secret itself is sent only after this check.

This module does not import Prefect: Prefect's start-up hook uses it while Prefect is being imported.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

LOOPBACK = "127.0.0.1"
PROOF_PATH = "/train-mario/proof"

MARIO_PROCESS = "MARIO_PROCESS"
"""Environment variable with the process id of the command `mario`. Its temporary server has a secret and ends with it."""

_USER = "mario"
_TIMEOUT_SECONDS = 2.0
_MAX_ANSWER_BYTES = 4096
_OTHERS = 0o077


@dataclass(frozen=True)
class Access:
    """A Prefect server and its credentials.

    Attributes:
        url: the URL of its API (`PREFECT_API_URL`).
        auth: `USER:PASSWORD` (`PREFECT_API_AUTH_STRING`).
        pid: its process id.
        mlflow: the address of the MLflow server that was started with it; None if there is none.
    """

    url: str
    auth: str
    pid: int
    mlflow: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables for Prefect's client, and for links to MLflow's pages."""
        from tracking import SERVER_PAGE

        client = {"PREFECT_API_URL": self.url, "PREFECT_API_AUTH_STRING": self.auth}
        return client if self.mlflow is None else client | {SERVER_PAGE: self.mlflow}


def api_url(port: int) -> str:
    """The API's URL of a Prefect server on the loopback `port`."""
    return f"http://{LOOPBACK}:{port}/api"


def secret_file(home: Path) -> Path:
    """The file with `USER:PASSWORD` of this home's Prefect server."""
    return home / "prefect-server" / "secret"


def make_secret() -> str:
    """A new `USER:PASSWORD`; the password has 256 random bits."""
    return f"{_USER}:{secrets.token_urlsafe(32)}"


def server_secret(home: Path) -> str:
    """`USER:PASSWORD` of this home's Prefect server. The first call creates it.

    A file that others can read is replaced, with a new secret.

    Raises:
        OSError: the file cannot be written.
    """
    path = secret_file(home)
    known = _read_private(path)
    if known is None:
        known = make_secret()
        _write_private(path, known)
    return known


def publish_server(home: Path, url: str, mlflow: str | None = None) -> None:
    """Record below `home` that its Prefect server runs at `url`, and an MLflow server of this home at `mlflow`.

    Raises:
        OSError: the file cannot be written.
    """
    _write_private(_url_file(home), url if mlflow is None else f"{url}\n{mlflow}")


def withdraw_server(home: Path) -> None:
    """Remove the record of the running server below `home`."""
    with contextlib.suppress(OSError):
        _url_file(home).unlink()


def running_server(home: Path) -> Access | None:
    """The Prefect server that is recorded below `home`, if it answers within two seconds and passes verification."""
    published, auth = _read_private(_url_file(home)), _read_private(secret_file(home))
    if published is None or auth is None:
        return None
    url, *others = published.splitlines()
    try:
        port = urlsplit(url).port
    except ValueError:
        return None
    if port is None:
        return None
    pid = verified_server(port, auth)
    return None if pid is None else Access(url, auth, pid, others[0] if others else None)


def verified_server(port: int, auth: str) -> int | None:
    """The process id of the server on the loopback `port` if it proves to know the secret `auth`, else None."""
    challenge = secrets.token_hex(16)
    answer = _get(port, f"{PROOF_PATH}?{challenge}")
    number, _, code = answer.partition(" ")
    if not (number.isascii() and number.isdigit() and code.isascii()):
        return None
    pid = int(number)
    return pid if hmac.compare_digest(code, _mac(auth, challenge, port, pid)) else None


def proof(auth: str, challenge: str, port: int) -> str:
    """The answer to `challenge` of a server that knows the secret `auth`: its process id and the code.

    The code covers the port, so that an answer cannot be relayed from another server.
    """
    return f"{os.getpid()} {_mac(auth, challenge, port, os.getpid())}"


def _mac(auth: str, challenge: str, port: int, pid: int) -> str:
    message = f"train-mario's Prefect server|{challenge}|{port}|{pid}"
    return hmac.new(auth.encode(), message.encode(), hashlib.sha256).hexdigest()


def _get(port: int, path: str) -> str:
    """The body of the response to GET `path` on the loopback `port`; empty if there is none.

    This uses a plain socket, because the timeouts of HTTP libraries start again with each byte. It also bypasses proxies.
    """
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    request = f"GET {path} HTTP/1.0\r\nHost: {LOOPBACK}:{port}\r\n\r\n"
    received = b""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=_TIMEOUT_SECONDS) as connection:
            connection.sendall(request.encode("ascii"))
            while len(received) < _MAX_ANSWER_BYTES:
                connection.settimeout(max(0.001, deadline - time.monotonic()))
                piece = connection.recv(_MAX_ANSWER_BYTES)
                if not piece:
                    break
                received += piece
    except OSError:
        return ""
    head, _, body = received.decode("latin-1").partition("\r\n\r\n")
    return body if " 200 " in head.partition("\r\n")[0] else ""


def _url_file(home: Path) -> Path:
    return home / "prefect-server" / "url"


def _read_private(path: Path) -> str | None:
    """The text of a file that only its user can read; None if others can, or it cannot be read."""
    try:
        with path.open(encoding="ascii") as file:
            return None if os.fstat(file.fileno()).st_mode & _OTHERS else file.read().strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 atomically."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # mkstemp creates it with mode 0600, so that nobody else can open it at any time.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(f"{text}\n")
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
