"""The one function through which Python enters compiled code.

There is one for each kind of observation, because numba compiles all that a function calls again for each function that Python
can call. It is kept in numba's cache (`NUMBA_CACHE_DIR`, or `__pycache__`). Numba renews a cached function when the function's
own file changes, but not when a file changes that it calls into. So a hash of this folder's sources is part of its key.
"""

import fcntl
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numba import from_dtype, njit, types
from numba.core import event

from mario_env.nes import cpu, game, play
from mario_env.nes.state import CARTRIDGE, MACHINE
from mario_env.observations import Observation
from mario_env.wrappers.reward import REWARD_COMPONENTS

__all__ = ["DECIDE", "DRAW", "EXECUTE", "OBSERVE", "STAMP", "START", "STEP", "kernel"]

START, STEP, DECIDE, OBSERVE, EXECUTE, DRAW = range(6)  # commands

_CACHE_SECONDS = 5.0  # more than it takes to read the function from the cache
_REMINDER_SECONDS = 30.0

_kernels: dict[str, Any] = {}  # by the observation's name
_NOT_COMPILED = ("__init__.py", "machine.py", "rom.py")


def _hash_of_sources() -> str:
    sources = sorted(path for path in Path(__file__).parent.glob("*.py") if path.name not in _NOT_COMPILED)
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources))
    digest.update(repr((play.INFO, REWARD_COMPONENTS)).encode())  # what the compiled code takes from elsewhere
    return digest.hexdigest()


STAMP = _hash_of_sources()  # now: the files may change while this runs


def _make(stamp: str, writer: Any, draws: bool) -> Any:
    # Numba's key holds what the function closes over: the stamp, the observation's module by its name, and whether it draws.
    @njit(nogil=True, cache=True, error_model="numpy")
    def serve(
        command: int, first: int, last: int, machines: Any, saved: Any, cartridge: Any, rules: Any, tables: Any, words: Any,
        pixels: Any, frames: Any, episodes: Any, scratch: Any, buttons: Any, outcomes: Any, components: Any, before: Any,
        observations: Any,
    ) -> int:  # fmt: skip
        """Do something with the machines from `first` up to `last`."""
        if len(stamp) == 0:
            return 0
        c, r, t, over = cartridge[0], rules[0], tables[0], 0
        for i in range(first, last):
            m = machines[i]
            if command == START:
                game.start(m, c, words[i, 0], pixels[i, 0], r.one_level, r.world, r.stage, r.area)
            elif command == STEP:
                over = int(game.step(m, c, words[i, 0], pixels[i, 0], frames[i], buttons[i], True, r.one_level))
            elif command == EXECUTE:
                cpu.run(m, c, words[i, 0], pixels[i, 0], m.clock + 1)
            elif command == OBSERVE:
                play.begin(m, episodes[i], outcomes[i])
                writer.write_first(m, words[i], t, scratch[i], observations[i])
            elif command == DECIDE:
                frame = play.decide(
                    machines, saved, i, c, words[i], pixels[i], frames[i], episodes[i], r, buttons[i], draws,
                    outcomes[i], components[i],
                )  # fmt: skip
                writer.write_next(m, words[i], frame, t, scratch[i], before[i], observations[i])
            elif command == DRAW:
                play.draw(machines, saved, i, c, words[i], pixels[i], frames[i], episodes[i], r, buttons[i], outcomes[i].frames)
        return over

    return serve


def _signature(observation: Observation, writer: Any) -> tuple[Any, ...]:
    def array(kind: Any, dimensions: int) -> Any:
        return types.Array(kind if isinstance(kind, types.Type) else from_dtype(np.dtype(kind)), dimensions, "C")

    observations = array(observation.dtype, 1 + len(observation.shape))
    return (
        types.int64, types.int64, types.int64, array(MACHINE, 1), array(MACHINE, 1), array(CARTRIDGE, 1),
        array(play.RULES, 1), array(writer.TABLES, 1), array(np.uint64, 3), array(np.uint8, 3), array(np.uint8, 2),
        array(play.EPISODE, 1), array(writer.SCRATCH, 1), array(np.int64, 1), array(play.OUTCOME, 1), array(play.COMPONENTS, 1),
        observations, observations,
    )  # fmt: skip


def _say(message: str) -> None:
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


class _Announcement(event.Listener):
    """Says once that compilation has begun."""

    said = False

    def on_start(self, _: Any) -> None:
        if not self.said:
            self.said = True
            _say("Compiling the emulator: once on this machine, for about a minute ...")

    def on_end(self, _: Any) -> None:
        pass


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Let one of a person's processes compile the function. The others wait, and find it in the cache."""
    path = Path(tempfile.gettempdir()) / f"train-mario-{os.getuid()}-{STAMP[:16]}.lock"
    lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    try:
        if not _locked(lock, _CACHE_SECONDS):
            _wait(lock)
        yield
    finally:
        os.close(lock)


def _wait(lock: int) -> None:
    """Wait for the lock, and say now and then how long it has been."""
    started = time.monotonic()
    _say("Waiting for another process that compiles the emulator: about a minute, longer on a busy machine ...")
    while not _locked(lock, _REMINDER_SECONDS):
        _say(f"Still waiting for another process that compiles the emulator, for {time.monotonic() - started:.0f} s ...")


def _locked(lock: int, seconds: float) -> bool:
    """Take the lock if it becomes free within `seconds`; returns whether it did."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
        time.sleep(0.05)


def kernel(observation: Observation) -> Any:
    """The compiled function for a kind of observation, from the cache or compiled now (which is announced on standard error).

    It takes arrays of the very types of `_signature`, and does not check them. Numba's own entrance finds out the types of all
    arguments at each call, which takes a microsecond.
    """
    if observation.name not in _kernels:
        writer = observation.load_compiled()
        function = _make(STAMP, writer, observation.draws)
        listener = _Announcement()
        event.register("numba:compile", listener)  # type: ignore[no-untyped-call]
        try:
            with _one_at_a_time():
                function.compile(_signature(observation, writer))
        finally:
            event.unregister("numba:compile", listener)  # type: ignore[no-untyped-call]
        function.disable_compile()
        (compiled,) = function.overloads.values()
        _kernels[observation.name] = compiled.entry_point
    return _kernels[observation.name]
