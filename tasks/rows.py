"""From a played episode to its row in Postgres."""

from dataclasses import fields
from typing import get_args

from agents import PlayedEpisode
from configs import Protocol
from episodes import EpisodeRow, EpisodeWriter
from episodes.schema import EpisodeProtocol, Phase
from mario_env import EpisodeSummary

# A column that the summary of an episode has under the same name is taken from it: the names are in the schema alone.
_FROM_SUMMARY = frozenset(each.name for each in fields(EpisodeRow)) & frozenset(each.name for each in fields(EpisodeSummary))


def episode_row(experiment_id: int, phase: Phase, protocol: EpisodeProtocol, played: PlayedEpisode) -> EpisodeRow:
    """The row of `played`."""
    return EpisodeRow(
        experiment_id=experiment_id,
        phase=phase,
        protocol=protocol,
        env_index=played.env_index,
        episode_index=played.episode_index,
        timestamp=played.timestamp,
        global_step=played.global_step,
        exploration_rate=played.exploration_rate,
        **{name: getattr(played.summary, name) for name in _FROM_SUMMARY},
    )


class EpisodeSink:
    """Hands every episode of one phase to the writer, and counts what it handed over.

    Attributes:
        count: episodes handed over.
        reward_sum: of their rewards.
    """

    def __init__(self, writer: EpisodeWriter, experiment_id: int, phase: Phase, protocol: EpisodeProtocol = "training") -> None:
        self._writer = writer
        self._experiment_id = experiment_id
        self._phase: Phase = phase
        self._protocol: EpisodeProtocol = protocol
        self.count = 0
        self.reward_sum = 0.0

    def __call__(self, played: PlayedEpisode) -> None:
        """Hand over one episode; returns at once."""
        row = episode_row(self._experiment_id, self._phase, self._protocol, played)
        self._writer.put(row, played.summary.start.to_json(), played.summary.actions, played.summary.delays)
        self.count += 1
        self.reward_sum += float(played.summary.reward)


def evaluation_protocol(protocol: Protocol) -> EpisodeProtocol:
    """The same word, as the schema's type."""
    if protocol not in get_args(EpisodeProtocol):
        raise ValueError(f"the episode schema does not know the protocol {protocol!r}")
    return protocol
