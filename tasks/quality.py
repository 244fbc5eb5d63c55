"""Between the phases: are the rows what they should be, and are they all there?"""

import json
import logging
from dataclasses import asdict
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from episodes.schema import Phase
from tasks.artifacts import show_markdown, show_table
from tasks.experiment import Experiment, files_in_words, open_run, open_store, rows_waiting
from tasks.phases import PhaseRecord
from tracking import TrackedRun

logger = logging.getLogger(__name__)


class QualityError(RuntimeError):
    """Rows of a phase break a rule; the message names rules, rows and the page that shows them. Nothing was deleted."""


@task(name="data quality", task_run_name="data quality: {phase}", cache_policy=NO_CACHE, persist_result=False)
def check_rows(experiment: Experiment, phase: Phase, done: PhaseRecord) -> None:
    """Validate the rows of `phase` and reconcile them with what the phase counted and what MLflow has.

    Raises:
        QualityError: a rule is broken, or rows wait on disk that are not in Postgres.
    """
    if found := rows_waiting(experiment):
        raise QualityError(
            f"{experiment.name}: {files_in_words(found)}: nothing can be said of rows that are not there. Give the command of "
            f"this run again with --experiment {experiment.name}, which writes them; if Postgres refuses them, the log says why"
        )
    from episodes.expectations import validate
    from episodes.quality_page import render

    # Episodes of validations are rows of the training phase too; those who count them keep them apart.
    validated = int(done.details.get("validation_episodes", 0))
    with open_run(experiment) as run:
        sums = [f"{phase}/reward_sum", *(["validate/reward_sum"] if validated else [])]
        reward_sum = sum(_metric(run, name, experiment) for name in sums)
        counted = int(done.details["episodes"]) + validated
        with open_store(experiment.settings) as store:
            result = validate(store, experiment.id, phase, counted=counted, reward_sum=reward_sum)
        folder = experiment.directory / "quality"
        folder.mkdir(parents=True, exist_ok=True)
        page = folder / f"{phase}.html"
        page.write_text(render(result, title=f"{experiment.name}: rows of the phase {phase}"), encoding="utf-8")
        (folder / f"{phase}.json").write_text(
            json.dumps({"passed": result.passed, **asdict(result)}, indent=2, default=str), encoding="utf-8"
        )
        run.log_artifact(page, "quality")
        run.log_metrics({f"{phase}/quality_passed": float(result.passed)}, int(done.details.get("steps", 0)))
    broken = [rule for rule in result.rules if not rule.passed]
    show_table(
        f"quality-{phase}",
        [_row(rule) for rule in (broken or result.rules)],
        f"{len(broken)} of {len(result.rules)} rules broken; {result.rows_checked} rows; page: {page}",
    )
    if broken:
        names = "\n".join(f"- {rule.name}: {_rows(rule)}" for rule in broken)
        show_markdown(f"quality-{phase}-failed", f"Rows of {phase} break these rules:\n\n{names}\n\n{page}")
        raise QualityError(f"rows of the phase {phase} of {experiment.name} break {len(broken)} rules (see {page}):\n{names}")
    logger.info("%s: %d rows keep all %d rules", phase, result.rows_checked, len(result.rules))


def _metric(run: TrackedRun, name: str, experiment: Experiment) -> float:
    value = run.metric(name)
    if value is None:
        raise QualityError(f"MLflow has no {name} of {experiment.name}: its rows cannot be reconciled")
    return value


def _row(rule: Any) -> dict[str, str]:
    return {
        "rule": rule.name,
        "column": rule.column or "",
        "passed": "yes" if rule.passed else "NO",
        "expected": str(rule.expected),
        "observed": str(rule.observed),
        "rows": _rows(rule),
    }


def _rows(rule: Any) -> str:
    if not rule.failing_rows:
        return "" if rule.passed else f"expected {rule.expected}, observed {rule.observed}"
    ids = ", ".join(str(row.get("id")) for row in rule.failing_rows)
    return f"{rule.failing_count} rows, ids {ids}"
