"""YAML text in, plain values out, with the line that each key came from."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from configs.errors import ConfigError

# A preset is a page of text. The limits stop a file that was given by mistake, or made to exhaust memory.
_MAX_BYTES = 1_000_000
_MAX_DEPTH = 32

# What lists and mappings are without a tag (!…) of their own; a tag may ask for any Python object.
_COLLECTIONS = ("tag:yaml.org,2002:seq", "tag:yaml.org,2002:map")


class _Loader(yaml.SafeLoader):
    """Safe YAML, with `1e-4` read as the number that everybody means by it (YAML 1.1 wants a dot before the e)."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*)(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


@dataclass
class Document:
    """A YAML mapping and where its keys stand.

    Attributes:
        path: the file.
        values: the mapping, of plain Python types.
        places: for each key's path, `FILE:LINE`.
    """

    path: Path
    values: dict[str, Any]
    places: dict[tuple[str, ...], str]

    def place(self, path: tuple[str, ...]) -> str:
        """`FILE:LINE` of the key at `path`, or of the nearest key above it, or the file alone."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return str(self.path)


def read_document(path: Path) -> Document:
    """Read the YAML file `path`.

    Raises:
        ConfigError: it cannot be read, is no YAML, is no mapping, names a key twice, or uses aliases.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > _MAX_BYTES:
        raise ConfigError(f"{path}: {len(content)} bytes is no preset (at most {_MAX_BYTES})")
    return parse_document(content, path)


def parse_document(content: bytes, path: Path) -> Document:
    """As :func:`read_document`, for the bytes of a file."""
    node = _compose(content, str(path))
    document = Document(path, {}, {})
    if node is None:
        return document
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path}: expected keys and values, found {_kind(node)}")
    document.values = _mapping(node, (), document)
    return document


def parse_value(text: str, place: str) -> Any:
    """One value, written as YAML.

    Raises:
        ConfigError: it is no YAML; the message names `place`.
    """
    node = _compose(text.encode(errors="surrogatepass"), place)
    return None if node is None else _value(node, (), Document(Path(place), {}, {}))


def _compose(content: bytes, place: str) -> yaml.Node | None:
    try:
        for event in list(yaml.parse(content, Loader=_Loader)):
            if isinstance(event, yaml.AliasEvent):
                raise ConfigError(f"{place}: aliases (*{event.anchor}) are not supported; write the value out")
        node: yaml.Node | None = yaml.compose(content, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{place}{line}: no valid YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{place}: no valid YAML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{place}: nested too deeply") from None
    return node


def _kind(node: yaml.Node) -> str:
    return "a list" if isinstance(node, yaml.SequenceNode) else "a single value"


def _mapping(node: yaml.MappingNode, path: tuple[str, ...], document: Document) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError(f"{document.path}:{line}: a key must be a word, not {_kind(key_node)}")
        key = str(key_node.value)
        if key in values:
            raise ConfigError(f"{document.path}:{line}: {'.'.join((*path, key))} is given twice")
        document.places[(*path, key)] = f"{document.path}:{line}"
        values[key] = _value(value_node, (*path, key), document)
    return values


def _value(node: yaml.Node, path: tuple[str, ...], document: Document) -> Any:
    if len(path) > _MAX_DEPTH:
        raise ConfigError(f"{document.path}:{node.start_mark.line + 1}: nested too deeply")
    if not isinstance(node, yaml.ScalarNode) and node.tag not in _COLLECTIONS:
        raise ConfigError(f"{document.path}:{node.start_mark.line + 1}: {node.tag} cannot be read: no tags, please")
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, document)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, str(index)), document) for index, item in enumerate(node.value)]
    return _scalar(node, document)


def _scalar(node: yaml.Node, document: Document) -> Any:
    # A loader of its own constructs the scalar: constructors of SafeLoader need no state but themselves.
    loader = _Loader(b"")
    try:
        return loader.construct_object(node)
    except (yaml.YAMLError, ValueError, OverflowError, KeyError, AttributeError, TypeError, IndexError) as error:
        line = node.start_mark.line + 1
        problem = getattr(error, "problem", None) or error
        raise ConfigError(f"{document.path}:{line}: {str(node.value)[:60]!r} cannot be read: {problem}") from None
    finally:
        loader.dispose()
