"""Conversion of played episodes to rows in Postgres."""

from dataclasses import fields
from typing import get_args

from agents import PlayedEpisode
from configs import Protocol
from episodes import EpisodeRow, EpisodeWriter
from episodes.schema import EpisodeProtocol, Phase
from mario_env import EpisodeSummary

# Columns with the name of a field of `EpisodeSummary` are copied from it, so that only the schema lists the names.
_FROM_SUMMARY = frozenset(each.name for each in fields(EpisodeRow)) & frozenset(each.name for each in fields(EpisodeSummary))


def episode_row(experiment_id: int, phase: Phase, protocol: EpisodeProtocol, played: PlayedEpisode) -> EpisodeRow:
    """The row of a played episode."""
    return EpisodeRow(
        experiment_id=experiment_id,
        phase=phase,
        protocol=protocol,
        env_index=played.env_index,
        episode_index=played.episode_index,
        timestamp=played.timestamp,
        global_step=played.global_step,
        exploration_rate=played.exploration_rate,
        start_decision=len(played.summary.start.demonstration) or None,
        **{name: getattr(played.summary, name) for name in _FROM_SUMMARY},
    )


class EpisodeSink:
    """Passes the episodes of one phase to the writer, and counts them.

    Attributes:
        count: number of episodes.
        reward_sum: sum of their rewards.
    """

    def __init__(self, writer: EpisodeWriter, experiment_id: int, phase: Phase, protocol: EpisodeProtocol = "training") -> None:
        self._writer = writer
        self._experiment_id = experiment_id
        self._phase: Phase = phase
        self._protocol: EpisodeProtocol = protocol
        self.count = 0
        self.reward_sum = 0.0

    def __call__(self, played: PlayedEpisode) -> None:
        """Pass one episode to the writer, without waiting for Postgres."""
        row = episode_row(self._experiment_id, self._phase, self._protocol, played)
        self._writer.put(row, played.summary.start.to_json(), played.summary.actions, played.summary.delays)
        self.count += 1
        self.reward_sum += float(played.summary.reward)


def evaluation_protocol(protocol: Protocol) -> EpisodeProtocol:
    """Convert a protocol of the configuration to the type of the episode schema.

    Raises:
        ValueError: the schema has no such protocol.
    """
    if protocol not in get_args(EpisodeProtocol):
        raise ValueError(f"the episode schema does not know the protocol {protocol!r}")
    return protocol
