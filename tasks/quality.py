"""Data-quality checks between the phases: the rows are valid and complete."""

import logging
from difflib import get_close_matches
from getpass import getuser
from socket import gethostname
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from episodes.schema import Phase
from tasks.artifacts import show_markdown, show_table
from tasks.experiment import Experiment, describe_waiting_rows, open_run, open_store, rows_waiting
from tasks.phases import PhaseRecord
from tracking import TrackedRun

if TYPE_CHECKING:
    from episodes.quality import RuleResult

logger = logging.getLogger(__name__)


class QualityError(RuntimeError):
    """Rows of a phase break a rule. The message names rules, rows and the page that shows them; nothing was deleted."""


class QualityAcceptanceError(RuntimeError):
    """A broken rule cannot be accepted; the message says why."""


@task(name="data quality", task_run_name="data quality: {phase}", cache_policy=NO_CACHE, persist_result=False)
def check_rows(experiment: Experiment, phase: Phase, done: PhaseRecord) -> None:
    """Validate the rows of `phase`, and reconcile them with the counts of the phase and with MLflow.

    Raises:
        QualityError: a rule is broken, or rows are still waiting on disk.
    """
    if found := rows_waiting(experiment):
        raise QualityError(
            f"{experiment.name}: {describe_waiting_rows(found)}, so they cannot be checked. Repeat the command of this run "
            f"with --experiment {experiment.name}, which writes them; if Postgres refuses them, the log says why"
        )
    from episodes.expectations import validate
    from episodes.quality_page import render
    from episodes.records import save_quality

    # Episodes of validations are rows of the training phase too, but are counted separately.
    validated = int(done.details.get("validation_episodes", 0))
    with open_run(experiment) as run:
        sums = [f"{phase}/reward_sum", *(["validate/reward_sum"] if validated else [])]
        reward_sum = sum(_metric(run, name, experiment) for name in sums)
        counted = int(done.details["episodes"]) + validated
        with open_store(experiment.settings) as store:
            result = validate(store, experiment.id, phase, counted=counted, reward_sum=reward_sum)
            save_quality(store, experiment.required_claim.token, result)
        folder = experiment.directory / "quality"
        folder.mkdir(parents=True, exist_ok=True)
        page = folder / f"{phase}.html"
        page.write_text(render(result, title=f"{experiment.name}: rows of the phase {phase}"), encoding="utf-8")
        run.log_artifact(page, "quality")
        run.log_metrics({f"{phase}/quality_passed": float(result.passed)}, int(done.details.get("steps", 0)))
    broken, remarks = result.failed_rules, result.remarks
    show_table(
        f"quality-{phase}",
        _shown([_row(rule) for rule in ([*broken, *remarks] or result.rules)]),
        f"{_describe_rules(len(result.rules), len(broken), len(remarks))}; {result.rows_checked} rows; page: {page}",
    )
    for rule in remarks:
        reason = f"accepted: {rule.accepted}" if rule.accepted else "a warning"
        logger.warning("%s: %s: %s (%s; expected: %s)", phase, rule.name, rule.observed, reason, rule.expected)
    if broken:
        names = "\n".join(f"- {rule.name}: {_describe_rows(rule)}" for rule in broken)
        text = f"Rows of {phase} break these rules:\n\n{names}\n\n{page}"
        show_markdown(f"quality-{phase}-failed", text, f"{len(broken)} rules broken")
        raise QualityError(
            f"rows of the phase {phase} of {experiment.name} break {len(broken)} rules (see {page}):\n{names}\n"
            f"To continue with these rows: mario quality {experiment.name} --accept RULE --because REASON, then repeat the "
            "command of this run"
        )
    kept = len(result.rules) - len(remarks)
    logger.info("%s: %d rows pass %d of %d rules", phase, result.rows_checked, kept, len(result.rules))


def _metric(run: TrackedRun, name: str, experiment: Experiment) -> float:
    value = run.metric(name)
    if value is None:
        raise QualityError(f"MLflow has no metric {name} of {experiment.name}, so its rows cannot be reconciled")
    return value


def _row(rule: Any) -> dict[str, str]:
    return {
        "rule": rule.name,
        "verdict": rule.verdict,
        "observed": str(rule.observed),
        "expected": str(rule.expected),
        "rows": _describe_rows(rule),
        "because": rule.accepted,
    }


def _describe_rules(rules: int, broken: int, remarks: int) -> str:
    parts = [f"{rules - broken - remarks} of {rules} rules hold"]
    parts += [f"{broken} broken"] if broken else []
    parts += [f"{remarks} warnings or accepted"] if remarks else []
    return ", ".join(parts)


def _shown(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """`rows` without the columns that are empty in all of them: Prefect's page shows few columns without scrolling."""
    columns = [name for name in rows[0] if any(row[name] for row in rows)] if rows else []
    return [{name: row[name] for name in columns} for row in rows]


def _describe_rows(rule: Any) -> str:
    if not rule.failing_rows:
        return "" if rule.passed else f"expected {rule.expected}, observed {rule.observed}"
    ids = ", ".join(str(row.get("id")) for row in rule.failing_rows)
    return f"{rule.failing_count} rows, ids {ids}"


def quality_table(experiment: Experiment) -> list[dict[str, str]]:
    """The latest results of the checks of `experiment` in all phases, broken rules first, with later acceptances."""
    found = [(phase, rule) for phase, rules in _last_results(experiment).items() for rule in rules]
    found.sort(key=lambda each: ("broken", "warning", "accepted", "holds").index(each[1].verdict))
    return [
        {
            "phase": phase,
            "rule": rule.name,
            "verdict": rule.verdict,
            "observed": rule.observed,
            "expected": rule.expected,
            "because": rule.accepted,
        }
        for phase, rule in found
    ]


def accept_rule(experiment: Experiment, name: str, reason: str, phase: str | None = None) -> list[str]:
    """Accept the broken rule `name`, as it was last seen, in every phase where it is broken (or only in `phase`).

    Returns:
        The phases in which it was accepted.

    Raises:
        QualityAcceptanceError: no reason is given, there is no such rule, or it holds.
    """
    from episodes.acceptance import accept

    if not reason.strip():
        raise QualityAcceptanceError("say why the broken rule is acceptable: --because TEXT")
    results = {each: rules for each, rules in _last_results(experiment).items() if phase in (None, each)}
    if not results:
        where = f" of the phase {phase}" if phase else ""
        raise QualityAcceptanceError(f"{experiment.name} has no result of a data-quality check{where}")
    known = {rule.name for rules in results.values() for rule in rules}
    if name not in known:
        broken = sorted({rule.name for rules in results.values() for rule in rules if not rule.passed})
        nearest = get_close_matches(name, known, n=3) or broken
        hint = f"; the nearest: {', '.join(nearest)}" if nearest else ""
        raise QualityAcceptanceError(f"there is no rule {name!r}{hint}")
    chosen = {each: rule for each, rules in results.items() for rule in rules if rule.name == name and not rule.passed}
    if not chosen:
        raise QualityAcceptanceError(f"the rule {name!r} holds in {', '.join(results)}: there is nothing to accept")
    with open_store(experiment.settings) as store:
        for each, rule in chosen.items():
            accept(store, experiment.id, each, rule, reason=reason.strip(), accepted_by=f"{getuser()}@{gethostname()}")
    return list(chosen)


def _last_results(experiment: Experiment) -> "dict[str, list[RuleResult]]":
    from episodes.acceptance import accepted_rules, with_acceptance
    from episodes.records import quality_results

    results = {}
    with open_store(experiment.settings) as store:
        for phase, result in quality_results(store, experiment.id).items():
            accepted = accepted_rules(store, experiment.id, phase)
            results[phase] = [with_acceptance(rule, accepted.get(rule.name)) for rule in result.rules]
    return results
