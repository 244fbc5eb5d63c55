"""What following a training costs it.

    python -m benchmarks.following [--json FILE] [--rows N] [--questions N] [--rounds N] [--seconds S] [--preset PRESET]

The page `live` of `mario inspect` asks every ten seconds how far an experiment is, and every sixth time for the course of its
distance. Each question takes processor time of the server and of Postgres, which a training on the same machine does not have.
The first figures are that time, and its share of two processors. The database is an embedded Postgres in a temporary folder.

Then a training of PRESET goes on in this process for `--rounds` pairs of rounds of `--seconds`. In one round of each pair, the
first and the second in turns, another process asks as the page does, beginning with the most expensive question. The ratios are
medians over the pairs: of the decisions a second (followed over alone), and of the processor time of a decision (alone
over followed). On a busy machine only the second tells anything. It has what the questions take from caches and memory, but not
the processors that they occupy: that is the share above. `--rounds 0` leaves the training out.
"""

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count, islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import psutil
from sqlalchemy import text

from benchmarks import synthetic
from benchmarks.training import Pipeline, pipeline
from configs import config_hash, load, to_dict
from episodes import EpisodeStore, ExperimentRecord, pending, remove_embedded
from episodes.browsing import EpisodeFilter, distance_curve, list_episodes, training_state
from episodes.writer import insert_episodes

NAME: Final = "followed"
WANTED: Final = EpisodeFilter(experiment=NAME, phase="train", protocol="training")
EVERY_SECONDS: Final = 10
CURVE_EVERY: Final = 6
PROCESSORS: Final = 2


def main() -> None:
    """Run the benchmark of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--preset", default="ppo")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mario-") as folder:
        home = Path(folder) / ".mario"
        try:
            with EpisodeStore.open(None, home) as store:
                fill(store, arguments.rows)
                figures = measure(store, arguments.questions)
            if arguments.rounds:
                with following(home) as follow:
                    training = pipeline(arguments.preset, ["train.torch_threads=1"])
                    figures |= take_turns(training, follow, arguments.rounds, arguments.seconds)
        finally:
            remove_embedded(home)
    for name, value in figures.items():
        print(f"{name:48} {value:10.4g}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def fill(store: EpisodeStore, rows: int) -> None:
    """Write an experiment with so many episodes."""
    config = load("ppo", [])
    record = ExperimentRecord(
        name=NAME, config=to_dict(config), config_hash=config_hash(config), seed=0, python_version="", device="", host="",
        started=datetime.now(UTC),
    )  # fmt: skip
    plays = synthetic.episodes(store.create_experiment(record), (1, 1), rows, seed=0)
    while some := [pending.convert(*play) for play in islice(plays, 1000)]:
        with store.transaction("writing") as connection:
            insert_episodes(connection, some)


def measure(store: EpisodeStore, questions: int) -> dict[str, float]:
    """Processor time of a question in milliseconds, without and with the curve, and the share of two processors in percent."""
    plain = processor_ms(store, lambda: training_state(store, NAME), questions)
    curve = processor_ms(store, lambda: distance_curve(store, WANTED), questions)
    share = (plain + curve / CURVE_EVERY) / (1000 * EVERY_SECONDS * PROCESSORS)
    return {
        "episodes": float(list_episodes(store, EpisodeFilter(experiment=NAME)).total),
        "question, ms": plain,
        "course of the distance, ms": curve,
        "share of two processors, %": 100 * share,
    }


@contextmanager
def following(home: Path) -> Iterator[Connection]:
    """A process that asks while it is told True, until it is told False. It answers True when it is ready."""
    spawning = multiprocessing.get_context("spawn")
    ours, its = spawning.Pipe()
    process = spawning.Process(target=ask, args=(home, its))
    process.start()
    try:
        if not ours.recv():
            raise RuntimeError("the process that asks could not start")
        yield ours
    finally:
        ours.send(None)
        process.join()


def ask(home: Path, told: Connection) -> None:
    """Ask as an open page does, whenever this is wanted."""
    with EpisodeStore.open(None, home) as store:
        training_state(store, NAME), distance_curve(store, WANTED)
        told.send(True)
        while told.recv():
            for number in count():
                training_state(store, NAME)
                if number % CURVE_EVERY == 0:
                    distance_curve(store, WANTED)
                if told.poll(EVERY_SECONDS):
                    told.recv()
                    break


def take_turns(training: Pipeline, follow: Connection, rounds: int, seconds: float) -> dict[str, float]:
    """Ratios of the training's speed and processor time, with and without being followed."""
    training.warm_up()
    speeds, times = [], []
    for number in range(rounds):
        pair = {}
        for followed in (number % 2 == 0, number % 2 == 1):
            if followed:
                follow.send(True)
            spent = time.process_time()
            steps, taken = training.round(seconds)
            pair[followed] = steps / taken, (time.process_time() - spent) / steps
            if followed:
                follow.send(False)
        speeds.append(pair[True][0] / pair[False][0])
        times.append(pair[False][1] / pair[True][1])
    return {
        "decisions a second, followed / alone": statistics.median(speeds),
        "the lowest and": min(speeds),
        "the highest of the pairs": max(speeds),
        "processor time of a decision, alone / followed": statistics.median(times),
        "its lowest and": min(times),
        "its highest of the pairs": max(times),
    }


def processor_ms(store: EpisodeStore, act: Callable[[], Any], times: int) -> float:
    """Mean processor time of `act` in this process and in Postgres."""
    act()
    with store.transaction("finding Postgres") as connection:
        # The pool hands out this connection again and again.
        backend = psutil.Process(int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one()))
    before = time.process_time() + sum(backend.cpu_times()[:2])
    for _ in range(times):
        act()
    return 1000 * (time.process_time() + sum(backend.cpu_times()[:2]) - before) / times


if __name__ == "__main__":
    main()
