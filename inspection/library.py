"""The episodes that a server has open: played again, with their pictures and the opinion of a model."""

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from typing import Any, Final, Protocol

import numpy as np

from inspection.analysis import Analysis, analyse
from inspection.document import describe, opinion_values
from inspection.episode import Episode
from inspection.export import export_text, scaled_map
from inspection.hand import HandPlay
from inspection.opinions import Thinker
from inspection.sheets import Pictures

__all__ = ["Library", "OpenEpisode", "Sources"]

_HANDS: Final = 8
"""Plays by hand that are kept until they end."""
_OPEN: Final = 8
"""Episodes that are kept open. Each takes some 10 MB."""


class Sources(Protocol):
    """Where episodes and models come from. Errors have messages for the user."""

    def episode(self, episode_id: int) -> Episode:
        """A stored episode."""
        ...

    def thinker(self, episode: Episode) -> Thinker:
        """The model that judges an episode."""
        ...


class OpenEpisode:
    """An episode that is open. Its methods may be called from several threads.

    Args:
        episode: the episode.
        find_thinker: finds the model that judges it, when it is asked for.
    """

    def __init__(self, episode: Episode, find_thinker: Callable[[Episode], Thinker]) -> None:
        self.episode = episode
        self._find_thinker = find_thinker
        self._lock = threading.RLock()

    @cached_property
    def _analysis(self) -> Analysis:
        return analyse(self.episode)

    @cached_property
    def _pictures(self) -> Pictures:
        return Pictures(self._analysis)

    @cached_property
    def _thinker(self) -> Thinker:
        return self._find_thinker(self.episode)

    def thinker(self) -> Thinker:
        """The model that judges the episode."""
        with self._lock:
            return self._thinker

    @cached_property
    def _opinion(self) -> dict[str, Any]:
        return opinion_values(self._thinker.think(self._analysis), self._thinker.label)

    def analysis(self) -> Analysis:
        """The episode, taken apart."""
        with self._lock:
            return self._analysis

    def document(self) -> dict[str, Any]:
        """See :func:`inspection.document.describe`."""
        with self._lock:
            return describe(self._analysis, self._pictures)

    def opinion(self) -> dict[str, Any]:
        """The model's opinion of every decision."""
        with self._lock:
            return self._opinion

    def saliency(self, decision: int) -> dict[str, Any]:
        """Where the model looks at a decision.

        Raises:
            IndexError: there is no such decision.
        """
        with self._lock:
            found = self._thinker.saliency(self._analysis, decision).map
        rows, columns = found.shape
        return {
            "rows": rows, "columns": columns, "map": scaled_map(found), "largest": round(float(np.abs(found).max()), 5),
        }  # fmt: skip

    def as_file(self) -> str:
        """The episode as one HTML file, with the model's opinion if there is a model."""
        with self._lock:
            thinker: Thinker | None = None
            missing = ""
            try:
                thinker = self._thinker
            except RuntimeError as error:
                missing = str(error)
            return export_text(self._analysis, thinker, no_opinion=missing)

    def picture(self, kind: str, number: int) -> bytes:
        """A sheet of "screens" or of what was "seen", as a WebP file.

        Raises:
            IndexError: there is no such sheet.
        """
        with self._lock:
            return (self._pictures.screen_sheet if kind == "screens" else self._pictures.seen_sheet)(number)


class Library:
    """Keeps the episodes open that were used last, and those that were played here.

    Args:
        sources: where episodes and models come from.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._open: OrderedDict[str, OpenEpisode] = OrderedDict()
        self._played: dict[str, OpenEpisode] = {}
        self._hands: OrderedDict[str, HandPlay] = OrderedDict()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def add(self, episode: Episode, thinker: Thinker) -> None:
        """Keep an episode that was played here, with the model that played it, as long as the server runs."""
        with self._lock:
            self._played[episode.key] = OpenEpisode(episode, lambda _: thinker)

    def take_over(self, key: str, decision: int) -> str:
        """Begin to play an episode on by hand, and return the name of the play.

        Raises:
            KeyError, IndexError: there is no such episode or decision.
        """
        opened = self.open(key)
        thinker = opened.thinker()
        thinker.require_fitting(opened.analysis())
        play = HandPlay(opened.episode, decision, thinker)
        with self._lock:
            name = f"hand-{next(self._numbers)}"
            self._hands[name] = play
            while len(self._hands) > _HANDS:
                self._hands.popitem(last=False)[1].close()
        return name

    def hand(self, name: str) -> HandPlay:
        """A play by hand.

        Raises:
            KeyError: there is none of this name, or others have been begun since.
        """
        with self._lock:
            return self._hands[name]

    def keep(self, name: str) -> None:
        """Keep a play by hand that has ended as an episode, under its own name."""
        play = self.hand(name)
        if name not in self._played:
            self.add(play.result(name), play.thinker)

    def open(self, key: str) -> OpenEpisode:
        """The episode with this key.

        Raises:
            KeyError: it was played here, but by an earlier server.
        """
        if not key.isdigit():
            with self._lock:
                return self._played[key]
        with self._lock:
            if key in self._open:
                self._open.move_to_end(key)
                return self._open[key]
        opened = OpenEpisode(self._sources.episode(int(key)), self._sources.thinker)
        with self._lock:
            self._open[key] = opened
            while len(self._open) > _OPEN:
                self._open.popitem(last=False)
        return opened
