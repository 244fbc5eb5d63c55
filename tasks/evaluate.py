"""Phase 4: evaluation of the agent under each protocol, with a random policy for reference."""

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from configs import Config, EvaluateConfig
from episodes.statistics import Interval, ProtocolSummary, summarise
from tasks import phases
from tasks.artifacts import show_table
from tasks.datasets import log_evaluation_data
from tasks.earlier_evaluation import archive_evaluation, numbered_differently
from tasks.experiment import Experiment, open_experiment_store, open_run, open_writer
from tasks.phases import PhaseRecord
from tasks.rows import EpisodeSink, evaluation_protocol

if TYPE_CHECKING:
    from agents import Player
    from episodes import EpisodeStore

logger = logging.getLogger(__name__)

RULES: Final = {"noop": 2}
"""Versions of the protocols' rules; 1 if not listed. noop: version 1 drew the numbers of idle frames, 2 plays each once."""


@task(name="evaluation", cache_policy=NO_CACHE, persist_result=False)
def evaluate_agent(experiment: Experiment, trained: PhaseRecord) -> PhaseRecord:
    """Play `evaluate.episodes` episodes under each protocol with the model of the training phase.

    Returns:
        The record. Its details contain `protocols`, the result of :func:`evaluation_json`.
    """
    if done := phases.finished(experiment, "evaluate"):
        logger.info("the evaluation is already complete")
        return done
    from agents import load_agent

    started = time.perf_counter()
    agent = load_agent(Path(trained.details["model_path"]))
    with open_experiment_store(experiment) as store:
        summaries, counts = play_protocols(experiment, agent, store)
        levels = level_summaries(experiment.config, store.episodes(experiment.id, phase="evaluate"))
    with open_run(experiment) as run:
        metrics = evaluation_metrics(summaries, counts) | level_metrics(levels)
        run.log_evaluation(str(trained.details["model_uri"]), metrics, step=agent.manifest.steps)
        run.log_dict(evaluation_json(summaries), "evaluation.json")
        log_evaluation_data(run, experiment.config)
    details = {
        "protocols": evaluation_json(summaries),
        "levels": {level: evaluation_json(own) for level, own in levels.items()},
        "episodes": sum(count for count, _ in counts.values()),
        "reward_sum": sum(reward_sum for _, reward_sum in counts.values()),
    }
    record = phases.save(experiment, PhaseRecord("evaluate", time.perf_counter() - started, details))
    table = [*evaluation_table(summaries), *level_table(levels)]
    show_table("evaluation", table, f"Evaluation of {experiment.name}")
    return record


def play_protocols(
    experiment: Experiment, agent: "Player", store: "EpisodeStore", evaluate: EvaluateConfig | None = None
) -> tuple[dict[str, ProtocolSummary], dict[str, tuple[int, float]]]:
    """Play every protocol whose episodes are not complete in Postgres yet. Each episode is written when it ends.

    Returns:
        The summary of each protocol, over the levels that the agent was trained on; and for each protocol the number of its
        episodes on all levels, and the sum of their rewards.

    Raises:
        StoreUnavailableError: Postgres is unavailable at the end; the rows wait on disk.
    """
    from agents import play_levels

    config = experiment.config
    evaluate = evaluate or config.evaluate
    with open_writer(experiment, store) as writer:
        # This is read before any episode is played, because Postgres may become unavailable.
        counts = _complete(experiment, store, evaluate)
        for protocol, (played, _) in counts.items():
            logger.info("%-11s %d episodes are already recorded", protocol, played)
        for protocol in evaluate.protocols:
            if protocol in counts:
                continue
            started = time.perf_counter()
            sink = EpisodeSink(writer, experiment.id, "evaluate", evaluation_protocol(protocol))
            playing = None if protocol == "random" else agent
            play_levels(playing, config, protocol, evaluate, seed=config.seed, on_episode=sink)
            counts[protocol] = (sink.count, sink.reward_sum)
            logger.info("%-11s %d episodes in %.0f s", protocol, sink.count, time.perf_counter() - started)
    # These are read after all are played: while Postgres is unavailable, episodes can be played but not read.
    summaries: dict[str, ProtocolSummary] = {}
    for protocol in evaluate.protocols:
        rows = store.episodes(experiment.id, phase="evaluate", protocol=protocol)
        summaries[protocol] = summarise(of_trained_levels(config, rows))
        logger.info("%-11s %s", protocol, describe_summary(summaries[protocol]))
    return summaries, counts


def _complete(experiment: Experiment, store: "EpisodeStore", evaluate: EvaluateConfig) -> dict[str, tuple[int, float]]:
    """The number of episodes and the sum of their rewards for each protocol whose episodes are all recorded.

    An evaluation that an earlier version left incomplete cannot be completed, because its indices meant other episodes. Its
    rows move to another experiment, and it starts again.
    """
    from agents import episodes_to_play, evaluated_environments

    levels = len(evaluated_environments(experiment.config.environment, evaluate))
    counts: dict[str, tuple[int, float]] = {}
    for protocol in evaluate.protocols:
        found, wanted = store.totals(experiment.id, "evaluate", protocol), levels * episodes_to_play(protocol, evaluate)
        if found.episodes == wanted:
            counts[protocol] = (found.episodes, found.reward_sum)
        elif numbered_differently(store.next_episode_indices(experiment.id, "evaluate", protocol), wanted):
            moved = archive_evaluation(store, experiment, experiment.config.train.total_steps)
            logger.warning(
                "an earlier version left the evaluation of %s incomplete; it starts again. %s", experiment.name, moved
            )
            return {}
    return counts


def levels_of_rows(config: Config, rows: pd.DataFrame) -> pd.Series:
    """The level that each row of an evaluation was played on, by its name; see :func:`play_protocols`.

    It follows from the number of the episode. World and stage of the row are where it ended, which a warp pipe changes.
    """
    from agents import episodes_to_play, evaluated_environments

    names = list(evaluated_environments(config.environment, config.evaluate))
    each = rows["protocol"].map(lambda protocol: episodes_to_play(protocol, config.evaluate))
    place = (rows["env_index"] // each).clip(upper=len(names) - 1)
    return place.map(lambda index: names[int(index)])


def of_trained_levels(config: Config, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of an evaluation on levels that the agent was trained on: all but those of `evaluate.levels`."""
    if rows.empty or not config.evaluate.levels:
        return rows
    return rows[~levels_of_rows(config, rows).isin(config.evaluate.levels)]


def level_summaries(config: Config, rows: pd.DataFrame) -> dict[str, dict[str, ProtocolSummary]]:
    """The summaries of an evaluation by level and protocol; empty if there is only one level."""
    if rows.empty or (len(config.environment.levels) < 2 and not config.evaluate.levels):
        return {}
    grouped = rows.groupby([levels_of_rows(config, rows), "protocol"], sort=False)
    found = {(str(level), str(protocol)): summarise(own) for (level, protocol), own in grouped}
    return {
        level: {protocol: found[level, protocol] for protocol in config.evaluate.protocols if (level, protocol) in found}
        for level in (*config.environment.level_names, *config.evaluate.levels)
    }


def evaluation_json(summaries: Mapping[str, ProtocolSummary]) -> dict[str, Any]:
    """The summaries as JSON types; a missing interval is null.

    `rule` is the version of the protocol's rule. Figures of different versions are not comparable.
    """
    return {
        protocol: {"rule": RULES.get(protocol, 1), "completion_rate": summary.completion_rate, **asdict(summary)}
        for protocol, summary in summaries.items()
    }


def evaluation_metrics(summaries: Mapping[str, ProtocolSummary], counts: Mapping[str, tuple[int, float]]) -> dict[str, float]:
    """The metrics for MLflow: completion, distance and reward of each protocol, and the sums to reconcile rows with."""
    metrics: dict[str, float] = {}
    for protocol, summary in summaries.items():
        count, reward_sum = counts[protocol]
        metrics |= {
            f"evaluate/{protocol}/completion": summary.completion_rate,
            f"evaluate/{protocol}/distance_iqm": summary.distance_interquartile_mean,
            f"evaluate/{protocol}/reward_iqm": summary.reward_interquartile_mean,
            f"evaluate/{protocol}/episodes": count,
            f"evaluate/{protocol}/reward_sum": reward_sum,
        }
    metrics["evaluate/episodes"] = sum(count for count, _ in counts.values())
    metrics["evaluate/reward_sum"] = sum(reward_sum for _, reward_sum in counts.values())
    return metrics


def level_metrics(levels: Mapping[str, Mapping[str, ProtocolSummary]]) -> dict[str, float]:
    """The metrics of each level for MLflow: completion and distance under each protocol."""
    metrics: dict[str, float] = {}
    for level, summaries in levels.items():
        for protocol, summary in summaries.items():
            metrics[f"evaluate/{protocol}/level/{level}/completion"] = summary.completion_rate
            metrics[f"evaluate/{protocol}/level/{level}/distance_iqm"] = summary.distance_interquartile_mean
    return metrics


def level_table(levels: Mapping[str, Mapping[str, ProtocolSummary]]) -> list[dict[str, str]]:
    """The summaries of each level as rows of :func:`evaluation_table`."""
    return [
        {**row, "protocol": f"{row['protocol']}, level {level}"}
        for level, summaries in levels.items()
        for row in evaluation_table(summaries)
    ]


def evaluation_table(summaries: Mapping[str, ProtocolSummary]) -> list[dict[str, str]]:
    """The summaries as a table for display, one row per protocol."""
    return [
        {
            "protocol": protocol,
            "episodes": str(summary.episodes),
            "different": str(summary.distinct),
            "completed": f"{summary.completed}: {_percent(summary)}",
            "distance (IQM)": _range(summary.distance_interquartile_mean, summary.distance_interval),
            "reward (IQM)": _range(summary.reward_interquartile_mean, summary.reward_interval),
            "note": summary.note,
        }
        for protocol, summary in summaries.items()
    ]


def describe_summary(summary: ProtocolSummary) -> str:
    """A one-line description of one protocol's results."""
    distance = _range(summary.distance_interquartile_mean, summary.distance_interval)
    line = f"{summary.completed} of {summary.episodes} completed: {_percent(summary)}; distance {distance}"
    return f"{line}; {summary.note}" if summary.note else line


def _percent(summary: ProtocolSummary) -> str:
    interval = summary.completion
    rate = f"{summary.completion_rate:.0%}"
    return rate if interval is None else f"{rate} ({interval.low:.0%} to {interval.high:.0%})"


def _range(value: float, interval: Interval | None) -> str:
    return f"{value:.0f}" if interval is None else f"{value:.0f} ({interval.low:.0f} to {interval.high:.0f})"
