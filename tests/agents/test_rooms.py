"""The rooms of `agents/`: what may import what, without circles, and not too deep."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from configs import PROJECT

AGENTS = PROJECT / "agents"

# From the ground up: a room imports only those before it.
FLOORS = (
    ("errors", "progress", "announce"),
    "device",
    "replay",
    "rollouts",
    "extractors",
    "algorithms",
    "checkpoints",
    "policies",
    "training",
)
MOST_STOREYS = 3


def floor_of(module: str) -> int:
    """The floor of `agents.ROOM.MODULE` or `agents.MODULE`; the package's own `__init__` stands above all."""
    parts = module.split(".")
    if len(parts) == 1:
        return len(FLOORS)
    return next(floor for floor, rooms in enumerate(FLOORS) if parts[1] in ((rooms,) if isinstance(rooms, str) else rooms))


def modules() -> dict[str, Path]:
    """Dotted name -> file of each module of `agents`."""
    names = {}
    for path in AGENTS.rglob("*.py"):
        parts = path.relative_to(PROJECT).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


MODULES = modules()


def imports(path: Path) -> Iterator[str]:
    """Modules of `agents` that a file imports, within functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "agents":
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                offered = alias.name in exported(node.module)
                yield submodule if submodule in MODULES and not offered else node.module


@cache
def exported(module: str) -> frozenset[str]:
    """The names in a module's `__all__`."""
    for node in ast.parse(MODULES[module].read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return frozenset(ast.literal_eval(node.value))
    return frozenset()


@pytest.mark.parametrize("module", [name for name in MODULES if name != "agents"])
def test_a_room_imports_only_the_rooms_below_it(module: str) -> None:
    room = module.split(".")[1]
    for imported in imports(MODULES[module]):
        if imported.split(".")[1:2] == [room]:
            continue
        assert floor_of(imported) < floor_of(module), f"{module} imports {imported}"
        assert imported.count(".") == 1, f"{module} imports {imported}: ask for it from the room itself"


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {name: set(imports(path)) - {name} for name, path in MODULES.items()}
    order = list(TopologicalSorter(graph).static_order())
    assert len(order) == len(MODULES) > 30


@pytest.mark.parametrize("room", [room for room in FLOORS if isinstance(room, str)])
def test_a_room_is_at_most_three_storeys_deep(room: str) -> None:
    """Storeys of imports between the modules of a room, its `__init__` left out."""
    inside = {name for name in MODULES if name.startswith(f"agents.{room}.")}
    storeys: dict[str, int] = {}

    def storey(name: str) -> int:
        if name not in storeys:
            storeys[name] = 1 + max((storey(each) for each in set(imports(MODULES[name])) & inside), default=0)
        return storeys[name]

    deepest = {name: storey(name) for name in inside}
    assert max(deepest.values()) <= MOST_STOREYS, deepest


@pytest.mark.parametrize("room", [room for room in FLOORS if isinstance(room, str)])
def test_a_room_says_what_others_may_use(room: str) -> None:
    tree = ast.parse(MODULES[f"agents.{room}"].read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert exported(f"agents.{room}")
