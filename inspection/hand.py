"""A person takes over: an episode goes on from one of its decisions by hand, and is handed back to the model."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inspection.episode import Episode, played_episode
from inspection.opinions import Thinker
from mario_env import EpisodeSummary, PlaybackFrame
from mario_env.playback import SteppedGame
from mario_env.wrappers import button_combinations

__all__ = ["HandPlay", "HandStep"]


@dataclass(frozen=True)
class HandStep:
    """A decision that was played.

    Attributes:
        screens: its frames, uint8 RGB of shape (frames, 240, 256, 3).
        facts: x_pos, time, score, coins and life after it.
        ended: whether the episode has ended.
    """

    screens: npt.NDArray[np.uint8]
    facts: Mapping[str, int]
    ended: bool


class HandPlay:
    """Plays an episode again up to a decision, and goes on from there with other actions.

    The person chooses among the actions of the agent, one a decision. So the episode has the form of any other one, and can be
    played again and judged. It is marked as played by hand, and is stored in no database. Methods may be called from several
    threads.

    Attributes:
        actions: the buttons of each action.
        thinker: the model that the play can be handed back to.

    Args:
        episode: which episode.
        decision: the first decision of the person; those before it are the episode's.
        thinker: a model that sees and does what the episode's agent did.

    Raises:
        IndexError: the episode has no such decision.
        PlaybackError: the episode cannot be played again.
    """

    def __init__(self, episode: Episode, decision: int, thinker: Thinker) -> None:
        if not 0 <= decision < len(episode.actions):
            raise IndexError(f"decision {decision} of an episode with {len(episode.actions)}")
        environment = episode.environment.model_copy(update={"emulator": "fast"})
        self._episode, self._from, self.thinker = episode, decision, thinker
        self._decisions, self._until = decision, decision
        self._summary: EpisodeSummary | None = None
        self._lock = threading.Lock()
        self._game = SteppedGame(environment, episode.start)
        for index in range(decision):
            self._game.step(episode.actions[index], episode.delays[index] if episode.delays else 0)
        self.actions = button_combinations(environment)

    @property
    def ended(self) -> bool:
        """Whether the episode has ended."""
        return self._summary is not None

    def play(self, action: int) -> HandStep:
        """Play one decision by hand. After the end nothing is played.

        Raises:
            ValueError: there is no such action.
        """
        if not 0 <= action < len(self.actions):
            raise ValueError(f"there is no action {action}: the actions are 0 to {len(self.actions) - 1}")
        with self._lock:
            frames = [] if self.ended else self._step(action)
            self._until = self._decisions
        screens = np.stack([frame.screen for frame in frames]) if frames else np.empty((0, 240, 256, 3), np.uint8)
        facts = {name: int(frames[-1].info[name]) for name in ("x_pos", "time", "score", "coins", "life")} if frames else {}
        return HandStep(screens, facts, self.ended)

    def hand_back(self) -> None:
        """Let the model play to the end, by its best actions."""
        with self._lock:
            while not self.ended:
                self._step(self.thinker.best_action(np.asarray(self._game.observation)))

    def result(self, key: str) -> Episode:
        """The episode, which has ended, under the name `key`.

        Raises:
            ValueError: it has not ended.
        """
        if self._summary is None:
            raise ValueError("the episode has not ended: play on, or hand it back to the model")
        own = self._episode.origin
        before = f"episode {own['id']}" if "id" in own else str(own.get("name", "an episode"))
        origin = {
            "name": f"{key.replace('-', ' ').capitalize()}, by hand",
            "after": f"{before}, decision {self._from}",
            "by_hand": f"decisions {self._from + 1} to {self._until}" if self._until > self._from else None,
            "model": self.thinker.label,
        }
        return played_episode(key, self._episode.config, self._summary, origin)

    def close(self) -> None:
        """Free the emulator."""
        self._game.close()

    def _step(self, action: int) -> list[PlaybackFrame]:
        frames = self._game.step(action)
        self._decisions += 1
        self._summary = frames[-1].summary
        return frames
