"""Stored episodes as demonstrations."""

from datetime import UTC, datetime
from typing import Any

import pytest

from agents import PlayedEpisode
from configs import PROJECT, Settings, load
from mario_env import EpisodeSummary, training_starts
from mario_env.demonstrations import read_plays
from mario_env.games import Games
from tasks.demonstration import DemonstrationRefusedError, demonstration
from tasks.experiment import open_experiment_store, open_store, open_writer
from tasks.rows import EpisodeSink
from tasks.starting import running_experiment

TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")
SETTINGS = ["environment.stall_after=300", "train.curriculum={elsewhere: 0.5}"]


def test_an_episode_that_completes_its_level_can_be_one(settings: Settings) -> None:
    config, finish = load(TINY, SETTINGS), read_plays()["1-1"]
    starts = training_starts(config)
    assert starts is not None
    games = Games(config.environment, 1, seed=0, starts=starts)

    def play(**options: Any) -> EpisodeSummary:
        """From wherever the curriculum begins, or from the start of the level, to its end."""
        games.reset(0, options=options)
        record = games._records[0]
        assert record is not None
        for action in finish[len(record.start.demonstration) :]:
            info = games.step([action])[-1][0]
        summary: EpisodeSummary = info["episode_summary"]
        return summary

    played = [play(level="1-1"), play(), play(level="1-1", noop_frames=3)]
    skipped = len(played[1].start.demonstration)
    assert skipped >= len(finish) - 2 * 8
    assert all(summary.level_completed for summary in played[:2])
    with running_experiment(config, "demonstrated", settings, None) as experiment:
        with open_experiment_store(experiment) as store, open_writer(experiment, store) as writer:
            sink = EpisodeSink(writer, experiment.id, "train")
            for number, summary in enumerate(played):
                sink(PlayedEpisode(summary, 0, number, number, 0.0, datetime.now(UTC)))
        with open_store(settings) as store:
            rows = store.episodes(experiment.id)
    assert [int(value) if value == value else None for value in rows["start_decision"]] == [None, skipped, None]

    shown = "".join(map(str, finish))  # its actions are those of `simple`, which `complex` begins with
    first, second, third = map(int, rows["id"])
    assert demonstration(first, settings) == ("1-1", shown)
    assert demonstration(second, settings) == ("1-1", shown), "what was skipped belongs to it"
    with pytest.raises(DemonstrationRefusedError, match="began after 3 idle frames"):
        demonstration(third, settings)
