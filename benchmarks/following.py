"""What following a training costs it: run as ``python -m benchmarks.following [--json FILE] [--rows N] [--questions N]``.

The page `live` of `mario inspect` asks every ten seconds how far an experiment is, and every sixth time for the course of its
distance. Each question takes processor time of the server and of Postgres, which a training on the same machine does not have.
The figures are that time, and its share of two processors. The database is an embedded Postgres in a temporary folder.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

import psutil
from sqlalchemy import text

from benchmarks import synthetic
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
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mario-") as folder:
        home = Path(folder) / ".mario"
        try:
            with EpisodeStore.open(None, home) as store:
                fill(store, arguments.rows)
                figures = measure(store, arguments.questions)
        finally:
            remove_embedded(home)
    for name, value in figures.items():
        print(f"{name:42} {value:10.4g}")
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
