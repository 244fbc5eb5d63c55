"""The records of finished phases: stored in Postgres, and imported once from the files of earlier versions."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from configs import PROJECT, Settings, load
from episodes.quality import QualityResult, RuleResult
from episodes.records import finished_phase, quality_results
from tasks.experiment import Experiment, NotClaimedError, load_experiment, open_store
from tasks.phases import PhaseRecord, archive, finished, save
from tasks.quality import quality_table
from tasks.starting import running_experiment

TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")


def start(settings: Settings, name: str) -> Any:
    return running_experiment(load(TINY), name, settings, None)


def test_a_record_is_stored_with_paths_relative_to_the_folder(settings: Settings) -> None:
    with start(settings, "recorded") as experiment:
        details = {"model_path": str(experiment.directory / "model"), "report": "/elsewhere/r.html", "video": None, "steps": 3}
        record = PhaseRecord("train", 1.5, details)
        assert finished(experiment, "train") is None
        assert save(experiment, record) == record
        assert finished(experiment, "train") == record
        assert finished(experiment, "evaluate") is None
        save(experiment, PhaseRecord("train", 2.5, {"steps": 4, "loss": float("nan")}))
        assert finished(experiment, "train") == PhaseRecord("train", 2.5, {"steps": 4, "loss": None})
        save(experiment, record)
    with open_store(settings) as store:
        stored = finished_phase(store, experiment.id, "train")
    assert stored is not None
    assert (stored.attempt, stored.details["model_path"]) == (1, "model")
    loaded = load_experiment("recorded", settings)
    assert finished(loaded, "train") == record
    with pytest.raises(NotClaimedError, match="does not run the experiment recorded"):
        save(loaded, record)


def test_an_archived_record_does_not_count_any_more(settings: Settings) -> None:
    with start(settings, "archived") as experiment:
        for steps in (1, 2):
            save(experiment, PhaseRecord("train", 1.0, {"steps": steps}))
            archive(experiment, ["train", "evaluate"], kept_as="9-steps")
            assert finished(experiment, "train") is None
    with open_store(settings) as store:
        stored = finished_phase(store, experiment.id, "train", "9-steps")
    assert stored is not None
    assert stored.details == {"steps": 2}, "the newest of one name is kept, as files did"


def write_files(experiment: Experiment) -> dict[Path, Any]:
    """What a version without these tables left: phases, those of before an extension, results of checks. Returns the files."""
    folder = experiment.directory
    rules = [RuleResult("time in range", "time", False, "1 of 3", "0 to 400", [{"id": 7, "time": 777}], 1)]
    model = {"model_path": str(folder / "model"), "episodes": 3, "model_steps": 9}
    quality = asdict(QualityResult(experiment.id, "train", rules, 3))
    del quality["rules"][0]["severity"]  # which was added later
    files = {
        folder / "phases" / "smoke.json": {"phase": "smoke", "seconds": 0.5, "details": {}},
        folder / "phases" / "train.json": {"phase": "train", "seconds": 1.5, "details": model},
        folder / "phases" / "5-steps" / "train.json": {"phase": "train", "seconds": 0.25, "details": {"steps": 5}},
        folder / "quality" / "train.json": {"passed": False, **quality},
    }
    for path, values in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    (folder / "phases" / "evaluate.json").write_text('{"phase": "eval')
    return files


@pytest.mark.parametrize("way", ["run", "read"])
def test_files_of_an_earlier_version_are_imported_once(way: str, settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    name = f"from-files-{way}"
    with start(settings, name) as experiment:
        pass
    files = write_files(experiment)

    if way == "run":
        with start(settings, name) as experiment:
            found = [finished(experiment, phase) for phase in ("smoke", "train", "evaluate")]  # type: ignore[arg-type]
    else:
        experiment = load_experiment(name, settings)
        found = [finished(experiment, phase) for phase in ("smoke", "train", "evaluate")]  # type: ignore[arg-type]

    smoke, trained, evaluated = found
    assert smoke == PhaseRecord("smoke", 0.5)
    assert trained is not None
    assert trained.details["model_path"] == str(experiment.directory / "model")
    assert evaluated is None
    assert "phases/evaluate.json cannot be read and counts as missing" in caplog.text
    with open_store(settings) as store:
        earlier = finished_phase(store, experiment.id, "train", "5-steps")
        result = quality_results(store, experiment.id)["train"]
    assert earlier is not None
    assert earlier.details == {"steps": 5}
    assert (result.rows_checked, [rule.verdict for rule in result.rules]) == (3, ["broken"])
    assert [row["rule"] for row in quality_table(experiment)] == ["time in range"]
    for path in files:
        assert not path.exists()
        assert path.with_name(f"{path.name}.imported").is_file()
    with start(settings, name) as experiment:
        archive(experiment, ["train"], kept_as="9-steps")
    assert finished(load_experiment(name, settings), "train") is None, "it is not imported a second time"
