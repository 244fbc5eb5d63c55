"""An episode played again, and taken apart: its frames, its decisions, its reward, and what happened."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from inspection.episode import Episode
from inspection.events import Event, find_events
from mario_env import EpisodeSummary, PlaybackFrame, play_back
from mario_env.memory import area

__all__ = ["Analysis", "Ledger", "Observations", "analyse", "differences"]

_TOLERANCE: Final = 1e-6
"""Of the reward: sums of the same numbers in another order differ by less."""
_FACTS: Final = ("x_pos", "y_pos", "time", "score", "coins", "life", "world", "stage")


class Observations:
    """What the agent saw at each decision. Of a stack of pictures only the newest is kept, since the rest were newest before.

    Attributes:
        newest: uint8 (decisions, height, width) for frames, (decisions, *shape) for other observations.
    """

    def __init__(self, observations: list[npt.NDArray[np.uint8]]) -> None:
        self._stacked = observations[0].ndim == 3
        self._depth = len(observations[0])
        self.newest: npt.NDArray[np.uint8] = np.stack([each[-1] if self._stacked else each for each in observations])

    def __len__(self) -> int:
        """How many decisions there are."""
        return len(self.newest)

    def at(self, decisions: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """The whole observations of some decisions, uint8 (len(decisions), *shape)."""
        wanted = decisions
        if self._stacked:
            # Before the first decision the stack is filled with the first picture.
            wanted = np.maximum(decisions[:, np.newaxis] + np.arange(1 - self._depth, 1), 0)
        found: npt.NDArray[np.uint8] = self.newest[wanted]
        return found


@dataclass(frozen=True)
class Ledger:
    """The reward, taken apart.

    Attributes:
        components: by name, float64 (decisions,): weighted and scaled.
        total: their sum over the episode.
        stored: the episode's reward as it was recorded.
        differences: figures of the record that playing it again does not confirm, as texts; none for an undamaged record.
    """

    components: Mapping[str, npt.NDArray[np.float64]]
    total: float
    stored: float
    differences: tuple[str, ...]

    @property
    def adds_up(self) -> bool:
        """Whether the components add up to the recorded reward."""
        return abs(self.total - self.stored) <= _TOLERANCE * max(1.0, abs(self.stored))


@dataclass(frozen=True)
class Analysis:
    """An episode that was played again.

    Attributes:
        episode: which one.
        summary: how it ended now.
        buttons: the byte of pressed buttons of each frame.
        first_frames: the number of the first frame of each decision, int64 (decisions,).
        facts: by name of :data:`mario_env.memory.FACTS`, a list with one value a frame; `area` besides.
        distance: pixels at each frame, int64 (frames,).
        ledger: the reward.
        events: what happened, in order.
        observations: what the agent saw.
    """

    episode: Episode
    summary: EpisodeSummary
    buttons: bytes
    first_frames: npt.NDArray[np.int64]
    facts: Mapping[str, list[Any]]
    distance: npt.NDArray[np.int64]
    ledger: Ledger
    events: tuple[Event, ...]
    observations: Observations

    @property
    def frames(self) -> int:
        """How many emulator frames it has."""
        return len(self.buttons)

    @property
    def decisions(self) -> int:
        """How many decisions it has."""
        return len(self.first_frames)


def analyse(episode: Episode) -> Analysis:
    """Play an episode again and take it apart. A thousand frames take about a quarter of a second.

    Raises:
        PlaybackError: it does not end with its last action, so its record or its configuration is another's.
        RomUnavailableError: the installed gym-super-mario-bros has no such ROM.
    """
    config = episode.environment.model_copy(update={"emulator": "fast"})
    buttons, distance, first_frames = bytearray(), [], []
    facts: dict[str, list[Any]] = {name: [] for name in (*_FACTS, "status", "area")}
    observations: list[npt.NDArray[np.uint8]] = []
    components: dict[str, list[float]] = {name: [] for name in config.reward.weights}
    infos: list[Mapping[str, Any]] = []
    last: PlaybackFrame | None = None
    for number, frame in enumerate(play_back(config, episode.start, episode.actions, episode.delays)):
        if last is None or frame.observation is not last.observation:
            first_frames.append(number)
            observations.append(np.asarray(frame.observation))
        for name in (*_FACTS, "status"):
            facts[name].append(frame.info[name])
        facts["area"].append(area(frame.memory))
        distance.append(frame.info["distance"])
        buttons.append(frame.buttons)
        infos.append(frame.info)
        for name, value in frame.info.get("reward_components", {}).items():
            components[name].append(value)
        last = frame
    assert last is not None
    assert last.summary is not None
    return Analysis(
        episode,
        last.summary,
        bytes(buttons),
        np.array(first_frames),
        facts,
        np.array(distance),
        _ledger(episode, last.summary, {name: np.array(values) for name, values in components.items()}),
        find_events(infos, facts["area"], last.summary.end_reason),
        Observations(observations),
    )


def differences(episode: Episode, now: EpisodeSummary) -> tuple[str, ...]:
    """The figures of an episode's record that playing it again does not confirm, as texts; none for an undamaged record."""
    names = {each.name for each in fields(now)}
    return tuple(
        f"{name}: {then} recorded, {getattr(now, name)} now"
        for name, then in episode.figures.items()
        if name in names and not _same(then, getattr(now, name))
    )


def _ledger(episode: Episode, now: EpisodeSummary, components: Mapping[str, npt.NDArray[np.float64]]) -> Ledger:
    total = float(sum(values.sum() for values in components.values()))
    return Ledger(components, total, float(episode.figures["reward"]), differences(episode, now))


def _same(then: Any, now: Any) -> bool:
    if isinstance(then, float):
        return abs(then - float(now)) <= _TOLERANCE * max(1.0, abs(then))
    return bool(then == now)
