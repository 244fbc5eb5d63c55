"""The speed of bare nes-py, of the reference environment on nes-py, and of the fast environment, in one run.

    python -m benchmarks.throughput [--json FILE] [--seconds 3] [--rounds 3]

All play the same level with the same actions and compute the same observations, `frames`; one also computes `tiles`, for which
nothing is drawn. They take turns, and the best round of each
counts, because other programs on the machine can only slow it down. A decision is four frames. Rates of one thread in this
process are per second of processor time, so that a busy machine does not distort the ratios.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from configs.schema import EnvironmentConfig
from mario_env.factory import make
from mario_env.fast import cartridge, start_of_game
from mario_env.games import Games
from mario_env.nes.machine import Fleet, make_rules
from mario_env.observations import OBSERVATIONS
from mario_env.stable_baselines import FastVecEnv, make_vec

FAST: Final = EnvironmentConfig(emulator="fast")
REFERENCE: Final = EnvironmentConfig(emulator="nes-py")
ACTIONS: Final = np.random.default_rng(0).choice([1, 2, 3, 4, 4, 4, 2, 0, 5, 6], size=(100_000, 64))
CORES: Final = os.cpu_count() or 1

Clock = Callable[[], float]


class Measurement:
    """A rate that is measured in rounds.

    Args:
        unit: the unit that `work` counts, "frames" or "decisions".
        work: plays some frames or decisions, and returns how many.
        clock: processor time for work in one thread of this process, else wall-clock time.
    """

    def __init__(self, unit: str, work: Callable[[], int], clock: Clock = time.process_time) -> None:
        self.unit, self.work, self.clock, self.best = unit, work, clock, 0.0

    def round(self, seconds: float) -> None:
        """Measure for `seconds`, and keep the best rate."""
        done, started, elapsed = 0, self.clock(), 0.0
        while elapsed < seconds:
            done += self.work()
            elapsed = self.clock() - started
        self.best = max(self.best, done / elapsed)


def bare_nes_py() -> Measurement:
    """Frames of nes-py without an environment."""
    env = make(REFERENCE).unwrapped
    game: Any = env._game  # type: ignore[attr-defined]
    env.reset()

    def work() -> int:
        env.reset()
        for action in range(100):
            game._frame_advance(128 + (action & 1))
        return 100

    return Measurement("frames", work)


def reference_environment() -> Measurement:
    """Decisions of one reference environment in this process."""
    env, step = make(REFERENCE), [0]
    env.reset()

    def work() -> int:
        for _ in range(20):
            _, _, terminated, truncated, _ = env.step(int(ACTIONS[step[0], 0]))
            step[0] = (step[0] + 1) % len(ACTIONS)
            if terminated or truncated:
                env.reset()
        return 20

    return Measurement("decisions", work)


def vectorised(envs: Any, clock: Clock) -> Measurement:
    """Decisions of a vectorised environment of stable-baselines3."""
    envs.reset()
    step = [0]

    def work() -> int:
        for _ in range(5):
            envs.step(ACTIONS[step[0], : envs.num_envs])
            step[0] = (step[0] + 1) % len(ACTIONS)
        return 5 * int(envs.num_envs)

    return Measurement("decisions", work, clock)


def fast_frames(frame_skip: int) -> Measurement:
    """Frames of the fast emulator without Python. The last two frames of each decision are drawn."""
    fleet = Fleet(cartridge("vanilla"), make_rules((1, 1), frame_skip=frame_skip), 1)
    start = start_of_game("vanilla", (1, 1))

    def work() -> int:
        fleet.restore(0, start)
        fleet.begin(0)
        frames = 0
        while not fleet.outcomes["terminated"][0] and frames < 600:
            fleet.decide([129 if frames % 64 < 24 else 128])
            frames += int(fleet.outcomes["frames"][0])
        return frames

    return Measurement("frames", work)


def microseconds(function: Callable[[], Any], times: int = 300) -> float:
    """The shortest of five averages, in microseconds of processor time."""
    best = float("inf")
    for _ in range(5):
        started = time.process_time()
        for _ in range(times):
            function()
        best = min(best, (time.process_time() - started) / times * 1e6)
    return best


def shares() -> dict[str, float]:
    """The microseconds of one decision with one machine, and of its parts that are not emulation or drawing.

    "Python" is a step with an empty function in place of the compiled one, plus a call of the compiled one for no machine.
    "Observation and facts" is the start of an episode, which computes one observation.
    """
    games = Games(FAST, 1, seed=0, threads=1)
    games.reset(0)
    fleet, row = games.fleet, [0]

    def step() -> None:
        _, _, terminated, truncated, _ = games.step(ACTIONS[row[0], :1])
        row[0] += 1
        if terminated[0] or truncated[0]:
            games.reset(0)

    whole = microseconds(step, 1000)
    calling = microseconds(fleet.call_for_nothing, 1000)
    observing = microseconds(lambda: fleet.begin(0), 1000) - calling
    function, fleet.kernel = fleet.kernel, lambda *_: 0
    python = microseconds(step, 1000) + calling
    fleet.kernel = function
    overhead = python + observing
    return {"decision": whole, "Python": python, "observation and facts": observing, "overhead": overhead}


def measure(seconds: float, rounds: int) -> dict[str, float]:
    """The rates per second by name."""
    wall = time.perf_counter
    processes = make_vec(REFERENCE, CORES, seed=0)
    measurements = {
        "nes-py bare": bare_nes_py(),
        "reference, 1 environment": reference_environment(),
        f"reference, {CORES} processes": vectorised(processes, wall),
        "fast, frames": fast_frames(4),
        "fast, frames, 2 of 60 drawn": fast_frames(60),
    }
    for count in (1, 8, 16, 64):
        measurements[f"fast, {count} machines, 1 thread"] = vectorised(FastVecEnv(FAST, count, threads=1), time.process_time)
    for name in OBSERVATIONS:
        config = FAST.model_copy(update={"observation": name})
        envs = FastVecEnv(config, 32, threads=1)
        measurements[f"fast, 32 machines, 1 thread, {name}"] = vectorised(envs, time.process_time)
    measurements["fast, 16 machines, 1 thread (wall)"] = vectorised(FastVecEnv(FAST, 16, threads=1), wall)
    for count in (16, 64):
        name = f"fast, {count} machines, {CORES} threads (wall)"
        measurements[name] = vectorised(FastVecEnv(FAST, count, threads=CORES), wall)
    for _ in range(rounds):
        for measurement in measurements.values():
            measurement.round(seconds)
    processes.close()
    return {f"{name} [{measurement.unit}/s]": measurement.best for name, measurement in measurements.items()}


def main() -> None:
    """Run the benchmark of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    started = time.perf_counter()
    start_of_game("vanilla", (1, 1))
    ready = time.perf_counter() - started
    rates = measure(arguments.seconds, arguments.rounds)
    profile = shares()
    fleet = Fleet(cartridge("vanilla"), make_rules((1, 1)), 1)
    fleet.restore(0, start_of_game("vanilla", (1, 1)))
    saved = fleet.save(0)
    games = Games(FAST, 1, seed=0)
    times = {
        "ready_seconds": ready,
        "reset_microseconds": microseconds(lambda: games.reset(0)),
        "snapshot_microseconds": microseconds(lambda: fleet.save(0)),
        "restore_microseconds": microseconds(lambda: fleet.put_back(0, saved)),
    }
    reference = rates["reference, 1 environment [decisions/s]"]
    one, two = (
        rates["fast, 16 machines, 1 thread (wall) [decisions/s]"],
        rates[f"fast, 16 machines, {CORES} threads (wall) [decisions/s]"],
    )
    frames, tiles = (rates[f"fast, 32 machines, 1 thread, {name} [decisions/s]"] for name in ("frames", "tiles"))
    ratios = {
        "fast_over_reference": rates["fast, 1 machines, 1 thread [decisions/s]"] / reference,
        "two_threads_over_one": two / one,
        "tiles_over_frames": tiles / frames,
        "fast_two_threads_over_reference": two / reference,
        "overhead_share": profile["overhead"] / profile["decision"],
    }
    for title, figures in (("rates", rates), ("profile of a decision [us]", profile), ("times", times), ("ratios", ratios)):
        sys.stdout.write(f"\n{title}\n" + "".join(f"  {name:55} {value:12.2f}\n" for name, value in figures.items()))
    if arguments.json is not None:
        figures_of_all = {"rates": rates, "profile": profile, "times": times, "ratios": ratios, "cores": CORES}
        arguments.json.write_text(json.dumps(figures_of_all, indent=2) + "\n")


if __name__ == "__main__":
    main()
