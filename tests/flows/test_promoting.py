"""A champion: it is replaced by a version that is shown to be better on the same episodes, and by no other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents import build, load_shipped
from agents.policies import save_model
from configs import PROJECT, Config, ConfigError, Settings, load
from episodes.promotions import champions, decisions
from flows.promote_mario import DEFAULT_PROTOCOLS, Promotion, PromotionError, play_version, promote, rollback
from mario_env import make_training_vec, observation_space
from tasks.experiment import open_store
from tracking import ModelNotFoundError, TrackedRun, resolve_tracking_uri
from tracking.client import connect
from tracking.registry import Registry

pytestmark = pytest.mark.one_python

MODEL = "mario-promoted"
# Mario stands still, and a short wait ends the episode.
SHORT = ["environment.stall_after=20", "environment.max_steps=400"]
EPISODES = 6


def agent(folder: Path, config: Config, *, trained: bool) -> Path:
    """An agent in a folder: with the shipped weights, or with those that it was made with."""
    env = make_training_vec(config)
    model = build(config, env, device="cpu", seed=config.seed)
    if trained:
        weights = load_shipped(PROJECT / "models" / "world-1-1.json").model.state_dict()
        model.policy.load_state_dict(weights)
        if model.average is not None:
            model.average.module.load_state_dict(weights)
    env.close()
    return save_model(folder, config, model)


@pytest.fixture(scope="module")
def versions(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """Three registered versions: one that cannot play, one that can, another that cannot."""
    uri, numbers = resolve_tracking_uri(None, settings.home), []
    for seed, trained in ((0, False), (1, True), (2, False)):
        shipped = load_shipped(PROJECT / "models" / "world-1-1.json").config
        changes = [*SHORT, f"seed={seed}"] if not trained else [f"seed={seed}"]
        config = load("ppo", changes).model_copy(update={"agent": shipped.agent})
        path = agent(tmp_path_factory.mktemp("agent"), config, trained=trained)
        space = observation_space(config.environment)
        with TrackedRun.open(uri, "promotions", f"seed{seed}", home=settings.home) as run:
            registered = run.register_model(
                MODEL,
                path,
                python_model=PROJECT / "tasks" / "served_model.py",
                input_example=np.zeros((1, *space.shape), space.dtype),
            )
        numbers.append(registered.version)
    return numbers


@pytest.fixture(scope="module")
def decide(settings: Settings) -> Callable[[int], Promotion]:
    def decided(version: int) -> Promotion:
        return promote(MODEL, version, DEFAULT_PROTOCOLS, EPISODES, settings, play=play_version.fn)

    return decided


def test_only_a_version_that_is_shown_to_be_better_becomes_champion(
    versions: list[int], decide: Callable[[int], Promotion], settings: Settings
) -> None:
    poor, good, other = versions
    registry = Registry(resolve_tracking_uri(None, settings.home))

    assert decide(poor).decision == "first"
    promoted = decide(good)
    assert promoted.decision == "promoted"
    assert promoted.total is not None
    assert promoted.total.interval.low > 0
    assert promoted.total.pairs == 2 * EPISODES
    assert decide(other).decision == "not shown"
    with pytest.raises(PromotionError, match="is the champion of mario-promoted already"):
        decide(good)

    champion = registry.at_alias(MODEL, "champion")
    assert champion is not None
    assert champion.version == good
    assert champion.tags["promotion"] == "promoted"
    with open_store(settings) as store:
        recorded = decisions(store, MODEL)
        assert champions(recorded) == [poor, good]
        assert [record.decision for record in recorded] == ["first", "promoted", "not shown"]
        evidence = recorded[1].evidence
        for role, name in evidence["experiments"].items():
            experiment = store.experiment(name)
            assert experiment.record.seed == recorded[1].seed
            assert experiment.record.mlflow_run_id == evidence["evaluation_runs"][role]
            rows = store.episodes(experiment.id, phase="evaluate")
            told = evidence["total"]["first" if role == "candidate" else "second"]
            assert rows["level_completed"].sum() == told
            assert len(rows) == evidence["total"]["pairs"]
        seeds = {record.seed for record in recorded if record.seed is not None}
        assert len(seeds) == 2, "each comparison has new episodes"
    client = connect(resolve_tracking_uri(None, settings.home))
    files = [file.path for file in client.list_artifacts(champion.run_id, "promotions")]
    assert files == [f"promotions/{champion.tags['promotion_row']}.json"]
    assert client.get_model_version(MODEL, str(good)).description == promoted.describe()


def test_a_rollback_brings_back_the_champion_before(
    versions: list[int], decide: Callable[[int], Promotion], settings: Settings, mario: Any
) -> None:
    """The command; after it there is no champion left to go back to."""
    poor, good, _ = versions
    done = mario("rollback", MODEL)
    assert done.returncode == 0, done.stderr
    assert f"version {poor} is the champion of {MODEL} again, in place of version {good}" in done.stdout
    champion = Registry(resolve_tracking_uri(None, settings.home)).at_alias(MODEL, "champion")
    assert champion is not None
    assert champion.version == poor
    with pytest.raises(PromotionError, match="no earlier champion"):
        rollback(MODEL, settings)
    assert decide(good).decision == "promoted"


def test_an_alias_that_was_moved_by_hand_is_not_rolled_back(versions: list[int], settings: Settings) -> None:
    client = connect(resolve_tracking_uri(None, settings.home))
    client.set_registered_model_alias(MODEL, "champion", str(versions[2]))
    with pytest.raises(PromotionError, match="moved the alias by hand"):
        rollback(MODEL, settings)


def test_what_cannot_be_compared_is_refused(versions: list[int], settings: Settings) -> None:
    with pytest.raises(ConfigError, match="greedy: a promotion compares episodes that differ by their seed"):
        promote(MODEL, None, ["greedy"], 1, settings)
    with pytest.raises(PromotionError, match="no version with the alias candidate"):
        promote(MODEL, None, DEFAULT_PROTOCOLS, 1, settings)
    with pytest.raises(ModelNotFoundError, match="no version 77"):
        promote(MODEL, 77, DEFAULT_PROTOCOLS, 1, settings)
