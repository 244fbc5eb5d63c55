"""What `mario prune` deletes, and what it never does."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from configs import ConfigError, Settings, load, to_dict
from episodes import EpisodeRow, EpisodeStore, ExperimentRecord, FencingToken, StoreError
from episodes.leases import acquire
from episodes.promotions import record_decision
from episodes.pruning import RULES, find
from episodes.records import save_phase
from episodes.schema import PromotionRecord
from flows.pruning import chosen_rules
from flows.watching import WatchError, episode_frames
from tasks import folder
from tasks.pruning import find_prunable, prune_all
from tasks.sharing import shared_folder
from tests.conftest import Command
from tests.episodes.conftest import ORIGIN, Server

NOW = datetime.now(UTC)
OLD, RECENT = NOW - timedelta(days=100), NOW - timedelta(days=10)
AGE = timedelta(days=90)

Add = Callable[..., int]


@pytest.fixture
def database_url(server: Server) -> Iterator[str]:
    """A database for each test: what one deletes the others do not find."""
    name = server.new_database()
    yield server.by_tcp.set(database=name).render_as_string(hide_password=False)
    server.drop_database(name)


@pytest.fixture
def store(database_url: str, tmp_path: Path) -> Iterator[EpisodeStore]:
    with EpisodeStore.open(database_url, tmp_path) as store:
        yield store


@pytest.fixture
def settings(store: EpisodeStore, tmp_path: Path) -> Settings:
    return Settings(tmp_path, store.url, None)


@pytest.fixture
def add(store: EpisodeStore, settings: Settings, row: Callable[..., EpisodeRow], tmp_path: Path) -> Add:
    """Makes an experiment with a folder: five training episodes, of which the last is the best, and two of the evaluation."""

    def make(name: str, status: str = "completed", ended: datetime | None = OLD, **columns: Any) -> int:
        record = ExperimentRecord(
            name=name, config=to_dict(load("demo")), config_hash="", seed=0, python_version="", device="", host="elsewhere",
            started=OLD, status=status, ended=ended, **columns,
        )  # fmt: skip
        number = store.create_experiment(record)
        with store.writer(tmp_path / f"{name}.sqlite", name) as writer:
            for index in range(5):
                writer.put(row(number, index, distance_traveled=100 * index), {"noop_frames": 0}, bytes([index] * 50))
            for index in range(2):
                judged = row(number, index, phase="evaluate", protocol="greedy")
                writer.put(judged, {"noop_frames": 0}, bytes(50))
        folder.create(record, settings)
        (settings.experiment_directory(name) / "model.zip").write_bytes(bytes(1000))
        return number

    return make


def prune_everything(settings: Settings) -> dict[str, bool]:
    found = find_prunable(settings, list(RULES), 90)
    return {each.rows.name: done for each, done in prune_all(settings, found, 90)}


def test_each_rule_finds_its_experiments_and_no_evidence(store: EpisodeStore, add: Add) -> None:
    add("whole")
    add("broken", "failed")
    add("stopped", "interrupted", mlflow_run_id="run-of-nobody")
    add("ppo-old-1", "interrupted", ended=None)
    add("fresh", "failed", RECENT)
    add("fresh-old-1", "completed", RECENT)
    add("lively", "running", None)
    add("champion-old-1", "completed", mlflow_run_id="run-of-the-champion")
    add("mario-candidate-v2", "failed")
    candidate = add("candidate-old-1", "failed")
    save_phase(store, FencingToken(candidate, 0), "alias", 0.1, {})
    evidence = {
        "candidate": {"version": 2, "run_id": "gone"},
        "champion": {"version": 1, "run_id": "run-of-the-champion"},
        "experiments": {"candidate": "mario-candidate-v2"},
    }
    told = PromotionRecord(model="mario-1-1", decision="not shown", version=2, champion=1, evidence=evidence, decided=OLD)
    record_decision(store, told)

    found = {each.name: each.rule for each in find(store, list(RULES), AGE)}

    assert found == {
        "whole": "actions",
        "broken": "failed",
        "stopped": "failed",
        "ppo-old-1": "archived",
        "champion-old-1": "actions",
    }
    assert [each.name for each in find(store, ["failed"], AGE)] == ["broken", "stopped", "ppo-old-1"]


def test_only_actions_of_training_episodes_go_and_those_that_are_shown_stay(
    store: EpisodeStore, settings: Settings, add: Add
) -> None:
    number = add("whole")
    before = store.episodes(number).drop(columns="trajectory")

    assert prune_everything(settings) == {"whole": True}

    after = store.episodes(number)
    assert after.drop(columns="trajectory").equals(before)
    # The typical one is nearest to the median distance, the best one has gone farthest.
    assert after["trajectory"].notna().tolist() == [False, False, True, False, True, True, True]
    with pytest.raises(WatchError, match=r"the actions of episode \d+ were deleted by `mario prune`"):
        episode_frames(int(after["id"].iloc[0]), settings)
    assert prune_everything(settings) == {}


def test_an_experiment_goes_with_all_its_rows_and_files(store: EpisodeStore, settings: Settings, add: Add) -> None:
    number, other = add("broken", "failed", ended=None), add("whole", ended=RECENT)
    lease = acquire(store, number, ORIGIN | {"started": OLD}, seconds=60)
    save_phase(store, lease.token, "smoke", 0.1, {})
    store.update_experiment(lease.token, status="failed", ended=OLD)
    lease.release()

    assert prune_everything(settings) == {"broken": True}

    assert list(store.experiments()["name"]) == ["whole"]
    assert (store.count(number), store.count(other)) == (0, 7)
    assert not settings.experiment_directory("broken").exists()
    assert settings.experiment_directory("whole").exists()
    with pytest.raises(StoreError, match="there is no experiment"):  # an attempt that did not know of its end
        save_phase(store, lease.token, "train", 0.1, {})


def test_files_that_machines_share_go_with_their_experiment(
    store: EpisodeStore, settings: Settings, add: Add, tmp_path: Path
) -> None:
    sharing = replace(settings, checkpoints_url=str(tmp_path / "shared"))
    folders = {}
    for number, name in ((add("broken", "failed"), "broken"), (add("whole", ended=RECENT), "whole")):
        found = shared_folder(sharing, number, store.experiment(number).record.started)
        assert found is not None
        (found / "attempt-0001").write("complete.json", b"{}")
        folders[name] = found

    assert prune_everything(sharing) == {"broken": True}

    assert {name: folder.names() for name, folder in folders.items()} == {"broken": [], "whole": ["attempt-0001"]}


def test_an_experiment_that_is_continued_meanwhile_is_left_alone(store: EpisodeStore, settings: Settings, add: Add) -> None:
    number = add("broken", "failed")
    found = find_prunable(settings, list(RULES), 90)
    lease = acquire(store, number, ORIGIN, seconds=60)

    assert [done for _, done in prune_all(settings, found, 90)] == [False]

    lease.release()
    assert store.count(number) == 7
    assert (settings.experiment_directory("broken") / "model.zip").exists()


def test_files_of_another_experiment_of_that_name_stay(store: EpisodeStore, settings: Settings, add: Add) -> None:
    add("broken", "failed")
    identity = settings.experiment_directory("broken") / "experiment.json"
    identity.write_text(identity.read_text().replace(OLD.isoformat(), RECENT.isoformat()))

    assert prune_everything(settings) == {"broken": True}

    assert identity.exists()


def test_the_command_shows_first_and_deletes_with_yes(
    store: EpisodeStore, settings: Settings, add: Add, mario: Command
) -> None:
    number = add("broken", "failed")
    place = {"DATABASE_URL": store.url, "MARIO_HOME": str(settings.home)}

    shown = mario("prune", **place)
    assert shown.returncode == 0, shown.stderr
    assert "broken" in shown.stdout
    assert "experiments: 1, episodes: 7, actions of episodes: 7, files: 3;" in shown.stdout
    assert "Nothing was deleted" in shown.stdout
    assert store.count(number) == 7

    done = mario("prune", "failed", "--yes", **place)
    assert done.returncode == 0, done.stderr
    assert "deleted: experiments: 1, episodes: 7" in done.stdout
    assert store.experiments().empty


def test_a_rule_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is no rule 'everything'; there are actions, failed, archived"):
        chosen_rules(["failed", "everything"])
