"""Which episodes a report shows."""

from dataclasses import dataclass

import pandas as pd

AGENT_PROTOCOLS = ("stochastic", "sticky", "sticky_decisions", "noop", "greedy", "training")
"""Protocols under which the agent itself plays, the most telling first: an agent that samples its actions shows its spread,
a greedy one in a deterministic game plays one trajectory however often it is asked."""


@dataclass(frozen=True)
class ChosenEpisodes:
    """Ids of the episodes to show, and the protocols they were played under; the two may be one and the same."""

    best: int
    best_protocol: str
    typical: int
    typical_protocol: str


def choose_episodes(rows: pd.DataFrame) -> ChosenEpisodes | None:
    """The best and a typical episode of an agent's rows (columns id, protocol, level_completed, distance_traveled, reward).

    *Best* is taken from every protocol but ``random``: completed before not completed, then the longer distance, then the
    larger reward, then the earlier id. *Typical* comes from the first protocol of :data:`AGENT_PROTOCOLS` that has rows: the
    episode whose distance is nearest to that protocol's median (then the reward nearest to the median reward, then the
    earlier id).
    Returns None if the agent has played no episode.
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


def headline_protocol(rows: pd.DataFrame) -> str | None:
    """The protocol the agent is judged by: the first of :data:`AGENT_PROTOCOLS` that `rows` has, None without any."""
    present = [str(protocol) for protocol in rows["protocol"].unique()]
    for protocol in AGENT_PROTOCOLS:
        if protocol in present:
            return protocol
    others = sorted(protocol for protocol in present if protocol != "random")
    return others[0] if others else None
