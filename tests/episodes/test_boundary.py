"""NumPy, pandas and extreme values at the store's boundary: stored exactly, or refused by name."""

import math
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy
from sqlalchemy import BigInteger, Boolean, DateTime, Double, Integer, LargeBinary, Text

from episodes import EpisodeRow, EpisodeStore, RowError
from episodes.boundary import column_value, row_values
from episodes.schema import EPISODE_ACTIONS, EPISODES, EXPERIMENTS

SCALAR_TYPES = sorted(
    {scalar for scalar in np.sctypeDict.values() if scalar is not np.object_}, key=lambda scalar: scalar.__name__
)
COLUMNS = [*EPISODES.columns, *EXPERIMENTS.columns, *EPISODE_ACTIONS.columns]
PYTHON_TYPES = {Integer: int, Double: float, Boolean: bool, Text: str, DateTime: datetime, LargeBinary: bytes}


def numpy_values() -> st.SearchStrategy[Any]:
    """A scalar or 0-d array of any NumPy type, extremes included."""

    def of(scalar: type[np.generic]) -> st.SearchStrategy[Any]:
        if scalar is np.void:
            return st.just(np.void(b"\x00\x01"))
        if issubclass(scalar, np.datetime64):
            return hypothesis_numpy.from_dtype(np.dtype("datetime64[us]"))
        if issubclass(scalar, np.timedelta64):
            return hypothesis_numpy.from_dtype(np.dtype("timedelta64[us]"))
        values = hypothesis_numpy.from_dtype(np.dtype(scalar))
        if issubclass(scalar, np.integer):
            limits = np.iinfo(scalar)
            return st.one_of(values, st.sampled_from([scalar(limits.min), scalar(limits.max)]))
        if issubclass(scalar, np.floating):
            limits = np.finfo(scalar)
            return st.one_of(
                values, st.sampled_from([scalar(limits.min), scalar(limits.max), scalar(limits.tiny), scalar("nan")])
            )
        return values

    scalars = st.sampled_from(SCALAR_TYPES).flatmap(of)
    return scalars.flatmap(lambda value: st.sampled_from([value, np.array(value)]))


@settings(max_examples=600, deadline=None)
@given(column=st.sampled_from(COLUMNS), value=numpy_values())
def test_any_numpy_value_becomes_pythons_own_or_is_refused_by_name(column: Any, value: Any) -> None:
    try:
        converted = column_value(column, value)
    except RowError as error:
        refusal = str(error)
    else:
        refusal = None
    if refusal is not None:
        assert f"{column.table.name}.{column.name} cannot hold" in refusal
        return
    if converted is None:
        assert column.nullable
        return
    for sql_type, python_type in PYTHON_TYPES.items():
        if isinstance(column.type, sql_type):
            assert type(converted) is python_type
    if isinstance(converted, float):
        assert math.isfinite(converted)
    if isinstance(converted, int | float):
        assert converted == float(np.asarray(value)[()]) or converted == int(np.asarray(value)[()])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    reward=st.one_of(hypothesis_numpy.from_dtype(np.dtype(dtype), allow_nan=False, allow_infinity=False) for dtype in "efd"),
    score=st.one_of(hypothesis_numpy.from_dtype(np.dtype(dtype)) for dtype in ("i1", "i2", "i4", "u1", "u2")),
    step=hypothesis_numpy.from_dtype(np.dtype("i8")),
    completed=hypothesis_numpy.from_dtype(np.dtype(bool)),
    status=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    index=st.integers(0, 2**31 - 1),
)
def test_what_is_stored_is_read_back_exactly(
    store: EpisodeStore, experiment: int, row: Callable[..., EpisodeRow], reward: Any, score: Any, step: Any, completed: Any,
    status: str, index: int,
) -> None:  # fmt: skip
    values = {"reward": reward, "score": score, "global_step": step, "level_completed": completed, "status": np.str_(status)}
    with store.transaction("clearing the table") as connection:
        connection.execute(EPISODES.delete().where(EPISODES.c.experiment_id == experiment))
    # Hypothesis allows no folder for each example from a fixture.
    with TemporaryDirectory() as folder, store.writer(Path(folder) / "rows.sqlite", "run 1") as writer:
        writer.put(row(experiment, np.int32(index), **values, timestamp=datetime(2026, 1, 1, tzinfo=UTC)))
    found = store.episodes(experiment).iloc[0]
    assert found.reward == float(reward)
    assert (found.score, found.global_step, found.episode_index) == (int(score), int(step), index)
    assert bool(found.level_completed) is bool(completed)
    # NumPy's text drops trailing NULs; there are none.
    assert found.status == status


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("reward", math.nan, "finite"),
        ("reward", np.float32("inf"), "finite"),
        ("reward", 10**400, "too large"),
        ("reward", True, "expected a number"),
        ("reward", "1.0", "expected a number"),
        ("steps", np.uint64(2**64 - 1), "from -2147483648 to 2147483647"),
        ("steps", 2**31, "from -2147483648 to 2147483647"),
        ("steps", np.float64(3.0), "expected an integer"),
        ("steps", np.True_, "expected an integer"),
        ("steps", None, "a value is required"),
        ("steps", pd.NA, "a value is required"),
        ("timestamp", pd.NaT, "a value is required"),
        ("timestamp", np.datetime64("NaT", "us"), "a value is required"),
        ("timestamp", datetime(2026, 1, 1), "no time zone"),
        ("timestamp", datetime.min.replace(tzinfo=timezone(timedelta(hours=5))), "date value out of range"),
        ("timestamp", 0, "expected a datetime"),
        ("level_completed", 1, "True or False"),
        ("status", "a\x00b", "NUL"),
        ("status", "\ud800", "surrogate"),
        ("status", 1, "text"),
        ("phase", "training", "the allowed values are smoke, integration, train, evaluate"),
        ("env_index", -1, "the minimum is 0"),
    ],
)
def test_refusals_name_column_value_and_reason(name: str, value: Any, reason: str) -> None:
    with pytest.raises(RowError) as caught:
        column_value(EPISODES.c[name], value)
    assert str(caught.value).startswith(f"episodes.{name} cannot hold ")
    assert reason in str(caught.value)


def test_ranges_of_the_game_are_not_refused_because_a_bad_row_must_be_seen() -> None:
    assert column_value(EPISODES.c.time, 999) == 999
    assert column_value(EPISODES.c.status, "huge") == "huge"


@pytest.mark.parametrize(
    ("value", "converted"),
    [
        (pd.Timestamp("2026-01-01T01:00", tz="Europe/Berlin"), datetime(2026, 1, 1, tzinfo=UTC)),
        (np.datetime64("2026-01-01T00:00:00.000001"), datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
        (np.array("2026-01-01", dtype="datetime64[D]"), datetime(2026, 1, 1, tzinfo=UTC)),
        (datetime(2026, 1, 1, 5, tzinfo=timezone(timedelta(hours=5))), datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
def test_datetimes_become_utc(value: Any, converted: datetime) -> None:
    found = column_value(EPISODES.c.timestamp, value)
    assert found == converted
    assert type(found) is datetime
    assert found.tzinfo is UTC


def test_json_is_converted_inside() -> None:
    value = {
        "seed": np.int64(3),
        "rates": (np.float32(0.5), 1),
        "deep": {"array": np.arange(2), "none": pd.NaT, "yes": np.True_},
    }
    assert column_value(EXPERIMENTS.c.config, value) == {
        "seed": 3, "rates": [0.5, 1], "deep": {"array": [0, 1], "none": None, "yes": True}
    }  # fmt: skip


@pytest.mark.parametrize(
    "value", [{"a": math.nan}, {"a": [np.float64("inf")]}, {1: "a"}, {"a": "\x00"}, {"a": {1, 2}}, {"a": b"x"}]
)
def test_json_that_postgres_would_refuse_is_refused_here(value: Any) -> None:
    with pytest.raises(RowError, match=r"experiments\.config cannot hold"):
        column_value(EXPERIMENTS.c.config, value)


def test_actions_are_bytes() -> None:
    assert column_value(EPISODE_ACTIONS.c.actions, np.array([0, 255], dtype=np.uint8)) == b"\x00\xff"
    with pytest.raises(RowError, match="array of uint8"):
        column_value(EPISODE_ACTIONS.c.actions, np.array([0, 255]))


def test_an_unknown_column_is_named_with_those_there_are() -> None:
    with pytest.raises(RowError, match=r"episodes has no column rewards; it has id, experiment_id, phase"):
        row_values(EPISODES, {"rewards": 1})


def test_long_values_are_shortened_in_messages() -> None:
    with pytest.raises(RowError) as caught:
        column_value(EPISODES.c.steps, "x" * 10_000)
    assert len(str(caught.value)) < 200


def test_every_field_of_a_row_is_a_column() -> None:
    assert [each.name for each in fields(EpisodeRow)] == [column.name for column in EPISODES.c if column.name != "id"]
    assert isinstance(EPISODES.c.global_step.type, BigInteger)
