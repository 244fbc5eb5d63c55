"""Broken data-quality rules that a person has examined and accepted, each with the reason."""

from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from episodes import boundary
from episodes.quality import RuleResult
from episodes.schema import ACCEPTED_RULE_KEY, ACCEPTED_RULES, AcceptedRule

if TYPE_CHECKING:
    from episodes.store import EpisodeStore


def accept(store: "EpisodeStore", experiment_id: int, phase: str, rule: RuleResult, *, reason: str, accepted_by: str) -> None:
    """Store that a person accepts `rule` as it was observed; a new reason replaces an older one.

    Raises:
        RowError: a value cannot be stored.
    """
    entry = AcceptedRule(
        experiment_id=experiment_id,
        phase=phase,
        rule=rule.name,
        observed=rule.observed,
        reason=reason,
        accepted_by=accepted_by,
        accepted=datetime.now(UTC),
    )
    values = boundary.row_values(ACCEPTED_RULES, {each.name: getattr(entry, each.name) for each in fields(entry)})
    statement = insert(ACCEPTED_RULES).values(values).on_conflict_do_update(index_elements=ACCEPTED_RULE_KEY, set_=values)
    with store.transaction("accepting a rule") as connection:
        connection.execute(statement)


def accepted_rules(store: "EpisodeStore", experiment_id: int, phase: str) -> dict[str, AcceptedRule]:
    """The accepted rules of a phase: name of the rule → entry."""
    columns = [ACCEPTED_RULES.c[each.name] for each in fields(AcceptedRule)]
    query = select(*columns).where(ACCEPTED_RULES.c.experiment_id == experiment_id, ACCEPTED_RULES.c.phase == phase)
    with store.transaction("reading the accepted rules") as connection:
        return {row.rule: AcceptedRule(**row._mapping) for row in connection.execute(query)}


def with_acceptance(rule: RuleResult, entry: AcceptedRule | None) -> RuleResult:
    """`rule` with the reason, if it is as it was when a person accepted it; a rule that has changed since is not accepted."""
    if rule.passed or entry is None or rule.observed != entry.observed:
        return rule
    return replace(rule, accepted=f"{entry.reason} ({entry.accepted_by}, {entry.accepted:%Y-%m-%d})")
