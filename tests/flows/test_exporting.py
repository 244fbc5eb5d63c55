"""`mario export --minari`: what Minari loads is what another play of the same episodes gives, and what is refused first."""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gymnasium
import minari
import numpy as np
import pytest
from minari.data_collector.episode_buffer import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage

from agents import load_shipped, play_episodes
from configs import PROJECT, Config, EvaluateConfig, Protocol, Settings, config_hash, to_dict
from configs.errors import ConfigError
from episodes import EpisodeStore, ExperimentRecord, RowError, StoreError
from episodes.schema import EpisodeProtocol, Phase
from flows import exporting
from flows.exporting import ExportError, MinariExport, Wanted, describe_left_out, prepare_minari
from inspection.minari_dataset import MOST_OBSERVATIONS, DatasetError, largest_episode
from mario_env.console import rom_path
from mario_env.games import Games
from mario_env.transitions import action_space
from tasks.experiment import open_store
from tasks.rows import EpisodeSink
from tests.conftest import Command, Pipeline

NAME = "short plays"
DATASET = "super-mario-bros/short-plays-frames-v0"
SEED = 11


@dataclass(frozen=True)
class Played:
    """An experiment with episodes of a trained model and of a random policy, played on the game and stored."""

    id: int
    config: Config
    ids: dict[str, list[int]]  # by phase and protocol


@pytest.fixture(scope="module")
def store(settings: Settings) -> Iterator[EpisodeStore]:
    with open_store(settings) as opened:
        yield opened


@pytest.fixture(scope="module")
def played(store: EpisodeStore, tmp_path_factory: pytest.TempPathFactory) -> Played:
    agent = load_shipped(PROJECT / "models" / "world-1-1.json")
    environment = agent.config.environment.model_copy(update={"max_steps": 45, "sticky_actions": 0.0})
    evaluate = EvaluateConfig(episodes=2, noop_frames=2, n_envs=1)
    config = agent.config.model_copy(update={"environment": environment, "evaluate": evaluate, "seed": SEED})
    record = ExperimentRecord(
        name=NAME,
        config=to_dict(config),
        config_hash=config_hash(config),
        seed=SEED,
        git_commit="c0ffee" * 6 + "c0ff",
        git_dirty=False,
        python_version="3",
        device="cpu",
        host="a machine whose name is nobody's business",
        status="completed",
        started=datetime.now(UTC),
    )
    number = store.create_experiment(record)
    plays: list[tuple[Phase, EpisodeProtocol, Protocol]] = [
        ("train", "training", "random"),
        ("evaluate", "noop", "noop"),
        ("evaluate", "sticky", "sticky"),
        ("evaluate", "random", "random"),
    ]
    with store.writer(tmp_path_factory.mktemp("outbox") / "rows.sqlite", NAME) as writer:
        for phase, recorded_as, protocol in plays:
            sink = EpisodeSink(writer, number, phase, recorded_as)
            seed = SEED if phase == "evaluate" else SEED + 1
            play_episodes(agent, environment, protocol, evaluate, seed=seed, on_episode=sink, processes=False)
    with store.writer(tmp_path_factory.mktemp("outbox") / "rows.sqlite", NAME, store_actions=False) as writer:
        sink = EpisodeSink(writer, number, "integration")
        play_episodes(None, environment, "random", evaluate, seed=1, on_episode=sink, processes=False)
    rows = store.episodes(number)
    groups = rows.groupby(["phase", "protocol"])["id"]
    return Played(number, config, {f"{phase} {protocol}": ids.tolist() for (phase, protocol), ids in groups})


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Minari keeps its datasets."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    return tmp_path / "datasets"


def exported(store: EpisodeStore, *arguments: Any) -> tuple[MinariExport, Any]:
    """An export, and what Minari loads of it."""
    prepared = prepare_minari(store, NAME, *arguments)
    steps = list(prepared.write(store))
    assert sum(steps) == prepared.episodes.decisions
    return prepared, minari.load_dataset(prepared.dataset_id)


def metadata_of(dataset: Any) -> list[dict[str, Any]]:
    return list(dataset.storage.get_episode_metadata(range(dataset.total_episodes)))


def compare(episode: Any, env: gymnasium.Env[Any, Any], **reset: Any) -> None:
    """Play the actions of an episode in `env`, and compare everything that it returns."""
    seen, info = env.reset(**reset)
    for number in range(len(episode) + 1):
        assert np.array_equal(episode.observations[number], seen), f"observation {number}"
        for name in ("x_pos", "y_pos", "score", "coins", "time", "life", "status", "frame_count", "distance"):
            assert episode.infos[name][number] == info[name], f"{name} {number}"
        if number == len(episode):
            break
        seen, reward, terminated, truncated, info = env.step(episode.actions[number])
        assert episode.rewards[number] == pytest.approx(reward)
        assert (episode.terminations[number], episode.truncations[number]) == (terminated, truncated)
        assert episode.infos["action_delay"][number + 1] == info["action_delay"]
        paid = sum(episode.infos[f"reward_{name}"][number + 1] for name in info["reward_components"])
        assert paid == pytest.approx(reward)
    assert terminated or truncated


def test_minari_loads_what_another_play_of_the_episodes_gives(
    mario: Command, store: EpisodeStore, played: Played, datasets: Path
) -> None:
    """The dataset is made on one console and wrappers; it is compared with the compiled environment that users play."""
    done = mario("export", NAME, "--minari", "--phase", "evaluate")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"dataset: {datasets / DATASET}" in done.stdout
    assert f'minari.load_dataset("{DATASET}")' in done.stdout
    dataset = minari.load_dataset(DATASET)
    assert (dataset.total_episodes, dataset.spec.namespace) == (6, "super-mario-bros")
    told = metadata_of(dataset)
    protocols = ("noop", "sticky", "random")
    assert [each["episode_id"] for each in told] == [number for name in protocols for number in played.ids[f"evaluate {name}"]]
    for episode, each in zip(dataset, told, strict=True):
        stored = store.episode(each["episode_id"])
        assert stored.actions == bytes(episode.actions.tolist())
        assert episode.observations.dtype == np.uint8
        assert episode.rewards.sum() == pytest.approx(stored.row.reward)
        assert each["start"] == stored.start
        # The seed of the episode brings about its delays again, which are nowhere in the actions.
        sticky = played.config.evaluate.sticky_actions if each["protocol"] == "sticky" else 0.0
        env = dataset.recover_environment(sticky_actions=sticky)
        compare(episode, env, seed=each["seed"], options=each["options"])
        env.close()
    sticky = [episode for episode, each in zip(dataset, told, strict=True) if each["protocol"] == "sticky"]
    assert any(episode.infos["action_delay"].any() for episode in sticky), "the play has no delay to compare"
    assert len({each["seed"] for each in told}) == len(told)
    assert [each["options"]["noop_frames"] for each in told] == [1, 2, 0, 0, 0, 0]
    assert {each["model"] for each in told} == {"random policy", f"ppo after {stored_steps(store, played)} decisions"}


def stored_steps(store: EpisodeStore, played: Played) -> int:
    return store.episode(played.ids["evaluate noop"][0]).row.global_step


@pytest.mark.usefixtures("datasets")
def test_the_dataset_says_where_it_comes_from(store: EpisodeStore, played: Played) -> None:
    wanted = Wanted(phase="train", count=1)
    prepared, dataset = exported(store, wanted)
    assert prepared.folder == Path(os.environ["MINARI_DATASETS_PATH"]) / DATASET
    told = dataset.storage.metadata
    assert told["experiment"] == NAME
    assert told["seed"] == SEED
    assert told["config_hash"] == config_hash(played.config)
    assert told["config"] == to_dict(played.config)
    assert told["git_commit"].startswith("c0ffee")
    assert told["rom_sha256"] == hashlib.sha256(rom_path("vanilla").read_bytes()).hexdigest()
    assert told["algorithm_name"] == played.config.agent.algorithm
    assert told["selection"]["phase"] == "train"
    assert "nobody's business" not in str(told)
    assert told["dataset_size"] > 0
    (each,) = metadata_of(dataset)
    assert each["episode_id"] == played.ids["train training"][-1], "the newest"
    assert "seed" not in each, "the games of a training go on with their random numbers"
    assert each["end_reason"] == store.episode(each["episode_id"]).row.end_reason
    env = dataset.recover_environment()
    compare(dataset[0], env, options=each["options"])
    env.close()


@pytest.mark.usefixtures("datasets")
def test_tiles_and_the_ram_are_recorded_on_demand(store: EpisodeStore, played: Played) -> None:
    wanted = Wanted(protocol="noop", count=1)
    _, tiles = exported(store, wanted, "tiles")
    env = tiles.recover_environment(observation="tiles")
    assert tiles.observation_space == env.observation_space
    compare(tiles[0], env, options=metadata_of(tiles)[0]["options"])
    env.close()

    _, ram = exported(store, wanted, "ram")
    assert ram.observation_space.shape == (2048,)
    games = Games(played.config.environment, 1, threads=1)
    game = games.slots[0]
    game.reset(options=metadata_of(ram)[0]["options"])
    for seen, action in zip(ram[0].observations, ram[0].actions, strict=False):
        assert seen.tobytes() == game.memory
        game.step(int(action))
    assert ram[0].observations[-1].tobytes() == game.memory
    games.close()


@pytest.mark.usefixtures("datasets")
def test_filters_choose_as_they_say(store: EpisodeStore, played: Played) -> None:
    def chosen(wanted: Wanted) -> list[int]:
        return list(prepare_minari(store, NAME, wanted).episodes.ids)

    stored = sorted(number for name, ids in played.ids.items() if name != "integration training" for number in ids)
    assert chosen(Wanted()) == stored
    assert prepare_minari(store, NAME, Wanted()).episodes.without_actions == len(played.ids["integration training"])
    assert chosen(Wanted(count=3)) == stored[-3:]
    assert chosen(Wanted(protocol="sticky")) == played.ids["evaluate sticky"]
    assert chosen(Wanted(phase="train")) == played.ids["train training"]
    assert chosen(Wanted(level="1-1", completed=False)) == stored


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        (Wanted(completed=True), ExportError, "there are no episodes of short plays .completed.; `mario episodes"),
        (Wanted(level="1-2", phase="train"), ExportError, r"no episodes of short plays \(phase train, level 1-2\)"),
        (Wanted(phase="integration"), ExportError, r"2 episodes of short plays \(phase integration\) cannot be played again"),
        (Wanted(phase="nightly"), RowError, "phase"),
        (Wanted(protocol="lucky"), RowError, "protocol"),
        (Wanted(level="9-9"), ConfigError, "a level is written as 1-2, not '9-9'"),
    ],
)
@pytest.mark.usefixtures("played")
def test_what_matches_nothing_is_refused(
    store: EpisodeStore, datasets: Path, wanted: Wanted, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        prepare_minari(store, NAME, wanted)
    assert not list(datasets.iterdir())


@pytest.mark.usefixtures("played", "datasets")
def test_other_refusals_come_before_any_work(store: EpisodeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match=r"there is no experiment 'short play'.*similar names: short plays"):
        prepare_minari(store, "short play", Wanted())
    with pytest.raises(DatasetError, match=r"'\.\./\.\./etc' is no id of a dataset: it is written as NAME-v0"):
        prepare_minari(store, NAME, Wanted(), None, "../../etc")
    with pytest.raises(DatasetError, match=r"'m/plays-v0' is no id of a dataset.* a namespace has two of them or more"):
        prepare_minari(store, NAME, Wanted(), None, "m/plays-v0")  # Minari would refuse the namespace, but only at the end
    exported(store, Wanted(count=1))
    with pytest.raises(DatasetError, match=f"there is a dataset {DATASET} already, in .*such as --dataset .*-frames-v1, or"):
        prepare_minari(store, NAME, Wanted())
    with monkeypatch.context() as patch:
        patch.setitem(exporting.BYTES_PER_DECISION, "ram", 10**15)  # type: ignore[arg-type]
        with pytest.raises(ExportError, match=r"the dataset takes about [\d,]+ MB, and .* has [\d,]+ MB left"):
            prepare_minari(store, NAME, Wanted(), "ram")
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(DatasetError, match=r"minari, which is not installed: pip install 'train-mario\[minari\]'"):
        prepare_minari(store, NAME, Wanted(), None, "other-v0")


@pytest.mark.usefixtures("played", "datasets")
def test_the_command_refuses_in_one_line(mario: Command) -> None:
    for arguments, message in (((NAME,), "name the form of the dataset: --minari"), (("nobody", "--minari"), "'nobody'")):
        done = mario("export", *arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_there_is_no_dataset_until_it_is_whole(store: EpisodeStore, played: Played, datasets: Path) -> None:
    prepared = prepare_minari(store, NAME, Wanted())
    writing = prepared.write(store)
    next(writing)
    assert minari.list_local_datasets() == {}
    with pytest.raises(FileNotFoundError):
        minari.load_dataset(DATASET)
    with pytest.raises(DatasetError, match=f"another process writes the dataset {DATASET} at this moment"):
        next(prepare_minari(store, NAME, Wanted()).write(store))
    writing.close()
    assert not list(datasets.iterdir()), "an interrupted export leaves nothing"

    code = (
        "import os, signal\nfrom configs import Settings\nfrom flows.exporting import Wanted, prepare_minari\n"
        "from tasks.experiment import open_store\nstore = open_store(Settings.from_environment())\n"
        f"writing = prepare_minari(store, {NAME!r}, Wanted()).write(store)\nnext(writing)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False, timeout=250)
    assert killed.returncode == -signal.SIGKILL
    assert [each.name for each in datasets.iterdir()] == [f".unfinished-{DATASET.replace('/', '-')}"]
    assert minari.list_local_datasets() == {}
    _, dataset = exported(store, Wanted())
    assert dataset.total_episodes == len(prepared.episodes.ids)
    assert list(minari.list_local_datasets()) == [DATASET]
    assert [each.name for each in datasets.iterdir()] == ["super-mario-bros"]


def test_minari_reads_no_longer_episodes_than_are_exported(
    store: EpisodeStore, played: Played, datasets: Path, tmp_path: Path
) -> None:
    """It takes each batch that it reads for an episode: with one observation more, the second episode would be wrong."""
    count = MOST_OBSERVATIONS
    space, steps = gymnasium.spaces.Box(0, 255, (2,), np.uint8), np.arange(count - 1)
    storage = MinariStorage.new(tmp_path, space, action_space(played.config.environment), data_format="parquet")
    seen = np.stack([np.arange(count) % 251, np.arange(count) % 241], axis=1).astype(np.uint8)
    ends = np.zeros(count - 1, np.bool_)
    for _ in range(2):
        buffer = EpisodeBuffer(observations=seen, actions=steps % 7, rewards=steps, terminations=ends, truncations=ends)
        storage.update_episodes([buffer])
    assert [np.array_equal(each["observations"], seen) for each in storage.get_episodes([0, 1])] == [True, True]
    assert largest_episode(played.config.environment, "ram") == count - 1

    number = store.create_experiment(replace(store.experiment(played.id).record, name="endless"))
    with store.writer(tmp_path / "rows.sqlite", "endless") as writer:
        good = store.episode(played.ids["evaluate noop"][0])
        writer.put(replace(good.row, experiment_id=number, steps=count), good.start, good.actions, good.delays)
    with pytest.raises(ExportError, match=r"episode \d+ has 32,768 decisions; .*Minari can read 32,767 of an episode"):
        prepare_minari(store, "endless", Wanted(), "ram")
    assert not list(datasets.iterdir())


@pytest.mark.usefixtures("datasets")
def test_an_episode_that_differs_from_its_record_is_left_out(store: EpisodeStore, played: Played, tmp_path: Path) -> None:
    record = replace(store.experiment(played.id).record, name="damaged")
    number = store.create_experiment(record)
    with store.writer(tmp_path / "rows.sqlite", "damaged") as writer:
        for index, score in enumerate((None, 123_450)):
            good = store.episode(played.ids["evaluate noop"][index])
            row = replace(good.row, experiment_id=number, **({} if score is None else {"score": score}))
            writer.put(row, good.start, good.actions, good.delays)
    prepared = prepare_minari(store, "damaged", Wanted())
    list(prepared.write(store))
    assert minari.load_dataset(prepared.dataset_id).total_episodes == 1
    assert "left out: 1 that cannot be played again exactly" in describe_left_out(prepared.left_out)
    assert "score: 123450 recorded" in describe_left_out(prepared.left_out)
    with pytest.raises(ExportError, match="no episode can be played again exactly; of episode"):
        list(prepare_minari(store, "damaged", Wanted(count=1), None, "damaged-v7").write(store))
    assert list(minari.list_local_datasets()) == [prepared.dataset_id]


@pytest.mark.one_python
def test_a_whole_run_is_exported(pipeline: Pipeline, mario: Command, datasets: Path) -> None:
    """Training, validation, integration run and evaluation: all but the sticky ones follow from start and actions."""
    done = mario("export", pipeline.name, "--minari")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "left out" not in done.stdout
    dataset = minari.load_dataset(f"super-mario-bros/{pipeline.name}-frames-v0")
    told = metadata_of(dataset)
    assert {each["phase"] for each in told} == {"integration", "train", "evaluate"}
    assert list((datasets / "super-mario-bros").glob("*-v0"))
    env = dataset.recover_environment()
    for episode, each in zip(dataset, told, strict=True):
        assert episode.rewards.sum() == pytest.approx(each["reward"])
        if not episode.infos["action_delay"].any():
            compare(episode, env, options=each["options"])
    env.close()
