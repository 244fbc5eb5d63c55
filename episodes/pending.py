"""An episode that is not in the database yet, and its JSON on disk."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from episodes import boundary
from episodes.errors import RowError
from episodes.schema import EPISODE_ACTIONS, EPISODES, EpisodeRow

# Records without a form are from a version in which `sticky` was the name of today's protocol `sticky_decisions`.
_FORM: Final = 2


@dataclass(frozen=True)
class PendingEpisode:
    """The row's values as Python types, and what is needed to replay the episode."""

    values: dict[str, Any]
    start: dict[str, Any] | None
    actions: bytes | None
    delays: bytes | None = None  # None: no decision was delayed


def convert(
    row: EpisodeRow, start: Mapping[str, Any] | None, actions: bytes | None, delays: bytes | None = None
) -> PendingEpisode:
    """Convert an episode to Python types.

    Raises:
        RowError: a value cannot be stored; the message names column and value. Or the numbers of delays and actions differ.
    """
    values = boundary.row_values(EPISODES, {each.name: getattr(row, each.name) for each in fields(row)})
    if start is None or actions is None:
        return PendingEpisode(values, None, None)
    plain_start = boundary.column_value(EPISODE_ACTIONS.c.start, start)
    plain_actions = boundary.column_value(EPISODE_ACTIONS.c.actions, actions)
    plain_delays = boundary.column_value(EPISODE_ACTIONS.c.delays, delays or None)
    if plain_delays is not None and len(plain_delays) != len(plain_actions):
        raise RowError(
            f"an episode of {len(plain_actions)} actions has {len(plain_delays)} delays: there must be one for each action"
        )
    return PendingEpisode(values, plain_start, plain_actions, plain_delays)


def encode(episode: PendingEpisode) -> bytes:
    """The episode as one line of JSON; :func:`decode` gives back equal numbers."""
    values = episode.values | {"timestamp": episode.values["timestamp"].isoformat()}
    actions, delays = _text(episode.actions), _text(episode.delays)
    entry = {"form": _FORM, "values": values, "start": episode.start, "actions": actions, "delays": delays}
    return json.dumps(entry, allow_nan=False).encode()


def decode(payload: bytes) -> PendingEpisode:
    """The inverse of :func:`encode`.

    Raises:
        RowError: it is not an episode that this version can store; an older one may have written it.
    """
    try:
        entry = json.loads(payload)
        values = entry["values"] | {"timestamp": datetime.fromisoformat(entry["values"]["timestamp"])}
        actions, delays = _bytes(entry["actions"]), _bytes(entry.get("delays"))  # earlier versions wrote no delays
        start = entry["start"]
        if "form" not in entry and values["protocol"] == "sticky":
            values["protocol"] = "sticky_decisions"
    except (ValueError, KeyError, TypeError) as error:
        raise RowError(f"a record of the outbox is not an episode ({type(error).__name__}: {error})") from None
    return PendingEpisode(boundary.row_values(EPISODES, values), start, actions, delays)


def _text(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)
