"""Messages about values that a schema refuses."""

import reprlib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from configs.agent import ALGORITHMS
from configs.nearest import nearest, valid_keys
from configs.source import Document

_MAX_FAULTS = 50  # listed in one message

short_repr = reprlib.Repr()
short_repr.maxstring = short_repr.maxother = 80
short_repr.maxlist = short_repr.maxdict = 8


def explain(error: ValidationError, document: Document, model: type[BaseModel]) -> str:
    """All faults of `error`, one per line: place, key, fault, and the nearest valid key.

    Args:
        error: of validating `document` as a `model`.
        document: what was validated, with the places of its keys.
        model: the schema, whose keys are suggested.
    """
    details: dict[tuple[str, ...], list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        details.setdefault(_path_in(detail, document.values), []).append(detail)
    # For "a number or a mapping", the fault inside a given mapping matters, not that the mapping is no number.
    above = {path[:length] for path in details for length in range(2, len(path))}
    paths = [path for path in details if path not in above]
    lines = []
    for path in paths[:_MAX_FAULTS]:
        messages = dict.fromkeys(_message(detail, path, model) for detail in details[path])
        lines.append(f"{document.place(path)}: {'.'.join(path) + ': ' if path else ''}{' or '.join(messages)}")
    if len(paths) > _MAX_FAULTS:
        lines.append(f"{document.path}: and {len(paths) - _MAX_FAULTS} more")
    return "\n".join(lines)


def _path_in(detail: ErrorDetails, values: Mapping[str, Any]) -> tuple[str, ...]:
    """The key's path in the document. Pydantic's own path also names branches of unions, which are not in the document."""
    path: list[str] = []
    present: Any = values
    last = len(detail["loc"]) - 1
    for index, part in enumerate(detail["loc"]):
        in_mapping = isinstance(present, Mapping) and part in present
        in_list = isinstance(present, list) and isinstance(part, int) and part < len(present)
        if in_mapping or in_list:
            path.append(str(part))
            present = present[part]
        elif index == last and detail["type"] == "missing":
            path.append(str(part))
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        path.append("algorithm")
    return tuple(path)


def _message(detail: ErrorDetails, path: tuple[str, ...], model: type[BaseModel]) -> str:
    kind = detail["type"]
    if kind == "extra_forbidden":
        known = valid_keys(model, path[:-1], detail["loc"])
        hint = nearest(path[-1], known)
        if hint is None:
            return f"unknown key; valid keys: {', '.join(known)}"
        return f"unknown key; did you mean {'.'.join((*path[:-1], hint))}?"
    if kind == "missing":
        return "is missing and has no default"
    if kind == "union_tag_not_found":
        return f"is missing; choose one of {', '.join(ALGORITHMS)}"
    if kind == "union_tag_invalid":
        tag = str(detail["ctx"]["tag"]) if "ctx" in detail else ""
        hint = nearest(tag, ALGORITHMS)
        return f"{tag!r} is unknown; " + (f"did you mean {hint}? " if hint else "") + f"Valid: {', '.join(ALGORITHMS)}"
    if kind == "model_type":
        return f"expected keys and values, not {short_repr.repr(detail['input'])}"
    message = detail["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if kind == "value_error" or isinstance(detail["input"], Mapping | BaseModel):
        return message
    return f"{message}, not {short_repr.repr(detail['input'])}"
