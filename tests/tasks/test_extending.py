"""What may change when an experiment continues: keys that do not affect results, and the number of steps by an extension."""

import hashlib
import json
import logging

import pytest
from sqlalchemy import update

from configs import PROJECT, ConfigError, Settings, config_hash, load, to_dict
from episodes import EpisodeStore
from episodes.attempts import attempts, describe_attempts
from episodes.records import finished_phase
from episodes.schema import EPISODES
from tasks import phases
from tasks.experiment import open_store
from tasks.extension import apply_extension, require_extensible
from tasks.phases import PhaseRecord
from tasks.starting import running_experiment
from tests.tasks.test_starting import train_a_little

TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")
STEPS = 1_536


def stored_steps(store: EpisodeStore, name: str) -> tuple[int, int | None]:
    train = store.experiment(name).record.config["train"]
    return train["total_steps"], train["planned_steps"]


def test_a_key_that_does_not_affect_results_may_change(settings: Settings) -> None:
    with running_experiment(load(TINY), "another-device", settings, None):
        pass
    other = load(TINY, ["train.device=cpu", "train.torch_threads=2", "train.progress_bar=false", "retry.attempts=3"])
    with running_experiment(other, "another-device", settings, None) as experiment:
        assert experiment.config.train.torch_threads == 2
    with (
        pytest.raises(ConfigError, match="was begun with another configuration"),
        running_experiment(load(TINY, ["seed=5"]), "another-device", settings, None),
    ):
        pass


def test_an_experiment_with_a_hash_of_an_earlier_version_continues(settings: Settings) -> None:
    config = load(TINY)
    with running_experiment(config, "old-rule", settings, None) as experiment:
        values = to_dict(config)
        del values["train"]["planned_steps"], values["train"]["statistics_seconds"]
        hashed = json.loads(json.dumps(values))
        del hashed["name"], hashed["description"], hashed["retry"]["worker_timeout"]
        digest = hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()
        with open_store(settings) as store:
            store.update_experiment(experiment.required_claim.token, config=values, config_hash=digest)
    assert digest != config_hash(config)
    with running_experiment(load(TINY, ["train.keep_awake=false"]), "old-rule", settings, None) as again:
        assert again.id == experiment.id


def test_an_extension_is_recorded_and_the_later_phases_run_again(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    name = "extended"
    caplog.set_level(logging.INFO)
    with running_experiment(load(TINY), name, settings, None) as experiment:
        for phase in ("integration", "train", "evaluate", "alias", "report"):
            phases.save(experiment, PhaseRecord(phase, 1.0, {"steps": STEPS}))  # type: ignore[arg-type]

    require_extensible(name, 3_000, settings)
    with running_experiment(load(TINY), name, settings, None, extend=3_000) as experiment:
        longer = apply_extension(experiment, 3_000)
    assert (longer.config.train.total_steps, longer.config.train.planned_steps) == (3_000, STEPS)
    assert f"is extended from {STEPS} to 3000 steps" in caplog.text
    assert phases.finished(longer, "integration") is not None
    for phase in ("train", "evaluate", "alias", "report"):
        assert phases.finished(longer, phase) is None  # type: ignore[arg-type]
        with open_store(settings) as store:
            kept = finished_phase(store, longer.id, phase, f"{STEPS}-steps")  # type: ignore[arg-type]
        assert kept is not None
        assert kept.details == {"steps": STEPS}

    phases.save(longer, PhaseRecord("train", 1.0, {"steps": 3_000}))
    # The same command again, and the one without --extend: both continue the recorded extension.
    for steps in (3_000, None):
        with running_experiment(load(TINY), name, settings, None, extend=steps) as experiment:
            assert apply_extension(experiment, steps).config == longer.config
        assert phases.finished(longer, "train") is not None
    with running_experiment(load(TINY), name, settings, None, extend=4_000) as experiment:
        again = apply_extension(experiment, 4_000)
    assert (again.config.train.total_steps, again.config.train.planned_steps) == (4_000, STEPS)
    with open_store(settings) as store:
        assert stored_steps(store, name) == (4_000, STEPS)
        assert store.find_experiment(f"{name}-at-{STEPS}") is None, "there was no evaluation to keep"
        starts = attempts(store, experiment.id)
        assert [each.total_steps for each in starts] == [STEPS, 3_000, 3_000, 3_000, 4_000]
        steps_in_words = f"to 3000 steps instead of {STEPS} from attempt 2 on; to 4000 steps instead of 3000 from attempt 5 on"
        assert describe_attempts(starts) == f"5; {steps_in_words}"
        assert store.experiment(name).record.config_hash == config_hash(load(TINY))
    assert json.loads((longer.directory / "config.json").read_text())["train"]["total_steps"] == 4_000


def test_an_earlier_evaluation_is_archived_apart_from_other_experiments(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    name = "judged-before"
    with running_experiment(load(TINY), f"{name}-at-{STEPS}", settings, None) as other:
        pass
    with running_experiment(load(TINY), name, settings, None) as experiment, open_store(settings) as store:
        train_a_little(experiment)
        with store.transaction("pretending") as connection:
            rows = update(EPISODES).where(EPISODES.c.experiment_id == experiment.id)
            connection.execute(rows.values(phase="evaluate", protocol="greedy"))

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(EpisodeStore, "move_episodes", killed)
            with pytest.raises(KeyboardInterrupt):
                apply_extension(experiment, 3_000)
        apply_extension(experiment, 3_000)
        assert f"1 episodes belong to the experiment {name}-at-{STEPS}-2 now" in caplog.text
        assert store.find_experiment(f"{name}-at-{STEPS}-3") is None, "the experiment that the killed process created is used"
        kept = store.experiment(f"{name}-at-{STEPS}-2").id
        assert [store.count(each) for each in (other.id, experiment.id, kept)] == [0, 0, 1]


def test_an_impossible_extension_is_refused_before_anything_is_started(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="there is no experiment nowhere"):
        require_extensible("nowhere", 10_000, settings)
    with open_store(settings) as store:
        assert store.find_experiment("nowhere") is None
    with running_experiment(load(TINY), "long-enough", settings, None):
        pass
    for steps in (STEPS, 100):
        with pytest.raises(ConfigError, match=f"has {STEPS} steps"):
            require_extensible("long-enough", steps, settings)
    with pytest.raises(ConfigError, match="name it with --experiment"):
        require_extensible(None, 10_000, settings)
    with pytest.raises(ConfigError, match="give one of the two"):
        require_extensible("long-enough", 10_000, settings, restart=True)
