"""For any input, the loader returns a configuration or raises :class:`ConfigError`. It never raises anything else or hangs."""

import json
import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configs import Config, ConfigError, from_dict, load, to_dict
from configs.agent import PPOConfig
from configs.source import parse_document

MAX_SECONDS = 5.0  # of processor time, for the worst file of an accepted size

one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def outcome(preset: str, overrides: tuple[str, ...] = ()) -> Config | str:
    """The configuration, or the error message if it is refused. The message can be printed and stored."""
    try:
        return load(preset, overrides)
    except ConfigError as error:
        message = str(error)
        assert message.strip()
        assert "\0" not in message
        assert message.encode("utf-8")
        return message


def usable(config: Config) -> bool:
    """Whether it can be stored as JSON in Postgres and read back."""
    stored = json.dumps(to_dict(config), allow_nan=False)
    return "\\u0000" not in stored and from_dict(json.loads(stored), "stored") == config


def keys(section: type[Any] = Config, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every key, with the keys of PPO for the agent."""
    for name, field in section.model_fields.items():
        yield (*prefix, name)
        inner = PPOConfig if name == "agent" else field.annotation
        if isinstance(inner, type) and hasattr(inner, "model_fields"):
            yield from keys(inner, (*prefix, name))


any_text = st.text(st.characters(exclude_categories=()), max_size=12)  # including NUL and unpaired UTF-16 surrogates
words = st.sampled_from(
    ["ppo", "dqn", "simple", "greedy", "null", "1e-4", "0x1F", "1:30", "2001-01-01", ".inf", "~", "<<", "="]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | any_text | words | st.dates() | st.datetimes() | st.binary()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text | words, inner, max_size=4),
    max_leaves=12,
)
paths = st.sampled_from(sorted(keys()))


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        document = parse_document(content, Path("fuzz.yaml"))
    except ConfigError as error:
        assert str(error).startswith("fuzz.yaml")
    else:
        assert isinstance(document.values, dict)


_SNIPPETS = [
    *"[]{}:,-?&*!|>'\"#%@`\n\t \\",
    "\n  ",
    "a: ",
    "- ",
    "&a ",
    "*a",
    "!!map ",
    "!!seq ",
    "!!int ",
    "!!binary ",
    "!!set ",
]
_SNIPPETS += [
    "!!python/name:os.system ",
    "<<: ",
    "--- ",
    "...",
    "%YAML 9.9",
    "\ufeff",
    "\x00",
    "\x85",
    "\u2028",
    "1:1",
    "agent",
    "ppo",
]


@one_folder
@given(st.lists(st.sampled_from(_SNIPPETS) | any_text, max_size=25).map("".join))
def test_arbitrary_yaml_gives_a_configuration_or_a_message(tmp_path: Path, text: str) -> None:
    path = tmp_path / "fuzz.yaml"
    path.write_bytes(b"extends: ppo\n" + text.encode("utf-8", "surrogatepass"))
    found = outcome(str(path))
    assert isinstance(found, str) or usable(found)


@one_folder
@given(st.lists(st.tuples(paths, values), min_size=1, max_size=4))
def test_arbitrary_values_of_real_keys_give_a_configuration_or_a_message(
    tmp_path: Path, given: list[tuple[tuple[str, ...], Any]]
) -> None:
    document: dict[str, Any] = {"extends": "ppo"}
    for path, value in given:
        section = document
        for key in path[:-1]:
            below = section.setdefault(key, {})
            section = below if isinstance(below, dict) else section
        section[path[-1]] = value
    file = tmp_path / "fuzz.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")

    found = outcome(str(file))

    assert isinstance(found, str) or usable(found)


@settings(deadline=None)
@given(st.lists(paths.map(".".join) | any_text, max_size=3), st.lists(any_text | words | values.map(repr), max_size=3))
def test_arbitrary_overrides_give_a_configuration_or_a_message(names: list[str], texts: list[str]) -> None:
    overrides = tuple(f"{name}={text}" for name, text in zip(names, texts, strict=False)) or tuple(texts)
    found = outcome("ppo", overrides)
    assert isinstance(found, str) or usable(found)


@settings(deadline=None)
@given(values | st.dictionaries(st.sampled_from([path[0] for path in keys()]), values, max_size=5))
def test_an_arbitrary_stored_configuration_is_read_or_refused(stored: Any) -> None:
    try:
        config = from_dict(stored, "the stored one")
    except ConfigError as error:
        assert "the stored one" in str(error)
    else:
        assert isinstance(stored, Mapping)
        assert isinstance(config, Config)


@settings(deadline=None)
@given(any_text | any_text.map("{}.yaml".format) | st.integers(250, 9_000).map(lambda length: "a" * length + ".yaml"))
def test_an_arbitrary_preset_name_is_refused(name: str) -> None:
    assert isinstance(outcome(name), str)


WORST = {
    "billion laughs": "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n",
    "an anchor that contains itself": "a: &a [*a]\n",
    "open brackets": "a: " + "[" * 16_000,
    "nested mappings": "a: " + "{a: " * 3_000,
    "nested keys": "".join(" " * depth + "a:\n" for depth in range(150)),
    "a hexadecimal number": "seed: 0x" + "f" * 15_000,
    "a number in base sixty": "seed: 1" + ":1" * 7_500,
    "decimal digits": "train: {total_steps: " + "9" * 15_000 + "}",
    "unknown keys": "".join(f"a{number}: 1\n" for number in range(1_500)),
    "wrong items": "environment: {actions: [" + "[x]," * 3_500 + "]}",
    "a long file name": "extends: " + "a" * 9_000 + ".yaml",
    "an empty mapping by a tag": "train: !!map x",
    "too many bytes": "#" * 10_000_000,
}


@pytest.mark.parametrize("name", WORST)
def test_a_file_that_would_exhaust_the_loader_is_refused_within_seconds(name: str, tmp_path: Path) -> None:
    path = tmp_path / "worst.yaml"
    text = WORST[name]
    path.write_text(text if text.startswith("extends") else f"extends: ppo\n{text}")
    start = time.process_time()

    message = outcome(str(path))

    assert isinstance(message, str)
    assert message.startswith(str(path)) or "no such file" in message
    assert len(message) < 20_000
    assert time.process_time() - start < MAX_SECONDS


def test_an_override_that_would_exhaust_the_loader_is_refused() -> None:
    assert "nested too deeply" in outcome("ppo", ("a" + ".a" * 50_000 + "=1",))
    assert "too long for a number" in outcome("ppo", ("seed=" + "9" * 9_000,))
    assert "at most 16384 bytes" in outcome("ppo", ("environment.actions=" + "[" * 100_000,))


def test_a_number_that_is_too_large_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: ppo\ntrain:\n  total_steps: {10**30}\n")
    assert outcome(str(path)) == f"{path}:3: {10**30} is too large (at most {2**53})"


@pytest.mark.parametrize("text", ["\\0", "\\ud800"])
def test_a_text_that_postgres_cannot_store_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f'extends: ppo\ndescription: "{text}"\n')
    assert "cannot be stored" in str(outcome(str(path)))


@pytest.mark.parametrize("seed", range(5))
def test_any_graph_of_presets_is_read_or_refused(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    names = [f"p{number}.yaml" for number in range(40)]
    for number, name in enumerate(names):
        # The last seed makes one long chain without a circle.
        parent = "ppo" if number == 39 else names[number + 1] if seed == 4 else draw.choice([*names, "ppo"])
        (tmp_path / name).write_text(f"extends: {parent}\nseed: {number}\n")

    found = [outcome(str(tmp_path / name)) for name in names]

    for number, each in enumerate(found):
        if isinstance(each, str):
            assert "extends is circular" in each or "more than 16 presets extend one another" in each
        else:
            assert each.seed == number
    if seed == 4:
        assert isinstance(found[30], Config)
        assert "more than 16 presets extend one another" in str(found[0])
