"""The files in `mlflow/`: read, not run, since that takes a container engine."""

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from tracking.client import connect

FOLDER = Path(__file__).parents[2] / "mlflow"


@pytest.fixture
def services() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))["services"]
    return loaded


def test_no_python_file_shadows_the_real_package() -> None:
    assert list(FOLDER.rglob("*.py")) == []


def test_versions_are_pinned_and_those_of_the_project(services: dict[str, Any]) -> None:
    assert services["server"]["image"].partition(":")[2].startswith(f"v{version('mlflow')}")
    assert re.fullmatch(r"postgres:\d+\.\d+", services["database"]["image"])


def test_ports_are_on_loopback_only(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service["ports"]]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_password_comes_from_the_environment_and_is_in_no_command_line(services: dict[str, Any]) -> None:
    text = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
    given = re.findall(r"PASSWORD: (\S+)|mlflow:(\S+?)@database", text)
    assert given
    assert all((one or other).startswith("${MLFLOW_DATABASE_PASSWORD") for one, other in given)
    assert "PASSWORD" not in " ".join(services["server"]["command"])


def test_every_option_is_one_that_mlflow_server_has(services: dict[str, Any], uri: str, home: Path) -> None:
    connect(uri, home)  # silences the warnings of the import below
    from mlflow.cli import server

    known = {option for parameter in server.params for option in parameter.opts}
    options = [argument.partition("=")[0] for argument in services["server"]["command"][2:]]
    assert set(options) <= known


@pytest.mark.parametrize(
    ("given", "hosts"),
    [
        ({}, "localhost:5000,127.0.0.1:5000"),
        ({"MLFLOW_PORT": "5050"}, "localhost:5050,127.0.0.1:5050"),
        ({"MLFLOW_PORT": "5050", "MLFLOW_ALLOWED_HOSTS": "mlflow.example.org"}, "mlflow.example.org"),
    ],
)
def test_the_server_answers_on_the_port_it_is_published_on(services: dict[str, Any], given: dict[str, str], hosts: str) -> None:
    options = dict(argument.partition("=")[::2] for argument in services["server"]["command"])
    assert interpolated(options["--allowed-hosts"], given) == hosts
    port = given.get("MLFLOW_PORT", "5000")
    assert interpolated(services["server"]["ports"][0], given) == f"127.0.0.1:{port}:5000"


def interpolated(text: str, variables: dict[str, str]) -> str:
    """`text` with Compose's ``${NAME:-default}`` replaced, the innermost first."""
    default = re.compile(r"\$\{(\w+):-([^${}]*)\}")
    while (replaced := default.sub(lambda found: variables.get(found[1]) or found[2], text)) != text:
        text = replaced
    return text


def test_every_variable_is_in_the_example() -> None:
    used = set(re.findall(r"\$\{(\w+)", (FOLDER / "compose.yaml").read_text(encoding="utf-8")))
    assert used == set(re.findall(r"^#? ?(\w+)=", (FOLDER / ".env.example").read_text(encoding="utf-8"), re.M))
