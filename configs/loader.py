"""The loader that builds a validated :class:`~configs.schema.Config` from a preset and overrides.

A preset is a YAML file with the sections of the schema. `extends: NAME` starts from another preset. Overrides
(`--set section.key=value`) are applied last. Faults are found here, before any work. The message names file, line, key and the
nearest valid key.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from configs.errors import ConfigError
from configs.explaining import explain, short_repr
from configs.hashing import hashed_values
from configs.nearest import nearest
from configs.schema import STORED, Config, EnvironmentConfig
from configs.source import MAX_DEPTH, Document, parse_value, read_document

PRESETS = Path(__file__).parent / "presets"

# The only key of a document that is not a section of the schema.
_EXTENDS = "extends"

# Keys of earlier versions, and the values that mean what this version does; None: every value. Stored configurations may still
# have them.
_RETIRED: dict[tuple[str, str], tuple[Any, ...] | None] = {
    ("agent", "optimize_memory_usage"): None,
    ("retry", "worker_restarts"): None,
    ("train", "precision"): ("float32",),
    ("train", "compile"): (False,),
    ("train", "overlap"): (False,),
}

# Keys of `environment` that the first version had already.
_ORIGINAL_ENVIRONMENT_KEYS = {"game", "world", "stage", "frame_skip", "noop_frames", "sticky_actions", "reward"}

_MAX_CHAIN = 16  # presets that extend one another

_MAX_SHOWN = 200  # characters of an override in a message


def preset_names() -> list[str]:
    """Names of the presets that come with the project, sorted."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load(preset: str, overrides: Iterable[str] = ()) -> Config:
    """Build the configuration of `preset` with `overrides` applied.

    Args:
        preset: the name of a preset, or the path of a YAML file (with the suffix `.yaml` or `.yml`).
        overrides: `section.key=value` with the value in YAML: `train.total_steps=60_000`, `environment.actions=[[right]]`.

    Raises:
        ConfigError: a file is missing or not YAML, `extends` is circular, or a key or value is refused. The message names every
            fault with its place and the nearest valid key.
    """
    path = _preset_path(preset)
    document = _resolve(path, ())
    document.values.setdefault("name", path.stem.lower())
    for override in overrides:
        _apply_override(document, override)
    try:
        return Config.model_validate(document.values)
    except ValidationError as error:
        raise ConfigError(explain(error, document, Config)) from None


def from_dict(values: Mapping[str, Any], source: str) -> Config:
    """Build a configuration from stored JSON (in Postgres, or next to a model), written by this version or an earlier one.

    Raises:
        ConfigError: it does not fit the schema of this version; the message names `source`.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{source}: expected keys and values, not {short_repr.repr(values)}")
    document = Document(Path(source), _with_current_names(_without_retired(values, source)), {})
    try:
        return Config.model_validate(document.values, context={STORED: True})
    except ValidationError as error:
        raise ConfigError(explain(error, document, Config)) from None


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
        raise ConfigError(explain(error, document, Config)) from None


def override(config: Config, overrides: Iterable[str], sections: Sequence[str]) -> Config:
    """Replace values of `config`, the configuration that a model was trained with.

    Settings without effect are accepted, because the training is over.

    Args:
        config: the configuration; it is not changed.
        overrides: `section.key=value`, as for :func:`load`.
        sections: the sections that may be changed, and the top-level keys (such as `seed`).

    Raises:
        ConfigError: a key belongs to another section, or a key or value is refused.
    """
    document = Document(Path(config.name), to_dict(config), {})
    for each in overrides:
        _apply_override(document, each)
        section = each.partition("=")[0].partition(".")[0].strip()
        if section not in sections:
            raise ConfigError(f"--set {each[:_MAX_SHOWN]}: only {', '.join(sections)} can be set here")
    try:
        return Config.model_validate(document.values, context={STORED: True})
    except ValidationError as error:
        raise ConfigError(explain(error, document, Config)) from None


def to_dict(config: Config) -> dict[str, Any]:
    """The whole configuration as JSON types, including defaults."""
    return config.model_dump(mode="json")


def config_hash(config: Config) -> str:
    """SHA-256 (hex) of the values that determine the results (`configs.hashing.hashed_values`)."""
    return hashlib.sha256(json.dumps(hashed_values(config), sort_keys=True).encode()).hexdigest()


def _without_retired(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    kept = dict(values)
    for (section, key), understood in _RETIRED.items():
        present = kept.get(section)
        if not isinstance(present, Mapping) or key not in present:
            continue
        if understood is not None and present[key] not in understood:
            shown = short_repr.repr(present[key])
            raise ConfigError(f"{source}: {section}.{key} is {shown}, which is no longer supported: train again without it")
        kept[section] = {name: value for name, value in present.items() if name != key}
    return kept


def _with_current_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a stored configuration under the key names of this version.

    Up to version 0.1, `environment.sticky_actions` and the validation protocol `sticky` meant what is called `sticky_decisions`
    now. Stored configurations are complete, so one of version 0.1 is recognised by the absence of that key.
    """
    kept = dict(values)
    environment, train = kept.get("environment"), kept.get("train")
    if not isinstance(environment, Mapping) or "sticky_decisions" in environment:
        return kept
    if not environment.keys() >= _ORIGINAL_ENVIRONMENT_KEYS:
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
        if not is_file(path):
            raise ConfigError(f"{preset}: no such file")
        return path
    path = PRESETS / f"{preset}.yaml"
    if preset not in preset_names():
        hint = nearest(preset, preset_names())
        suggestion = f"; did you mean {hint}?" if hint else "."
        raise ConfigError(
            f"no preset is named {preset!r}{suggestion} The presets are {', '.join(preset_names())} (or name a .yaml file)"
        )
    return path


def is_file(path: Path) -> bool:
    """Whether `path` is a file; False for what cannot be a path at all."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or not a valid path
        return False


def _resolve(path: Path, chain: tuple[Path, ...]) -> Document:
    """Read `path` and merge it over the preset that it extends."""
    path = path.resolve()
    if path in chain:
        names = " -> ".join(step.name for step in (*chain, path))
        raise ConfigError(f"{chain[-1]}: extends is circular: {names}")
    if len(chain) == _MAX_CHAIN:
        raise ConfigError(f"{chain[-1]}: more than {_MAX_CHAIN} presets extend one another")
    document = read_document(path)
    parent = document.values.pop(_EXTENDS, None)
    if parent is None:
        return document
    if not isinstance(parent, str):
        raise ConfigError(f"{document.place((_EXTENDS,))}: extends: name one preset, not {short_repr.repr(parent)}")
    sibling = path.parent / parent
    parent_path = sibling if parent.endswith((".yaml", ".yml")) and is_file(sibling) else _preset_path(parent)
    base = _resolve(parent_path, (*chain, path))
    for own in ("name", "description"):
        base.values.pop(own, None)
    _merge(base, document)
    return base


def _merge(base: Document, over: Document) -> None:
    """Merge `over` into `base` in place. Where both have a mapping, it is merged key by key."""
    agent, new_agent = base.values.get("agent"), over.values.get("agent")
    if isinstance(agent, dict) and isinstance(new_agent, dict):
        algorithm = new_agent.get("algorithm", agent.get("algorithm"))
        if algorithm != agent.get("algorithm"):
            # Algorithms have different hyperparameters: those of the old one would be refused as unknown keys.
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
            raise ConfigError(f"{place}: {'.'.join(keys[: index + 1])} is a single value without a key {keys[index + 1]!r}")
        values = values.setdefault(key, {})
    if keys == ("agent", "algorithm") and value != values.get("algorithm"):
        # A different algorithm starts from its own defaults, as in a preset that extends another.
        values.clear()
    values[keys[-1]] = value
    document.places = {path: where for path, where in document.places.items() if path[: len(keys)] != keys}
    for length in range(1, len(keys)):
        document.places.setdefault(keys[:length], place)
    document.places[keys] = place
