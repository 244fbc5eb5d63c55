"""URLs of every spelling, and errors that help without telling the password."""

import socket
import traceback
from pathlib import Path

import pytest
from sqlalchemy import make_url

from episodes import EpisodeStore, StoreError, StoreUnavailableError
from episodes.address import masked, parse


@pytest.mark.parametrize(
    "scheme", ["postgres", "postgresql", "postgresql+psycopg2", "postgresql+psycopg", "postgresql+asyncpg"]
)
def test_every_postgres_scheme_becomes_psycopg2(scheme: str) -> None:
    url = parse(f" {scheme}://me:secret@host:5433/mario?sslmode=require\n")
    assert url.render_as_string(hide_password=False) == "postgresql+psycopg2://me:secret@host:5433/mario?sslmode=require"


def test_a_password_behind_the_question_mark_is_found_and_masked() -> None:
    url = parse("postgresql://host/mario?user=me&password=s%40cret&sslpassword=other")
    assert (url.username, url.password) == ("me", "s@cret")
    assert masked(url) == "postgresql+psycopg2://me:***@host/mario?sslpassword=***"


@pytest.mark.parametrize(
    "text",
    [
        "mysql://me:secret@host/db",
        "sqlite:///secret.db",
        "secret",
        "postgresql://me:x@host:secret/db",
        "postgresql://h:secret/d",
    ],
)
def test_what_is_no_postgres_url_is_refused_without_being_quoted(text: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="DATABASE_URL") as caught:
        EpisodeStore.open(text, tmp_path)
    assert "postgresql://USER:PASSWORD@HOST:5432/DATABASE" in str(caught.value)
    assert "sec" not in str(caught.value)


def everything_said(error: BaseException) -> str:
    """The error, all it is chained to, and what a traceback with local variables would show of them."""
    said = "".join(traceback.TracebackException.from_exception(error, capture_locals=False).format())
    for linked in (error.__cause__, error.__context__):
        if linked is not None:
            said += everything_said(linked)
    return said + repr(error) + str(error)


def test_a_wrong_password_is_reported_and_not_told(database_url: str, tmp_path: Path) -> None:
    url = make_url(database_url)
    if url.password is None:
        pytest.skip("the socket asks for no password")
    wrong = url.set(password="hunter" + "2:@/%").render_as_string(hide_password=False)
    with pytest.raises(StoreError) as caught:
        EpisodeStore.open(wrong, tmp_path)
    said = everything_said(caught.value)
    assert not isinstance(caught.value, StoreUnavailableError), "trying again would not help"
    assert "password authentication failed" in said
    assert "correct DATABASE_URL" in said
    assert f"://{url.username}:***@127.0.0.1" in said
    assert "hunter" + "2" not in said


def test_a_missing_database_is_named(database_url: str, tmp_path: Path) -> None:
    url = make_url(database_url).set(database="nowhere").render_as_string(hide_password=False)
    with pytest.raises(StoreError, match=r'database "nowhere" does not exist.*[Cc]reate the database'):
        EpisodeStore.open(url, tmp_path)


def test_a_server_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    password = "hunter" + "2"
    with pytest.raises(StoreUnavailableError) as caught:
        EpisodeStore.open(f"postgresql://me:{password}@127.0.0.1:{port}/mario", tmp_path)
    said = everything_said(caught.value)
    assert f"postgresql+psycopg2://me:***@127.0.0.1:{port}/mario" in said
    assert "accepting TCP/IP connections? No server listens there" in said
    assert password not in said


def test_an_unknown_host_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="The host is unknown"):
        EpisodeStore.open("postgresql://me:hunter2@no-such-host.invalid/mario", tmp_path)


def test_the_store_shows_its_url_masked_only(store: EpisodeStore) -> None:
    password = make_url(store.url).password
    if password is not None:
        assert ":***@" in store.masked_url
        for text in (repr(store), str(store), store.masked_url, repr(vars(store))):
            assert str(password) not in text
