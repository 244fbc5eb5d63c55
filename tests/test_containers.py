"""`compose.yaml`, `Dockerfile` and `.dockerignore`: read and compared with what they use. No container engine runs here.

`tests/data/compose-spec.json` is the schema of the Compose specification (https://github.com/compose-spec/compose-spec,
schema/compose-spec.json, Apache License 2.0), without its white space.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from configs import PROJECT
from tracking import resolve_tracking_uri
from tracking.client import connect

FILES = [(PROJECT / name).read_text(encoding="utf-8") for name in ("compose.yaml", "mlflow/compose.yaml")]
COMPOSE = "\n".join(FILES)
FILE, MLFLOW = (yaml.safe_load(text) for text in FILES)
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
assert SERVICES["mlflow"].pop("extends") == {"file": "mlflow/compose.yaml", "service": "mlflow"}
SERVICES["mlflow"] = MLFLOW["services"]["mlflow"] | SERVICES["mlflow"]
DOCKERFILE = (PROJECT / "Dockerfile").read_text(encoding="utf-8")


def interpolated(text: str, variables: dict[str, str]) -> str:
    """`text` with Compose's ``${NAME:-default}`` and ``${NAME:?message}`` replaced, the innermost first."""
    variable = re.compile(r"\$\{(\w+):([-?])([^${}]*)\}")

    def value(found: "re.Match[str]") -> str:
        if found[2] == "?" and not variables.get(found[1]):
            raise KeyError(f"{found[1]} {found[3]}")
        return variables.get(found[1]) or found[3]

    while (replaced := variable.sub(value, text)) != text:
        text = replaced
    return text


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and their arguments, continued lines joined."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in text.splitlines() if line.strip()]


def test_compose_has_the_form_of_the_specification() -> None:
    schema = json.loads((PROJECT / "tests" / "data" / "compose-spec.json").read_text(encoding="utf-8"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the schema names its draft by an address that the library does not know
        validator = jsonschema.validators.validator_for(schema)(schema)
    for text in FILES:
        errors = validator.iter_errors(yaml.safe_load(text))
        assert [f"{list(error.absolute_path)}: {error.message}" for error in errors] == []


def test_every_server_has_a_health_check_and_whoever_needs_it_waits_for_it() -> None:
    for name, service in SERVICES.items():
        assert ("healthcheck" in service) == (name != "deploy"), name
        for needed, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if needed == "deploy" else "service_healthy"
            assert how["condition"] == wanted, name


def test_images_are_pinned_and_of_the_version_of_the_project() -> None:
    assert re.fullmatch(r"postgres:\d+\.\d+", SERVICES["database"]["image"])
    ours = {interpolated(service["image"], {}) for name, service in SERVICES.items() if name != "database"}
    assert ours == {f"train-mario:{version('train-mario')}"}
    bases = {argument.split()[0] for word, argument in instructions() if word == "FROM"} - {"base", "packages"}
    assert len(bases) == 1
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", bases.pop())


@pytest.mark.parametrize(("given", "address"), [({}, "127.0.0.1"), ({"BIND_ADDRESS": "10.0.0.5"}, "10.0.0.5")])
def test_ports_are_on_loopback_unless_told_otherwise(given: dict[str, str], address: str) -> None:
    ports = {name: interpolated(port, given) for name, service in SERVICES.items() for port in service.get("ports", [])}
    assert ports == {
        "database": f"{address}:5432:5432",
        "mlflow": f"{address}:5000:5000",
        "prefect": f"{address}:4200:4200",
    }


def test_without_a_password_nothing_starts_and_none_is_written_down() -> None:
    for missing in ("DATABASE_PASSWORD", "PREFECT_PASSWORD"):
        given = {"DATABASE_PASSWORD": "a", "PREFECT_PASSWORD": "b"} | {missing: ""}
        with pytest.raises(KeyError, match=rf"{missing} is missing in \.env"):
            interpolated(COMPOSE, given)
    secrets = re.findall(r"PASSWORD: (\S+)|AUTH_STRING: mario:(\S+)|//mario:([^@]+)@", COMPOSE)
    assert len(secrets) == 6
    assert all(re.match(r"\$\{(DATABASE|PREFECT)_PASSWORD:\?", one or two or three) for one, two, three in secrets)
    # A command line can be read by every user of the machine.
    assert not [name for name, service in SERVICES.items() if "PASSWORD" in str(service.get("command", ""))]


def test_what_must_last_is_in_a_named_volume() -> None:
    mounted = [volume.split(":") for service in SERVICES.values() for volume in service.get("volumes", [])]
    assert {name for name, _ in mounted} == set(FILE["volumes"])
    created = next(argument for word, argument in instructions() if word == "RUN" and "useradd" in argument)
    for name, path in mounted:
        assert name == "database" or path in created, f"{path} would belong to root"


def test_every_variable_is_in_the_example() -> None:
    used = set(re.findall(r"\$\{(\w+)", COMPOSE))
    assert used == set(re.findall(r"^#? ?(\w+)=", (PROJECT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))
    assert subprocess.run(["git", "check-ignore", "--quiet", ".env"], cwd=PROJECT, check=False).returncode == 0


def test_commands_have_the_options_of_their_programs(home: Path) -> None:
    connect(resolve_tracking_uri(None, home))  # silences the warnings of the import below
    from mlflow.cli import server

    def helped(*command: str) -> set[str]:
        arguments = [sys.executable, "-m", "prefect", *command, "--help"]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "200"})
        return set(re.findall(r"--[a-z-]+", done.stdout))

    known = {
        "mlflow": {option for parameter in server.params for option in parameter.opts},
        "prefect": helped("server", "start"),
        "worker": helped("worker", "start"),
    }
    for name, service in SERVICES.items():
        if name in ("database", "deploy"):
            continue
        options = {word.partition("=")[0] for word in service["command"] if word.startswith("--")}
        assert options
        assert options <= known[name.rpartition("-")[2]], name
    assert SERVICES["deploy"]["command"] == ["mario", "deploy"]


@pytest.mark.parametrize(
    ("given", "hosts"),
    [
        ({}, "mlflow:5000,localhost:5000,127.0.0.1:5000"),
        ({"MLFLOW_PORT": "5050"}, "mlflow:5000,localhost:5050,127.0.0.1:5050"),
        ({"MLFLOW_PORT": "5050", "MLFLOW_ALLOWED_HOSTS": "mlflow.example.org"}, "mlflow.example.org"),
    ],
)
def test_mlflow_answers_under_the_names_it_is_reached_by(given: dict[str, str], hosts: str) -> None:
    options = dict(argument.partition("=")[::2] for argument in SERVICES["mlflow"]["command"])
    assert interpolated(options["--allowed-hosts"], given) == hosts


def test_a_worker_has_longer_to_stop_than_a_checkpoint_may_take() -> None:
    from flows.graceful import CHECKPOINT_SECONDS

    for name in ("worker", "light-worker", "gpu-worker"):
        assert float(SERVICES[name]["stop_grace_period"].removesuffix("s")) > CHECKPOINT_SECONDS + 10


def test_the_image_runs_as_an_ordinary_user_from_the_locked_wheel() -> None:
    found = instructions()
    last = [word for word, _ in found][::-1].index("FROM")
    final = found[-last:]
    users = [argument for word, argument in final if word == "USER"]
    assert users == ["10001:10001"]
    after = final[[word for word, _ in final].index("USER") :]
    assert not [argument for word, argument in after if word == "RUN" and ("apt" in argument or "pip" in argument)]
    assert not re.search(r"--(extra-)?index-url|https?://", DOCKERFILE)
    runs = " ".join(argument for word, argument in found if word == "RUN")
    assert "constraints/install.sh" in runs
    assert all("--no-deps" in each for each in re.findall(r"pip (?:install|wheel)[^&]*", runs))
    (command,) = [json.loads(argument) for word, argument in final if word == "CMD"]
    assert command == ["mario", "worker", "mario"]


@pytest.mark.timeout(600)  # where the emulator has not been compiled yet
def test_the_command_that_compiles_the_emulator_works() -> None:
    (line,) = [argument for word, argument in instructions() if word == "RUN" and argument.startswith("python -c")]
    assert subprocess.run([sys.executable, *shlex.split(line)[1:]], check=False).returncode == 0


def test_the_context_of_the_build_has_all_that_the_wheel_needs_and_nothing_private() -> None:
    lines = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_through = {line[1:] for line in lines if line.startswith("!")}
    assert lines[1] == "*"
    assert {name for name in let_through if not (PROJECT / name).exists()} == set()
    setup = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    packages = {name.partition(".")[0] for name in setup["tool"]["setuptools"]["packages"]} - {"mario_models"}
    assert packages | {"models", "constraints", "pyproject.toml", "README.md", "LICENSE", "prefect.yaml"} == let_through
