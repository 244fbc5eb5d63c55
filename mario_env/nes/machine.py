"""Machines for Python code: a fleet with one cartridge and one set of rules."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mario_env.errors import SnapshotError
from mario_env.nes.decode import decode_program, decoding_tables
from mario_env.nes.kernel import DECIDE, DRAW, EXECUTE, OBSERVE, START, STEP, kernel
from mario_env.nes.picture import PALETTE_RGB, unfold
from mario_env.nes.play import COMPONENTS, EPISODE, OUTCOME, OUTCOME_FIELDS, RULES
from mario_env.nes.rom import Rom
from mario_env.nes.state import CARTRIDGE, MACHINE, SCREEN_WORDS
from mario_env.observations import Frames, Observation
from mario_env.wrappers.facts import COUNTS
from mario_env.wrappers.reward import REWARD_COMPONENTS

__all__ = ["Episode", "Fleet", "Snapshot", "Waypoint", "insert_cartridge", "make_rules"]

# gym-super-mario-bros: worlds in which the second stage begins with a walk into a pipe, an area of its own
_WORLDS_WITH_ENTRANCE: Final = (1, 2, 4, 7)

Records = npt.NDArray[np.void]
Snapshot = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]
Episode = tuple[npt.NDArray[np.void], npt.NDArray[np.int64], npt.NDArray[Any]]

# Of an episode and of its outcome: what counts from the episode's start.
_COUNTED: Final = (
    "frame_count", "progress", "distance", "deaths", "time_ups", "levels_completed", "paid_progress", "paid_deaths",
    "paid_completed", "paid", "steps", "idle", "reached_distance", "reached_completed",
)  # fmt: skip
_REPORTED: Final = (*COUNTS, "end_reason", "terminated", "truncated")


class Waypoint(NamedTuple):
    """A state in which an episode can begin, although decisions were played before it.

    Attributes:
        machine: the machine, without its screen.
        before, buttons: the machine before the last decision, and that decision's buttons, to draw the screen.
        episode: an episode whose counts are 0. Facts, observation, and what was reached before are kept.
    """

    machine: npt.NDArray[np.uint8]
    before: npt.NDArray[np.uint8]
    buttons: int
    episode: Episode


_NOT_PICKLED: Final = ("kernel", "_bytes", "_saved_bytes", "_pixels", "facts", "components")  # compiled code, and views


def insert_cartridge(rom: Rom, *, wraps: bool = True) -> npt.NDArray[np.void]:
    """Decode a ROM for the emulator.

    Returns one CARTRIDGE record, which any number of machines may share.

    Args:
        rom: the ROM.
        wraps: whether the PPU's addresses wrap at 0x4000, as on the console and in nes-py 9, but not in nes-py 8.
    """
    cartridge = np.zeros(1, CARTRIDGE)
    card: Any = cartridge[0]
    card["code"] = decode_program(rom.prg)
    card["prg"] = np.frombuffer(rom.prg, np.uint8)
    card["chr"] = np.frombuffer(rom.chr, np.uint8)
    bits = np.unpackbits(card["chr"].reshape(-1, 2, 8, 1), axis=3)  # tile, plane, row, pixel
    masks = np.ascontiguousarray(bits * np.uint8(0xFF))
    card["plane0"] = np.ascontiguousarray(masks[:, 0]).view("<u8").reshape(-1)
    card["plane1"] = np.ascontiguousarray(masks[:, 1]).view("<u8").reshape(-1)
    card["reversed"] = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)[:, ::-1], axis=1)[:, 0]
    card["wraps"] = wraps
    card["mirror_shift"] = 10 if rom.vertical_mirroring else 11
    card["handlers"], card["kinds"] = decoding_tables()
    return cartridge


def make_rules(
    level: tuple[int, int] | None,
    *,
    frame_skip: int = 1,
    life_loss_ends_episode: bool = False,
    stall_after: int | None = None,
    max_steps: int | None = None,
    progress_limit: int = 0,
    weights: Mapping[str, float] | None = None,
    scale: float = 1.0,
) -> npt.NDArray[np.void]:
    """One RULES record.

    Args:
        level: world and stage, or None for the full game.
        frame_skip: frames that a decision lasts.
        life_loss_ends_episode: in the full game: whether a lost life terminates the episode.
        stall_after: decisions without progress that truncate the episode; None: never.
        max_steps: decisions that truncate the episode; None: never.
        progress_limit: most pixels of progress that one decision is paid for.
        weights: of the reward's components, by name; None: all are 0.
        scale: of the reward.
    """
    rules = np.zeros(1, RULES)
    weights = weights or dict.fromkeys(REWARD_COMPONENTS, 0.0)
    world, stage = level or (1, 1)
    area = stage + 1 if world in _WORLDS_WITH_ENTRANCE and stage >= 2 else stage
    rules[0] = (
        level is not None, world, stage, area, frame_skip, life_loss_ends_episode, stall_after or 0, max_steps or 0,
        progress_limit, tuple(weights[name] for name in REWARD_COMPONENTS), scale,
    )  # fmt: skip
    return rules


class Fleet:
    """`count` machines that play the same level by the same rules.

    Args:
        cartridge: see :func:`insert_cartridge`.
        rules: see :func:`make_rules`.
        count: how many.
        observation: what an agent sees of them.

    Attributes:
        machines: a MACHINE record each; `machines["ram"][i]` is machine i's RAM, and may be written to.
        outcomes: an OUTCOME record each: what the last decision came to.
        facts: the same memory as int64 (count, len(OUTCOME_FIELDS)).
        components: float64 (count, components), the reward of the last decision of each machine, in the order of
            REWARD_COMPONENTS.
        observations: of the observation's dtype, (count, *shape); one of two arrays by turns.
    """

    def __init__(self, cartridge: Records, rules: Records, count: int, observation: Observation | None = None) -> None:
        self.count = count
        self._observation = observation = observation or Frames()
        self.kernel = kernel(observation)
        writer = observation.load_compiled()
        self._cartridge, self._rules, self._tables = cartridge, rules, writer.make_tables(observation)
        self.machines, self._saved = np.zeros(count, MACHINE), np.zeros(count, MACHINE)
        self._words = np.zeros((count, 2, SCREEN_WORDS), np.uint64)
        self.frame_ram = np.zeros((count, 0x800), np.uint8)
        self._episodes = np.zeros(count, EPISODE)
        self._scratch = np.zeros(count, writer.SCRATCH)
        self._buttons = np.zeros(count, np.int64)
        self.outcomes, self._components = np.zeros(count, OUTCOME), np.zeros(count, COMPONENTS)
        self.observations = np.zeros((count, *observation.shape), observation.dtype)
        self._before = np.zeros_like(self.observations)
        self._undrawn = np.zeros(count, np.bool_)  # whose last decision has not been drawn
        self._make_views()

    def __getstate__(self) -> dict[str, Any]:
        """Without compiled code, which cannot be pickled, and without views."""
        return {name: value for name, value in self.__dict__.items() if name not in _NOT_PICKLED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.kernel = kernel(self._observation)
        self._make_views()

    def _make_views(self) -> None:
        """Make further views of the same memory. NumPy copies records field by field, but bytes at once."""
        self._bytes = self.machines.view(np.uint8).reshape(self.count, -1)
        self._saved_bytes = self._saved.view(np.uint8).reshape(self.count, -1)
        self._pixels = self._words.view(np.uint8)
        self.facts = self.outcomes.view(np.int64).reshape(self.count, -1)
        self.components = self._components.view(np.float64).reshape(self.count, -1)

    def _call(self, command: int, first: int, last: int, before: npt.NDArray[Any]) -> int:
        return int(
            self.kernel(
                command, first, last, self.machines, self._saved, self._cartridge, self._rules, self._tables, self._words,
                self._pixels, self.frame_ram, self._episodes, self._scratch, self._buttons, self.outcomes,
                self._components, before, self.observations,
            )
        )  # fmt: skip

    def call_for_nothing(self) -> None:
        """Enter and leave compiled code; for benchmarks."""
        self._call(START, 0, 0, self.observations)

    def start(self, index: int) -> None:
        """Reset a machine and play to where the player can move."""
        self._undrawn[index] = False
        self._call(START, index, index + 1, self.observations)

    def step(self, index: int, buttons: int) -> bool:
        """Play one frame, draw it, skip the scenes after it, and return whether the game is over."""
        self._buttons[index], self._undrawn[index] = buttons, False
        return self._call(STEP, index, index + 1, self.observations) != 0

    def execute(self, index: int) -> None:
        """Execute one instruction, and nothing else."""
        self._call(EXECUTE, index, index + 1, self.observations)

    def begin(self, index: int) -> None:
        """Start an episode: facts and observation are those of the machine's present state."""
        self._call(OBSERVE, index, index + 1, self.observations)

    def decide(
        self,
        buttons: Sequence[int],
        threads: ThreadPoolExecutor | None = None,
        parts: int = 1,
        *,
        delays: Sequence[int] | None = None,
    ) -> None:
        """Play one decision on every machine.

        Args:
            buttons: of each machine, a byte of pressed buttons.
            threads: that play the parts but the first, which is played here; None: everything is played here.
            parts: into how many parts the machines are divided.
            delays: by how many frames each machine's buttons are delayed; see
                :class:`mario_env.wrappers.actions.ActionDelay`.
        """
        before = self.observations
        self.observations, self._before = self._before, before
        self._undrawn[:] = not self._observation.draws
        self._buttons[:] = buttons
        if delays is not None:
            self._buttons += np.multiply(delays, 256)
        if threads is None or parts == 1:
            self._call(DECIDE, 0, self.count, before)
            return
        bounds = [self.count * part // parts for part in range(parts + 1)]
        others: list[Future[int]] = [
            threads.submit(self._call, DECIDE, first, last, before) for first, last in pairwise(bounds[1:])
        ]
        self._call(DECIDE, 0, bounds[1], before)
        for other in others:
            other.result()

    def send(
        self, first: int, buttons: Sequence[int], threads: ThreadPoolExecutor, parts: int, *, delays: Sequence[int]
    ) -> list[Future[int]]:
        """Begin to play one decision on some machines; others may be playing.

        Args:
            first: the index of the first of these machines.
            buttons: of each of them, a byte of pressed buttons.
            threads: that play them.
            parts: into how many parts they are divided.
            delays: see :meth:`decide`.

        Returns:
            Futures. When all are done, the machines have played, and `observations` has what they show now.
        """
        count = len(buttons)
        machines = slice(first, first + count)
        self._undrawn[machines] = not self._observation.draws
        self._buttons[machines] = np.asarray(buttons) + np.multiply(delays, 256)
        bounds = [first + count * part // parts for part in range(parts + 1)]
        return [threads.submit(self._play, start, end) for start, end in pairwise(bounds) if start < end]

    def _play(self, first: int, last: int) -> int:
        """As in `decide`, but the two arrays of observations are not exchanged: other machines are writing to them."""
        self._before[first:last] = self.observations[first:last]
        return self._call(DECIDE, first, last, self._before)

    def snapshot(self, index: int) -> Snapshot:
        """A copy of a machine and of its screen, as :meth:`step` or :meth:`start` left it."""
        return self._bytes[index].copy(), self._words[index, 0].copy()

    def save(self, index: int) -> npt.NDArray[np.uint8]:
        """A copy of a machine without its screen: everything that its future depends on."""
        return self._bytes[index].copy()

    def put_back(self, index: int, saved: npt.NDArray[np.uint8]) -> None:
        """Restore a machine that was saved by :meth:`save`."""
        self._bytes[index] = saved

    def restore(self, index: int, snapshot: Snapshot) -> None:
        """Restore a machine and its screen."""
        self._bytes[index], self._words[index, 0] = snapshot
        self._undrawn[index] = False

    def episode(self, index: int) -> Episode:
        """A copy of the episode that :meth:`begin` began."""
        return self._episodes[index : index + 1].copy(), self.facts[index].copy(), self.observations[index].copy()

    def paid(self, index: int) -> list[float]:
        """The sums of the reward's components over a machine's episode so far."""
        sums: list[float] = self._episodes["paid"][index].tolist()
        return sums

    def resume(self, index: int, episode: Episode) -> None:
        """Begin an episode again. The machine must be in the state in which the episode was copied."""
        self._episodes[index] = episode[0][0]
        self.facts[index], self.observations[index] = episode[1], episode[2]

    def waypoint(self, index: int) -> Waypoint:
        """The present state of a machine, after a decision, as the start of an episode."""
        episode, facts, observation = self.episode(index)
        for name in _COUNTED:
            episode[name] = 0
        facts[[OUTCOME_FIELDS.index(name) for name in _REPORTED]] = 0
        before, buttons = self._saved_bytes[index].copy(), int(self._buttons[index])
        return Waypoint(self.save(index), before, buttons, (episode, facts, observation))

    def start_at(self, index: int, waypoint: Waypoint) -> None:
        """Begin an episode at a waypoint of a machine with the same rules and observation."""
        self.put_back(index, waypoint.machine)
        self._saved_bytes[index], self._buttons[index] = waypoint.before, waypoint.buttons
        self.resume(index, waypoint.episode)
        self._undrawn[index] = True  # it is drawn when somebody asks for the screen

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Copies of everything that later decisions and screens of all machines depend on. Call it between two decisions."""
        if self._observation.draws:
            for index in np.flatnonzero(self._undrawn).tolist():  # they are at the start of an episode
                self._draw(index)
        return {name: array.copy() for name, array in self._parts().items()}

    def set_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Restore all machines from :meth:`state`.

        Raises:
            SnapshotError: the state is of another number or kind of machines; nothing was changed.
        """
        parts = self._parts()
        for name, part in parts.items():
            kept = state.get(name)
            if kept is None or kept.shape != part.shape or kept.dtype != part.dtype:
                was = "missing" if kept is None else f"{kept.dtype} {kept.shape}"
                raise SnapshotError(f"the snapshot's {name} are {was}, not {part.dtype} {part.shape}")
        self._undrawn[:] = False
        for name, part in parts.items():
            part[:] = state[name]

    def _parts(self) -> dict[str, npt.NDArray[Any]]:
        parts: dict[str, npt.NDArray[Any]] = {
            "machines": self._bytes,
            "screens": self._words,
            "episodes": self._episodes.view(np.uint8).reshape(self.count, -1),
            "facts": self.facts,
            "components": self.components,
            "observations": self.observations,
        }
        if not self._observation.draws:
            parts |= {"saved": self._saved_bytes, "buttons": self._buttons, "undrawn": self._undrawn}
        return parts

    def screen(self, index: int, buffer: int = 0) -> npt.NDArray[np.uint8]:
        """A machine's screen, RGB, shape (240, 256, 3).

        The frames of a decision are drawn into two buffers in turn, the first of them into buffer 0. Single frames are drawn
        into buffer 0, too. A decision that was played without drawing is played again now.
        """
        if self._undrawn[index]:
            self._draw(index)
        return np.take(PALETTE_RGB, unfold(self._words[index, buffer]), axis=0)

    def _draw(self, index: int) -> None:
        """Play a machine's last decision again to draw its last two frames."""
        now = self.save(index)
        self._call(DRAW, index, index + 1, self.observations)
        self.put_back(index, now)  # the RAM may have been written to since
        self._undrawn[index] = False
