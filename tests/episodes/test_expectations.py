"""Great Expectations finds every kind of bad row, names it, and deletes nothing."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import pytest
from sqlalchemy import Engine, event, text

from episodes import EpisodeRow, EpisodeStore, ExperimentRecord, StoreError
from episodes.acceptance import accept
from episodes.expectations import validate
from episodes.quality import QualityResult
from episodes.schema import EPISODES, fact_of

SCHEMA = "the table enforces its schema"
MakeRow = Callable[..., EpisodeRow]
MakeRecord = Callable[..., ExperimentRecord]


def put(store: EpisodeStore, *rows: EpisodeRow) -> None:
    with TemporaryDirectory() as folder, store.writer(Path(folder) / "rows.sqlite", "run 1") as writer:
        for each in rows:
            writer.put(each)


def failures(result: QualityResult) -> dict[str, list[int]]:
    """Failed rules and the indices of the episodes they name."""
    return {rule.name: [row["episode_index"] for row in rule.failing_rows] for rule in result.failed_rules}


def test_good_rows_pass_every_rule(store: EpisodeStore, experiment: int, row: MakeRow) -> None:
    put(store, *(row(experiment, index) for index in range(30)))
    put(
        store, row(experiment, 0, env_index=1, level_completed=True, end_reason="completed", x_pos=3161, distance_traveled=3121)
    )
    result = validate(store, experiment, "train", counted=31, reward_sum=sum(12.5 + index for index in [*range(30), 0]))
    assert result.passed, result.summary()
    assert result.rows_checked == 31
    about = {name for rule in result.rules for name in rule.column.split(", ")}
    enforced = {column.name for column in EPISODES.columns if (fact := fact_of(column)) is None or fact.enforced}
    assert about == {"", *EPISODES.columns.keys()} - enforced - {"experiment_id"}
    assert len(result.rules) < 30
    assert all(rule.observed and rule.expected for rule in result.rules)


BAD: list[tuple[str, dict[str, Any]]] = [
    ("x_pos in range", {"x_pos": -1}),
    ("y_pos in range", {"y_pos": 800}),
    ("time in range", {"time": 401}),
    ("coins in range", {"coins": 100}),
    ("world in range", {"world": 9}),
    ("stage in range", {"stage": 0}),
    ("life in range", {"life": -1}),
    ("score in range", {"score": -10}),
    ("distance_traveled in range", {"distance_traveled": -1}),
    ("exploration_rate in range", {"exploration_rate": 1.01}),
    ("duration_seconds in range", {"duration_seconds": -0.1}),
    ("steps in range", {"steps": 0}),
    ("global_step in range", {"global_step": -1}),
    ("status is a known one", {"status": "huge"}),
    ("end_reason is a known one", {"end_reason": "bored"}),
    ("frames at least steps", {"frames": 99}),
    ("timestamps in order", {"timestamp": datetime(2025, 12, 31, tzinfo=UTC)}),
    ("completion is where the level ends", {"level_completed": True}),
    ("completion agrees with the end reason", {"end_reason": "completed"}),
]


def test_each_kind_of_bad_row_is_named(store: EpisodeStore, experiment: int, row: MakeRow) -> None:
    # A good row before each bad one: what is wrong with one row is not held against another.
    rows = [row(experiment, index) for index in range(0, 2 * len(BAD), 2)]
    rows += [row(experiment, 2 * index + 1, **columns) for index, (_, columns) in enumerate(BAD)]
    put(store, *rows)
    result = validate(store, experiment, "train", counted=2 * len(BAD))
    assert failures(result) == {rule: [2 * index + 1] for index, (rule, _) in enumerate(BAD)}
    by_name = {rule.name: rule for rule in result.failed_rules}
    for name, columns in BAD:
        rule = by_name[name]
        shown = rule.failing_rows[0]
        assert rule.failing_count == 1
        assert {"id", "phase", "protocol", "env_index", "episode_index", *columns} <= shown.keys()
        assert {each: shown[each] for each in columns} == columns
        assert f"{name}: 1 of {2 * len(BAD)} rows break it (rows {shown['id']})" in result.summary()
    assert store.count(experiment) == 2 * len(BAD), "nothing is deleted"


def test_a_warp_pipe_completes_a_level(store: EpisodeStore, record: MakeRecord, row: MakeRow) -> None:
    experiment = store.create_experiment(record(config={"environment": {"levels": ["1-1", "1-2"]}}))
    warped = {"world": 4, "stage": 1, "level_completed": True, "end_reason": "completed"}
    put(store, row(experiment, 0, x_pos=2840, **warped), row(experiment, 1, x_pos=2800, **warped))
    result = validate(store, experiment, "train", counted=2)
    assert failures(result) == {"completion is where the level ends": [1]}, "before the zone's first pipe there is none"


def test_a_bad_row_put_in_by_hand_fails(store: EpisodeStore, experiment: int, row: MakeRow) -> None:
    put(store, row(experiment, 0))
    with store.transaction("by hand") as connection:
        columns = ", ".join(column.name for column in EPISODES.columns if column.name not in ("id", "episode_index", "time"))
        copy = f"INSERT INTO episodes ({columns}, episode_index, time) SELECT {columns}, 1, 9999 FROM episodes"  # noqa: S608
        connection.execute(text(f"{copy} WHERE experiment_id = :id"), {"id": experiment})
    result = validate(store, experiment, "train", counted=1)
    assert failures(result) == {"as many rows as episodes counted": [], "time in range": [1]}


def test_reconciliation_of_count_and_rewards(store: EpisodeStore, experiment: int, row: MakeRow) -> None:
    put(store, *(row(experiment, index, reward=0.1) for index in range(1000)))
    exact = sum([0.1] * 1000)
    assert validate(store, experiment, "train", counted=1000, reward_sum=exact).passed
    result = validate(store, experiment, "train", counted=1001, reward_sum=exact + 1e-6)
    assert {rule.name: rule.observed for rule in result.failed_rules} == {
        "as many rows as episodes counted": "1000",
        "rewards add up": str(result.failed_rules[-1].observed),
    }
    assert float(result.failed_rules[-1].observed) == pytest.approx(100)
    assert not validate(store, experiment, "train", counted=1000, reward_sum=float("nan")).passed


def test_no_rows_are_a_failure(store: EpisodeStore, experiment: int) -> None:
    result = validate(store, experiment, "integration", counted=0, reward_sum=0.0)
    assert "there are rows" in failures(result)


def test_only_the_rows_of_the_experiment_and_phase_are_checked(
    store: EpisodeStore, experiment: int, row: MakeRow, record: MakeRecord
) -> None:
    other = store.create_experiment(record())
    put(store, row(experiment), row(experiment, 0, phase="evaluate", protocol="greedy", time=999), row(other, 0, time=999))
    assert validate(store, experiment, "train", counted=1).passed


def test_at_most_twenty_rows_are_shown_and_all_are_counted(store: EpisodeStore, experiment: int, row: MakeRow) -> None:
    put(store, *(row(experiment, index, coins=500) for index in range(33)))
    (failed,) = validate(store, experiment, "train", counted=33).failed_rules
    assert (len(failed.failing_rows), failed.failing_count) == (20, 33)


def test_a_doubled_episode_is_found_where_the_database_has_lost_its_constraint(
    lone_store: EpisodeStore, row: MakeRow, record: MakeRecord
) -> None:
    experiment = lone_store.create_experiment(record())
    put(lone_store, row(experiment, 0), row(experiment, 1))
    with lone_store.transaction("damaging") as connection:
        connection.execute(text("ALTER TABLE episodes DROP CONSTRAINT uq_episodes_key"))
        connection.execute(text("UPDATE episodes SET episode_index = 0, timestamp = '2026-01-02 00:00:00+00'"))
    result = validate(lone_store, experiment, "train", counted=2)
    (failed,) = result.failed_rules
    assert (failed.name, failed.observed) == (SCHEMA, "the constraint uq_episodes_key is missing")


def test_a_column_of_another_type_is_found(lone_store: EpisodeStore, row: MakeRow, record: MakeRecord) -> None:
    experiment = lone_store.create_experiment(record())
    put(lone_store, row(experiment))
    with lone_store.transaction("damaging") as connection:
        connection.execute(text("ALTER TABLE episodes ALTER COLUMN score TYPE bigint"))
    (failed,) = validate(lone_store, experiment, "train", counted=1).failed_rules
    assert (failed.name, failed.observed) == (SCHEMA, "score is bigint instead of integer")


def test_nulls_are_found_where_the_database_allows_them(lone_store: EpisodeStore, row: MakeRow, record: MakeRecord) -> None:
    experiment = lone_store.create_experiment(record())
    put(lone_store, row(experiment))
    with lone_store.transaction("damaging") as connection:
        connection.execute(text("ALTER TABLE episodes ALTER COLUMN score DROP NOT NULL"))
        connection.execute(text("UPDATE episodes SET score = NULL"))
    (failed,) = validate(lone_store, experiment, "train", counted=1).failed_rules
    assert (failed.name, failed.observed) == (SCHEMA, "score is integer or null instead of integer")


def test_a_check_takes_few_statements(lone_store: EpisodeStore, row: MakeRow, record: MakeRecord) -> None:
    experiment = lone_store.create_experiment(record())
    put(lone_store, *(row(experiment, index) for index in range(3)))
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        assert validate(lone_store, experiment, "train", counted=3).passed
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert len(statements) < 30
    windows = [statement for statement in statements if "lag(" in statement]
    assert 0 < len(windows) <= 3, "the window functions are computed for a temporary table, not for each rule"


def drifting(row: MakeRow, experiment: int, **columns: tuple[float, float]) -> Iterator[EpisodeRow]:
    """100 episodes of training, whose columns have the first value in the first half and the second in the other."""
    for index in range(100):
        yield row(experiment, index, reward=30.0, **{name: both[index >= 50] for name, both in columns.items()})


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, {}),
        ({"duration_seconds": (1.0, 1.9)}, {}),
        ({"duration_seconds": (1.0, 2.1)}, {"the speed holds": "100 steps/s, then 47.62"}),
        ({"duration_seconds": (2.1, 1.0)}, {}),
        ({"distance_traveled": (300, 100)}, {"the reward for a pixel holds": "0.1 a pixel, then 0.3"}),
    ],
)
def test_drift_in_a_training_is_a_warning(
    store: EpisodeStore, experiment: int, row: MakeRow, columns: dict[str, Any], expected: dict[str, str]
) -> None:
    put(store, *drifting(row, experiment, **columns))
    result = validate(store, experiment, "train", counted=100)
    assert result.passed
    assert {rule.name: rule.observed for rule in result.remarks} == expected
    assert all(rule.severity == rule.verdict == "warning" for rule in result.remarks)
    assert ("a warning" in result.summary()) == bool(expected)


def test_few_episodes_do_not_drift(store: EpisodeStore, experiment: int, row: MakeRow) -> None:
    put(store, *(row(experiment, index, duration_seconds=1.0 + index) for index in range(99)))
    result = validate(store, experiment, "train", counted=99)
    assert result.remarks == []


@pytest.mark.parametrize(("completed", "warned"), [(20, 0), (12, 0), (2, 1)])
def test_completion_in_validation_is_compared_with_the_evaluation(
    store: EpisodeStore, experiment: int, row: MakeRow, completed: int, warned: int
) -> None:
    done = {"level_completed": True, "end_reason": "completed", "x_pos": 3161, "distance_traveled": 3121}

    def played(phase: str, number: int, step: int, protocol: str = "stochastic") -> Iterator[EpisodeRow]:
        for index in range(20):
            more = done if index < number else {}
            yield row(experiment, index, phase=phase, protocol=protocol, env_index=step, global_step=step, **more)

    # The policy of step 2 was evaluated, not that of step 1.
    put(
        store,
        *played("train", 0, 1),
        *played("train", 20, 2),
        *played("evaluate", completed, 2),
        *played("evaluate", 0, 0, "random"),
    )
    result = validate(store, experiment, "evaluate", counted=40)
    assert result.passed
    assert [rule.name for rule in result.remarks] == ["completion is that of the validation (stochastic)"] * warned
    if warned:
        assert result.remarks[0].observed.startswith("20 of 20 (")
        assert "2 of 20 (" in result.remarks[0].observed


def test_a_broken_rule_is_accepted_as_it_was_seen_with_the_reason(store: EpisodeStore, experiment: int, row: MakeRow) -> None:
    put(store, row(experiment, 0), row(experiment, 1, time=999))
    (broken,) = validate(store, experiment, "train", counted=2).failed_rules
    accept(store, experiment, "train", broken, reason="first", accepted_by="me@here")
    accept(store, experiment, "train", broken, reason="a cheat's clock", accepted_by="me@here")
    result = validate(store, experiment, "train", counted=2)
    assert result.passed
    (accepted,) = result.remarks
    assert (accepted.name, accepted.verdict) == ("time in range", "accepted")
    assert accepted.accepted.startswith("a cheat's clock (me@here, 2")
    assert "accepted: a cheat's clock" in result.summary()
    put(store, row(experiment, 2, time=998))
    result = validate(store, experiment, "train", counted=3)
    assert [rule.name for rule in result.failed_rules] == ["time in range"], "more has come since"


@pytest.mark.parametrize(
    ("columns", "plausible"),
    [
        ({"world": 1, "stage": 2, "distance_traveled": 3300, "x_pos": 40}, True),
        ({"world": 1, "stage": 1, "distance_traveled": 3160, "x_pos": 3200}, True),
        ({"world": 1, "stage": 1, "distance_traveled": 900, "x_pos": 940}, False),
    ],
)
def test_in_the_full_game_a_level_was_completed_before(
    store: EpisodeStore, row: MakeRow, record: MakeRecord, columns: dict[str, int], plausible: bool
) -> None:
    experiment = store.create_experiment(record(config={"environment": {"game": "full"}}))
    put(store, row(experiment, 0, level_completed=True, end_reason="game_over", **columns))
    expected = {} if plausible else {"completion is where the level ends": [0]}
    assert failures(validate(store, experiment, "train", counted=1)) == expected


def test_a_database_that_goes_away_is_an_error_without_its_password(
    lone_store: EpisodeStore, server: Any, database_name: str, record: MakeRecord
) -> None:
    experiment = lone_store.create_experiment(record())
    server.cut_off(database_name)
    with pytest.raises(StoreError, match=r"mario_tester:\*\*\*@") as caught:
        validate(lone_store, experiment, "train", counted=1)
    server.let_in(database_name)
    assert "p%40ss" not in str(caught.value)
    assert "p@ss" not in str(caught.value)


def test_the_check_is_quiet_and_stays_on_this_machine(
    store: EpisodeStore,
    experiment: int,
    row: MakeRow,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    put(store, row(experiment))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def refuse(*arguments: Any, **_: Any) -> NoReturn:
        raise AssertionError(f"a connection was made: {arguments}")

    # psycopg2 connects in C: what goes through Python's sockets is something else.
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    capfd.readouterr()
    validate(store, experiment, "train", counted=1)
    assert capfd.readouterr() == ("", "")
    assert os.listdir(tmp_path) == []


def test_the_check_leaves_no_connection_behind(lone_store: EpisodeStore, row: MakeRow, record: MakeRecord) -> None:
    experiment = lone_store.create_experiment(record())
    put(lone_store, row(experiment))
    validate(lone_store, experiment, "train", counted=1)
    others = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' "
        "AND application_name <> 'train-mario'"
    )
    # A server process outlives its connection by a moment, on a busy machine by a long one.
    deadline = time.monotonic() + 20
    found = 1
    while found and time.monotonic() < deadline:
        with lone_store.transaction("looking") as connection:
            found = connection.execute(text(others)).scalar_one()
        time.sleep(0.1)
    assert found == 0
