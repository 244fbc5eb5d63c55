"""Presets and overrides in, one checked :class:`~configs.schema.Config` out.

A preset is a YAML file of the schema's sections. `extends: NAME` starts from another preset, and `--set section.key=value`
comes last. Whatever is wrong is found here, before any work, and is said with file, line, key and the nearest valid key.
"""

import hashlib
import json
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from configs.errors import ConfigError
from configs.nearest import nearest, valid_keys
from configs.schema import ALGORITHMS, STORED, Config, EnvironmentConfig, computed
from configs.source import MAX_DEPTH, Document, parse_value, read_document

PRESETS = Path(__file__).parent / "presets"

# What a document may say beside the sections of the schema.
_EXTENDS = "extends"

# Keys of earlier versions that no longer mean anything: stored configurations may still have them.
_RETIRED = (("agent", "optimize_memory_usage"), ("retry", "worker_restarts"))

# Keys that every stored environment has had from the beginning.
_ONCE_WHOLE = {"game", "world", "stage", "frame_skip", "noop_frames", "sticky_actions", "reward"}

_MAX_FAULTS = 50  # that are named at once
_MAX_CHAIN = 16  # presets that extend one another

_MAX_SHOWN = 200  # characters of an override

_shortened = reprlib.Repr()
_shortened.maxstring = _shortened.maxother = 80
_shortened.maxlist = _shortened.maxdict = 8


def preset_names() -> list[str]:
    """Names of the presets that come with the project, sorted."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load(preset: str, overrides: Iterable[str] = ()) -> Config:
    """Build the configuration of `preset` with `overrides` applied.

    Args:
        preset: a preset's name, or the path of a YAML file (recognised by its ending, `.yaml` or `.yml`).
        overrides: `section.key=value`, the value as YAML: `train.total_steps=60_000`, `environment.actions=[[right]]`.

    Raises:
        ConfigError: a file is missing or no YAML, `extends` goes in a circle, or a key or value is refused; every fault found
            is named with its place and the nearest valid key.
    """
    path = _preset_path(preset)
    document = _resolve(path, ())
    document.values.setdefault("name", path.stem.lower())
    for override in overrides:
        _apply_override(document, override)
    try:
        return Config.model_validate(document.values)
    except ValidationError as error:
        raise ConfigError(_explain(error, document)) from None


def from_dict(values: Mapping[str, Any], source: str) -> Config:
    """Build a configuration that was stored as JSON (in Postgres, beside a model), by this version or an earlier one.

    Raises:
        ConfigError: it does not fit this version's schema; the message names `source`.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{source}: expected keys and values, not {_shortened.repr(values)}")
    document = Document(Path(source), _with_present_names(_without_retired(values)), {})
    try:
        return Config.model_validate(document.values, context={STORED: True})
    except ValidationError as error:
        raise ConfigError(_explain(error, document)) from None


def environment_from(keys: Mapping[str, Any], source: str) -> EnvironmentConfig:
    """The section `environment` alone, for a person who plays and trains nothing.

    Args:
        keys: of the section.
        source: where the keys come from, for the message.

    Raises:
        ConfigError: a key is unknown, or a value is refused; every fault is named, with the nearest valid key.
    """
    document = Document(Path(source), {"name": "play", "agent": {"algorithm": "ppo"}, "environment": dict(keys)}, {})
    try:
        return Config.model_validate(document.values, context={STORED: True}).environment
    except ValidationError as error:
        raise ConfigError(_explain(error, document)) from None


def override(config: Config, overrides: Iterable[str], sections: Sequence[str]) -> Config:
    """`config`, which a model was trained with, with some values replaced as `--set` replaces a preset's.

    A setting that has no effect is no reason to refuse it: the training is over.

    Args:
        overrides: `section.key=value`, as for :func:`load`.
        sections: those that may be changed; keys without a section, as `seed`, by their own names.

    Raises:
        ConfigError: a key is of another section, or a key or value is refused.
    """
    document = Document(Path(config.name), to_dict(config), {})
    for each in overrides:
        _apply_override(document, each)
        section = each.partition("=")[0].partition(".")[0].strip()
        if section not in sections:
            raise ConfigError(f"--set {each[:_MAX_SHOWN]}: here only {', '.join(sections)} can be set")
    try:
        return Config.model_validate(document.values, context={STORED: True})
    except ValidationError as error:
        raise ConfigError(_explain(error, document)) from None


def to_dict(config: Config) -> dict[str, Any]:
    """The whole configuration, defaults included, as JSON types."""
    return config.model_dump(mode="json")


def config_hash(config: Config) -> str:
    """SHA-256 (hex) of what determines the experiment (`configs.schema.computed`)."""
    return hashlib.sha256(json.dumps(computed(config), sort_keys=True).encode()).hexdigest()


def _without_retired(values: Mapping[str, Any]) -> dict[str, Any]:
    kept = dict(values)
    for section, key in _RETIRED:
        present = kept.get(section)
        if isinstance(present, Mapping) and key in present:
            kept[section] = {name: value for name, value in present.items() if name != key}
    return kept


def _with_present_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """What an earlier version stored, in the names that mean the same now.

    Up to version 0.1 `environment.sticky_actions`, and the protocol `sticky` of a validation, were what is called
    `sticky_decisions` now. Such a configuration is recognised by that key's absence: what is stored is always whole.
    """
    kept = dict(values)
    environment, train = kept.get("environment"), kept.get("train")
    if not isinstance(environment, Mapping) or "sticky_decisions" in environment or not environment.keys() >= _ONCE_WHOLE:
        return kept
    kept["environment"] = {**environment, "sticky_actions": 0.0, "sticky_decisions": environment["sticky_actions"]}
    if isinstance(train, Mapping) and isinstance(train.get("validation"), Mapping):
        validation = train["validation"]
        if validation.get("protocol") == "sticky":
            kept["train"] = {**train, "validation": {**validation, "protocol": "sticky_decisions"}}
    return kept


def _preset_path(preset: str) -> Path:
    if preset.endswith((".yaml", ".yml")):
        path = Path(preset)
        if not _is_file(path):
            raise ConfigError(f"{preset}: no such file")
        return path
    path = PRESETS / f"{preset}.yaml"
    if preset not in preset_names():
        hint = nearest(preset, preset_names())
        suggestion = f"did you mean {hint}? " if hint else ""
        raise ConfigError(
            f"no preset is named {preset!r}; {suggestion}There are: {', '.join(preset_names())} (or give a .yaml file)"
        )
    return path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or no name at all
        return False


def _resolve(path: Path, chain: tuple[Path, ...]) -> Document:
    """Read `path` and merge it over what it extends."""
    path = path.resolve()
    if path in chain:
        names = " -> ".join(step.name for step in (*chain, path))
        raise ConfigError(f"{chain[-1]}: extends goes in a circle: {names}")
    if len(chain) == _MAX_CHAIN:
        raise ConfigError(f"{chain[-1]}: more than {_MAX_CHAIN} presets extend one another")
    document = read_document(path)
    parent = document.values.pop(_EXTENDS, None)
    if parent is None:
        return document
    if not isinstance(parent, str):
        raise ConfigError(f"{document.place((_EXTENDS,))}: extends: name one preset, not {_shortened.repr(parent)}")
    sibling = path.parent / parent
    parent_path = sibling if parent.endswith((".yaml", ".yml")) and _is_file(sibling) else _preset_path(parent)
    base = _resolve(parent_path, (*chain, path))
    for own in ("name", "description"):
        base.values.pop(own, None)
    _merge(base, document)
    return base


def _merge(base: Document, over: Document) -> None:
    """Merge `over` into `base` in place; where both have a mapping, key by key."""
    agent, new_agent = base.values.get("agent"), over.values.get("agent")
    if isinstance(agent, dict) and isinstance(new_agent, dict):
        algorithm = new_agent.get("algorithm", agent.get("algorithm"))
        if algorithm != agent.get("algorithm"):
            # Another algorithm has other hyperparameters: those of the first would be refused as unknown keys.
            del base.values["agent"]
    _merge_values(base.values, over.values)
    base.places.update(over.places)
    base.path = over.path


def _merge_values(base: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        present = base.get(key)
        if isinstance(present, dict) and isinstance(value, dict):
            _merge_values(present, value)
        else:
            base[key] = value


def _apply_override(document: Document, override: str) -> None:
    name, separator, text = override.partition("=")
    place = f"--set {override}" if len(override) <= _MAX_SHOWN else f"--set {override[:_MAX_SHOWN]}…"
    if not separator or not name.strip():
        raise ConfigError(f"{place}: write it as section.key=value, for example train.total_steps=60000")
    keys = tuple(part.strip() for part in name.split("."))
    if len(keys) > MAX_DEPTH:
        raise ConfigError(f"{place}: nested too deeply")
    value = parse_value(text, place)
    values: Any = document.values
    for index, key in enumerate(keys[:-1]):
        if not isinstance(values.get(key, {}), dict):
            raise ConfigError(f"{place}: {'.'.join(keys[: index + 1])} is a single value, it has no key {keys[index + 1]!r}")
        values = values.setdefault(key, {})
    if keys == ("agent", "algorithm") and value != values.get("algorithm"):
        # The other algorithm starts from its own defaults, as it does in a preset that extends another.
        values.clear()
    values[keys[-1]] = value
    document.places = {path: where for path, where in document.places.items() if path[: len(keys)] != keys}
    for length in range(1, len(keys)):
        document.places.setdefault(keys[:length], place)
    document.places[keys] = place


def _explain(error: ValidationError, document: Document) -> str:
    """All faults of `error`, a line each: place, key, what is wrong, the nearest valid key."""
    details: dict[tuple[str, ...], list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        details.setdefault(_path_in(detail, document.values), []).append(detail)
    # A mapping given for "a number or a mapping": what is wrong inside the mapping is the fault, not that it is no number.
    above = {path[:length] for path in details for length in range(2, len(path))}
    paths = [path for path in details if path not in above]
    lines = []
    for path in paths[:_MAX_FAULTS]:
        messages = dict.fromkeys(_message(detail, path) for detail in details[path])
        lines.append(f"{document.place(path)}: {'.'.join(path) + ': ' if path else ''}{' or '.join(messages)}")
    if len(paths) > _MAX_FAULTS:
        lines.append(f"{document.path}: and {len(paths) - _MAX_FAULTS} more")
    return "\n".join(lines)


def _path_in(detail: ErrorDetails, values: Mapping[str, Any]) -> tuple[str, ...]:
    """The key's path in the document. Pydantic's own also names the branches of unions, which nobody wrote."""
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


def _message(detail: ErrorDetails, path: tuple[str, ...]) -> str:
    kind = detail["type"]
    if kind == "extra_forbidden":
        known = valid_keys(Config, path[:-1], detail["loc"])
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
        return f"{tag!r} is unknown; " + (f"did you mean {hint}? " if hint else "") + f"There are {', '.join(ALGORITHMS)}"
    if kind == "model_type":
        return f"expected keys and values, not {_shortened.repr(detail['input'])}"
    message = detail["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if kind == "value_error" or isinstance(detail["input"], Mapping | BaseModel):
        return message
    return f"{message}, not {_shortened.repr(detail['input'])}"
