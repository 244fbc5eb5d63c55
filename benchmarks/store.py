"""How far one database goes: run as ``python -m benchmarks.store [--json FILE] [--rows N] [--writers N] [--runs N]``.

A million episodes of 64 experiments are written by 64 processes at once, each as a training writes them: with a lease, a
fencing token, and an outbox on disk. First a twentieth is written in that way and straight into Postgres, by turns, which shows
what the outbox costs. Then each of these is done in a process of its own, whose time and largest memory are measured:

- the comparison of the 64 experiments;
- the report and the data-quality check of one experiment that has the training episodes of all 64;
- the comparison of 1 000 experiments, each with a run in MLflow.

Videos are left out: their time does not depend on the number of rows. The databases are temporary: an embedded Postgres, and
SQLite for MLflow in the working directory. A million rows and 1 000 runs need 5 GB.
"""

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

from sqlalchemy import func, insert, literal, or_, select, text, update

from benchmarks import synthetic
from configs import Settings, config_hash, load, to_dict
from episodes import EpisodeStore, ExperimentRecord, pending, remove_embedded, stop_embedded
from episodes.leases import acquire
from episodes.schema import EPISODE_ACTIONS, EPISODES, EXPERIMENTS
from episodes.writer import insert_episodes

LEVELS: Final = ((1, 1), (1, 2), (1, 3), (1, 4))
BATCH: Final = 64
CONNECTIONS: Final = 3  # that a writer has at most
AT_ONCE: Final = 1024  # rows that one process hands over before it waits for Postgres
DUMPS: Final = 250  # of a run in MLflow: a million decisions of the preset `ppo`
METRICS: Final = 20  # in each
WHOLE: Final = "all-in-one"
TABLES: Final = ("episodes", "episode_actions")

_ORIGIN: Final[dict[str, Any]] = {
    "started": datetime.now(UTC), "total_steps": 1, "code": {}, "python_version": "", "device": "", "host": "benchmark",
}  # fmt: skip
_PARTS: Final = ("rows", "values outside the rows", "indexes")
_SIZES: Final = text(
    "SELECT pg_table_size(oid) - COALESCE(pg_total_relation_size(NULLIF(reltoastrelid, 0)), 0), "
    "COALESCE(pg_total_relation_size(NULLIF(reltoastrelid, 0)), 0), pg_indexes_size(oid) FROM pg_class WHERE relname = :table"
)


def main() -> None:
    """Run the benchmark of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    parser.add_argument("--rows", type=int, default=1_000_000, help="episodes (default 1 000 000)")
    parser.add_argument("--writers", type=int, default=64, help="processes that write, one experiment each (default 64)")
    parser.add_argument("--runs", type=int, default=1_000, help="runs in MLflow (default 1 000)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=".") as folder:
        home = Path(folder).resolve() / ".mario"
        try:
            figures = measure(Settings(home, None, None), options.rows, options.writers, options.runs)
        finally:
            remove_embedded(home)
    for name, value in figures.items():
        sys.stdout.write(f"{name:56} {value:14,.6g}\n")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def measure(settings: Settings, rows: int, writers: int, runs: int) -> dict[str, float]:
    """All figures."""
    home = settings.create_home()
    with EpisodeStore.open(None, home) as store:
        allow_connections(store, writers)
    stop_embedded(home)
    with EpisodeStore.open(None, home) as store:
        figures = compare_ways(store, settings, max(1, rows // 20 // writers), writers)
        judged = synthetic.evaluation_episodes(rows // writers)
        ids = add_experiments(store, "writer", writers, judged)
        seconds = write(settings, ids, rows // writers, through_outbox=True)
        maintain(store)
        figures |= {"rows": count(store), "seconds to write": seconds, "rows/s": count(store) / seconds} | sizes(store)
        figures |= measured(f"comparison of {writers}", settings, "writer-*")
        whole = merge(store, ids, judged)
        figures["rows of one experiment"] = count(store, whole)
        figures |= measured("report", settings, WHOLE)
        figures |= measured("quality", settings, WHOLE)
        uri = f"sqlite:///{home.as_posix()}/mlflow/mlflow.db"
        split(store, ids, whole, judged, synthetic.tracked_runs(uri, home, to_dict(config_of(0, judged)), runs, DUMPS, METRICS))
        figures["MLflow: megabytes"] = (home / "mlflow" / "mlflow.db").stat().st_size / 1e6
        figures |= measured(f"comparison of {runs}", settings, "run-*")
        figures |= measured(f"pages of {runs} runs in MLflow", settings, "run-*")
    return figures


def allow_connections(store: EpisodeStore, writers: int) -> None:
    """Let the server accept all writers from its next start on: each has a connection for rows and one for its lease."""
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"ALTER SYSTEM SET max_connections = {20 + CONNECTIONS * writers}")


# Writing


def compare_ways(store: EpisodeStore, settings: Settings, each: int, writers: int) -> dict[str, float]:
    """Rows/s through outboxes and straight into Postgres, the better of two rounds by turns. The rows are deleted."""
    ways = {"rows/s through outboxes": True, "rows/s straight into Postgres": False}
    best = dict.fromkeys(ways, 0.0)
    for turn in range(2):
        for number, (name, through_outbox) in enumerate(ways.items()):
            ids = add_experiments(store, f"way-{turn}-{number}", writers, 1)
            best[name] = max(best[name], writers * each / write(settings, ids, each, through_outbox=through_outbox))
    with store.transaction("emptying the tables") as connection:
        connection.execute(text("TRUNCATE experiments CASCADE"))
    through, straight = best.values()
    return best | {"straight over through outboxes": straight / through}


def write(settings: Settings, ids: Sequence[int], each: int, *, through_outbox: bool) -> float:
    """The seconds in which one process for each experiment writes `each` rows. They begin together."""
    # A process is forked from one that has imported everything, and has no threads.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__])
    ready, begin = processes.Barrier(len(ids) + 1), processes.Barrier(len(ids) + 1)
    arguments = ((settings, number, place, each, through_outbox, ready, begin) for place, number in enumerate(ids))
    started = [processes.Process(target=write_experiment, args=those) for those in arguments]
    for process in started:
        process.start()
    ready.wait()
    began = time.perf_counter()
    begin.wait()
    for process in started:
        process.join()
    if failed := [process.exitcode for process in started if process.exitcode]:
        raise RuntimeError(f"{len(failed)} of {len(started)} writers failed")
    return time.perf_counter() - began


def write_experiment(
    settings: Settings, number: int, place: int, each: int, through_outbox: bool, ready: Any, begin: Any
) -> None:
    """Write the rows of one experiment, in a process of its own."""
    home = settings.home
    with EpisodeStore.connected(settings.database_url, home) as store:
        lease = acquire(store, number, _ORIGIN, seconds=60)
        plays = synthetic.episodes(number, LEVELS[place % len(LEVELS)], each, place)
        ready.wait()
        begin.wait()
        if through_outbox:
            with store.writer(home / "spool" / f"{number}.sqlite", f"experiment {number}", token=lease.token) as writer:
                while some := list(islice(plays, AT_ONCE)):
                    for play in some:
                        writer.put(*play)
                    writer.flush(600)
        else:
            while some := list(islice(plays, BATCH)):
                with store.transaction("writing") as connection:
                    insert_episodes(connection, [pending.convert(*play) for play in some], lease.token)
        lease.release()


# What is in the database


def config_of(place: int, judged: int) -> Any:
    """The configuration of an experiment with `judged` evaluation episodes: two variants, four levels, and so many seeds."""
    (world, stage), variant = LEVELS[place % len(LEVELS)], place // len(LEVELS) % 2
    level = [f"environment.world={world}", f"environment.stage={stage}", f"agent.gamma={(0.9, 0.95)[variant]}"]
    settings = [f"seed={place // len(LEVELS) // 2}", f"evaluate.episodes={judged}", "report.video=false"]
    return load("ppo", level + settings)


def add_experiments(store: EpisodeStore, name: str, number: int, judged: int, runs: Sequence[str] = ()) -> list[int]:
    """Experiments without rows; returns their ids."""
    ids = []
    for place in range(number):
        config = config_of(place, judged)
        ids.append(
            store.create_experiment(
                ExperimentRecord(
                    name=f"{name}-{place}", config=to_dict(config), config_hash=config_hash(config), seed=config.seed,
                    python_version="", device="", host="", started=datetime.now(UTC), status="completed",
                    mlflow_run_id=runs[place] if runs else None,
                )
            )
        )  # fmt: skip
    return ids


def merge(store: EpisodeStore, ids: Sequence[int], judged: int) -> int:
    """Give the training episodes of all experiments, and the other rows of the first, to a new one; returns its id."""
    whole = add_experiments(store, WHOLE, 1, judged)[0]
    rows = EPISODES.c
    trained = (rows.phase == "train") & (rows.protocol == "training")
    with store.transaction("merging the experiments") as connection:
        connection.execute(update(EXPERIMENTS).where(EXPERIMENTS.c.id == whole).values(name=WHOLE))
        for place, number in enumerate(ids):
            moved = {"env_index": rows.env_index + place * synthetic.ENVIRONMENTS, "global_step": rows.global_step * len(ids)}
            connection.execute(
                update(EPISODES).where(rows.experiment_id == number, trained).values(experiment_id=whole, **moved)
            )
        others = update(EPISODES).where(rows.experiment_id == ids[0]).values(experiment_id=whole)
        connection.execute(others.values(global_step=rows.global_step * len(ids)))
    maintain(store, full=True)
    return whole


def split(store: EpisodeStore, ids: Sequence[int], whole: int, judged: int, runs: Sequence[str]) -> None:
    """Make an experiment of each run: the training of one environment, and the evaluation of the experiment it was of."""
    rows = EPISODES.c
    names = [column.name for column in EPISODES.columns if column.name not in ("id", "experiment_id")]
    targets = add_experiments(store, "run", len(runs), judged, runs)
    with store.transaction("copying episodes") as connection:
        for place, target in enumerate(targets):
            writer, environment = place % len(ids), place // len(ids) % synthetic.ENVIRONMENTS
            trained = (
                (rows.experiment_id == whole) & (rows.phase == "train") & (rows.protocol == "training")
                & (rows.env_index == writer * synthetic.ENVIRONMENTS + environment)
            )  # fmt: skip
            judged = (rows.experiment_id == (ids[writer] if writer else whole)) & (rows.phase == "evaluate")
            copied = select(literal(target), *(rows[name] for name in names)).where(or_(trained, judged))
            connection.execute(insert(EPISODES).from_select(["experiment_id", *names], copied))
    maintain(store)


def maintain(store: EpisodeStore, *, full: bool = False) -> None:
    """What autovacuum does in time; `full`: leave no space of rows that were moved."""
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in TABLES:
            connection.exec_driver_sql(f"VACUUM {'(FULL, ANALYZE)' if full and table == 'episodes' else '(ANALYZE)'} {table}")


def count(store: EpisodeStore, experiment: int | None = None) -> int:
    """How many episodes there are, of one experiment or of all."""
    query = select(func.count()).select_from(EPISODES)
    with store.transaction("counting") as connection:
        return int(connection.execute(query if experiment is None else query.filter_by(experiment_id=experiment)).scalar_one())


def sizes(store: EpisodeStore) -> dict[str, float]:
    """Megabytes of each table, of what it keeps outside its rows, and of its indexes; bytes for each episode."""
    figures: dict[str, float] = {}
    total = 0
    with store.transaction("reading sizes") as connection:
        for table in TABLES:
            parts = connection.execute(_SIZES, {"table": table}).one()
            figures |= {f"{table}: megabytes of {part}": size / 1e6 for part, size in zip(_PARTS, parts, strict=True)}
            total += sum(parts)
        actions = select(func.avg(func.octet_length(EPISODE_ACTIONS.c.actions)), func.avg(EPISODE_ACTIONS.c.decisions))
        compressed, decisions = connection.execute(actions).one()
    each = {"bytes an episode": total / count(store), "bytes of actions, compressed": float(compressed)}
    return figures | each | {"decisions an episode": float(decisions)}


# What is read from it


def measured(name: str, settings: Settings, experiments: str) -> dict[str, float]:
    """The seconds and the most megabytes of a process that does the work `name` on the experiments."""
    code = "import sys; from benchmarks import store; store.work(*sys.argv[1:])"
    environment = os.environ | {"MARIO_HOME": str(settings.home)}
    environment = {key: value for key, value in environment.items() if key not in ("DATABASE_URL", "MLFLOW_TRACKING_URI")}
    done = subprocess.run(
        [sys.executable, "-c", code, name, experiments], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {f"{name}: {figure}": value for figure, value in found.items()}


def work(name: str, experiments: str) -> None:
    """Do one kind of work in this process, and print its figures as JSON."""
    settings = Settings.from_environment()
    settings.apply()
    kind = name.split()[0]
    began = time.perf_counter()
    {"comparison": compare, "report": report, "quality": check, "pages": read_pages}[kind](experiments, settings)
    seconds = time.perf_counter() - began
    unit = 1 if sys.platform == "darwin" else 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    sys.stdout.write(json.dumps({"seconds": seconds, "megabytes": most}) + "\n")


def compare(experiments: str, settings: Settings) -> None:
    """Compare the experiments that match a pattern, as `mario compare` does."""
    from flows.comparing import compare_experiments

    compare_experiments([experiments], settings, clips=False)


def report(experiment: str, settings: Settings) -> None:
    """Write the report on an experiment, as `mario report` does."""
    from tasks.experiment import load_experiment
    from tasks.report import report_on

    report_on([load_experiment(experiment, settings)], settings, settings.home / "report")


def check(experiment: str, settings: Settings) -> None:
    """Check the training rows of an experiment, as the pipeline does after the training."""
    from episodes.expectations import validate
    from tasks.experiment import open_store

    with open_store(settings) as store:
        number = store.experiment(experiment).id
        totals = store.totals(number, "train")
        result = validate(store, number, "train", counted=totals.episodes, reward_sum=totals.reward_sum)
    if not result.passed:
        raise RuntimeError(f"the rows of the benchmark break a rule, so its figures are invalid: {result.summary()}")


def read_pages(experiments: str, settings: Settings) -> None:
    """Ask MLflow for the pages of the runs of the experiments that match a pattern, as a comparison does."""
    from tasks.experiment import open_store
    from tracking import resolve_tracking_uri
    from tracking.history import run_pages

    with open_store(settings) as store:
        frame = store.experiments()
    runs = frame[frame["name"].str.match(experiments.replace("*", ".*"))]["mlflow_run_id"]
    run_pages(resolve_tracking_uri(settings.tracking_uri, settings.home), list(runs))


if __name__ == "__main__":
    main()
