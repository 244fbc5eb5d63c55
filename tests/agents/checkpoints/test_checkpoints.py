"""Checkpoints are written completely or not at all, verified when read, and resumed from."""

import json
import logging
import random
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.buffers import BaseBuffer, ReplayBuffer, RolloutBuffer
from toy_game import AGENTS, toy_config, toy_vec

from agents import (
    Checkpoint,
    CheckpointError,
    NonFiniteError,
    Progress,
    TrainingResult,
    build,
    latest_checkpoint,
    train,
)
from agents.checkpoints import Manifest, restore, save_checkpoint, verify, write_folder
from agents.checkpoints.manifests import read_manifest
from agents.progress import Counters
from agents.replay import FrameReplayBuffer
from configs import Config


def run(config: Config, directory: Path, steps: int, **more: object) -> TrainingResult:
    return train(
        config,
        env=toy_vec(config.train.n_envs),
        directory=directory,
        on_episode=lambda _: None,
        total_steps=steps,
        device="cpu",
        **more,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("algorithm", AGENTS)
def test_saving_and_loading_changes_nothing(algorithm: str, tmp_path: Path) -> None:
    config = toy_config(algorithm)
    model = build(config, toy_vec(), device="cpu")
    model.learn(400)
    checkpoint = save_checkpoint(tmp_path, config, model, Counters(frames=1_600, episodes=50, next_index={0: 25, 1: 25}))
    again = build(config, toy_vec(), device="cpu", seed=99)

    counters, refill, _ = restore(checkpoint, config, again)

    assert not refill
    assert counters == Counters(frames=1_600, episodes=50, next_index={0: 25, 1: 25})
    assert again.num_timesteps == model.num_timesteps
    assert again._n_updates == model._n_updates > 0
    before, after = model.get_parameters(), again.get_parameters()
    assert all(torch.equal(before["policy"][name], after["policy"][name]) for name in before["policy"])
    moments = [parameters["policy.optimizer"]["state"] for parameters in (before, after)]
    assert moments[0]
    assert all(torch.equal(moments[0][key]["exp_avg_sq"], moments[1][key]["exp_avg_sq"]) for key in moments[0])
    if isinstance(model, DQN) and isinstance(again, DQN):
        assert again.exploration_rate == model.exploration_rate
        assert again._n_calls == model._n_calls
        assert again.replay_buffer is not None
        assert model.replay_buffer is not None
        assert again.replay_buffer.pos == model.replay_buffer.pos
        used = model.replay_buffer.size()
        assert (again.replay_buffer.observations[:used] == model.replay_buffer.observations[:used]).all()


def test_n_step_returns_do_not_reach_across_a_resumption(tmp_path: Path) -> None:
    config = toy_config("dqn", agent={"n_steps": 3, "gamma": 0.9})
    model = build(config, toy_vec(), device="cpu")
    model.learn(2 * 20)  # an episode has eight steps, so the third one is running
    checkpoint = save_checkpoint(tmp_path, config, model, Counters())
    again = build(config, toy_vec(), device="cpu")
    restore(checkpoint, config, again)

    again.learn(2 * 5, reset_num_timesteps=False)

    assert isinstance(again, DQN)
    assert isinstance(again.replay_buffer, FrameReplayBuffer)
    discounts = again.replay_buffer._get_samples(np.arange(16, 22)).discounts
    assert discounts is not None
    np.testing.assert_allclose(discounts[:, 0], [0.9**3, 0.9**3, 0.9**2, 0.9, 0.9**3, 0.9**3], rtol=1e-6)


@pytest.mark.parametrize(("library", "buffer"), [(DQN, ReplayBuffer), (PPO, RolloutBuffer)])
def test_stable_baselines3_loads_the_model_with_its_own_buffers(
    library: type[DQN] | type[PPO], buffer: type[BaseBuffer], tmp_path: Path
) -> None:
    config = toy_config(library.__name__.lower(), agent={"network": {"features": "nature", "features_dim": 32}})
    model = build(config, toy_vec(), device="cpu")
    checkpoint = save_checkpoint(tmp_path, config, model, Counters())

    loaded = library.load(checkpoint.path / "model.zip", env=toy_vec(), device="cpu")

    assert type(loaded.replay_buffer if isinstance(loaded, DQN) else loaded.rollout_buffer) is buffer
    before, after = model.policy.state_dict(), loaded.policy.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_resumed_training_ends_at_the_total(tmp_path: Path) -> None:
    first = run(toy_config("dqn"), tmp_path, 200)
    second = run(toy_config("dqn"), tmp_path, 500)
    third = run(toy_config("dqn"), tmp_path, 500)

    assert (first.steps, second.steps, third.steps) == (200, 500, 500)
    assert (second.frames, third.frames) == (2_000, 2_000)
    # Two episodes were running when the first training ended; they are lost.
    assert second.episodes == third.episodes == 2 * (100 // 8) + 2 * (150 // 8)
    assert third.model_path is not None


def test_resume_false_starts_at_step_0(tmp_path: Path) -> None:
    run(toy_config("dqn"), tmp_path, 400)
    again = run(toy_config("dqn"), tmp_path, 200, resume=False)

    assert again.steps == 200
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000000200"]


@pytest.mark.parametrize("algorithm", ["dqn", "ppo"])
def test_checkpoints_are_written_reported_and_deleted(algorithm: str, tmp_path: Path) -> None:
    reported: list[Checkpoint] = []
    run(toy_config(algorithm, checkpoint_every=200, keep_checkpoints=2), tmp_path, 1_000, on_checkpoint=reported.append)
    kept = sorted((tmp_path / "checkpoints").iterdir())

    # PPO writes at the end of a rollout (128 steps), where the state is complete.
    expected = [200, 400, 600, 800, 1_000] if algorithm == "dqn" else [256, 512, 640, 896, 1_000]
    assert [checkpoint.steps for checkpoint in reported] == expected
    assert [path.name for path in kept] == [f"step-{steps:09d}" for steps in expected[-2:]]
    assert all(verify(path).kind == "checkpoint" for path in kept)
    assert [(path / "replay_buffer.npz").exists() for path in kept] == [False, algorithm == "dqn"]


@pytest.mark.parametrize("algorithm", ["dqn", "ppo"])
def test_milestones_are_never_deleted(algorithm: str, tmp_path: Path) -> None:
    config = toy_config(algorithm, checkpoint_every=200, keep_checkpoints=1, milestones=[300, 600, 5_000])
    run(config, tmp_path, 500)  # interrupted, and resumed by the next line
    run(config, tmp_path, 1_000)
    kept = sorted((tmp_path / "checkpoints").iterdir())

    # PPO: the first end of a rollout at or after each milestone. Rollouts have 128 steps, counted again from step 500.
    expected = [300, 600, 1_000] if algorithm == "dqn" else [384, 628, 1_000]
    assert [path.name for path in kept] == [f"step-{steps:09d}" for steps in expected]
    assert all(verify(path).kind == "checkpoint" for path in kept)
    assert [(path / "replay_buffer.npz").exists() for path in kept] == [False, False, algorithm == "dqn"]


def test_without_a_saved_replay_buffer_it_is_filled_before_learning_continues(tmp_path: Path) -> None:
    config = toy_config("dqn", checkpoint_replay_buffer=False)
    run(config, tmp_path, 200)
    checkpoint = latest_checkpoint(tmp_path)
    assert checkpoint is not None
    updates_before = json.loads((checkpoint.path / "state.json").read_text())["updates"]
    updates: dict[int, int] = {}

    run(config, tmp_path, 300, until=lambda progress: bool(updates.update({progress.steps: progress.updates})))

    assert not (checkpoint.path / "replay_buffer.npz").exists()
    assert updates[200 + 60] == updates_before  # learning_starts is 64
    assert updates[300] > updates_before


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training with checkpoints at steps 200 and 400, for tests to copy."""
    directory = tmp_path_factory.mktemp("training")
    run(toy_config("dqn", checkpoint_every=200), directory, 400)
    return directory


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("file", "damage", "fault"),
    [
        ("model.zip", truncate, "bytes instead of"),
        ("model.zip", flip, "its bytes have changed"),
        ("replay_buffer.npz", flip, "its bytes have changed"),
        ("state.json", Path.unlink, "No such file"),
        ("manifest.json", Path.unlink, "never completed"),
        ("manifest.json", truncate, "damaged"),
        ("manifest.json", lambda path: path.write_text("[]"), "damaged"),
        ("manifest.json", lambda path: path.write_text('{"files": {}}'), "damaged"),
    ],
)
def test_a_damaged_checkpoint_is_reported_and_the_previous_one_is_used(
    file: str,
    damage: Callable[[Path], object],
    fault: str,
    two_checkpoints: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shutil.copytree(two_checkpoints, tmp_path, dirs_exist_ok=True)
    newest = tmp_path / "checkpoints" / "step-000000400"
    damage(newest / file)

    with caplog.at_level(logging.WARNING):
        found = latest_checkpoint(tmp_path)

    assert found is not None
    assert found.steps == 200
    assert str(newest / file) in caplog.text
    assert fault in caplog.text


def test_damage_to_any_byte_is_detected(two_checkpoints: Path, tmp_path: Path) -> None:
    shutil.copytree(two_checkpoints, tmp_path, dirs_exist_ok=True)
    newest, draw = tmp_path / "checkpoints" / "step-000000400", random.Random(1)
    files = sorted(path for path in newest.iterdir() if path.name != "manifest.json")
    for number in range(60):
        path = files[number % len(files)]
        whole = path.read_bytes()
        index = draw.randrange(len(whole))
        flipped = bytes([whole[index] ^ (1 << draw.randrange(8))])
        path.write_bytes(whole[:index] + (flipped + whole[index + 1 :] if number % 2 else b""))

        found = latest_checkpoint(tmp_path)

        assert found is not None
        assert found.steps == 200, f"{path.name}, byte {index}"
        path.write_bytes(whole)
    assert (restored := latest_checkpoint(tmp_path)) is not None
    assert restored.steps == 400


def test_resuming_replaces_a_damaged_checkpoint(two_checkpoints: Path, tmp_path: Path) -> None:
    shutil.copytree(two_checkpoints, tmp_path, dirs_exist_ok=True)
    newest = tmp_path / "checkpoints" / "step-000000400"
    flip(newest / "model.zip")

    assert run(toy_config("dqn", checkpoint_every=200), tmp_path, 400).steps == 400
    assert verify(newest).steps == 400


def test_a_folder_without_checkpoints_has_none(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None


def test_incomplete_folders_of_killed_processes_are_removed(tmp_path: Path) -> None:
    leftover = tmp_path / "checkpoints" / ".incomplete-step-000000100-abc"
    leftover.mkdir(parents=True)
    (leftover / "model.zip").write_bytes(b"half")

    run(toy_config("dqn"), tmp_path, 100)

    assert not leftover.exists()


def test_a_checkpoint_of_another_agent_is_refused_with_the_differing_keys(tmp_path: Path) -> None:
    run(toy_config("dqn"), tmp_path, 100)
    other = toy_config("dqn", agent={"gamma": 0.5, "network": {"features": "small", "features_dim": 64}})

    with pytest.raises(CheckpointError, match=r"different: agent\.gamma, agent\.network\.features_dim") as caught:
        run(other, tmp_path, 200)
    assert "step-000000100" in str(caught.value)


def test_another_number_of_environments_resumes_with_a_new_replay_buffer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(toy_config("dqn"), tmp_path, 200)
    result = run(toy_config("dqn", n_envs=4), tmp_path, 400)

    assert result.steps == 400
    assert "the replay buffer cannot be restored and is filled again" in caplog.text


@pytest.fixture
def full_disk() -> Iterator[Callable[[int | None], None]]:
    """A function that limits the size of files in bytes (None: no limit), so that writing one fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before[0] if size is None else size, before[1]))

    yield limit
    limit(None)


@pytest.mark.parametrize(("room", "file"), [(100_000, "model.zip"), (500_000, "replay_buffer.npz")])
def test_a_full_disk_costs_a_checkpoint_but_not_the_training(
    room: int, file: str, full_disk: Callable[[int | None], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = toy_config("dqn", agent={"buffer_size": 2_000}, checkpoint_every=400)

    def fill_and_free(checkpoint: Checkpoint) -> None:
        assert (file == "model.zip") == ((checkpoint.path / "model.zip").stat().st_size > room)
        assert (checkpoint.path / "replay_buffer.npz").stat().st_size > 500_000
        full_disk(room if checkpoint.steps == 400 else None)

    def free_later(progress: Progress) -> bool:
        if progress.steps == 1_350:
            full_disk(None)
        return False

    result = run(config, tmp_path, 1_600, on_checkpoint=fill_and_free, until=free_later)

    assert result.steps == 1_600
    assert "no checkpoint at step 800, training continues" in caplog.text
    assert "no checkpoint at step 1200, training continues" in caplog.text
    assert result.checkpoint is not None
    assert result.checkpoint.steps == 1_600
    assert not list((tmp_path / "checkpoints").glob(".incomplete-*"))


def test_a_final_model_that_cannot_be_written_is_an_error_and_the_last_checkpoint_stays(
    full_disk: Callable[[int | None], None], tmp_path: Path
) -> None:
    def fill(checkpoint: Checkpoint) -> None:
        full_disk(100_000 if checkpoint.steps == 200 else None)

    with pytest.raises(CheckpointError, match=r"model could not be written: File too large"):
        run(toy_config("dqn", checkpoint_every=100), tmp_path, 250, on_checkpoint=fill)
    full_disk(None)

    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.steps == 200
    assert not (tmp_path / "model").exists()


def test_a_folder_that_cannot_be_created_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("in the way")

    with pytest.raises(CheckpointError, match="checkpoints/x could not be written"):
        write_folder(tmp_path / "checkpoints" / "x", lambda _: pytest.fail("never called"))


@pytest.mark.parametrize("algorithm", ["dqn", "ppo"])
def test_a_loss_that_is_not_finite_stops_the_training(algorithm: str, tmp_path: Path) -> None:
    config = toy_config(algorithm, checkpoint_every=100)
    run(config, tmp_path, 100)
    good = latest_checkpoint(tmp_path)
    assert good is not None
    shutil.rmtree(tmp_path / "model")
    # The checkpoint's configuration gets a learning rate at which every network diverges.
    broken = toy_config(algorithm, agent={"learning_rate": 1e30, "max_grad_norm": 1e30}, checkpoint_every=100)
    (good.path / "config.json").write_text(json.dumps(broken.model_dump(mode="json")))
    _seal(good.path)

    with pytest.raises(NonFiniteError, match=r"became (nan|inf|-inf) at step \d+.*step-000000100") as caught:
        run(broken, tmp_path, 2_000)

    assert caught.value.checkpoint == good.path
    assert 100 < caught.value.step < 600
    assert not (tmp_path / "model").exists()
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.steps == 100


def _seal(folder: Path) -> None:
    """Write the manifest again, with the current sizes and digests."""
    manifest = read_manifest(folder)

    def copy(aside: Path) -> Manifest:
        for name in manifest.files:
            shutil.copy(folder / name, aside / name)
        return manifest

    write_folder(folder, copy)
