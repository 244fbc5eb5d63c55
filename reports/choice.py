"""The choice of the episodes that a report shows."""

from dataclasses import dataclass

import pandas as pd

from episodes.training import Training

AGENT_PROTOCOLS = ("stochastic", "sticky", "sticky_decisions", "noop", "greedy", "training")
"""Protocols in which the agent plays, the most informative first. An agent that samples its actions shows its spread; a greedy
one in a deterministic game always plays the same trajectory."""


@dataclass(frozen=True)
class ChosenEpisodes:
    """The ids and protocols of the episodes to show. The best and the typical episode may be the same."""

    best: int
    best_protocol: str
    typical: int
    typical_protocol: str


def choose_episodes(rows: pd.DataFrame) -> ChosenEpisodes | None:
    """Choose the best and a typical episode of an agent.

    The best episode is chosen from all protocols except ``random``: a completed one, then the longest distance, then the
    largest reward, then the smallest id. The typical episode is chosen from the first protocol of :data:`AGENT_PROTOCOLS` that
    has rows: the distance nearest to the median, then the reward nearest to the median, then the smallest id.

    Args:
        rows: episodes with the columns id, protocol, level_completed, distance_traveled and reward.

    Returns:
        The episodes; None if the agent has played none.
    """
    if "id" not in rows.columns:
        return None
    played = rows[rows["protocol"] != "random"]
    if played.empty:
        return None
    best = played.sort_values(
        ["level_completed", "distance_traveled", "reward", "id"], ascending=[False, False, False, True], kind="stable"
    ).iloc[0]
    protocol = headline_protocol(played)
    pool = played[played["protocol"] == protocol]
    ranked = pool.assign(
        off_distance=(pool["distance_traveled"] - pool["distance_traveled"].median()).abs(),
        off_reward=(pool["reward"] - pool["reward"].median()).abs(),
    ).sort_values(["off_distance", "off_reward", "id"], kind="stable")
    return ChosenEpisodes(int(best["id"]), str(best["protocol"]), int(ranked.iloc[0]["id"]), str(protocol))


def chosen_in_training(train: Training) -> ChosenEpisodes | None:
    """The best and the typical training episode, for an agent that was not evaluated; None if it has played none."""
    if train.best is None or train.typical is None:
        return None
    return ChosenEpisodes(train.best, "training", train.typical, "training")


def headline_protocol(rows: pd.DataFrame) -> str | None:
    """The protocol of the headline: the first of :data:`AGENT_PROTOCOLS` in `rows`; None if the agent has not played."""
    present = [str(protocol) for protocol in rows["protocol"].unique()]
    for protocol in AGENT_PROTOCOLS:
        if protocol in present:
            return protocol
    others = sorted(protocol for protocol in present if protocol != "random")
    return others[0] if others else None
