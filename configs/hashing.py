"""The keys of a configuration that determine results. The schema marks those that do not, where it declares them."""

import hashlib
import json
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field
from pydantic.config import JsonDict

if TYPE_CHECKING:
    from configs.schema import Config

_RUNTIME_ONLY: JsonDict = {"affects_results": False}
_ADDED: JsonDict = {"added": True}


def runtime_only(default: Any, **rest: Any) -> Any:
    """A field that does not affect results. It is not part of the configuration's hash, and may change when a run continues."""
    return Field(default, json_schema_extra=_RUNTIME_ONLY, **rest)


def added(default: Any, **rest: Any) -> Any:
    """A field that is newer than stored experiments. It is hashed unless it has its default: what older versions did."""
    return Field(default, json_schema_extra=_ADDED, **rest)


def hashed_values(config: "Config") -> dict[str, Any]:
    """The values that determine the results, as JSON types.

    `train.total_steps` is the number that the experiment was started with.
    """
    values = _hashed_values(config)
    values["train"]["total_steps"] = config.train.planned_steps or config.train.total_steps
    return values


def section_hash(section: BaseModel) -> str:
    """SHA-256 (hex) of the values of one section that determine the results."""
    return hashlib.sha256(json.dumps(_hashed_values(section), sort_keys=True).encode()).hexdigest()


def _hashed_values(section: BaseModel) -> dict[str, Any]:
    dumped = section.model_dump(mode="json")
    values: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if field.json_schema_extra == _RUNTIME_ONLY or (field.json_schema_extra == _ADDED and value == field.default):
            continue
        values[name] = _hashed_values(value) if isinstance(value, BaseModel) else dumped[name]
    return values
