"""Suggestions for misspelt names."""

import difflib
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel


def nearest(word: str, valid: Iterable[str]) -> str | None:
    """The valid word closest to `word`, or None if none is close."""
    matches = difflib.get_close_matches(word, list(valid), n=1, cutoff=0.5)
    return matches[0] if matches else None


def valid_keys(root: type[BaseModel], path: Sequence[str], location: Sequence[str | int]) -> list[str]:
    """Valid keys below `path` in the schema `root`.

    Args:
        root: the top model of the schema.
        path: keys from the top down.
        location: pydantic's path to the fault. It also names the branch of a union (`agent`, then `dqn`), which decides whose
            keys are valid.
    """
    model: type[BaseModel] | None = root
    for key in path:
        field = model.model_fields.get(key) if model else None
        candidates = list(_models(field.annotation)) if field else []
        tagged = [candidate for candidate in candidates if _tag(candidate) in location]
        model = next(iter(tagged or candidates), None)
    return sorted(model.model_fields) if model else []


def _tag(model: type[BaseModel]) -> str:
    """The discriminator value of a union branch, or the name of the class."""
    field = model.model_fields.get("algorithm")
    arguments = typing.get_args(field.annotation) if field else ()
    return str(arguments[0]) if arguments else model.__name__


def _models(annotation: Any) -> Iterable[type[BaseModel]]:
    """The models in an annotation, which may be a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        for argument in typing.get_args(annotation):
            yield from _models(argument)
