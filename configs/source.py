"""A YAML reader for presets: it returns plain values and the line of each key."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from configs.errors import ConfigError

# A preset is about a page of text. The limits refuse files that were given by mistake or made to exhaust memory.
_MAX_BYTES = 16 * 1024
MAX_DEPTH = 32
# Python needs quadratic time to parse a number, and refuses to print a very long one.
_MAX_NUMBER_LENGTH = 100
_MAX_INTEGER = 2**53  # larger integers do not survive a conversion to JSON or floating point

# Tags of values without an explicit tag (!…). An explicit tag may ask for any Python object, so it is refused.
_TAG = "tag:yaml.org,2002:"
_COLLECTIONS = (_TAG + "seq", _TAG + "map")
_TEXT = _TAG + "str"
_SCALARS = (_TEXT, *(_TAG + kind for kind in ("null", "bool", "int", "float", "timestamp")))

# An unpaired UTF-16 surrogate has no UTF-8 encoding, and Postgres cannot store NUL: such text would fail later.
_UNSTORABLE = re.compile("[\\x00\\ud800-\\udfff]")


class _RefusedError(yaml.MarkedYAMLError):
    """Valid YAML that is not allowed in a preset."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with two changes.

    `1e-4` is a number (YAML 1.1 requires a dot before the e). Aliases and deep nesting are refused when they are parsed, before
    any object is built.
    """

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            self._refuse(f"aliases (*{event.anchor}) are not supported; write the value out", event)
        if self._depth > MAX_DEPTH:
            self._refuse("nested too deeply", event)
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _refuse(self, problem: str, event: yaml.Event) -> None:
        raise _RefusedError(problem=problem, problem_mark=event.start_mark)  # type: ignore[arg-type]


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*)(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


@dataclass
class Document:
    """A YAML mapping with the positions of its keys.

    Attributes:
        path: the file.
        values: the mapping, of plain Python types.
        places: `FILE:LINE` for the path of each key.
    """

    path: Path
    values: dict[str, Any]
    places: dict[tuple[str, ...], str]

    def place(self, path: tuple[str, ...]) -> str:
        """`FILE:LINE` of the key at `path`, or of the nearest key above it, or only the file."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return str(self.path)


def read_document(path: Path) -> Document:
    """Read the YAML file `path`.

    Raises:
        ConfigError: the file cannot be read, is not YAML, is not a mapping, names a key twice, or uses aliases.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    return parse_document(content, path)


def parse_document(content: bytes, path: Path) -> Document:
    """Parse the bytes of a file; see :func:`read_document`."""
    node = _compose(content, str(path))
    document = Document(path, {}, {})
    if node is None:
        return document
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path}: expected keys and values, found {_kind(node)}")
    document.values = _mapping(node, (), document)
    return document


def parse_value(text: str, place: str) -> Any:
    """Parse one value, written as YAML.

    Raises:
        ConfigError: `text` is not YAML; the message names `place`.
    """
    node = _compose(text.encode(errors="surrogatepass"), place)
    return None if node is None else _value(node, (), Document(Path(place), {}, {}))


def _compose(content: bytes, place: str) -> yaml.Node | None:
    if len(content) > _MAX_BYTES:
        raise ConfigError(f"{place}: a preset has at most {_MAX_BYTES} bytes")
    try:
        node: yaml.Node | None = yaml.compose(content, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        fault = "" if isinstance(error, _RefusedError) else "not valid YAML: "
        raise ConfigError(f"{place}{line}: {fault}{error.problem or error.context}") from None
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        raise ConfigError(f"{place}: not valid YAML: {error}") from None
    return node


def _kind(node: yaml.Node) -> str:
    return "a list" if isinstance(node, yaml.SequenceNode) else "a single value"


def _mapping(node: yaml.MappingNode, path: tuple[str, ...], document: Document) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError(f"{document.path}:{line}: a key must be a word, not {_kind(key_node)}")
        key = _storable(str(key_node.value), f"{document.path}:{line}")
        if key in values:
            raise ConfigError(f"{document.path}:{line}: {'.'.join((*path, key))} is given twice")
        document.places[(*path, key)] = f"{document.path}:{line}"
        values[key] = _value(value_node, (*path, key), document)
    return values


def _value(node: yaml.Node, path: tuple[str, ...], document: Document) -> Any:
    place = f"{document.path}:{node.start_mark.line + 1}"
    if node.tag not in (_SCALARS if isinstance(node, yaml.ScalarNode) else _COLLECTIONS):
        raise ConfigError(f"{place}: tags ({node.tag}) are not supported")
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, document)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, str(index)), document) for index, item in enumerate(node.value)]
    return _scalar(node, place)


def _scalar(node: yaml.Node, place: str) -> Any:
    text = str(node.value)
    if node.tag == _TEXT:
        return _storable(text, place)
    if len(text) > _MAX_NUMBER_LENGTH:
        raise ConfigError(f"{place}: {text[:20]!r}… has {len(text)} characters: too long for a number")
    # A fresh loader constructs the scalar: SafeLoader's constructors need no other state.
    loader = _Loader(b"")
    try:
        value = loader.construct_object(node)
    except (yaml.YAMLError, ValueError, OverflowError, KeyError, AttributeError, TypeError, IndexError) as error:
        problem = getattr(error, "problem", None) or error
        raise ConfigError(f"{place}: {text[:60]!r} cannot be read: {problem}") from None
    finally:
        loader.dispose()
    if isinstance(value, int) and abs(value) > _MAX_INTEGER:
        raise ConfigError(f"{place}: {text} is too large (at most {_MAX_INTEGER})")
    return value


def _storable(text: str, place: str) -> str:
    if found := _UNSTORABLE.search(text):
        raise ConfigError(f"{place}: a text contains {found.group()!r}, which cannot be stored")
    return text
