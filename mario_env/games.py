"""Many games on the fast emulator, stepped together: what `factory.make` puts around one console, for a whole fleet.

Compiled code (`mario_env.nes`) computes facts, rewards, ends and observations. This module makes the infos of them, draws the
random numbers (from the same generators in the same order as the wrappers), resets games, and records episodes.
"""

import hashlib
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from gymnasium.error import ResetNeeded

from configs.game_facts import STATUSES
from configs.schema import EnvironmentConfig
from configs.seeds import game_seeds
from mario_env.console import check_rom, level_of, world_and_stage
from mario_env.fast import cartridge, start_of_game
from mario_env.memory import lives
from mario_env.nes.kernel import STAMP
from mario_env.nes.machine import Episode, Fleet, Snapshot, make_rules
from mario_env.nes.play import END_REASONS, INFO, OUTCOME_FIELDS
from mario_env.observations import Observation, observation_of
from mario_env.processors import usable_processors
from mario_env.records import EpisodeRecord
from mario_env.slots import EnvSlot
from mario_env.snapshots import GamesSnapshot, generator_state, require_same, set_generator_state
from mario_env.starts import Starts
from mario_env.summary import EpisodeStart, summarise
from mario_env.trails import Trails
from mario_env.views import View
from mario_env.wrappers.actions import button_combinations, draw_delay, pressed_buttons
from mario_env.wrappers.reward import REWARD_COMPONENTS

__all__ = ["Games", "rules_of"]

_STATUS, _FLAG, _FRAMES, _REASON = (OUTCOME_FIELDS.index(name) for name in ("status", "flag_get", "frames", "end_reason"))
_TERMINATED, _TRUNCATED = OUTCOME_FIELDS.index("terminated"), OUTCOME_FIELDS.index("truncated")

Outcome = tuple[npt.NDArray[Any], list[float], list[bool], list[bool], list[dict[str, Any]]]
"""Observations, rewards, terminated, truncated and infos of some games."""


class _Sent(NamedTuple):
    """A decision that is being played in the games from `first` up to `last`."""

    first: int
    last: int
    actions: list[int]
    played: list[Future[int]]


class Games:
    """`count` games that `config` describes. Game i has the seed that `game_seeds` gives it.

    Args:
        config: the environment's section of the configuration.
        count: how many games.
        seed: of all games.
        threads: how many threads play them. By default one for each processor that this process may use
            (:func:`~mario_env.processors.usable_processors`), but no more than there are games.
        starts: chooses where episodes begin. None: if `config` has several levels, each with the same probability.
        seen_besides: a further observation, which needs no pictures; see `view`.

    Attributes:
        starts: what chooses; None: every episode begins at the start of the one level, or of the full game.
        view: the games' present states as a further observation; None: there is none.

    Raises:
        RomUnavailableError: the installed gym-super-mario-bros has no such ROM.
    """

    def __init__(
        self,
        config: EnvironmentConfig,
        count: int,
        *,
        seed: int | None = None,
        threads: int | None = None,
        starts: Starts | None = None,
        seen_besides: Observation | None = None,
    ) -> None:
        check_rom(config)
        self._config = config
        self._pressed = pressed_buttons(button_combinations(config))
        self.actions = len(self._pressed)
        observation = observation_of(config)
        self.observation_space = observation.space
        game, rules = cartridge(config.rom), rules_of(config)
        self.fleet = Fleet(game, rules, count, observation)
        self.view = None if seen_besides is None else View(self.fleet, seen_besides)
        self._game = hashlib.sha256(game.tobytes() + rules.tobytes()).hexdigest()
        self.starts = Starts(config) if starts is None and config.levels else starts
        levels: list[str | None] = [*config.levels] or [None]
        self._beginnings = {level: self._beginning(level, observation) for level in levels}
        self._trails: dict[str | None, Trails] = {}
        if self._demonstrations:
            walker = Fleet(game, rules, 1, observation)  # demonstrations are played on a machine of their own
            self._trails = {level: self._along(level, walker) for level in levels}
        self._most_noops = config.noop_frames
        self.slots = [EnvSlot(self, i, own) for i, own in enumerate(game_seeds(seed, count))]
        self._records: list[EpisodeRecord | None] = [None] * count  # None: not reset yet
        self._last: list[int | None] = [None] * count  # with sticky decisions: the last action executed
        self._parts = max(1, min(count, threads or usable_processors()))
        # A thread is started when there is work for it. In `step` the calling thread plays one part.
        self._threads = ThreadPoolExecutor(self._parts, "mario") if self._parts > 1 else None
        self._delays: list[int] = [0] * count
        self._sent: deque[_Sent] = deque()

    @property
    def levels(self) -> list[str]:
        """The level that each game plays now."""
        (only,) = self._config.level_names[:1] or [""]
        return [only if record is None else record.start.level or only for record in self._records]

    def reset(self, index: int, *, seed: int | None = None, options: dict[str, Any] | None = None) -> dict[str, Any]:
        """Start a new episode of one game; the observation is in `fleet.observations`."""
        return self.slots[index].reset(seed=seed, options=options)[1]

    def _beginning(self, level: str | None, observation: Observation) -> tuple[Snapshot, Episode]:
        """The state in which the episodes of a level begin; None: those of the only one, or of the full game."""
        target = level_of(self._config) if level is None else world_and_stage(level)
        snapshot = start_of_game(self._config.rom, target, observation)
        self.fleet.restore(0, snapshot)
        self.fleet.begin(0)
        return snapshot, self.fleet.episode(0)

    def start(self, index: int, generator: np.random.Generator, options: dict[str, Any]) -> dict[str, Any]:
        """Restore the start of a level and idle, as :class:`~mario_env.wrappers.actions.NoopStart` does.

        Raises:
            ValueError: the option `level` names a level that there is not.
        """
        self._require_idle(index, index + 1)
        start = self._chosen(generator, options)
        start = self._begin_along(index, start) if start.demonstration else self._begin(index, start, generator, options)
        self._records[index] = EpisodeRecord(start)
        self._last[index] = start.demonstration[-1] if start.demonstration else None
        if self.view is not None:
            self.view.begin(index)
        level = {} if start.level is None else {"level": start.level}
        return {"noop_frames": start.noop_frames, **level, **_facts(self.fleet.facts[index].tolist())}

    def _chosen(self, generator: np.random.Generator, options: dict[str, Any]) -> EpisodeStart:
        """Where the next episode begins."""
        level, names = options.get("level"), self._config.level_names
        if level is None:
            return EpisodeStart() if self.starts is None else self.starts.choose(generator)
        if level not in names:
            raise ValueError(f"there is no level {level!r}: the levels are {', '.join(names) or 'the full game'}")
        return EpisodeStart(level=level if self._config.levels else None)

    def _begin(self, index: int, start: EpisodeStart, generator: np.random.Generator, options: dict[str, Any]) -> EpisodeStart:
        """Begin at the start of a level, and idle."""
        snapshot, episode = self._beginnings[start.level]
        count = options.get("noop_frames")
        if count is None:
            count = int(generator.integers(1, self._most_noops + 1)) if self._most_noops else 0
        count = self._idle(index, count, snapshot)
        if count:
            self.fleet.begin(index)
        else:
            self.fleet.resume(index, episode)
        return replace(start, noop_frames=count)

    def _begin_along(self, index: int, start: EpisodeStart) -> EpisodeStart:
        """Begin along a demonstration of a level, without idling."""
        self._trails[start.level].start(self.fleet, index, start.demonstration)
        return start

    @property
    def _demonstrations(self) -> Mapping[str, tuple[bytes, ...]]:
        curriculum = None if self.starts is None else self.starts.curriculum
        return {} if curriculum is None else curriculum.demonstrations

    def _along(self, level: str | None, walker: Fleet) -> Trails:
        name = level or self._config.level_names[0]
        return Trails(name, walker, self._beginnings[level], self._demonstrations[name], self._pressed)

    def _idle(self, index: int, count: int, snapshot: Snapshot) -> int:
        """Idle for `count` frames and return how many that were: where idling kills, half as many as it takes to die."""
        self.fleet.restore(index, snapshot)
        alive = lives(self.slots[index].memory)
        for frame in range(count):
            if self.fleet.step(index, 0) or lives(self.slots[index].memory) < alive:
                return self._idle(index, frame // 2, snapshot)
        return count

    def step(self, actions: npt.ArrayLike) -> Outcome:
        """Play one decision in every game.

        Returns:
            Observations (`fleet.observations`), rewards, terminated, truncated and infos. Games that ended are not reset.

        Raises:
            ValueError: an action is not between 0 and the number of actions.
            ResetNeeded: a game has not been reset yet.
            RuntimeError: some games are being played; see :meth:`send`.
        """
        taken, pressed = self._draw(0, len(self.slots), actions)
        self.fleet.decide(pressed, self._threads, self._parts, delays=self._delays)
        return self._outcome(0, taken)

    def send(self, first: int, actions: npt.ArrayLike) -> None:
        """Begin to play one decision in the games from `first` on, as many as there are actions; :meth:`recv` ends it.

        Threads play them. Meanwhile decisions can be sent to other games. What is played is the same as with :meth:`step`.

        Raises:
            ValueError: an action is not between 0 and the number of actions.
            ResetNeeded: one of these games has not been reset yet.
            RuntimeError: one of these games is being played.
        """
        last = first + np.size(actions)
        taken, pressed = self._draw(first, last, actions)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(1, "mario")
        played = self.fleet.send(first, pressed, self._threads, self._parts, delays=self._delays[first:last])
        self._sent.append(_Sent(first, last, taken, played))

    def recv(self) -> tuple[int, Outcome]:
        """Wait for the decision that was sent first.

        Returns:
            The first of its games, and what :meth:`step` returns, of its games. The next decision that is sent to them
            overwrites the observations.

        Raises:
            RuntimeError: no games are being played.
        """
        if not self._sent:
            raise RuntimeError("no games are being played: call send() first")
        sent = self._sent.popleft()
        for part in sent.played:
            part.result()
        return sent.first, self._outcome(sent.first, sent.actions)

    @property
    def playing(self) -> bool:
        """Whether a decision was sent that was not received."""
        return bool(self._sent)

    def _require_idle(self, first: int, last: int) -> None:
        if any(sent.first < last and first < sent.last for sent in self._sent):
            raise RuntimeError("these games are being played: call recv() first")

    def _draw(self, first: int, last: int, actions: npt.ArrayLike) -> tuple[list[int], list[int]]:
        """Draw the random numbers of a decision; returns the actions that are executed, and their buttons."""
        self._require_idle(first, last)
        if None in self._records[first:last]:
            raise ResetNeeded("the games have not been reset: call reset() before the first step")
        taken = self._after_stickiness(first, np.asarray(actions).tolist())
        try:
            pressed = [self._pressed[action] for action in taken]
        except KeyError as error:
            raise ValueError(f"there is no action {error}: the actions are 0 to {self.actions - 1}") from None
        if self._config.sticky_actions:
            probability, frames = self._config.sticky_actions, self._config.frame_skip
            self._delays[first:last] = [draw_delay(slot.np_random, probability, frames) for slot in self.slots[first:last]]
        return taken, pressed

    def _after_stickiness(self, first: int, asked: list[int]) -> list[int]:
        """The actions that are executed, as Gymnasium's StickyAction decides with `sticky_decisions`."""
        probability = self._config.sticky_decisions
        if not probability:
            return asked
        games = slice(first, first + len(asked))
        taken = [
            last if last is not None and slot.np_random.uniform() < probability else action
            for action, last, slot in zip(asked, self._last[games], self.slots[games], strict=True)
        ]
        self._last[games] = taken
        return taken

    def _outcome(self, first: int, taken: list[int]) -> Outcome:
        """What `step` returns, after the games from `first` on have played a decision with the actions `taken`."""
        games = slice(first, first + len(taken))
        if self.view is not None:
            self.view.go_on(first, games.stop)
        all_facts, all_components = self.fleet.facts[games].tolist(), self.fleet.components[games].tolist()
        delays = self._delays[games]
        infos = [_facts(facts) for facts in all_facts]
        for info, facts, components, delay in zip(infos, all_facts, all_components, delays, strict=True):
            info["reward_components"] = dict(zip(REWARD_COMPONENTS, components, strict=True))
            info["frames"] = facts[_FRAMES]
            info["action_delay"] = delay
            if facts[_REASON]:
                info["end_reason"] = END_REASONS[facts[_REASON]]
        rewards = [sum(components) for components in all_components]
        terminated = [facts[_TERMINATED] != 0 for facts in all_facts]
        truncated = [facts[_TRUNCATED] != 0 for facts in all_facts]
        for at, record in enumerate(self._records[games]):
            assert record is not None
            record.actions.append(taken[at])
            record.delays.append(delays[at])
            if terminated[at] or truncated[at]:
                summarise(
                    infos[at],
                    dict(zip(REWARD_COMPONENTS, self.fleet.paid(first + at), strict=True)),
                    started=record.started,
                    start=record.start,
                    actions=record.actions,
                    delays=record.delays,
                )
                if self.starts is not None:
                    self.starts.ended(record.start, completed=infos[at]["episode_summary"].level_completed)
        return self.fleet.observations[games], rewards, terminated, truncated, infos

    def snapshot(self) -> GamesSnapshot:
        """The present state of the games; see :class:`~mario_env.snapshots.Snapshots`.

        Raises:
            RuntimeError: some games are being played.
        """
        self._require_idle(0, len(self.slots))
        records = [record or EpisodeRecord(EpisodeStart()) for record in self._records]
        actions = np.frombuffer(b"".join(bytes(record.actions) for record in records), np.uint8)
        delays = np.frombuffer(b"".join(bytes(record.delays) for record in records), np.uint8)
        slots = [self._slot_to_json(index, record) for index, record in enumerate(records)]
        values = {"of": self._identity(), "slots": slots}
        arrays = {"actions": actions, "delays": delays, **self.fleet.state()}
        if self.view is not None:
            arrays["view"] = self.view.observations.copy()
        return GamesSnapshot(values, arrays)

    def restore(self, snapshot: GamesSnapshot) -> None:
        """Restore the games, their random numbers and the records of their running episodes.

        Raises:
            SnapshotError: the snapshot is of another emulator or ROM, of other settings, or of another number of games. Nothing
                was changed.
            RuntimeError: some games are being played.
        """
        self._require_idle(0, len(self.slots))
        require_same(snapshot.values["of"], self._identity())
        self.fleet.set_state(snapshot.arrays)
        if self.view is not None:
            self.view.observations[:] = snapshot.arrays["view"]
        actions, delays, first = snapshot.arrays["actions"].tobytes(), snapshot.arrays["delays"].tobytes(), 0
        for index, slot in enumerate(snapshot.values["slots"]):
            last = first + slot["record"]["decisions"]
            self._records[index] = EpisodeRecord.from_json(slot["record"], actions[first:last], delays[first:last])
            self._set_slot(index, slot)
            first = last

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a snapshot to mean the same."""
        environment = self._config.model_dump(mode="json")
        values = {"format": 3, "emulator": STAMP, "game": self._game, "games": len(self.slots), "environment": environment}
        if self._demonstrations:
            demonstrations = repr(sorted(self._demonstrations.items()))
            values["demonstrations"] = hashlib.sha256(demonstrations.encode()).hexdigest()
        if self.view is not None:
            values["view"] = self.view.name
        return values

    def _slot_to_json(self, index: int, record: EpisodeRecord) -> dict[str, Any]:
        slot = self.slots[index]
        random = {"generator": generator_state(slot.np_random), "action_space": generator_state(slot.action_space.np_random)}
        return {"record": record.to_json(), "last": self._last[index], **random}

    def _set_slot(self, index: int, state: dict[str, Any]) -> None:
        slot = self.slots[index]
        set_generator_state(slot.np_random, state["generator"])
        set_generator_state(slot.action_space.np_random, state["action_space"])
        self._last[index] = state["last"]

    def close(self) -> None:
        """End the threads."""
        if self._threads is not None:
            self._threads.shutdown()
            self._threads, self._parts = None, 1


def rules_of(config: EnvironmentConfig) -> npt.NDArray[np.void]:
    """The rules of an environment, as the fleet takes them; of several levels, those of the first."""
    reward = config.reward
    return make_rules(
        level_of(config),
        frame_skip=config.frame_skip,
        life_loss_ends_episode=config.life_loss_ends_episode,
        stall_after=config.stall_after,
        max_steps=config.max_steps,
        progress_limit=reward.progress_limit,
        weights=reward.weights,
        scale=reward.scale,
    )


def _facts(facts: list[int]) -> dict[str, Any]:
    info: dict[str, Any] = dict(zip(INFO, facts, strict=False))  # further fields of the outcome come after them
    info["status"], info["flag_get"] = STATUSES[facts[_STATUS]], facts[_FLAG] != 0
    return info
