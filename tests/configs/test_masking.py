"""No secret in a URL passes the mask, whatever characters it contains and however the URL is parsed."""

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import URL

from configs import Settings
from configs.masking import mask_secrets_of, mask_url, mask_urls
from episodes import StoreError
from episodes.address import describe, masked, parse
from tracking.client import without_password
from tracking.values import parameters


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://mario:secret@host/db", "postgresql://mario:***@host/db"),
        ("postgresql://mario:se@cret@host/db", "postgresql://mario:***@host/db"),
        ("postgresql://u:pa/ss@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:p?a#s s@h:5432/db?sslmode=require", "postgresql://u:***@h:5432/db?sslmode=require"),
        ("postgresql://h/db?user=u&password=secret", "postgresql://h/db?user=u&password=***"),
        ("postgresql://h/db?pass%77ord=a&b&user=u", "postgresql://h/db?pass%77ord=***&user=u"),
        ("postgresql:///db?host=/run&passfile=x@y", "postgresql:///db?host=/run&passfile=***"),
        ("postgresql://h:1/db?password=x@y", "postgresql://h:***"),
        ("postgresql://u:x?password=y@h/db", "postgresql://u:***"),
        ("postgresql://mario@host/db", "postgresql://mario@host/db"),
        ("https://token@github.com/a/b", "https://***@github.com/a/b"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
        ("http://127.0.0.1:5000/#/experiments/1", "http://127.0.0.1:5000/#/experiments/1"),
        ("hunter2", "***"),
        ("", ""),
    ],
)
def test_only_the_secrets_of_a_url_are_masked(url: str, shown: str) -> None:
    assert mask_url(url) == shown


def test_every_url_in_a_text_is_masked() -> None:
    assert mask_urls("see http://a:b@c and http://d:e@f, nobody@example.org") == (
        "see http://a:***@c and http://d:***@f, nobody@example.org"
    )


# Every secret contains these letters, which occur nowhere else, with arbitrary text around them.
CORE = "zqxj"
secrets = st.builds(lambda before, after: f"{before}{CORE}{after}", st.text(max_size=8), st.text(max_size=8))
odd = st.text("@:/?#%&=+ '\"\\[]{}.,;\nü0x", max_size=8)
odd_secrets = st.builds(lambda before, after: f"{before}{CORE}{after}", odd, odd)
schemes = st.sampled_from(["postgresql", "postgres", "postgresql+psycopg2", "http", "https", "mysql+pymysql"])


@given(schemes, secrets | odd_secrets)
@example("postgresql", f"p@s/{CORE}?x=y@z")
@example("postgresql", f"1/{CORE}")
def test_no_password_passes_in_any_encoding(scheme: str, secret: str) -> None:
    for written in (secret, quote(secret, safe="")):
        for url in (f"{scheme}://u:{written}@host:5432/db?sslmode=require", f"{scheme}://:{written}@host"):
            assert CORE not in mask_url(url)
            assert CORE not in repr(Settings(Path("/home"), url, url))
            assert CORE not in mask_secrets_of(f"cannot read {url}", url)


@given(schemes, secrets | odd_secrets, st.sampled_from(["password", "sslpassword", "passfile", "access_token", "PassWord"]))
def test_no_secret_parameter_passes(scheme: str, secret: str, name: str) -> None:
    # Without an ampersand: no parser takes it for a part of the parameter.
    for written in (secret.replace("&", ""), quote(secret, safe="")):
        for url in (f"{scheme}://host:5432/db?user=u&{name}={written}&sslmode=require", f"{scheme}:///db?{name}={written}"):
            assert CORE not in mask_url(url)
            assert CORE not in repr(Settings(Path("/home"), url, url))


@given(secrets | odd_secrets)
def test_sqlalchemys_url_and_its_error_messages_are_masked(secret: str) -> None:
    written = f"postgresql://u:{secret}@host/db"
    try:
        urls = [parse(written)]
    except StoreError as error:
        assert CORE not in str(error)
        urls = []
    for url in [*urls, URL.create("postgresql", "u", secret, "host", 5432, "db", query={"password": secret})]:
        assert CORE not in masked(url)
        if url.password and CORE in str(url.password):
            assert CORE not in describe(ValueError(f"cannot log in with {url.password}"), url)


def test_a_quoted_part_of_a_password_is_masked() -> None:
    uri = "http://u:5000/hunter2@host"
    assert "hunter2" not in without_password("invalid port or path: '5000', '/hunter2'", uri)


def test_mlflow_parameters_contain_no_secrets() -> None:
    assert parameters({"uri": "postgresql://u:pa/ss@h/db", "other": "x?password=1"}) == {
        "uri": "postgresql://u:***@h/db",
        "other": "x?password=1",
    }


def test_the_repr_of_settings_contains_no_secrets() -> None:
    shown = repr(Settings(Path("/home"), "postgresql://u:pa/ss@h/db", None, "sftp://u:pa/ss@h/folder"))
    urls = "database_url='postgresql://u:***@h/db', tracking_uri=None, checkpoints_url='sftp://u:***@h/folder'"
    assert shown == f"Settings(home=PosixPath('/home'), {urls})"
