"""The server behind `mario inspect`: pages and data for a browser on this machine."""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, Protocol, get_args
from urllib.parse import parse_qsl

from configs import LOGGERS
from configs.levels import LEVEL_NAME
from configs.schema import EnvironmentConfig
from episodes import EpisodeStore, RowError
from episodes.browsing import EpisodeFilter, distance_curve, filter_choices, find_endings, list_episodes, training_state
from inspection import web_files
from inspection.access import LOOPBACK, guard
from inspection.episode import Episode
from inspection.library import Library, OpenEpisode, Sources
from inspection.opinions import Thinker
from inspection.sheets import level_map, screens_uri

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

__all__ = ["Player", "application", "serve"]

logger = logging.getLogger(__name__)

_SIZE: Final = 50
_MOST_PAGES: Final = 1_000_000
_MOST_FRAMES: Final = 10_000_000
_KEPT: Final = {"Cache-Control": "private, max-age=3600"}
_LONGEST_BODY: Final = 10_000
_ROMS: Final = get_args(EnvironmentConfig.model_fields["rom"].annotation)
_KEY: Final = re.compile(r"[1-9]\d{0,17}|(?:play|hand)-\d{1,9}")


class Player(Sources, Protocol):
    """Sources that can also let a model play now."""

    def models(self) -> list[str]:
        """Names of models that can play."""
        ...

    def play(self, model: str, protocol: str, seed: int, level: str | None) -> tuple[Episode, Thinker]:
        """Let a model play one episode now."""
        ...


class RequestError(ValueError):
    """A request that is not understood; the message says why."""


def serve(store: EpisodeStore, sources: Player, port: int, secret: str, ready: Callable[[], None]) -> None:
    """Serve on the loopback `port` until Ctrl-C or SIGTERM.

    Args:
        store: the episodes.
        sources: where episodes and models come from.
        port: the port.
        secret: what a browser must show once.
        ready: called when the server accepts connections.

    Raises:
        OSError: the port is taken.
    """
    import socket

    import uvicorn

    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((LOOPBACK, port))
        app = guard(application(store, sources), listening.getsockname()[1], secret)
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", lifespan="off", server_header=False, timeout_graceful_shutdown=2)
        )
        listening.listen()
        ready()
        server.run(sockets=[listening])


def application(store: EpisodeStore, sources: Player) -> "ASGIApp":
    """The server's pages and data, without the checks of :func:`inspection.access.guard`."""
    from starlette.applications import Starlette
    from starlette.routing import Route

    api = _Api(store, sources, Library(sources))
    shell = [Route(path, api.shell) for path in ("/", "/episodes/{key}", "/compare", "/play", "/hand", "/live")]
    return Starlette(
        routes=[
            *shell,
            Route("/static/{name}", api.static),
            Route("/api/choices", api.choices),
            Route("/api/episodes", api.episodes),
            Route("/api/endings", api.endings),
            Route("/api/live/{name}", api.live),
            Route("/api/maps/{rom}/{level}.webp", api.level_map),
            Route("/api/models", api.models),
            Route("/api/play", api.play, methods=["POST"]),
            Route("/api/hand", api.take_over, methods=["POST"]),
            Route("/api/hand/{name}", api.play_by_hand, methods=["POST"]),
            Route("/api/episodes/{key}", api.document),
            Route("/api/episodes/{key}/opinion", api.opinion),
            Route("/api/episodes/{key}/saliency/{number}", api.saliency),
            Route("/api/episodes/{key}/file", api.file),
            Route("/api/episodes/{key}/{kind}/{number}.webp", api.picture),
        ],
        exception_handlers={404: _not_found, Exception: _failed},
    )


class _Api:
    """Answers requests. Endpoints that compute are plain functions, which Starlette runs in threads."""

    def __init__(self, store: EpisodeStore, sources: Player, library: Library) -> None:
        self._store, self._sources, self._library = store, sources, library

    def shell(self, request: "Request") -> "Response":
        from starlette.responses import HTMLResponse

        return HTMLResponse(web_files.page("Episodes", '<div id="page"><main class="wide"><p>Loading …</p></main></div>'))

    def static(self, request: "Request") -> "Response":
        from starlette.responses import Response

        name = request.path_params["name"]
        found = web_files.read(name)
        if found is None:
            return _error("there is no such file", 404)
        return Response(found, media_type=web_files.MEDIA_TYPES[name.rpartition(".")[2]])

    def choices(self, request: "Request") -> "Response":
        return _answer(lambda: filter_choices(self._store))

    def episodes(self, request: "Request") -> "Response":
        def find() -> dict[str, Any]:
            given = dict(request.query_params)
            page = _number(given.pop("page", "0"), 0, _MOST_PAGES)
            sort, order = given.pop("sort", "id"), given.pop("order", "descending")
            found = list_episodes(
                self._store, _filter(given), sort=sort, descending=order != "ascending", page=page, size=_SIZE
            )
            return {"rows": _rows(found.rows), "total": found.total, "size": _SIZE}

        return _answer(find)

    def endings(self, request: "Request") -> "Response":
        def find() -> dict[str, Any]:
            wanted = _filter(dict(request.query_params))
            return {"bins": find_endings(self._store, wanted), "curve": distance_curve(self._store, wanted)}

        return _answer(find)

    def live(self, request: "Request") -> "Response":
        """How far an experiment is, and its newest training episodes; with `curve`, the course of their distance too."""

        def find() -> dict[str, Any]:
            name = request.path_params["name"]
            state = training_state(self._store, name)
            wanted = EpisodeFilter(experiment=name, phase="train", protocol="training")
            curve = {"curve": distance_curve(self._store, wanted)} if request.query_params.get("curve") else {}
            return {**asdict(state), "newest": _rows(state.newest), **curve}

        return _answer(find)

    def models(self, request: "Request") -> "Response":
        return _answer(lambda: {"models": self._sources.models()})

    async def play(self, request: "Request") -> "Response":
        def play(given: dict[str, str]) -> dict[str, Any]:
            level = _level(given.get("level", "")) or None
            seed = _number(given.get("seed", "0"), 0, 2**31 - 1)
            episode, thinker = self._sources.play(given.get("model", ""), given.get("protocol", "greedy"), seed, level)
            self._library.add(episode, thinker)
            return {"key": episode.key}

        return await _answer_form(request, play)

    async def take_over(self, request: "Request") -> "Response":
        """Begin to play on by hand from a decision of an episode."""

        def begin(given: dict[str, str]) -> dict[str, Any]:
            name = self._library.take_over(_key(given.get("key", "")), _number(given.get("decision", ""), 0, _MOST_FRAMES))
            return {"name": name, "actions": [list(each) for each in self._library.hand(name).actions]}

        return await _answer_form(request, begin)

    async def play_by_hand(self, request: "Request") -> "Response":
        """Play one decision by hand, or hand the play back to the model, which plays to the end."""
        name = request.path_params["name"]

        def play(given: dict[str, str]) -> dict[str, Any]:
            hand = self._library.hand(name)
            if given.get("hand_back"):
                hand.hand_back()
                self._library.keep(name)
                return {"ended": True}
            step = hand.play(_number(given.get("action", ""), 0, 255))
            if step.ended:
                self._library.keep(name)
            return {"ended": step.ended, "facts": step.facts, "frames": len(step.screens), "sheet": screens_uri(step.screens)}

        return await _answer_form(request, play)

    def document(self, request: "Request") -> "Response":
        return _answer(lambda: self._open(request).document())

    def opinion(self, request: "Request") -> "Response":
        """The model's opinion of every decision. That there is none is an answer too: `missing` says why."""

        def judge() -> dict[str, Any]:
            opened = self._open(request)
            opened.analysis()  # what is wrong with the episode itself stays an error
            try:
                return opened.opinion()
            except Exception as error:
                if not _is_ours(error):
                    raise
                return {"missing": str(error)}

        return _answer(judge)

    def saliency(self, request: "Request") -> "Response":
        number = request.path_params["number"]
        return _answer(lambda: self._open(request).saliency(_number(number, 0, _MOST_FRAMES)))

    def file(self, request: "Request") -> "Response":
        """The episode as one file, to be kept."""
        from starlette.responses import Response

        def export() -> Response:
            opened = self._open(request)
            headers = {"Content-Disposition": f'attachment; filename="episode-{opened.episode.key}.html"'}
            return Response(opened.as_file(), media_type="text/html; charset=utf-8", headers=headers)

        return _answer(export)

    def picture(self, request: "Request") -> "Response":
        from starlette.responses import Response

        kind, number = request.path_params["kind"], request.path_params["number"]
        if kind not in ("screens", "seen"):
            return _error("there is no such picture", 404)

        def draw() -> Response:
            data = self._open(request).picture(kind, _number(number, 0, _MOST_FRAMES))
            return Response(data, media_type="image/webp", headers=_KEPT)

        return _answer(draw)

    def level_map(self, request: "Request") -> "Response":
        """The picture of a level, in a variant of the ROM."""
        from starlette.responses import Response

        rom, level = request.path_params["rom"], request.path_params["level"]
        if rom not in _ROMS:
            return _error(f"there is no ROM {rom!r}", 404)

        def draw() -> Response:
            data = level_map(rom, _level(level))
            if data is None:
                raise IndexError(f"there is no picture of {level}")
            return Response(data, media_type="image/webp", headers=_KEPT)

        return _answer(draw)

    def _open(self, request: "Request") -> OpenEpisode:
        return self._library.open(_key(request.path_params["key"]))


def _rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Episodes as JSON types."""
    return [{**row, "timestamp": row["timestamp"].isoformat(timespec="seconds")} for row in rows]


def _filter(given: dict[str, str]) -> EpisodeFilter:
    """The filter of a request's parameters; empty ones do not count."""
    names = ("experiment", "phase", "protocol", "end_reason")
    unknown = given.keys() - {*names, "level", "completed"}
    if unknown:
        raise RequestError(f"unknown parameters: {', '.join(sorted(unknown))}")
    level, completed = _level(given.get("level", "")), given.get("completed", "")
    world, stage = (int(level[0]), int(level[2])) if level else (None, None)
    return EpisodeFilter(
        world=world,
        stage=stage,
        completed={"yes": True, "no": False}.get(completed),
        **{name: given[name] for name in names if given.get(name)},
    )


def _level(text: str) -> str:
    """The name of a level, or an empty text."""
    if text and not LEVEL_NAME.fullmatch(text):
        raise RequestError(f"a level is written as 1-2, not {text!r}")
    return text


def _key(text: str) -> str:
    if not _KEY.fullmatch(text):
        raise RequestError("an episode is named by its number")
    return text


def _number(text: str, least: int, most: int) -> int:
    if not re.fullmatch(r"\d{1,12}", text) or not least <= int(text) <= most:
        raise RequestError(f"{text!r} is not a number from {least} to {most}")
    return int(text)


def _answer(compute: Callable[[], Any]) -> "Response":
    """What `compute` returns, as JSON unless it is a response; its errors as JSON with a message for the user."""
    from starlette.responses import JSONResponse, Response

    try:
        found = compute()
    except (RowError, ValueError) as error:
        return _error(str(error), 400)
    except KeyError:
        return _error("this episode was played by an earlier server; play it again", 404)
    except IndexError as error:
        return _error(str(error), 404)
    except Exception as error:
        if not _is_ours(error):
            raise
        return _error(str(error), 409)
    return found if isinstance(found, Response) else JSONResponse(found)


def _is_ours(error: Exception) -> bool:
    """Whether the project raised it, with a message for the user."""
    return type(error).__module__.split(".")[0] in LOGGERS


async def _answer_form(request: "Request", compute: Callable[[dict[str, str]], Any]) -> "Response":
    """What `compute` makes of a form, as :func:`_answer`, in a thread."""
    from starlette.concurrency import run_in_threadpool

    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _LONGEST_BODY:
            return _error("the request is too long", 400)
    given = dict(parse_qsl(body.decode("utf-8", "replace")))
    return await run_in_threadpool(_answer, lambda: compute(given))


def _error(message: str, status: int) -> "Response":
    from starlette.responses import JSONResponse

    return JSONResponse({"error": message}, status)


async def _not_found(request: "Request", error: Exception) -> "Response":
    return _error("there is no such page", 404)


async def _failed(request: "Request", error: Exception) -> "Response":
    logger.error("%s failed", request.url.path, exc_info=error)
    return _error("the server failed; its terminal says why", 500)
