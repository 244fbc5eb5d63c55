"""Slips on the command line, and places that cannot be written: one message each, before any work."""

import errno
import os
from pathlib import Path
from typing import Any

import typer

from configs.nearest import nearest

# A cause outside the program, which the person can see and mend: the disk, the rights, the name.
_OUTSIDE = frozenset(
    (
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG),
        *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EMFILE, errno.ENFILE),
    )
)


def slip(error: typer.TyperException) -> str | None:
    """What is wrong with the command line, with the nearest valid word and how to list all; None where help was printed."""
    # The subclasses that say more are typer's own affair: they are known by what they have.
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


def outside(error: OSError) -> str | None:
    """What is wrong with a file or the disk, if that is what `error` is about."""
    if error.errno not in _OUTSIDE:
        return None
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{error.strerror}"


def new_file(path: Path | None) -> Path | None:
    """A file that a command is to write at its end, checked at its beginning.

    Raises:
        typer.BadParameter: it is a folder, or its folder is not there or cannot be written.
    """
    if path is not None:
        if path.is_dir():
            raise typer.BadParameter(f"{path} is a folder: name a file")
        if not path.absolute().parent.is_dir():
            raise typer.BadParameter(f"there is no folder {path.absolute().parent}")
        _require_writable(path if path.exists() else path.absolute().parent)
    return path


def new_folder(path: Path | None) -> Path | None:
    """A folder that a command is to write into, made if needed.

    Raises:
        typer.BadParameter: it is a file, or it cannot be written or made.
    """
    if path is not None:
        there = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
        if not there.is_dir():
            raise typer.BadParameter(f"{there} is a file: name a folder")
        _require_writable(there)
    return path


def _require_writable(place: Path) -> None:
    if not os.access(place, os.W_OK):
        raise typer.BadParameter(f"{place} cannot be written")
