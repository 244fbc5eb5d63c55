"""The settings come from environment variables, and telemetry is off."""

import stat
import tomllib
import urllib.request
from pathlib import Path

import httpx
import pytest
import requests

from configs import LOGGERS, PROJECT, Settings
from tests.flows.listeners import file_server


def test_the_default_home_is_in_the_projects_folder() -> None:
    settings = Settings.from_environment({"DATABASE_URL": ""})
    assert settings == Settings(home=PROJECT / ".mario", database_url=None, tracking_uri=None)


def test_environment_variables_override_the_defaults(tmp_path: Path) -> None:
    environment = {
        "MARIO_HOME": str(tmp_path),
        "DATABASE_URL": "postgresql://db/x",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000",
    }
    settings = Settings.from_environment(environment)
    assert settings == Settings(tmp_path, "postgresql://db/x", "http://127.0.0.1:5000")


def test_only_its_user_can_access_the_home(tmp_path: Path) -> None:
    home = Settings(tmp_path / "deep" / "home", None, None).create_home()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_telemetry_is_off_and_variables_that_are_set_are_kept(tmp_path: Path) -> None:
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
def test_loopback_is_added_to_no_proxy(tmp_path: Path, given: dict[str, str], expected: str) -> None:
    target = dict(given)
    for _ in range(2):
        Settings(tmp_path, None, None).apply(target)
        assert target["no_proxy"] == target["NO_PROXY"] == expected


def test_every_http_library_reaches_loopback_without_the_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")  # nothing listens there
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


def test_prefect_toml_lists_the_same_loggers() -> None:
    settings = tomllib.loads((PROJECT / "prefect.toml").read_text())
    assert tuple(settings["logging"]["extra_loggers"].split(",")) == LOGGERS
