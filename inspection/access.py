"""Who may use the server: this machine's user, from its own pages, after showing the secret."""

import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from inspection import web_files

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["LOOPBACK", "POLICY", "guard"]

LOOPBACK: Final = "127.0.0.1"
_NAMES: Final = (LOOPBACK, "localhost")
_LONGEST_FORM: Final = 4096  # bytes

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with "no-referrer" the log-in form would be sent with the origin "null"
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def guard(app: "ASGIApp", port: int, secret: str) -> "ASGIApp":
    """Wrap `app` in the checks of the host, the origin and the secret, and in the headers that restrict its pages.

    - `Host` must be this machine's loopback. Otherwise a page whose name resolves to 127.0.0.1 (DNS rebinding) could act as
      one of the server's own.
    - `Origin`, where a request has one, must be the server's own. Otherwise any page could send requests with the user's
      cookie.
    - The secret is shown once, as `?token=` or in the form of the log-in page. From then on a cookie stands for it. Scripts
      cannot read the cookie, and other sites' requests do not carry it. It holds a code of secret and port (HMAC, RFC 2104).
    """
    from starlette.datastructures import Headers, MutableHeaders
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import PlainTextResponse

    own = {f"http://{name}:{port}" for name in _NAMES}
    door = _Door(port, secret)

    async def checked(scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return

        async def send_with_headers(message: "Message") -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                if "cache-control" not in headers:
                    headers["Cache-Control"] = "no-store"
            await send(message)

        request = Headers(scope=scope)
        if request.get("origin", "") not in {"", *own}:
            refused = PlainTextResponse("This server answers only its own pages.", 403)
            await refused(scope, receive, send_with_headers)
        elif door.is_open(request.get("cookie", "")) or scope["path"] == "/static/style.css":
            await app(scope, receive, send_with_headers)
        else:
            await door.answer(scope, receive, send_with_headers)

    return TrustedHostMiddleware(checked, allowed_hosts=list(_NAMES), www_redirect=False)


class _Door:
    """Asks for the secret."""

    def __init__(self, port: int, secret: str) -> None:
        self._secret = secret
        # Cookies are shared by all ports of a host, so that the name has the port.
        self._cookie = f"mario-inspect-{port}"
        self._code = hmac.new(secret.encode(), f"train-mario's inspector|{port}".encode(), hashlib.sha256).hexdigest()

    def is_open(self, header: str) -> bool:
        """Whether a request's cookies have the code."""
        try:
            cookies = SimpleCookie(header)
        except CookieError:
            return False
        return self._cookie in cookies and hmac.compare_digest(cookies[self._cookie].value.encode(), self._code.encode())

    async def answer(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Let in who shows the secret, and show the log-in page to everybody else."""
        from starlette.requests import Request
        from starlette.responses import HTMLResponse, RedirectResponse, Response

        request = Request(scope, receive)
        shown = request.query_params.get("token", "")
        if request.method == "POST" and scope["path"] == "/log-in":
            body = b""
            async for piece in request.stream():
                body += piece
                if len(body) > _LONGEST_FORM:
                    break
            shown = parse_qs(body[:_LONGEST_FORM].decode("latin-1")).get("secret", [""])[0]
        response: Response
        if shown and hmac.compare_digest(shown.strip().encode(), self._secret.encode()):
            # The address without the secret, so that it is not kept in the history.
            response = RedirectResponse("/" if scope["path"] == "/log-in" else scope["path"], 303)
            response.set_cookie(self._cookie, self._code, httponly=True, samesite="strict", path="/")
        else:
            response = HTMLResponse(_log_in_page(wrong=bool(shown)), 401)
        await response(scope, receive, send)


def _log_in_page(*, wrong: bool) -> str:
    notice = '<p class="callout" role="alert">This is not the secret.</p>' if wrong else ""
    return web_files.page(
        "Log in",
        '<header class="slim"><div><p class="eyebrow">train-mario</p><h1>Look into episodes</h1></div></header>'
        f'<main class="wide"><form class="panel log-in" method="post" action="/log-in">{notice}'
        '<label for="secret">The secret that <code>mario inspect</code> names in the terminal</label>'
        '<input id="secret" name="secret" type="password" autocomplete="current-password" required autofocus>'
        '<button class="main">Log in</button></form></main>',
        script=False,
    )
