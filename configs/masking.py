"""Masking of secrets in URLs before they are printed, logged or stored. Only this module does it.

A password with a character that should have been escaped makes a URL ambiguous: in `postgresql://u:pa/ss@h/db` web parsers see
the host `u`, and SQLAlchemy sees a password. Everything that any parser would take for a secret is masked, even if that hides a
host.
"""

import re
from urllib.parse import quote, quote_plus, unquote, unquote_plus

MASK = "***"
_MIN_SECRET = 3  # characters; shorter secrets are not searched for in texts
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_IN_TEXT = re.compile(rf"{_SCHEME.pattern}\S*")
_SECRET_NAME = re.compile(r"pass|pwd|secret|token|credential|auth|api_?key|signature", re.I)
# In these URLs, a single name before the @ is a user. In any other URL it may be a token.
_DATABASES = ("postgres", "mysql", "mariadb", "mssql", "oracle", "sqlite")


def mask_url(url: str) -> str:
    """Replace each secret in `url` by ``***``. A text that is no URL may itself be a secret, and is masked completely.

    Secrets are the password between the user's name and the last ``@``, a token in its place, and query parameters with
    telling names (`password`, `sslpassword`, `passfile`, `access_token` …).
    """
    scheme = _SCHEME.match(url)
    if scheme is None:
        return MASK if url else ""
    rest = url[scheme.end() :]
    # A URL without a host has no user either: an @ belongs to its path.
    before, at, after = ("", "", rest) if rest.startswith("/") else rest.rpartition("@")
    if not at:
        return scheme[0] + _mask_options(after)
    user, colon, _ = before.partition(":")
    if _mask_options(before) != before:
        # A password that contains a question mark, or a parameter that contains an @: the end of the secret is unknown.
        return f"{scheme[0]}{user.partition('?')[0]}:{MASK}"
    if not colon and not scheme[0].lower().startswith(_DATABASES):
        return f"{scheme[0]}{MASK}@{_mask_options(after)}"
    return f"{scheme[0]}{user}{f':{MASK}' if colon else ''}@{_mask_options(after)}"


def mask_urls(text: str) -> str:
    """Mask every URL in `text` as :func:`mask_url` does. A URL ends at white space."""
    return _IN_TEXT.sub(lambda found: mask_url(found[0]), text)


def mask_secrets_of(text: str, url: str) -> str:
    """Mask every URL in `text`, and each secret of `url` anywhere in it, plain or percent-encoded.

    This is for messages of libraries, which quote a URL or the part of it that they could not parse.
    """
    for secret in sorted(_secrets_of(url), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return mask_urls(text)


def _secrets_of(url: str) -> set[str]:
    """Every part of `url` that any parser would take for a secret, in every encoding; none shorter than `_MIN_SECRET`."""
    scheme = _SCHEME.match(url)
    if scheme is None:
        return {url} if len(url) >= _MIN_SECRET else set()
    rest = url[scheme.end() :]
    before = "" if rest.startswith("/") else rest.rpartition("@")[0]
    user, colon, password = before.partition(":")
    if not colon and not scheme[0].lower().startswith(_DATABASES):
        password = user
    # A parser that ends the password earlier takes the rest for a host, a port or a path, and quotes it.
    found = {password, *re.split(r"[@/?#]", password)}
    for option in re.split(r"[?&]", rest)[1:]:
        name, _, value = option.partition("=")
        if _SECRET_NAME.search(unquote_plus(name)):
            found.add(value)
    plain = found | {unquote(each) for each in found} | {unquote_plus(each) for each in found}
    encoded = {encode(each) for each in plain for encode in (quote, quote_plus, lambda each: quote(each, safe=""))}
    return {each for each in plain | encoded if len(each) >= _MIN_SECRET}


def _mask_options(text: str) -> str:
    """Replace the values of query parameters (``?name=value&name=value``) with secret names by ``***``."""
    start = re.search(r"[?&]", text)
    if start is None:
        return text
    shown: list[str] = []
    secret = False
    for option in text[start.end() :].split("&"):
        name, equals, _ = option.partition("=")
        if secret and not equals:
            continue  # the rest of a secret that contains an &
        secret = bool(equals and _SECRET_NAME.search(unquote_plus(name)))
        shown.append(f"{name}={MASK}" if secret else option)
    return text[: start.end()] + "&".join(shown)
