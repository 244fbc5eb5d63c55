"""Records of finished phases and of data-quality checks."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Table, cast, delete, literal, select, update
from sqlalchemy.dialects.postgresql import insert

from episodes import boundary, fencing
from episodes.fencing import FencingToken
from episodes.quality import QualityResult, RuleResult
from episodes.schema import (
    PHASE_RECORD_KEY,
    PHASE_RECORDS,
    QUALITY_RESULT_KEY,
    QUALITY_RESULTS,
    RecordedPhase,
    StoredPhase,
    StoredQuality,
)
from episodes.store import EpisodeStore


def save_phase(
    store: EpisodeStore,
    token: FencingToken,
    phase: RecordedPhase,
    seconds: float,
    details: Mapping[str, Any],
    *,
    kept_as: str = "",
    replace: bool = True,
) -> None:
    """Record a finished phase.

    Args:
        store: the episode store.
        token: the right of the attempt to write.
        phase: the phase.
        seconds: its time on the wall clock.
        details: its results, as JSON types.
        kept_as: the name of a record that does not count any more; empty: it counts.
        replace: whether a record of this phase that is there already is replaced.

    Raises:
        RowError: a value cannot be stored.
        FencedError: a newer attempt has taken over.
        StoreError: the database fails.
    """
    record = StoredPhase(
        experiment_id=token.experiment_id,
        kept_as=kept_as,
        phase=phase,
        attempt=token.attempt,
        seconds=seconds,
        details=dict(details),
        finished=datetime.now(UTC),
    )
    with store.transaction(f"recording the phase {phase}") as connection:
        _write(connection, token, PHASE_RECORDS, record, PHASE_RECORD_KEY, replace=replace)


def finished_phase(store: EpisodeStore, experiment_id: int, phase: RecordedPhase, kept_as: str = "") -> StoredPhase | None:
    """The record of a phase; None if it has not finished."""
    columns = [PHASE_RECORDS.c[each.name] for each in fields(StoredPhase)]
    wanted = {"experiment_id": int(experiment_id), "phase": phase, "kept_as": kept_as}
    with store.transaction(f"reading the record of the phase {phase}") as connection:
        row = connection.execute(select(*columns).filter_by(**wanted)).first()
    return None if row is None else StoredPhase(**row._mapping)


def archive_phases(store: EpisodeStore, token: FencingToken, phases: Iterable[RecordedPhase], kept_as: str) -> None:
    """Keep the records of these phases under the name `kept_as`, so that the phases run again.

    Raises:
        FencedError: a newer attempt has taken over.
        StoreError: the database fails.
    """
    names = list(phases)
    of_these = (PHASE_RECORDS.c.experiment_id == int(token.experiment_id), PHASE_RECORDS.c.phase.in_(names))
    with store.transaction("keeping earlier records of phases") as connection:
        fencing.require_current(connection, token)
        again = select(PHASE_RECORDS.c.phase).where(*of_these, PHASE_RECORDS.c.kept_as == "")
        found = connection.execute(again).scalars().all()
        older = (*of_these, PHASE_RECORDS.c.kept_as == kept_as, PHASE_RECORDS.c.phase.in_(found))
        connection.execute(delete(PHASE_RECORDS).where(*older))
        connection.execute(update(PHASE_RECORDS).where(*of_these, PHASE_RECORDS.c.kept_as == "").values(kept_as=kept_as))


def save_quality(store: EpisodeStore, token: FencingToken, result: QualityResult, *, replace: bool = True) -> None:
    """Record the check of a phase; `replace`: in place of an earlier one.

    Raises:
        RowError: a value cannot be stored.
        FencedError: a newer attempt has taken over.
        StoreError: the database fails.
    """
    record = StoredQuality(
        experiment_id=token.experiment_id,
        phase=result.phase,
        attempt=token.attempt,
        passed=result.passed,
        rows_checked=result.rows_checked,
        rules=[rule.to_json() for rule in result.rules],
        checked=datetime.now(UTC),
    )
    with store.transaction("recording a data-quality check") as connection:
        _write(connection, token, QUALITY_RESULTS, record, QUALITY_RESULT_KEY, replace=replace)


def quality_results(store: EpisodeStore, experiment_id: int) -> dict[str, QualityResult]:
    """The newest check of each phase that was checked: phase → result, in the order of the phases' names."""
    columns = QUALITY_RESULTS.c
    query = select(columns.phase, columns.rules, columns.rows_checked).where(columns.experiment_id == int(experiment_id))
    with store.transaction("reading the data-quality checks") as connection:
        return {
            phase: QualityResult(experiment_id, phase, [RuleResult(**rule) for rule in rules], rows_checked)
            for phase, rules, rows_checked in connection.execute(query.order_by(columns.phase))
        }


def _write(
    connection: Connection, token: FencingToken, table: Table, record: Any, key: tuple[str, ...], *, replace: bool
) -> None:
    """Write one row in the same statement that makes sure that `token` is the newest."""
    values = boundary.row_values(table, {each.name: getattr(record, each.name) for each in fields(record)})
    columns = (cast(literal(value, table.c[name].type), table.c[name].type).label(name) for name, value in values.items())
    statement = insert(table).from_select(list(values), select(*columns).select_from(fencing.current(token)))
    if not replace:
        statement = statement.on_conflict_do_nothing(index_elements=key)
    else:
        statement = statement.on_conflict_do_update(
            index_elements=key, set_={name: statement.excluded[name] for name in values if name not in key}
        )
    if connection.execute(statement).rowcount == 0:
        fencing.require_current(connection, token)
