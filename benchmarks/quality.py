"""The duration of a data-quality check: run as ``python -m benchmarks.quality [--json FILE] [--rows N]``.

A hundred thousand rows of one training are written to an embedded Postgres in a temporary folder, and checked in two ways in
one run: with the current checks, and with those of an earlier version. These had a rule for each NOT NULL, type and CHECK of
the table, read all details for every rule, and repeated the query for the rows in each statement.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event, text

from episodes import EpisodeStore, ExperimentRecord, expectations, remove_embedded, rules
from episodes.rules import DIALECT, Rule
from episodes.schema import EPISODES, fact_of

_ROWS = text(
    "INSERT INTO episodes (experiment_id, phase, protocol, env_index, episode_index, timestamp, reward, steps, frames, "
    "duration_seconds, global_step, exploration_rate, distance_traveled, x_pos, y_pos, score, coins, time, life, status, "
    "world, stage, level_completed, end_reason) SELECT :experiment, 'train', 'training', n % 8, n / 8, "
    "timestamptz '2026-01-01' + n * interval '1 second', 10 + n % 7, 100, 400, 1.5, 100 * n, 0.1, 300, 340, 79, 200, 2, 380, "
    "1, 'small', 1, 1, false, 'died' FROM generate_series(0, :last) n"
)


def main() -> None:
    """Run the benchmark of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    parser.add_argument("--rows", type=int, default=100_000, help="number of rows (default 100000)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="train-mario-benchmark-") as folder:
        home = Path(folder) / ".mario"
        try:
            with EpisodeStore.open(None, home) as store:
                figures = measure(store, options.rows)
        finally:
            remove_embedded(home)
    for name, value in figures.items():
        sys.stdout.write(f"{name:36} {value:12.6g}\n")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def measure(store: EpisodeStore, rows: int) -> dict[str, float]:
    """The seconds and statements of both ways in the better of two runs, and the ratio of the seconds."""
    record = ExperimentRecord(
        name="benchmark", config={}, config_hash="", seed=0, python_version="", device="", host="", started=datetime.now(UTC)
    )
    experiment = store.create_experiment(record)
    with store.transaction("filling the table") as connection:
        connection.execute(_ROWS, {"experiment": experiment, "last": rows - 1})
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE episodes"))
    total = store.totals(experiment, "train").reward_sum
    now = _best(lambda: _require(expectations.validate(store, experiment, "train", counted=rows, reward_sum=total).passed))
    before = _best(lambda: _as_before(store, experiment, rows))
    return {
        "rows": rows,
        "seconds now": now[0],
        "seconds before": before[0],
        "before over now": before[0] / now[0],
        "statements now": now[1],
        "statements before": before[1],
    }


def _as_before(store: EpisodeStore, experiment: int, rows: int) -> None:
    query = rules.query(experiment, "train", {}).compile(dialect=DIALECT, compile_kwargs={"literal_binds": True})
    with expectations.data_source(store, create_temp_table=False) as source:
        asset = source.add_query_asset("rows", query=str(query)).add_batch_definition_whole_table("all")
        table = source.add_table_asset("table", table_name=EPISODES.name).add_batch_definition_whole_table("all")
        of_rows: Sequence[Rule] = [*rules.table_rules(rows), *rules.column_rules(), *_enforced_rules(), *rules.row_rules()]
        for batch, wanted in ((asset.get_batch(), of_rows), (table.get_batch(), _type_rules())):
            outcomes = expectations.validated(batch, wanted, expectations.DETAILS)
            _require(all(outcome["success"] for _, outcome in outcomes))


def _enforced_rules() -> list[Rule]:
    found = []
    for column in EPISODES.columns:
        fact, about = fact_of(column), {"column": column.name}
        found.append(Rule(f"{column.name} is there", "ExpectColumnValuesToNotBeNull", about, ""))
        if fact is not None and fact.enforced and fact.allowed:
            allowed = about | {"value_set": list(fact.allowed)}
            found.append(Rule(f"{column.name} is a known one", "ExpectColumnValuesToBeInSet", allowed, ""))
        if fact is not None and fact.enforced and fact.minimum is not None:
            least = about | {"min_value": fact.minimum}
            found.append(Rule(f"{column.name} in range", "ExpectColumnValuesToBeBetween", least, ""))
    return found


def _type_rules() -> list[Rule]:
    types = {column.name: str(column.type.compile(dialect=DIALECT)) for column in EPISODES.columns}
    return [Rule(name, "ExpectColumnValuesToBeOfType", {"column": name, "type_": kind}, "") for name, kind in types.items()]


def _best(check: Callable[[], None]) -> tuple[float, int]:
    """The seconds and statements of the better of two runs. The first one includes imports."""
    taken = []
    for _ in range(2):
        with _counted() as statements:
            started = time.perf_counter()
            check()
            taken.append((time.perf_counter() - started, len(statements)))
    return min(taken)


@contextmanager
def _counted() -> Any:
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def _require(passed: bool) -> None:
    if not passed:
        raise RuntimeError("the rows of the benchmark break a rule, so its figures are invalid")


if __name__ == "__main__":
    main()
