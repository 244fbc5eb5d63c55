"""What the server answers about an episode, with and without a model."""

import asyncio
from dataclasses import dataclass
from typing import Any, cast

import httpx

from flows.inspecting import InspectionError
from inspection import Episode, Thinker
from inspection.server import Player, application


@dataclass(frozen=True)
class OneEpisode:
    """The sources of a machine that has one episode; its number is 1."""

    stored: Episode
    model: Thinker | None

    def episode(self, episode_id: int) -> Episode:
        if episode_id != 1:
            raise InspectionError(f"there is no episode {episode_id}")
        return self.stored

    def thinker(self, episode: Episode) -> Thinker:
        if self.model is None:
            raise InspectionError("it has no model on this machine; --model names one")
        return self.model


def answer(stored: Episode, model: Thinker | None, path: str) -> tuple[int, Any]:
    """Status and JSON. The store is for lists of episodes alone."""
    app = application(cast(Any, None), cast(Player, OneEpisode(stored, model)))

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(cast(Any, app)), base_url="http://127.0.0.1") as client:
            return await client.get(path)

    found = asyncio.run(ask())
    return found.status_code, found.json()


def test_that_no_model_judges_an_episode_is_an_answer(episode: Episode) -> None:
    """An error's status would be noted on the browser's console."""
    expected = {"missing": "it has no model on this machine; --model names one"}
    assert answer(episode, None, "/api/episodes/1/opinion") == (200, expected)


def test_an_opinion_has_nothing_missing(episode: Episode, thinker: Thinker) -> None:
    status, found = answer(episode, thinker, "/api/episodes/1/opinion")
    assert (status, "missing" in found, len(found["scores"])) == (200, False, len(episode.actions))


def test_an_episode_that_does_not_exist_stays_an_error(episode: Episode) -> None:
    assert answer(episode, None, "/api/episodes/2/opinion") == (409, {"error": "there is no episode 2"})
