"""Places and servers come from the environment, and nothing reports home."""

import stat
import tomllib
import urllib.request
from pathlib import Path

import httpx
import pytest
import requests

from configs import LOGGERS, PROJECT, Settings
from tests.flows.listeners import file_server


def test_defaults_lie_in_the_projects_folder() -> None:
    settings = Settings.from_environment({"DATABASE_URL": ""})
    assert settings == Settings(home=PROJECT / ".mario", database_url=None, tracking_uri=None)


def test_the_environment_decides(tmp_path: Path) -> None:
    environment = {
        "MARIO_HOME": str(tmp_path),
        "DATABASE_URL": "postgresql://db/x",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000",
    }
    settings = Settings.from_environment(environment)
    assert settings == Settings(tmp_path, "postgresql://db/x", "http://127.0.0.1:5000")


def test_the_home_is_for_its_user_alone(tmp_path: Path) -> None:
    home = Settings(tmp_path / "deep" / "home", None, None).create_home()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_telemetry_is_off_unless_a_person_says_otherwise(tmp_path: Path) -> None:
    settings = Settings(tmp_path, None, None)
    target: dict[str, str] = {"PREFECT_HOME": "/elsewhere"}
    settings.apply(target)
    assert target["DO_NOT_TRACK"] == "true"
    assert target["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert target["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert target["PREFECT_HOME"] == "/elsewhere"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "localhost,127.0.0.1,::1"),
        ({"NO_PROXY": "db.example.org"}, "db.example.org,localhost,127.0.0.1,::1"),
        ({"NO_PROXY": "a,localhost", "no_proxy": "b, a"}, "b,a,localhost,127.0.0.1,::1"),
        ({"no_proxy": "*"}, "*"),
    ],
)
def test_loopback_is_added_to_what_goes_past_proxies(tmp_path: Path, given: dict[str, str], expected: str) -> None:
    target = dict(given)
    for _ in range(2):
        Settings(tmp_path, None, None).apply(target)
        assert target["no_proxy"] == target["NO_PROXY"] == expected


def test_every_http_library_reaches_loopback_past_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")  # nobody is there
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with file_server() as port:
        url = f"http://127.0.0.1:{port}/"
        with pytest.raises(requests.exceptions.ProxyError):
            requests.get(url, timeout=10)
        environment: dict[str, str] = {}
        Settings(tmp_path, None, None).apply(environment)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, environment[name])
        assert requests.get(url, timeout=10).ok
        assert httpx.get(url).is_success
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.status == 200


def test_prefects_own_commands_take_log_lines_of_the_same_packages() -> None:
    settings = tomllib.loads((PROJECT / "prefect.toml").read_text())
    assert tuple(settings["logging"]["extra_loggers"].split(",")) == LOGGERS
