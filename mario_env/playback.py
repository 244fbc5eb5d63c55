"""Plays an episode again from its start and its actions, or a game decision by decision."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium

from configs.schema import EnvironmentConfig
from mario_env.console import Console, Screen
from mario_env.errors import PlaybackError
from mario_env.factory import build, make_console
from mario_env.summary import EpisodeStart, EpisodeSummary

__all__ = ["PlaybackFrame", "PlaybackState", "SteppedGame", "episode_environment", "play_back", "play_back_states"]


@dataclass(frozen=True)
class PlaybackFrame:
    """One emulator frame of an episode that is played again.

    Attributes:
        screen: RGB, uint8 of shape (240, 256, 3), an array of its own.
        reward: of the episode up to this frame. The reward of a decision counts from its last frame on.
        info: the facts of this frame. On the last frame of a decision, the info that the environment's step returned.
        action: the index of the action of this decision.
        summary: on the last frame the episode's summary, else None.
        observation: what the agent saw when it chose the action.
        buttons: the byte of pressed buttons of this frame. It is not the action's while the action is delayed.
        memory: the RAM at the end of this frame, 2048 bytes.
    """

    screen: Screen
    reward: float
    info: dict[str, Any]
    action: int
    summary: EpisodeSummary | None
    observation: Any
    buttons: int
    memory: bytes


@dataclass(frozen=True)
class PlaybackState:
    """Where an episode stands between two decisions: what the environment's reset or step returned.

    Attributes:
        observation: what the agent sees there.
        reward: of the decision that led there, 0 after the reset.
        terminated, truncated: whether that decision ended the episode.
        info: of the step, or of the reset.
        memory: the RAM, 2048 bytes, from which the next decision begins.
    """

    observation: Any
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]
    memory: bytes


class _TappedFrame(NamedTuple):
    screen: Screen
    info: dict[str, Any]
    buttons: int
    memory: bytes


class _FrameTap(gymnasium.Wrapper[Screen, Any, Screen, Any]):
    """Collects the frames of steps until they are taken."""

    def __init__(self, env: gymnasium.Env[Screen, Any]) -> None:
        super().__init__(env)
        console = env.unwrapped
        assert isinstance(console, Console)
        self._console = console
        self._frames: list[_TappedFrame] = []

    def step(self, action: Any) -> tuple[Screen, Any, bool, bool, dict[str, Any]]:
        screen, reward, terminated, truncated, info = self.env.step(action)
        self._frames.append(_TappedFrame(screen, info, int(action), self._console.frame_memory))
        return screen, reward, terminated, truncated, info

    @property
    def memory(self) -> bytes:
        """The RAM as it is now."""
        return self._console.memory

    def take(self) -> list[_TappedFrame]:
        frames, self._frames = self._frames, []
        return frames


def episode_environment(config: EnvironmentConfig, start: EpisodeStart) -> EnvironmentConfig:
    """The environment of one episode: `config`, at the level that the episode played."""
    return config if start.level is None else config.at_level(start.level)


class SteppedGame:
    """An episode that is played decision by decision and shows each of their frames: to play it again, or by hand.

    Args:
        config: the environment. Its sticky actions, no-op starts and levels are not used: start and delays are given.
        start: the episode's start.

    Attributes:
        state: where it stands now.

    Raises:
        PlaybackError: the episode cannot start so.
        RomUnavailableError: see :func:`mario_env.make`.
    """

    state: PlaybackState

    def __init__(self, config: EnvironmentConfig, start: EpisodeStart) -> None:
        taps: list[_FrameTap] = []

        def tap(env: gymnasium.Env[Screen, Any]) -> gymnasium.Env[Screen, Any]:
            taps.append(_FrameTap(env))
            return taps[0]

        plain = episode_environment(config, start).model_copy(
            update={"sticky_actions": 0.0, "sticky_decisions": 0.0, "noop_frames": 0}
        )
        self._env = build(make_console(plain), plain, watch=tap)
        self._tap, self._total, self._delay_next = taps[0], 0.0, self._env.get_wrapper_attr("delay_next")
        try:
            self._begin(start)
        except PlaybackError:
            self.close()
            raise

    @property
    def observation(self) -> Any:
        """What the agent sees now."""
        return self.state.observation

    def _begin(self, start: EpisodeStart) -> None:
        options = {"noop_frames": start.noop_frames, "demonstration": start.demonstration}
        observation, info = self._env.reset(options=options)
        self._tap.take()  # the frames of the demonstration
        self.state = PlaybackState(observation, 0.0, False, False, info, self._tap.memory)
        if info["noop_frames"] != start.noop_frames:
            raise PlaybackError(
                f"idling for {start.noop_frames} frames loses a life: it was played under another configuration"
            )

    def step(self, action: int, delay: int = 0) -> list[PlaybackFrame]:
        """Play one decision, and return its frames. If it ends the episode, the last one has the summary.

        Raises:
            ValueError: there is no such action.
        """
        self._delay_next(delay)
        seen = self.observation
        observation, reward, terminated, truncated, info = self._env.step(action)
        self.state = PlaybackState(observation, float(reward), terminated, truncated, info, self._tap.memory)
        *before, last = self._tap.take()
        frames = [
            PlaybackFrame(each.screen, self._total, each.info, action, None, seen, each.buttons, each.memory) for each in before
        ]
        self._total += float(reward)
        summary = info.get("episode_summary")
        frames.append(PlaybackFrame(last.screen, self._total, info, action, summary, seen, last.buttons, last.memory))
        return frames

    def close(self) -> None:
        """Free the emulator."""
        self._env.close()


def play_back(config: EnvironmentConfig, start: EpisodeStart, actions: bytes, delays: bytes = b"") -> Iterator[PlaybackFrame]:
    """Play an episode again, frame by frame.

    Args:
        config: the environment that the episode was played in. Its sticky actions, no-op starts and levels are not used, since
            what came of them is in `start`, `actions` and `delays`.
        start: the episode's start.
        actions: its actions, one byte a decision.
        delays: the frames that passed before each action took hold, one byte a decision. Empty: there were no delays.

    Yields:
        Every emulator frame of play. The last one has the summary, which equals the episode's own except for the duration.

    Raises:
        PlaybackError: the episode does not end with the last action, so it was played under another configuration; or there
            are not as many delays as actions.
        RomUnavailableError: see :func:`mario_env.make`.
    """
    with closing(_begin(config, start, actions, delays)) as game:
        for frames in _decisions(game, actions, delays):
            yield from frames


def play_back_states(
    config: EnvironmentConfig, start: EpisodeStart, actions: bytes, delays: bytes = b""
) -> Iterator[PlaybackState]:
    """Play an episode again, decision by decision; otherwise as :func:`play_back`.

    Yields:
        Where the episode stands before its first decision, then after each one. The info of the last one has the summary
        (`episode_summary`).
    """
    with closing(_begin(config, start, actions, delays)) as game:
        yield game.state
        for _ in _decisions(game, actions, delays):
            yield game.state


def _begin(config: EnvironmentConfig, start: EpisodeStart, actions: bytes, delays: bytes) -> SteppedGame:
    if delays and len(delays) != len(actions):
        raise PlaybackError(f"{len(actions)} actions have {len(delays)} delays: the episode's record is damaged")
    return SteppedGame(config, start)


def _decisions(game: SteppedGame, actions: bytes, delays: bytes) -> Iterator[list[PlaybackFrame]]:
    """The frames of each decision. They must end with the last action."""
    for index, action in enumerate(actions):
        try:
            frames = game.step(action, delays[index] if delays else 0)
        except ValueError as error:
            raise PlaybackError(f"decision {index + 1} of {len(actions)}: {error}") from error
        yield frames
        if frames[-1].summary is not None:
            if index + 1 < len(actions):
                raise PlaybackError(
                    f"the episode ended ({frames[-1].info['end_reason']}) with decision {index + 1} of {len(actions)}: "
                    "it was played under another configuration"
                )
            return
    raise PlaybackError(f"the episode has not ended after {len(actions)} decisions: it was played under another configuration")
