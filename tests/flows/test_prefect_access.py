"""Prefect's client uses only the verified server of this home, and only its user can read the secret."""

import stat
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import prefect.settings
import pytest

from flows import prefect_access, running
from tests.flows.listeners import dripping, file_server, silent, write_certificate

Listener = Callable[[], AbstractContextManager[int]]


def test_the_secret_is_permanent_and_only_its_user_can_read_it(tmp_path: Path) -> None:
    secret = prefect_access.server_secret(tmp_path)
    path = prefect_access.secret_file(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    user, _, password = secret.partition(":")
    assert user == "mario"
    assert len(password) >= 40
    assert prefect_access.server_secret(tmp_path) == secret
    assert prefect_access.server_secret(tmp_path / "another home") != secret


def test_a_secret_that_others_could_read_is_replaced(tmp_path: Path) -> None:
    secret = prefect_access.server_secret(tmp_path)
    path = prefect_access.secret_file(tmp_path)
    path.chmod(0o644)
    assert prefect_access.server_secret(tmp_path) != secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["secret"]


@pytest.mark.parametrize("listener", [file_server, silent, dripping])
def test_another_program_is_never_taken_for_the_server(tmp_path: Path, listener: Listener) -> None:
    prefect_access.server_secret(tmp_path)
    with listener() as port:
        prefect_access.publish_server(tmp_path, prefect_access.api_url(port))
        start = time.monotonic()
        assert prefect_access.running_server(tmp_path) is None
        assert time.monotonic() - start < 10  # two seconds, and a margin for a busy machine


def test_without_a_record_there_is_no_server(tmp_path: Path) -> None:
    assert prefect_access.running_server(tmp_path) is None
    prefect_access.publish_server(tmp_path, "http://127.0.0.1:1/api")
    assert prefect_access.running_server(tmp_path) is None, "nothing listens, and there is no secret"
    prefect_access.server_secret(tmp_path)
    assert prefect_access.running_server(tmp_path) is None
    prefect_access.withdraw_server(tmp_path)
    prefect_access.withdraw_server(tmp_path)
    assert not list((tmp_path / "prefect-server").glob("url"))


@pytest.mark.parametrize("url", ["", "no url", "http://127.0.0.1/api", "http://127.0.0.1:x/api", "http://127.0.0.1:99999/api"])
def test_an_invalid_record_means_no_server(tmp_path: Path, url: str) -> None:
    prefect_access.server_secret(tmp_path)
    prefect_access.publish_server(tmp_path, url)
    assert prefect_access.running_server(tmp_path) is None


def test_the_configured_certificate_is_used(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    write_certificate(certificate, key)
    with file_server((certificate, key)) as port:
        url = f"https://127.0.0.1:{port}/api"
        trusted = {prefect.settings.PREFECT_API_URL: url, prefect.settings.PREFECT_API_SSL_CERT_FILE: str(certificate)}
        for changed, answer in (
            (trusted, "is not a Prefect server"),
            ({prefect.settings.PREFECT_API_URL: url}, "does not answer"),
        ):
            with (
                prefect.settings.temporary_settings(changed),
                pytest.raises(running.NoPrefectServerError, match=answer),
            ):
                running.require_reachable_server()


@pytest.mark.parametrize("listener", [file_server, silent, dripping])
def test_a_configured_server_that_is_not_prefect_is_refused_in_time(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_TIMEOUT_SECONDS", 1.0)
    with listener() as port:
        url = f"http://127.0.0.1:{port}/api"
        with prefect.settings.temporary_settings({prefect.settings.PREFECT_API_URL: url}):
            start = time.monotonic()
            with pytest.raises(running.NoPrefectServerError, match=rf"{url} (does not answer|is not a Prefect server).*URL"):
                running.require_reachable_server()
            assert time.monotonic() - start < 20
