"""Looking into an episode: it is played again exactly, taken apart, and shown on a page.

:func:`analyse` plays an episode again and takes it apart. :class:`Thinker` adds what a model thinks of it. :func:`export`
writes both as one HTML file.
"""

from inspection.analysis import Analysis, Ledger, analyse
from inspection.episode import Episode, EpisodeUnavailableError, played_episode, stored_episode
from inspection.events import Event
from inspection.export import export
from inspection.opinions import ModelMismatchError, Opinion, Thinker

__all__ = [
    "Analysis",
    "Episode",
    "EpisodeUnavailableError",
    "Event",
    "Ledger",
    "ModelMismatchError",
    "Opinion",
    "Thinker",
    "analyse",
    "export",
    "played_episode",
    "stored_episode",
]
