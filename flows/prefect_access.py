"""How a process finds the Prefect server of `make ui`, and knows that it is that one.

Two files below the home say it: a secret that stays the same, and the URL of the server that runs now. Only their user can read
them. Something else may listen at that URL by now: another project's server, or any program. So the client first sends a random
challenge, and the server answers with a code that only the secret can make (HMAC, RFC 2104). The secret itself is sent only to
a server that has answered so.

Prefect is not imported here: its start-up hook needs this module while Prefect is itself being imported.
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
"""Variable that holds the process id of a command `mario`: its temporary server has a secret, and ends with it."""

_USER = "mario"
_ANSWER_SECONDS = 2.0
_LONGEST_ANSWER = 4096
_FOR_OTHERS = 0o077


@dataclass(frozen=True)
class Access:
    """A Prefect server and the way in.

    Attributes:
        url: of its API, as `PREFECT_API_URL`.
        auth: `USER:PASSWORD`, as `PREFECT_API_AUTH_STRING`.
        pid: its process.
    """

    url: str
    auth: str
    pid: int

    @property
    def environment(self) -> dict[str, str]:
        """The variables that Prefect's client reads."""
        return {"PREFECT_API_URL": self.url, "PREFECT_API_AUTH_STRING": self.auth}


def api_url(port: int) -> str:
    """URL of the API of a Prefect server that listens on the loopback `port`."""
    return f"http://{LOOPBACK}:{port}/api"


def secret_file(home: Path) -> Path:
    """The file that holds `USER:PASSWORD` of this home's Prefect server."""
    return home / "prefect-server" / "secret"


def make_secret() -> str:
    """A new `USER:PASSWORD`; the password has 256 random bits."""
    return f"{_USER}:{secrets.token_urlsafe(32)}"


def server_secret(home: Path) -> str:
    """`USER:PASSWORD` of this home's Prefect server; made at the first call.

    A file that others can read is replaced, with a new secret.

    Raises:
        OSError: the file can be neither read nor written.
    """
    path = secret_file(home)
    known = _read_private(path)
    if known is None:
        known = make_secret()
        _write_private(path, known)
    return known


def announce(home: Path, url: str) -> None:
    """Say below `home` that its Prefect server is at `url`.

    Raises:
        OSError: the file cannot be written.
    """
    _write_private(_url_file(home), url)


def withdraw(home: Path) -> None:
    """Say below `home` that its Prefect server has ended."""
    with contextlib.suppress(OSError):
        _url_file(home).unlink()


def running_server(home: Path) -> Access | None:
    """The Prefect server that was announced below `home`, if it answers within two seconds and proves to be that one."""
    url, auth = _read_private(_url_file(home)), _read_private(secret_file(home))
    try:
        port = None if url is None else urlsplit(url).port
    except ValueError:
        return None
    if url is None or auth is None or port is None:
        return None
    pid = proven_server(port, auth)
    return None if pid is None else Access(url, auth, pid)


def proven_server(port: int, auth: str) -> int | None:
    """The process id of the server on the loopback `port`, if it proves to know the secret `auth`; else None."""
    challenge = secrets.token_hex(16)
    answer = _ask(port, f"{PROOF_PATH}?{challenge}")
    number, _, code = answer.partition(" ")
    if not (number.isascii() and number.isdigit() and code.isascii()):
        return None
    pid = int(number)
    return pid if hmac.compare_digest(code, _code(auth, challenge, port, pid)) else None


def proof(auth: str, challenge: str, port: int) -> str:
    """What a server that knows the secret `auth` answers to `challenge`: its process id and the code.

    The code covers the port: an answer that another server was made to give is worth nothing here.
    """
    return f"{os.getpid()} {_code(auth, challenge, port, os.getpid())}"


def _code(auth: str, challenge: str, port: int, pid: int) -> str:
    message = f"train-mario's Prefect server|{challenge}|{port}|{pid}"
    return hmac.new(auth.encode(), message.encode(), hashlib.sha256).hexdigest()


def _ask(port: int, path: str) -> str:
    """The body of the answer to GET `path` from the loopback `port`, or nothing.

    By a socket of our own, since the libraries' time-outs begin again with each byte that arrives. It also passes no proxy.
    """
    deadline = time.monotonic() + _ANSWER_SECONDS
    request = f"GET {path} HTTP/1.0\r\nHost: {LOOPBACK}:{port}\r\n\r\n"
    received = b""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=_ANSWER_SECONDS) as connection:
            connection.sendall(request.encode("ascii"))
            while len(received) < _LONGEST_ANSWER:
                connection.settimeout(max(0.001, deadline - time.monotonic()))
                piece = connection.recv(_LONGEST_ANSWER)
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
    """The text of a file that its user alone can read, or None."""
    try:
        with path.open(encoding="ascii") as file:
            return None if os.fstat(file.fileno()).st_mode & _FOR_OTHERS else file.read().strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # mkstemp makes it for its user alone, so that nobody else can open it before it is complete.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(f"{text}\n")
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
