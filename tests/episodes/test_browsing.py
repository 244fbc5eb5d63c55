"""Lists of episodes are what pandas makes of the same rows."""

from collections.abc import Callable

import pytest

from episodes import EpisodeRow, EpisodeStore, ExperimentRecord, RowError
from episodes.browsing import (
    BIN_WIDTH,
    POINTS,
    RECENT,
    EpisodeFilter,
    distance_curve,
    filter_choices,
    find_endings,
    list_episodes,
    training_state,
)

ENDS = ("died", "stalled", "completed")


@pytest.fixture(scope="module")
def wanted(
    store: EpisodeStore,
    record: Callable[..., ExperimentRecord],
    row: Callable[..., EpisodeRow],
    tmp_path_factory: pytest.TempPathFactory,
) -> EpisodeFilter:
    """An experiment of 400 episodes; every fourth was stored without its actions."""
    experiment = record(config={"train": {"total_steps": 50_000}})
    number = store.create_experiment(experiment)
    for part, with_actions in enumerate((True, False)):
        outbox = tmp_path_factory.mktemp("outbox") / "rows.sqlite"
        with store.writer(outbox, "browsing", store_actions=with_actions) as writer:
            for index in range(400):
                if (index % 4 != 3) == with_actions:
                    values = {"x_pos": index * 37 % 3000, "distance_traveled": index * 53 % 2900, "stage": 1 + part}
                    end = ENDS[index % 3]
                    episode = row(number, index, end_reason=end, level_completed=end == "completed", **values)
                    writer.put(episode, start={"noop_frames": 0}, actions=bytes(100))
    return EpisodeFilter(experiment=experiment.name)


def test_pages_are_sorted_and_complete(store: EpisodeStore, wanted: EpisodeFilter) -> None:
    frame = store.episodes(store.experiment(str(wanted.experiment)).id)
    pages = [list_episodes(store, wanted, sort="distance_traveled", page=page, size=90) for page in range(5)]
    assert {page.total for page in pages} == {400}
    assert [len(page.rows) for page in pages] == [90, 90, 90, 90, 40]
    rows = [row for page in pages for row in page.rows]
    expected = frame.sort_values(["distance_traveled", "id"], ascending=False)["id"].tolist()
    assert [row["id"] for row in rows] == expected
    assert sum(row["playable"] for row in rows) == 300


def test_filters_combine(store: EpisodeStore, wanted: EpisodeFilter) -> None:
    narrow = EpisodeFilter(wanted.experiment, world=1, stage=2, end_reason="completed", completed=True, phase="train")
    page = list_episodes(store, narrow, descending=False)
    assert page.total == len(page.rows) == sum(1 for index in range(400) if index % 4 == 3 and index % 3 == 2)
    assert {(row["stage"], row["end_reason"], row["playable"]) for row in page.rows} == {(2, "completed", False)}
    assert list_episodes(store, EpisodeFilter(experiment="nobody's")).total == 0


def test_endings_are_counted_and_have_examples(store: EpisodeStore, wanted: EpisodeFilter) -> None:
    bins = find_endings(store, wanted)
    assert sum(each["count"] for each in bins) == 400
    for each in bins[::7]:
        rows = list_episodes(store, EpisodeFilter(wanted.experiment, 1, each["stage"], end_reason=each["end_reason"]), size=400)
        here = [row for row in rows.rows if row["x_pos"] // BIN_WIDTH == each["bin"]]
        assert each["count"] == len(here)
        assert each["example"] == max((row["id"] for row in here if row["playable"]), default=None)


def test_the_curve_has_means_in_order(store: EpisodeStore, wanted: EpisodeFilter) -> None:
    curve = distance_curve(store, wanted)
    distances = [row["distance_traveled"] for row in list_episodes(store, wanted, descending=False, size=400).rows]
    assert len(curve) == POINTS
    assert curve[0] == pytest.approx(sum(distances[:3]) / 3)
    assert curve[-1] == pytest.approx(sum(distances[-2:]) / 2)


def test_the_state_of_a_training_is_that_of_its_newest_episodes(store: EpisodeStore, wanted: EpisodeFilter) -> None:
    state = training_state(store, str(wanted.experiment), count=5)
    newest = list_episodes(store, wanted, size=RECENT).rows
    assert list(state.newest) == newest[:5]
    assert state.steps == max(row["global_step"] for row in newest)
    assert state.recent == pytest.approx(sum(row["level_completed"] for row in newest) / RECENT)
    assert (state.status, state.held) == ("running", False)


def test_what_can_be_chosen(store: EpisodeStore, wanted: EpisodeFilter) -> None:
    found = filter_choices(store)
    assert wanted.experiment in found["experiment"]
    assert {"1-1", "1-2"} <= set(found["level"])
    assert set(ENDS) <= set(found["end_reason"])


def test_what_no_episode_can_have_is_refused(store: EpisodeStore) -> None:
    with pytest.raises(RowError, match="phase"):
        list_episodes(store, EpisodeFilter(phase="'; DROP TABLE episodes"))
    with pytest.raises(ValueError, match="cannot be sorted by"):
        list_episodes(store, EpisodeFilter(), sort="id; DROP TABLE episodes")
