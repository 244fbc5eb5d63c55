"""MLflow's server without its assistant: the application `train-mario` of `mlflow server --app-name`.

The assistant runs shell commands as the user of the server. It takes its settings and its orders from everybody who reaches the
server from the same machine, without a log-in, and MLflow has no setting that switches it off.
"""

import warnings
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow's dependencies warn its authors
    from mlflow.server.fastapi_app import app as _mlflow

_Message = MutableMapping[str, Any]
_Application = Callable[[_Message, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]], Awaitable[None]]

_ASSISTANT = "/mlflow/assistant"


class WithoutAssistant:
    """An ASGI application that answers requests for the assistant with 404, and leaves all others to `application`."""

    def __init__(self, application: _Application) -> None:
        self._application = application

    async def __call__(
        self, scope: _Message, receive: Callable[[], Awaitable[_Message]], send: Callable[[_Message], Awaitable[None]]
    ) -> None:
        """Answer one request."""
        if scope["type"] == "http" and _ASSISTANT in scope["path"]:
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"The assistant is switched off."})
        else:
            await self._application(scope, receive, send)


app = WithoutAssistant(_mlflow)
