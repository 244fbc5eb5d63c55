"""Prefect's server with three additions that Prefect has no settings for. Run it as `python -m flows.guarded_server PORT`.

- It refuses requests whose `Host` is not this machine's loopback. Otherwise a web page whose name resolves to 127.0.0.1 (DNS
  rebinding) could act as the server's own page.
- It lets its page connect to nothing but itself (Content-Security-Policy). The page would ask a service for the analysis of
  visits for its settings, even where the server's telemetry is switched off.
- It proves on request that it knows the secret of its home; see :mod:`flows.prefect_access`.

Prefect's own settings do the rest: the secret that the API requires (`PREFECT_SERVER_API_AUTH_STRING`) and the pages that may
use it (`PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS`).
"""

import os
import sys
from typing import TYPE_CHECKING

from flows.prefect_access import LOOPBACK, PROOF_PATH, api_url, proof

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_AUTH = "PREFECT_SERVER_API_AUTH_STRING"


def environment(port: int, auth: str) -> dict[str, str]:
    """Environment variables for the server on the loopback `port`. `auth` is `USER:PASSWORD`."""
    return {
        _AUTH: auth,
        # Its own page may be opened under either name. It calls the API under the first.
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"http://{LOOPBACK}:{port},http://localhost:{port}",
        "PREFECT_SERVER_UI_API_URL": api_url(port),
    }


def guard(app: "ASGIApp", port: int, auth: str) -> "ASGIApp":
    """Wrap `app` in the check of the host, the policy for its page, and the proof."""
    from starlette.datastructures import MutableHeaders
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import PlainTextResponse

    # The page may be opened under one name and call the API under the other.
    own = " ".join(f"{scheme}://{name}:{port}" for scheme in ("http", "ws") for name in (LOOPBACK, "localhost"))
    policy = f"connect-src 'self' {own}"

    async def with_proof(scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] == "http" and scope["path"] == PROOF_PATH:
            challenge = scope["query_string"].decode("latin-1")
            await PlainTextResponse(proof(auth, challenge, port))(scope, receive, send)
            return

        async def send_with_policy(message: "Message") -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = policy
            await send(message)

        await app(scope, receive, send_with_policy)

    return TrustedHostMiddleware(with_proof, allowed_hosts=[LOOPBACK, "localhost"], www_redirect=False)


def main() -> None:
    """Serve on the loopback port in the command line, until SIGTERM."""
    import uvicorn
    from prefect.server.api.server import create_app

    port = int(sys.argv[1])
    app = guard(create_app(final=True), port, os.environ[_AUTH])
    uvicorn.run(app, host=LOOPBACK, port=port, workers=1, log_level="warning", lifespan="on")


if __name__ == "__main__":
    main()
