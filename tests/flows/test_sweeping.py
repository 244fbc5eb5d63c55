"""`mario sweep --local`: a run that fails costs that run, and a sweep that is started again goes on."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from configs import PROJECT, Settings, config_hash, load
from configs.sweep import SweepConfig, plan, sweep_from_dict
from episodes.attempts import attempts
from flows.sweep_local import processor_shares
from flows.sweep_tracking import nested, tracked_sweep
from tasks.experiment import open_store
from tracking import resolve_tracking_uri
from tracking.client import connect

pytestmark = pytest.mark.one_python

TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")
SHORT = "[train.total_steps=512, 'evaluate.protocols=[stochastic, random]', report.video=false, evaluate.model=last]"


@pytest.mark.timeout(600)  # whole runs, at a time when others run too
def test_a_failed_run_costs_that_run_and_finished_ones_are_not_repeated(mario: Any, settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "pair.yaml"
    # The memory for a rollout of this size does not exist, which the smoke test finds.
    file.write_text(f"presets: ['{TINY}']\noverrides: {SHORT}\nvariants:\n  small: []\n  huge: ['agent.n_steps=100_000_000']\n")
    for _ in range(2):
        done = mario("sweep", str(file), "--local", "2")
        output = done.stdout + done.stderr
        assert done.returncode == 1, output
        assert "1 of 2 runs of the sweep pair failed" in output
        assert "pair-tiny-1-1-small-seed0: completed" in output
        assert "pair-tiny-1-1-huge-seed0: failed" in output
        assert "Traceback" not in output
        log = settings.home / "sweeps" / "pair-tiny-1-1-huge-seed0.log"
        assert str(log) in output
        page = settings.home / "reports" / "sweep-pair" / "comparison.html"
        assert f"The completed ones are compared in {page}" in output
    assert "pair-tiny-1-1-small-seed0" in page.read_text()
    check_mlflow(settings)
    with open_store(settings) as store:
        small = store.experiment("pair-tiny-1-1-small-seed0")
        assert small.record.status == "completed"
        assert len(attempts(store, small.id)) == 1

    file.write_text(file.read_text().replace("512", "256"))
    refused = mario("sweep", str(file), "--local", "2")
    assert refused.returncode == 1
    assert "pair-tiny-1-1-small-seed0 was begun with another configuration" in refused.stdout + refused.stderr


@pytest.mark.timeout(600)
def test_teachers_are_trained_before_their_pupils(mario: Any, settings: Settings, tmp_path: Path) -> None:
    tiles = "'environment.observation=tiles', 'agent.network.features=tiles'"
    tutors, pupils = tmp_path / "tutors.yaml", tmp_path / "pupils.yaml"
    tutors.write_text(
        f"presets: ['{TINY}']\noverrides: [{tiles}, {SHORT[1:]}\n"
        "levels:\n  1-1: []\n  1-2: ['agent.n_steps=100_000_000']\n  1-3: []\n"
    )
    teacher = "'train.teacher.experiment=tutors-tiny-{level}-seed0'"
    pupils.write_text(f"presets: ['{TINY}']\noverrides: [{teacher}, {SHORT[1:]}\nlevels: [1-1, 1-2]\nteachers: {tutors}\n")
    done = mario("sweep", str(pupils), "--local", "1")
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert "sweep pupils: 4 runs" in output
    assert "2 of 4 runs of the sweep pupils failed" in output
    assert "pupils-tiny-1-2-seed0: its teacher tutors-tiny-1-2-seed0 has failed" in output
    ended = [line.partition(":")[0] for line in output.splitlines() if line.endswith((": completed", ": failed"))]
    assert ended == [f"{sweep}-tiny-{level}-seed0" for level in ("1-1", "1-2") for sweep in ("tutors", "pupils")]
    with open_store(settings) as store:
        assert store.experiment("pupils-tiny-1-1-seed0").record.status == "completed"
        assert store.find_experiment("tutors-tiny-1-3-seed0") is None, "it would have no pupil"


def check_mlflow(settings: Settings) -> None:
    """The sweep of the test before is one run, and its runs are below it."""
    client = connect(resolve_tracking_uri(None, settings.home))
    experiments = [each.experiment_id for each in client.search_experiments()]
    (parent,) = client.search_runs(experiments, "tags.sweep = 'pair'")
    children = client.search_runs(experiments, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert [each.info.run_name for each in children] == ["pair-tiny-1-1-small-seed0"], "the other one had no run"
    assert client.get_experiment(parent.info.experiment_id).name == "mario-1-1"
    assert parent.info.status == "FAILED"
    told = {name: parent.data.tags[name] for name in ("presets", "levels", "seeds", "variants", "runs")}
    assert told == {"presets": "tiny", "levels": "1-1", "seeds": "0", "variants": "small, huge", "runs": "2"}
    assert "variants small, huge" in parent.data.tags["mlflow.note.content"]
    assert set(parent.data.metrics) == {"completion/tiny/1-1/iqm", "completion/tiny/1-1/runs"}
    described = sweep_from_dict(yaml.safe_load(Path(client.download_artifacts(parent.info.run_id, "sweep.yaml")).read_text()))
    assert (described.name, described.presets) == ("pair", [TINY])
    files = {each.path for each in client.list_artifacts(parent.info.run_id, "comparison")}
    assert "comparison/comparison.html" in files


def test_a_sweep_without_a_server_says_what_to_do(mario: Any, tmp_path: Path) -> None:
    file = tmp_path / "lonely.yaml"
    file.write_text("presets: [quick]\n")
    done = mario("sweep", str(file))
    assert done.returncode == 1
    assert "--local N" in done.stderr


def test_a_sweep_on_several_levels_has_one_run(settings: Settings) -> None:
    client = connect(resolve_tracking_uri(None, settings.home))
    seen = []
    for seeds, levels in ((1, ["1-1"]), (2, ["1-1", "1-2"])):
        sweep = SweepConfig(name="grown", presets=["ppo"], levels=levels, seeds=seeds)
        with tracked_sweep(sweep, plan(sweep), settings) as parent:
            seen.append(parent.run_id)
    assert len(set(seen)) == 1, "a file that names more seeds and levels continues its sweep"
    run = client.get_run(seen[0])
    assert (run.data.tags["levels"], run.data.tags["seeds"], run.data.tags["runs"]) == ("1-1, 1-2", "0, 1", "4")
    assert run.info.status == "FINISHED"
    with tracked_sweep(sweep.model_copy(update={"name": "wide"}), plan(sweep), settings) as parent:
        assert client.get_experiment(parent.experiment_id).name == "mario-sweeps"
        (first, *_) = nested(plan(sweep), parent)
    config = load(first.preset, first.overrides)
    assert config.tracking.parent_run == parent.run_id
    assert config_hash(config) == config_hash(first.config)
    assert not config.tracking.with_videos
    assert load(first.preset, [*first.overrides, "tracking.videos=true"]).tracking.with_videos


@pytest.mark.parametrize("number", [1, 2, 3, 50])
def test_processors_are_shared_out(number: int) -> None:
    shares = processor_shares(number)
    assert len(shares) == number
    assert all(shares)
    if number > 1 and len(set().union(*shares)) >= number:
        assert not set.intersection(*shares)
