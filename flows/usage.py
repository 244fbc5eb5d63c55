"""Messages for mistakes on the command line and for files that cannot be written."""

import errno
import os
from pathlib import Path
from typing import Any

import typer

from configs.nearest import nearest

# Causes outside the program that the user can fix: the disk, permissions, file names.
_EXTERNAL_ERRNOS = frozenset(
    (
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG),
        *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EMFILE, errno.ENFILE),
    )
)


def usage_message(error: typer.TyperException) -> str | None:
    """A message on a mistake on the command line, with the nearest valid word. None if typer has printed the help."""
    # typer's subclasses with more information are private, so they are recognised by their attributes.
    context: Any = getattr(error, "ctx", None)
    unknown: str | None = getattr(error, "option_name", None) if hasattr(error, "possibilities") else None
    text = error.message if unknown else error.format_message()
    if not text.strip() or type(error).__name__ == "NoArgsIsHelpError":
        return None
    text = (
        text.rstrip(".")
        .replace("Value error, ", "")
        .replace("No such command", "there is no command")
        .replace("No such option:", "there is no option")
    )
    text = text[0].lower() + text[1:]
    if context is None:
        return text
    if unknown:
        valid = [option for parameter in context.command.get_params(context) for option in parameter.opts]
        found = nearest(unknown, (option for option in valid if option.startswith("--")))
        text += f"; did you mean {found}?" if found else ""
    return f"{text}{'' if text.endswith('?') else '.'} `{context.command_path} --help` lists what there is"


def os_error_message(error: OSError) -> str | None:
    """A message on a file or the disk if that is the cause of `error`, else None."""
    if error.errno not in _EXTERNAL_ERRNOS:
        return None
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{error.strerror}"


def output_file(path: Path | None) -> Path | None:
    """Check at the start of a command that it can write the file `path` at its end. Returns `path`.

    Raises:
        typer.BadParameter: it is a folder, or its folder does not exist or cannot be written.
    """
    if path is not None:
        if path.is_dir():
            raise typer.BadParameter(f"{path} is a folder: name a file")
        if not path.absolute().parent.is_dir():
            raise typer.BadParameter(f"there is no folder {path.absolute().parent}")
        _require_writable(path if path.exists() else path.absolute().parent)
    return path


def output_folder(path: Path | None) -> Path | None:
    """Check at the start of a command that it can write into the folder `path`, or create it. Returns `path`.

    Raises:
        typer.BadParameter: it is a file, or it cannot be written or created.
    """
    if path is not None:
        existing = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
        if not existing.is_dir():
            raise typer.BadParameter(f"{existing} is a file: name a folder")
        _require_writable(existing)
    return path


def _require_writable(place: Path) -> None:
    if not os.access(place, os.W_OK):
        raise typer.BadParameter(f"{place} cannot be written")
