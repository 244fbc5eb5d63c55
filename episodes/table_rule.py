"""One rule for everything that the table enforces: its types, NOT NULL, CHECK constraints and keys are those of the schema.

While they are, no row can break them, so the rows are not checked for them.
"""

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from episodes.quality import RuleResult
from episodes.rules import DIALECT
from episodes.schema import EPISODES

if TYPE_CHECKING:
    from episodes.store import EpisodeStore

_COLUMNS: Final = text(
    "SELECT attname, format_type(atttypid, atttypmod), NOT attnotnull FROM pg_attribute "
    "WHERE attrelid = to_regclass(:table) AND attnum > 0 AND NOT attisdropped"
)
_CONSTRAINTS: Final = text("SELECT conname FROM pg_constraint WHERE conrelid = to_regclass(:table) AND convalidated")


def table_rule(store: "EpisodeStore") -> RuleResult:
    """Compare the table of episodes in the database with the schema."""
    with store.transaction("reading the table's description") as connection:
        columns = {row[0]: (row[1], row[2]) for row in connection.execute(_COLUMNS, {"table": EPISODES.name})}
        constraints = set(connection.execute(_CONSTRAINTS, {"table": EPISODES.name}).scalars())
    wanted = {column.name: _described(column) for column in EPISODES.columns}
    names = {str(constraint.name) for constraint in EPISODES.constraints}
    different = [
        f"{name} is {_in_words(*columns[name]) if name in columns else 'missing'} instead of {_in_words(*described)}"
        for name, described in wanted.items()
        if columns.get(name) != described
    ]
    different += [f"the constraint {name} is missing" for name in sorted(names - constraints)]
    expected = f"{len(wanted)} columns with their types and {len(names)} constraints, which Postgres enforces"
    observed = "; ".join(different) or f"{len(wanted)} columns, {len(names)} constraints"
    return RuleResult("the table enforces its schema", "", not different, observed, expected, [], 0)


def _described(column: Any) -> tuple[str, bool]:
    return str(column.type.compile(dialect=DIALECT)).lower(), bool(column.nullable)


def _in_words(type_name: str, nullable: bool) -> str:
    return f"{type_name}{' or null' if nullable else ''}"
