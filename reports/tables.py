"""The report's numbers as formatted cards, tables and lines of text for the template."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from episodes.statistics import Interval, ProtocolSummary
from reports.curves import throughput
from reports.data import ExperimentData, RuleCheck
from reports.results import Headline, duration, number, one_trajectory, percent, plural
from reports.style import colour, protocol_label

Row = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """An estimate with its interval, which may be empty."""

    value: str
    interval: str = ""


def _between(interval: Interval | None, digits: int = 0) -> str:
    """The interval in words; "" if there is none."""
    if interval is None:
        return ""
    return f"{number(interval.low, digits)} to {number(interval.high, digits)}"


def completion_cell(summary: ProtocolSummary) -> Cell:
    """The completion rate with its Wilson interval."""
    share = percent(summary.completion_rate)
    if summary.completion is None:
        return Cell(share)
    return Cell(share, f"{percent(summary.completion.low)} to {percent(summary.completion.high)}")


def distance_cell(summary: ProtocolSummary) -> Cell:
    """The interquartile mean of the distance with its interval."""
    return Cell(number(summary.distance_interquartile_mean), _between(summary.distance_interval))


def reward_cell(summary: ProtocolSummary) -> Cell:
    """The interquartile mean of the reward with its interval."""
    return Cell(number(summary.reward_interquartile_mean, 1), _between(summary.reward_interval, 1))


def cards(experiment: ExperimentData, headline: Headline) -> list[Row]:
    """The key figures of one experiment."""
    found: list[Row] = []
    summary, random = headline.summary, headline.random
    if summary is not None:
        source = f"{protocol_label(headline.protocol).lower()}, " if headline.protocol else "training, "
        completion, distance = completion_cell(summary), distance_cell(summary)
        trajectory = (
            "one trajectory" if one_trajectory(summary) else f"{summary.episodes} {plural(summary.episodes, 'episode')}"
        )
        found.append(_card("Completion", completion.value, completion.interval or f"{source}{trajectory}"))
        found.append(_card("Distance (IQM)", f"{distance.value} px", distance.interval or f"{source}{trajectory}"))
    if summary is not None and headline.protocol and random is not None:
        ratio = summary.distance_mean / random.distance_mean if random.distance_mean > 0 else None
        value = f"{ratio:.1f} ×" if ratio is not None else "–"
        found.append(_card("Distance against random", value, f"random: {number(random.distance_mean)} px on average"))
    found.extend(_training_cards(experiment))
    if experiment.quality:
        passed = sum(rule.passed for rule in experiment.quality)
        note = describe_failures(experiment.quality)
        found.append(_card("Data quality", f"{passed} / {len(experiment.quality)}", note))
    return found


def _training_cards(experiment: ExperimentData) -> list[Row]:
    episodes, steps = experiment.train.episodes, experiment.train.steps
    if not episodes:
        return []
    took = next((phase.seconds for phase in experiment.phases if phase.name == "train" and phase.seconds), None)
    note = f"{number(episodes)} {plural(episodes, 'episode')}" + (f" in {duration(took)}" if took else "")
    found = [_card("Training steps", number(steps), note)]
    speed = throughput(experiment.train)
    if speed is not None:
        found.append(_card("Training steps/s", number(speed.mean), "by the clock, updates included"))
    return found


def _card(label: str, value: str, note: str) -> Row:
    return {"label": label, "value": value, "note": note}


def comparison_rows(experiments: Sequence[ExperimentData], headlines: Sequence[Headline]) -> list[Row]:
    """One row per experiment, with the results under its headline protocol."""
    rows: list[Row] = []
    for index, (experiment, headline) in enumerate(zip(experiments, headlines, strict=True)):
        summary, speed = headline.summary, throughput(experiment.train)
        cells = [completion_cell(summary), distance_cell(summary), reward_cell(summary)] if summary else [Cell("–")] * 3
        rows.append(
            {
                "name": experiment.name,
                "colour": colour(index),
                "algorithm": experiment.algorithm,
                "protocol": protocol_label(headline.protocol) if headline.protocol else "Training (last episodes)",
                "steps": number(experiment.train.steps) if experiment.train.episodes else "–",
                "cells": cells,
                "speed": number(speed.mean) if speed else "–",
            }
        )
    return rows


def evaluation_rows(experiments: Sequence[ExperimentData], summaries: Sequence[Mapping[str, ProtocolSummary]]) -> list[Row]:
    """One row for each experiment and protocol, and for each level if there are several."""
    rows = []
    for experiment, own in zip(experiments, summaries, strict=True):
        rows += [_evaluation_row(experiment.name, protocol, summary) for protocol, summary in own.items()]
        for level, of_level in experiment.levels.items():
            where = f", level {level}" + (" (not trained on)" if level in experiment.held_out else "")
            rows += [_evaluation_row(experiment.name, protocol, summary, where) for protocol, summary in of_level.items()]
    return rows


def _evaluation_row(name: str, protocol: str, summary: ProtocolSummary, where: str = "") -> Row:
    return {
        "name": name,
        "protocol": protocol_label(protocol) + where,
        "random": protocol == "random",
        "episodes": number(summary.episodes),
        "distinct": number(summary.distinct),
        "cells": [
            completion_cell(summary),
            distance_cell(summary),
            Cell(number(summary.distance_mean)),
            reward_cell(summary),
        ],
    }


def resource_rows(experiments: Sequence[ExperimentData]) -> list[Row]:
    """The mean and peak of each resource that has samples."""
    rows: list[Row] = []
    for experiment in experiments:
        for use in experiment.resources:
            weights = use.seconds or [1.0] * len(use.values)
            # NaN is not equal to itself
            samples = [(float(value), weight) for value, weight in zip(use.values, weights, strict=True) if value == value]
            values = [value for value, _ in samples]
            total = sum(weight for _, weight in samples)
            if total:
                average = sum(value * weight for value, weight in samples) / total
                mean, peak = (f"{number(value, 1)} {use.unit}" for value in (average, max(values)))
                rows.append(
                    {
                        "experiment": experiment.name,
                        "name": use.name,
                        "mean": mean,
                        "peak": peak,
                        "samples": number(len(values)),
                    }
                )
    return rows


def rule_rows(experiments: Sequence[ExperimentData]) -> list[Row]:
    """All data-quality rules: failed ones first, then warnings, accepted and passed ones."""
    rows = [{"experiment": each.name, **vars(rule), "verdict": rule.verdict} for each in experiments for rule in each.quality]
    return sorted(rows, key=lambda rule: ("failed", "warning", "accepted", "passed").index(rule["verdict"]))


def describe_failures(rules: Sequence[RuleCheck]) -> str:
    """A description of how many rules failed, warned or were accepted."""
    counts = Counter(rule.verdict for rule in rules)
    words = {"failed": "failed", "warning": "warned", "accepted": "accepted by hand"}
    outcome = [f"{counts[verdict]} {word}" for verdict, word in words.items() if counts[verdict]]
    return ", ".join(outcome) or "all rules passed"


PROVENANCE_LABELS = {
    "git_commit": "Commit",
    "git_dirty": "Uncommitted changes",
    "seed": "Seed",
    "config_hash": "Configuration's hash",
    "python_version": "Python",
    "torch_version": "torch",
    "packages": "Packages",
    "device": "Device",
    "host": "Host",
    "started": "Started",
    "ended": "Ended",
    "status": "Status",
    "mlflow_run_id": "MLflow run",
    "prefect_flow_run_id": "Prefect flow run",
}


def provenance_rows(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The provenance of the run as pairs of label and value, known keys first, without empty values."""
    ordered = [
        *(key for key in PROVENANCE_LABELS if key in provenance),
        *(key for key in provenance if key not in PROVENANCE_LABELS),
    ]
    shown = [(PROVENANCE_LABELS.get(key, key.replace("_", " ").capitalize()), _describe(provenance[key])) for key in ordered]
    return [(label, value) for label, value in shown if value]


def _describe(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if hasattr(value, "isoformat"):
        return f"{value:%Y-%m-%d %H:%M:%S %Z}".strip()
    return str(value)


def config_yaml(config: Mapping[str, Any]) -> str:
    """A configuration as YAML in the order of its keys, which `mario run` accepts."""
    return yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, width=110)


def config_name(experiment: ExperimentData) -> str:
    """The name of the configuration file next to the report."""
    letters = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "-_") else "-" for letter in experiment.name
    )
    return f"{letters}-{experiment.id}.yaml"


def command(experiment: ExperimentData) -> str:
    """The commands that repeat the run."""
    if experiment.command is not None:
        return experiment.command
    commit = experiment.provenance.get("git_commit")
    lines = [f"git checkout {commit}", "make setup"] if commit else ["make setup"]
    return "\n".join(
        [*lines, "# the file next to this report, with the configuration below:", f"mario run {config_name(experiment)}"]
    )
