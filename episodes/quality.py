"""The results of a data-quality check."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

Severity = Literal["error", "warning"]
FAILING_ROWS_SHOWN: Final = 20


@dataclass(frozen=True)
class RuleResult:
    """One rule and its result.

    Attributes:
        name: what must hold, in words.
        column: the column or columns it concerns; "" for the whole table.
        passed: whether it holds.
        observed: what was found, in words.
        expected: what was wanted, in words.
        failing_rows: at most 20 rows that break it: id, key and the rule's columns.
        failing_count: how many rows break it; 0 for a rule on the whole table.
        severity: `error` stops the pipeline after the phase; `warning` is only shown.
        accepted: why a person has accepted that it is broken; "" if nobody has.
    """

    name: str
    column: str
    passed: bool
    observed: str
    expected: str
    failing_rows: list[dict[str, Any]]
    failing_count: int
    severity: Severity = "error"
    accepted: str = ""

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types: times and other values of rows become text, and so do NaN and infinities."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str), parse_constant=str)
        return plain

    @property
    def verdict(self) -> Literal["holds", "accepted", "warning", "broken"]:
        """Only a broken rule stops the pipeline."""
        if self.passed:
            return "holds"
        if self.accepted:
            return "accepted"
        return "warning" if self.severity == "warning" else "broken"


@dataclass(frozen=True)
class QualityResult:
    """Every rule's result for the rows of one experiment and phase."""

    experiment_id: int
    phase: str
    rules: list[RuleResult]
    rows_checked: int

    @property
    def passed(self) -> bool:
        """Whether the pipeline may go on: no rule of severity `error` is broken, except those that a person has accepted."""
        return not self.failed_rules

    @property
    def failed_rules(self) -> list[RuleResult]:
        """The rules that stop the pipeline."""
        return [rule for rule in self.rules if rule.verdict == "broken"]

    @property
    def remarks(self) -> list[RuleResult]:
        """The rules that do not hold but stop nothing: warnings and accepted rules."""
        return [rule for rule in self.rules if rule.verdict in ("warning", "accepted")]

    def summary(self) -> str:
        """One line for a log or an exception: the verdict, and for each rule that does not hold its name and its rows' ids."""
        checked = f"{self.rows_checked} rows of experiment {self.experiment_id}, phase {self.phase}"
        said = [_in_words(rule) for rule in [*self.failed_rules, *self.remarks]]
        if not said:
            return f"{checked}: all {len(self.rules)} rules hold"
        return f"{checked}: {len(said)} of {len(self.rules)} rules do not hold: {'; '.join(said)}"


def _in_words(rule: RuleResult) -> str:
    ids = ", ".join(str(row["id"]) for row in rule.failing_rows)
    rows = f" (rows {ids}{' …' if rule.failing_count > len(rule.failing_rows) else ''})" if ids else ""
    note = {"warning": " (a warning)", "accepted": f" (accepted: {rule.accepted})"}.get(rule.verdict, "")
    return f"{rule.name}: {rule.observed}{rows}{note}"
