"""Which keys of a configuration make an experiment what it is: those that determine its results.

A key is marked where the schema declares it. One without a mark counts.
"""

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field
from pydantic.config import JsonDict

if TYPE_CHECKING:
    from configs.schema import Config

_ASIDE: JsonDict = {"computes": False}
_ADDED: JsonDict = {"added": True}


def aside(default: Any, **rest: Any) -> Any:
    """A key that changes nothing that is computed: it never counts, and is free to change."""
    return Field(default, json_schema_extra=_ASIDE, **rest)


def added(default: Any, **rest: Any) -> Any:
    """A key that came after experiments were begun: it counts unless it has its default, which is what was done before."""
    return Field(default, json_schema_extra=_ADDED, **rest)


def computed(config: "Config") -> dict[str, Any]:
    """The keys that count, as JSON types, with the steps that the experiment was begun with."""
    values = _computed(config)
    values["train"]["total_steps"] = config.train.planned_steps or config.train.total_steps
    return values


def _computed(section: BaseModel) -> dict[str, Any]:
    dumped = section.model_dump(mode="json")
    values: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if field.json_schema_extra == _ASIDE or (field.json_schema_extra == _ADDED and value == field.default):
            continue
        values[name] = _computed(value) if isinstance(value, BaseModel) else dumped[name]
    return values
