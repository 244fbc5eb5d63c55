"""Secrets in URLs, masked before a URL is printed, logged or stored: the one place in the project that does this.

A password with a character that should have been escaped makes a URL ambiguous: in `postgresql://u:pa/ss@h/db` a parser of the
web's kind sees the host `u`, SQLAlchemy sees a password. So what any reading takes for a secret is masked, even if that hides a
host.
"""

import re
from urllib.parse import quote, quote_plus, unquote, unquote_plus

MASK = "***"
_SHORTEST = 3  # characters of a secret that is looked for in a text
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_IN_TEXT = re.compile(rf"{_SCHEME.pattern}\S*")
_SECRET_NAME = re.compile(r"pass|pwd|secret|token|credential|auth|api_?key|signature", re.I)
# Before the @ of these, a name standing alone is a user's; in any other URL it may be a token.
_DATABASES = ("postgres", "mysql", "mariadb", "mssql", "oracle", "sqlite")


def mask_url(url: str) -> str:
    """`url`, one whole URL, with ``***`` for each secret in it; what is no URL may be a secret altogether, and is masked whole.

    Secrets are the password between the user's name and the last ``@``, a token standing alone in its place, and options behind
    the question mark whose names say so (`password`, `sslpassword`, `passfile`, `access_token` …).
    """
    scheme = _SCHEME.match(url)
    if scheme is None:
        return MASK if url else ""
    rest = url[scheme.end() :]
    # Without a host there is no user either: an @ further on belongs to a path.
    before, at, after = ("", "", rest) if rest.startswith("/") else rest.rpartition("@")
    if not at:
        return scheme[0] + _mask_options(after)
    user, colon, _ = before.partition(":")
    if _mask_options(before) != before:
        # Either a password with a question mark in it, or an option with an @ in it: where the secret ends cannot be told.
        return f"{scheme[0]}{user.partition('?')[0]}:{MASK}"
    if not colon and not scheme[0].lower().startswith(_DATABASES):
        return f"{scheme[0]}{MASK}@{_mask_options(after)}"
    return f"{scheme[0]}{user}{f':{MASK}' if colon else ''}@{_mask_options(after)}"


def mask_urls(text: str) -> str:
    """`text` with every URL in it masked by :func:`mask_url`. A URL ends at white space."""
    return _IN_TEXT.sub(lambda found: mask_url(found[0]), text)


def without_secrets_of(text: str, url: str) -> str:
    """`text` with every URL in it masked, and each secret of `url` wherever it stands, plain or percent-encoded.

    For messages of libraries, which quote what they have been given, or the part of it that they could not read.
    """
    for secret in sorted(_secrets_of(url), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return mask_urls(text)


def _secrets_of(url: str) -> set[str]:
    """Every secret of `url` by any reading, in every spelling; none so short that words would be cut up for it."""
    scheme = _SCHEME.match(url)
    if scheme is None:
        return {url} if len(url) >= _SHORTEST else set()
    rest = url[scheme.end() :]
    before = "" if rest.startswith("/") else rest.rpartition("@")[0]
    user, colon, password = before.partition(":")
    if not colon and not scheme[0].lower().startswith(_DATABASES):
        password = user
    # A reader that ends the password at another place takes what follows for a host, a port or a path, and says so.
    found = {password, *re.split(r"[@/?#]", password)}
    for option in re.split(r"[?&]", rest)[1:]:
        name, _, value = option.partition("=")
        if _SECRET_NAME.search(unquote_plus(name)):
            found.add(value)
    plain = found | {unquote(each) for each in found} | {unquote_plus(each) for each in found}
    spelt = {spelling(each) for each in plain for spelling in (quote, quote_plus, lambda each: quote(each, safe=""))}
    return {each for each in plain | spelt if len(each) >= _SHORTEST}


def _mask_options(text: str) -> str:
    """`text` with ``***`` for the values of options (``?name=value&name=value``) whose names say that they are secret."""
    start = re.search(r"[?&]", text)
    if start is None:
        return text
    shown: list[str] = []
    secret = False
    for option in text[start.end() :].split("&"):
        name, equals, _ = option.partition("=")
        if secret and not equals:
            continue  # the rest of a secret with an & in it
        secret = bool(equals and _SECRET_NAME.search(unquote_plus(name)))
        shown.append(f"{name}={MASK}" if secret else option)
    return text[: start.end()] + "&".join(shown)
