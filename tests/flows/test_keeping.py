"""`mario keep` and `mario ship`: results with their provenance, and policies with figures that can be confirmed."""

import csv
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from agents import CheckpointError, load_shipped
from configs import PROJECT, Settings, load
from configs.schema import USUAL_PROTOCOLS
from episodes.schema import PHASE_RECORDS
from flows.evaluating import confirmation
from flows.models import Trust
from flows.models import load as load_model
from tasks.evaluate import RULES
from tasks.experiment import open_store
from tasks.phases import finished

pytestmark = pytest.mark.one_python


@pytest.fixture(scope="module")
def results(mario: Any, pipeline: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `mario keep` wrote for the tiny run."""
    folder = tmp_path_factory.mktemp("results")
    done = mario("keep", pipeline.name, "--folder", str(folder), "--as", "tiny-kept")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "tiny-kept"


@pytest.fixture(scope="module")
def shipped(mario: Any, pipeline: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest that `mario ship` wrote for the tiny run."""
    folder = tmp_path_factory.mktemp("models")
    done = mario("ship", pipeline.name, "--folder", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "world-1-1.json"


def test_the_results_are_complete(results: Path, pipeline: Any) -> None:
    evaluated, trained = finished(pipeline.experiment, "evaluate"), finished(pipeline.experiment, "train")
    assert evaluated is not None
    assert trained is not None
    run = json.loads((results / "run.json").read_text())

    assert json.loads((results / "evaluation.json").read_text()) == evaluated.details["protocols"]
    assert (run["experiment"], run["steps"], run["seed"]) == (pipeline.name, 1_536, 0)
    assert run["training_episodes"] == trained.details["episodes"]
    assert load(str(results / "config.yaml")).agent == load(str(PROJECT / "tests" / "data" / "tiny.yaml")).agent
    with (results / "learning-curve.csv").open() as file:
        spans = list(csv.DictReader(file))
    assert sum(int(span["episodes"]) for span in spans) == trained.details["episodes"]
    assert int(spans[-1]["steps"]) <= 1_536
    assert (results / "learning-curve.png").read_bytes()[:4] == b"\x89PNG"
    assert 10_000 < (results / "report.html").stat().st_size < 5_000_000
    assert (results / "best.mp4").read_bytes()[4:8] == b"ftyp"


def test_the_page_shows_how_far_the_agent_gets(results: Path) -> None:
    page = (results / "README.md").read_text()
    figures = json.loads((results / "evaluation.json").read_text())["stochastic"]

    assert f"| {figures['episodes']} | {figures['distinct']} | {figures['completed']} |" in page
    assert "95" in page
    assert "one seed was trained" in page
    assert "make setup" in page
    for name in ("report.html", "config.yaml", "learning-curve.csv"):
        assert f"({name})" in page


def test_results_of_another_run_are_not_replaced(mario: Any, pipeline: Any, results: Path) -> None:
    again = mario("keep", pipeline.name, "--folder", str(results.parent), "--as", "tiny-kept")
    assert again.returncode == 0, again.stderr
    run = json.loads((results / "run.json").read_text())
    (results / "run.json").write_text(json.dumps({**run, "experiment": "somebody-else"}))
    refused = mario("keep", pipeline.name, "--folder", str(results.parent), "--as", "tiny-kept")
    (results / "run.json").write_text(json.dumps(run))

    assert refused.returncode == 1
    assert "contains the results of another run (somebody-else" in refused.stderr


def test_a_shipped_policy_has_the_figures_it_was_shipped_with(mario: Any, shipped: Path, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    # Like a fresh clone: another home, without the run.
    home = {"MARIO_HOME": str(tmp_path / "home")}
    done = mario("evaluate", str(shipped), "--trust", "--json", str(figures), **home)
    mario("stop", **home)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "all figures equal those that the model was shipped with" in done.stdout
    found = json.loads(figures.read_text())
    assert found["confirmation"]["identical"] is True
    assert found["confirmation"]["told"]["stochastic"]["episodes"] == found["protocols"]["stochastic"]["episodes"] == 2


def test_a_policy_in_half_precision_has_the_figures_of_the_rounded_weights(
    mario: Any, pipeline: Any, shipped: Path, tmp_path: Path
) -> None:
    done = mario("ship", pipeline.name, "--half", "--folder", str(tmp_path), "--as", "rounded")
    assert done.returncode == 0, done.stdout + done.stderr
    half = tmp_path / "rounded.json"
    assert half.with_suffix(".pth").stat().st_size < 0.6 * shipped.with_suffix(".pth").stat().st_size
    figures = tmp_path / "figures.json"
    again = mario("evaluate", str(half), "--trust", "--json", str(figures))
    assert again.returncode == 0, again.stdout + again.stderr
    assert json.loads(figures.read_text())["confirmation"]["identical"] is True
    assert load_shipped(half).origin == load_shipped(shipped).origin


@pytest.mark.parametrize("options", [(), ("--observation",)])
def test_a_shipped_policy_is_watched_without_any_server(
    options: tuple[str, ...], mario: Any, shipped: Path, tmp_path: Path
) -> None:
    video, home = tmp_path / "mario.mp4", tmp_path / "home"
    done = mario("watch", str(shipped), "--trust", *options, "--video", str(video), MARIO_HOME=str(home))

    assert done.returncode == 0, done.stderr
    assert video.read_bytes()[4:8] == b"ftyp"
    assert not [path for path in home.rglob("*") if "postgres" in path.name or "mlflow" in path.name]


def test_a_file_from_elsewhere_needs_a_sha256(mario: Any, pipeline: Any, tmp_path: Path) -> None:
    model = shutil.copytree(pipeline.directory / "model", tmp_path / "model")
    digest = hashlib.sha256((model / "manifest.json").read_bytes()).hexdigest()
    video = ("--video", str(tmp_path / "mario.mp4"))
    unknown = mario("watch", str(model), *video)
    other = mario("watch", str(model), "--sha256", "0" * 64, *video)
    known = mario("watch", str(model), "--sha256", digest, *video)

    assert (unknown.returncode, other.returncode, known.returncode) == (1, 1, 0), known.stderr
    assert f"the SHA-256 of this file is {digest}" in unknown.stderr
    assert "it is another model" in other.stderr


@pytest.mark.parametrize("changed", ["model.zip", "config.json", "manifest.json"])
def test_the_sha256_covers_manifest_configuration_and_weights(changed: str, pipeline: Any, tmp_path: Path) -> None:
    """Even if the manifest was adapted to the change."""
    model = shutil.copytree(pipeline.directory / "model", tmp_path / "model")
    digest = hashlib.sha256((model / "manifest.json").read_bytes()).hexdigest()
    settings, trust = Settings(tmp_path / "home", None, None), Trust(digest.upper())
    load_model(str(model), settings, trust)

    manifest = json.loads((model / "manifest.json").read_text())
    if changed == "manifest.json":
        manifest["steps"] += 1
    else:
        data = (model / changed).read_bytes()
        data = data.replace(b'"gamma": 0.9', b'"gamma": 0.8') if changed == "config.json" else data + b" "
        (model / changed).write_bytes(data)
        with pytest.raises(CheckpointError, match=changed):  # the manifest does not match
            load_model(str(model), settings, trust)
        manifest["files"][changed] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (model / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="it is another model"):
        load_model(str(model), settings, trust)


def test_the_sha256_of_a_shipped_policy_is_that_of_its_manifest(shipped: Path, tmp_path: Path) -> None:
    copies = [Path(shutil.copy(path, tmp_path)) for path in (shipped, shipped.with_suffix(".pth"))]
    settings = Settings(tmp_path / "home", None, None)
    digest = hashlib.sha256(copies[0].read_bytes()).hexdigest()
    load_model(str(copies[0]), settings, Trust(digest))

    values = json.loads(copies[0].read_text())
    values["config"]["agent"]["gamma"] = 0.5
    copies[0].write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="it is another model"):
        load_model(str(copies[0]), settings, Trust(digest))


def test_an_unfinished_run_is_not_shipped(mario: Any, pipeline: Any, settings: Settings, tmp_path: Path) -> None:
    evaluation = update(PHASE_RECORDS).where(
        PHASE_RECORDS.c.experiment_id == pipeline.experiment.id, PHASE_RECORDS.c.phase == "evaluate"
    )
    with open_store(settings) as store:
        with store.transaction("hiding the record") as connection:
            connection.execute(evaluation.values(kept_as="hidden"))
        try:
            done = mario("ship", pipeline.name, "--folder", str(tmp_path / "models"))
        finally:
            with store.transaction("showing the record") as connection:
                connection.execute(evaluation.values(kept_as=""))
    assert done.returncode == 1
    assert "experiment tiny has not been evaluated" in done.stderr
    assert not (tmp_path / "models").exists()


def _figures(low: float, high: float) -> dict[str, Any]:
    return {"episodes": 100, "completed": 50, "completion": {"low": low, "high": high}}


def test_figures_contradict_each_other_if_their_intervals_do_not_overlap() -> None:
    shipped = {"stochastic": _figures(0.4, 0.6), "sticky": _figures(0.1, 0.2), "noop": _figures(0.0, 0.1)}
    measured = {"stochastic": _figures(0.55, 0.8), "sticky": _figures(0.3, 0.5)}
    result = confirmation(shipped, measured)

    assert not result["identical"]
    assert result["contradicted"] == ["sticky"]
    assert result["missing"] == ["noop"]
    assert confirmation(shipped, shipped)["identical"]


def test_figures_of_another_rule_are_not_compared() -> None:
    shipped = {"noop": _figures(0.0, 0.1), "sticky_decisions": _figures(0.1, 0.2)}
    measured = {"noop": {**_figures(0.9, 1.0), "rule": 2}, "sticky_decisions": _figures(0.15, 0.3)}
    result = confirmation(shipped, measured)

    assert (result["outdated"], result["contradicted"]) == (["noop"], [])
    nothing_compared = confirmation({"noop": shipped["noop"]}, {"noop": measured["noop"]})
    assert not nothing_compared["identical"]


@pytest.mark.parametrize("name", [path.stem for path in (PROJECT / "models").glob("*.json")])
def test_the_figures_of_the_shipped_models_follow_the_current_rules(name: str) -> None:
    shipped = load_shipped(PROJECT / "models" / f"{name}.json").evaluation
    assert shipped is not None
    assert set(USUAL_PROTOCOLS) <= set(shipped)
    assert {protocol: figures["rule"] for protocol, figures in shipped.items()} == {
        protocol: RULES.get(protocol, 1) for protocol in shipped
    }
