"""What a check of the stored rows found."""

from dataclasses import dataclass
from typing import Any, Final

FAILING_ROWS_SHOWN: Final = 20


@dataclass(frozen=True)
class RuleResult:
    """One rule and how it went.

    Attributes:
        name: what must hold, in words.
        column: the column or columns it is about; "" for the whole table.
        passed: whether it holds.
        observed: what was found, in words.
        expected: what was wanted, in words.
        failing_rows: at most 20 rows that break it: id, key and the rule's columns.
        failing_count: how many rows break it; 0 for a rule on the whole table.
    """

    name: str
    column: str
    passed: bool
    observed: str
    expected: str
    failing_rows: list[dict[str, Any]]
    failing_count: int


@dataclass(frozen=True)
class QualityResult:
    """Every rule's result for the rows of one experiment and phase."""

    experiment_id: int
    phase: str
    rules: list[RuleResult]
    rows_checked: int

    @property
    def passed(self) -> bool:
        """Whether every rule holds."""
        return all(rule.passed for rule in self.rules)

    @property
    def failed_rules(self) -> list[RuleResult]:
        """The rules that do not hold."""
        return [rule for rule in self.rules if not rule.passed]

    def summary(self) -> str:
        """One line for a log or an exception: the verdict, and for each failed rule its name and the ids of its rows."""
        checked = f"{self.rows_checked} rows of experiment {self.experiment_id}, phase {self.phase}"
        if self.passed:
            return f"{checked}: all {len(self.rules)} rules hold"
        failures = []
        for rule in self.failed_rules:
            ids = ", ".join(str(row["id"]) for row in rule.failing_rows)
            rows = f" (rows {ids}{' …' if rule.failing_count > len(rule.failing_rows) else ''})" if ids else ""
            failures.append(f"{rule.name}: {rule.observed}{rows}")
        return f"{checked}: {len(failures)} of {len(self.rules)} rules fail: " + "; ".join(failures)
