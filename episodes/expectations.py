"""Checks the stored rows of an experiment with Great Expectations, in Postgres; the rules are in `episodes.rules`."""

import importlib
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, make_url, select

from episodes import address, rules
from episodes.acceptance import accepted_rules, with_acceptance
from episodes.drift import drift_rules
from episodes.errors import StoreError
from episodes.quality import FAILING_ROWS_SHOWN, QualityResult, RuleResult
from episodes.rules import DIALECT, Rule
from episodes.schema import EPISODE_KEY, EPISODES
from episodes.table_rule import table_rule

if TYPE_CHECKING:
    from episodes.store import EpisodeStore

_LOG: Final = logging.getLogger(__name__)
DETAILS: Final = {
    "result_format": "SUMMARY",
    "partial_unexpected_count": FAILING_ROWS_SHOWN,
    "unexpected_index_column_names": ["id"],
}
"""The result format for rules that are broken."""


def validate(
    store: "EpisodeStore", experiment_id: int, phase: str, *, counted: int | None, reward_sum: float | None = None
) -> QualityResult:
    """Check the rows of an experiment and phase.

    Args:
        counted: how many episodes the trainer counted; None leaves that rule out.
        reward_sum: the sum of their rewards that MLflow has; None leaves that rule out.

    Raises:
        StoreError: there is no such experiment, or the database fails.
    """
    config = store.experiment(experiment_id).record.config
    number, magnitude = _totals(store, experiment_id, phase)
    of_rows = [*rules.table_rules(counted), *rules.column_rules(), *rules.row_rules()]
    if reward_sum is not None and math.isfinite(reward_sum):
        of_rows.append(rules.reward_rule(reward_sum, number, magnitude))
    query = rules.query(experiment_id, phase, config).compile(dialect=DIALECT, compile_kwargs={"literal_binds": True})
    outcomes = _run(store, str(query), of_rows)
    results = [table_rule(store), *(_result(store, rule, outcome) for rule, outcome in outcomes)]
    if reward_sum is not None and not math.isfinite(reward_sum):
        results.append(RuleResult("rewards add up", "reward", False, f"the tracker has {reward_sum}", "a number", [], 0))
    results += drift_rules(store, experiment_id, phase)
    accepted = accepted_rules(store, experiment_id, phase)
    return QualityResult(experiment_id, phase, [with_acceptance(rule, accepted.get(rule.name)) for rule in results], number)


def _totals(store: "EpisodeStore", experiment_id: int, phase: str) -> tuple[int, float]:
    """How many rows there are, and the sum of the absolute values of their rewards."""
    query = select(func.count(), func.coalesce(func.sum(func.abs(EPISODES.c.reward)), 0.0))
    with store.transaction("adding up rewards") as connection:
        found = connection.execute(query.where(EPISODES.c.experiment_id == experiment_id, EPISODES.c.phase == phase)).one()
    return int(found[0]), float(found[1])


def _run(store: "EpisodeStore", query: str, wanted: Sequence[Rule]) -> list[tuple[Rule, dict[str, Any]]]:
    """Each rule with its outcome by Great Expectations, in the order given."""
    failure = None
    try:
        with data_source(store) as source:
            rows = source.add_query_asset("rows", query=query).add_batch_definition_whole_table("all")
            return _outcomes(rows, wanted)
    except Exception as error:  # any of them may hold the connection's URL
        failure = address.describe(error, make_url(store.url))
    raise StoreError(f"Great Expectations failed on {store.masked_url}: {failure}")


def _import_quietly() -> None:
    """Import Great Expectations without the deprecation warnings of it and its dependencies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("great_expectations")
    # It logs a temporary folder for pages that are never written.
    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)


@contextmanager
def data_source(store: "EpisodeStore", *, create_temp_table: bool = True) -> Iterator[Any]:
    """Great Expectations' connection to the store, in memory: no project folder, no file in HOME, no analytics."""
    _import_quietly()
    import great_expectations
    from great_expectations.data_context.types.base import ProgressBarsConfig

    url = make_url(store.url)
    if url.host is None:
        url = url.set(host="localhost")  # it requires a host; the socket's folder in the query takes precedence
    context = great_expectations.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    # With a temporary table the query's window functions are computed once, not by each statement.
    source = context.data_sources.add_postgres(
        "episodes", connection_string=url.render_as_string(hide_password=False), create_temp_table=create_temp_table
    )
    try:
        yield source
    finally:
        source.get_execution_engine().close()
        source.get_engine().dispose()


def _outcomes(batch_definition: Any, wanted: Sequence[Rule]) -> list[tuple[Rule, dict[str, Any]]]:
    """Each rule with its outcome, in the order given.

    One statement tells for many rules whether rows break them. Finding these rows takes two more statements for each rule, so
    that is done only for broken rules.
    """
    batch = batch_definition.get_batch()
    of_each_row = [rule.kind.startswith("ExpectColumn") and "Sum" not in rule.kind for rule in wanted]
    first = validated(batch, [rule for rule, each in zip(wanted, of_each_row, strict=True) if each], "BOOLEAN_ONLY")
    broken = [rule for rule, outcome in first if not outcome["success"]]
    others = [rule for rule, each in zip(wanted, of_each_row, strict=True) if not each]
    found = {rule.name: outcome for rule, outcome in [*first, *validated(batch, [*broken, *others], DETAILS)]}
    return [(rule, found[rule.name]) for rule in wanted]


def validated(batch: Any, wanted: Sequence[Rule], result_format: Any) -> list[tuple[Rule, dict[str, Any]]]:
    """Each rule with Great Expectations' result on the batch as JSON types, in the order given."""
    from great_expectations import ExpectationSuite, expectations

    # Results are not in the order of `wanted`: the metadata holds the position.
    suite = ExpectationSuite(
        name="episodes",
        expectations=[
            getattr(expectations, rule.kind)(**rule.arguments, meta={"position": position})
            for position, rule in enumerate(wanted)
        ],
    )
    validation = batch.validate(suite, result_format=result_format)
    found = {result.expectation_config.meta["position"]: result.to_json_dict() for result in validation.results}
    return [(rule, found[position]) for position, rule in enumerate(wanted)]


def _result(store: "EpisodeStore", rule: Rule, outcome: dict[str, Any]) -> RuleResult:
    found = outcome["result"]
    count = int(found.get("unexpected_count") or 0)
    ids = [row["id"] for row in found.get("partial_unexpected_index_list") or []][:FAILING_ROWS_SHOWN]
    if outcome["success"] and "observed_value" not in found:
        observed = "every row"
    elif not found:
        observed = _exception(outcome)
        _LOG.error("the rule %r could not be checked: %s", rule.name, observed)
    elif "observed_value" in found:
        observed = str(found["observed_value"])
    else:
        observed = f"{count} of {found.get('element_count', 0)} rows break it"
    columns = ", ".join(rule.columns)
    rows = _failing_rows(store, ids, rule.columns)
    return RuleResult(rule.name, columns, bool(outcome["success"]), observed, rule.expected, rows, count)


def _exception(outcome: dict[str, Any]) -> str:
    """Why the rule could not be checked."""
    information = outcome.get("exception_info") or {}
    entries = [information] if "exception_message" in information else list(information.values())
    messages = {str(entry.get("exception_message")) for entry in entries if isinstance(entry, dict)}
    return "could not be checked: " + ("; ".join(sorted(messages)) or "no reason given")


def _failing_rows(store: "EpisodeStore", ids: Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows with these ids: id, key, and the columns that show why they fail."""
    if not ids:
        return []
    names = list(dict.fromkeys([*EPISODE_KEY, *columns]))
    names.remove("experiment_id")
    shown = [EPISODES.c.id, *(EPISODES.c[name] for name in names if name != "id")]
    query = select(*shown).where(EPISODES.c.id.in_(ids)).order_by(EPISODES.c.id)
    with store.transaction("reading failing rows") as connection:
        return [dict(row._mapping) for row in connection.execute(query)]
