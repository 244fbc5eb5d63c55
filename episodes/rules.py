"""The rules for stored rows that Postgres does not enforce, derived from `episodes.schema`.

A rule is the name and arguments of an expectation of Great Expectations, and its text. Rules that compare rows with each other
are columns of the query for the rows (true where the row is correct), so every rule names its failing rows in the same way.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Dialect, Select, and_, case, func, make_url, or_, select, true

from configs.levels import FINISH_X
from episodes.schema import EPISODES, fact_of

IN_ORDER: Final = "timestamp_in_order"
PLAUSIBLE: Final = "completion_plausible"
REASONED: Final = "completion_agrees_with_end_reason"
_WARP_ZONES: Final = ((1, 2), (4, 2))  # levels with one
_START_X: Final = 40  # where Mario stands at the start of a level
DIALECT: Final[Dialect] = make_url("postgresql+psycopg2://").get_dialect()()


@dataclass(frozen=True)
class Rule:
    """What must hold.

    Attributes:
        name: for a reader.
        kind: the class of Great Expectations.
        arguments: its arguments.
        expected: what must hold, for a reader.
        columns: those that show why a row fails.
    """

    name: str
    kind: str
    arguments: Mapping[str, Any]
    expected: str
    columns: Sequence[str] = ()


def query(experiment_id: int, phase: str, config: Mapping[str, Any]) -> Select[Any]:
    """The rows to check, with a boolean column for each rule that needs more than one value."""
    rows = EPISODES.c
    previous = func.lag(rows.timestamp).over(partition_by=[rows.protocol, rows.env_index], order_by=rows.episode_index)
    return select(
        EPISODES,
        func.coalesce(rows.timestamp >= previous, true()).label(IN_ORDER),
        or_(~rows.level_completed, _far_enough(config)).label(PLAUSIBLE),
        or_(rows.end_reason != "completed", rows.level_completed).label(REASONED),
    ).where(rows.experiment_id == experiment_id, rows.phase == phase)


def _far_enough(config: Mapping[str, Any]) -> ColumnElement[bool]:
    """Whether the row's position allows that a level was completed.

    In a single level Mario is at the flag or axe when the episode ends, or in a warp pipe: then the row has the first stage of
    the world that the pipe leads to. In the full game he has gone on since: he is beyond 1-1, or has covered 1-1 in this
    episode.
    """
    rows = EPISODES.c
    environment = config.get("environment", {})
    if environment.get("game") == "full":
        beyond = or_(rows.world > 1, rows.stage > 1)
        return or_(beyond, rows.distance_traveled >= FINISH_X[1, 1] - _START_X)
    warps = [FINISH_X[level] for level in _levels(config) if level in _WARP_ZONES]
    finish = [
        (and_(rows.world == world, rows.stage == stage), rows.x_pos >= min([x, *(warps if stage == 1 else [])]))
        for (world, stage), x in sorted(FINISH_X.items())
    ]
    # A world or stage that does not exist breaks another rule.
    return case(*finish, else_=true())


def _levels(config: Mapping[str, Any]) -> list[tuple[int, int]]:
    """World and stage of the levels in which episodes begin."""
    environment, evaluate = config.get("environment", {}), config.get("evaluate", {})
    names = environment.get("levels") or [f"{environment.get('world', 1)}-{environment.get('stage', 1)}"]
    return [(int(name[0]), int(name[2])) for name in (*names, *evaluate.get("levels", []))]


def table_rules(counted: int | None) -> list[Rule]:
    """The rules for the number of rows; `counted`: the trainer's count, None if it is not known."""
    some = Rule("there are rows", "ExpectTableRowCountToBeBetween", {"min_value": 1}, "at least one row")
    if counted is None:
        return [some]
    return [
        some,
        Rule(
            "as many rows as episodes counted",
            "ExpectTableRowCountToEqual",
            {"value": int(counted)},
            f"{int(counted)} rows, as the trainer counted",
        ),
    ]


def column_rules() -> list[Rule]:
    """Ranges and allowed values that the table does not enforce; `episodes.table_rule` checks those that it does."""
    rules = []
    for column in EPISODES.columns:
        name = column.name
        fact = fact_of(column)
        if fact is None or fact.enforced:
            continue
        if fact.minimum is not None or fact.maximum is not None:
            arguments: dict[str, Any] = {"column": name, "min_value": fact.minimum, "max_value": fact.maximum}
            expected = _range(fact.minimum, fact.maximum)
            rules.append(Rule(f"{name} in range", "ExpectColumnValuesToBeBetween", arguments, expected, [name]))
        if fact.allowed is not None:
            arguments = {"column": name, "value_set": list(fact.allowed)}
            expected = " or ".join(fact.allowed)
            rules.append(Rule(f"{name} is a known one", "ExpectColumnValuesToBeInSet", arguments, expected, [name]))
    return rules


def _range(minimum: float | None, maximum: float | None) -> str:
    if maximum is None:
        return f"at least {minimum:,}"
    return f"{minimum:,} to {maximum:,}" if minimum is not None else f"at most {maximum:,}"


def row_rules() -> list[Rule]:
    """The rules for several values of a row, or for several rows."""

    def holds(name: str, column: str, expected: str, columns: Sequence[str]) -> Rule:
        return Rule(name, "ExpectColumnValuesToBeInSet", {"column": column, "value_set": [True]}, expected, columns)

    return [
        Rule(
            "frames at least steps",
            "ExpectColumnPairValuesAToBeGreaterThanB",
            {"column_A": "frames", "column_B": "steps", "or_equal": True},
            "a decision lasts a frame or more",
            ["frames", "steps"],
        ),
        holds("timestamps in order", IN_ORDER, "in each environment no episode ends before the one before it", ["timestamp"]),
        holds(
            "completion is where the level ends",
            PLAUSIBLE,
            "level_completed only where the position allows it",
            ["level_completed", "world", "stage", "x_pos", "distance_traveled"],
        ),
        holds(
            "completion agrees with the end reason",
            REASONED,
            "end_reason completed only with level_completed",
            ["level_completed", "end_reason"],
        ),
    ]


def reward_rule(reward_sum: float, rows: int, magnitude: float) -> Rule:
    """The stored rewards add up to the sum that the tracker has.

    Both add the same doubles, in different orders: such sums of n numbers differ by at most 2 (n - 1) ε Σ|r|, about 1e-5 for
    10 000 episodes of 100 each. A lost or doubled episode changes the sum by its whole reward.

    Args:
        reward_sum: the tracker's sum.
        rows: how many rows there are.
        magnitude: sum of the absolute values of their rewards.
    """
    tolerance = max(1e-9, 2 * rows * sys.float_info.epsilon * magnitude)
    arguments = {"column": "reward", "min_value": reward_sum - tolerance, "max_value": reward_sum + tolerance}
    expected = f"{reward_sum!r}, as the tracker has it (± {tolerance:.1g})"
    return Rule("rewards add up", "ExpectColumnSumToBeBetween", arguments, expected, ["reward"])
