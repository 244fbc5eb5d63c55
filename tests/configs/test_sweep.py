"""The description of a sweep, and the runs that it plans."""

from pathlib import Path

import pytest

from configs import ConfigError
from configs.levels import FINISH_X
from configs.sweep import SweepConfig, plan, plan_with_teachers, read_sweep, sweep_file, sweep_from_dict, sweep_names


def test_every_combination_is_planned_seed_by_seed(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(
        "presets: [ppo, ppo-tiles]\nlevels: [1-1, 4-2]\nseeds: [3, 7]\noverrides: [train.total_steps=1000000]\n"
        "variants:\n  base: []\n  far: [agent.gamma=0.97]\n"
    )
    runs = plan(read_sweep(file))
    assert len({run.experiment for run in runs}) == len(runs) == 16
    assert [run.config.seed for run in runs] == [3] * 8 + [7] * 8
    last = runs[-1]
    assert last.experiment == "study-ppo-tiles-4-2-far-seed7"
    assert (last.config.environment.world, last.config.environment.stage, last.config.agent.gamma) == (4, 2, 0.97)
    assert last.config.train.total_steps == 1_000_000
    assert runs[0].variant == "base"
    assert runs[0].config.agent.gamma == 0.9


def test_a_level_may_have_overrides_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(
        "presets: [ppo]\nlevels:\n  1-1: []\n  1-2: [agent.gamma=0.97]\n"
        "variants:\n  plain: []\n  near: [agent.gamma=0.8]\noverrides: [agent.gamma=0.95]\n"
    )
    runs = plan(read_sweep(file))
    gammas = {(run.config.environment.level_name, run.variant): run.config.agent.gamma for run in runs}
    assert gammas == {("1-1", "plain"): 0.95, ("1-1", "near"): 0.8, ("1-2", "plain"): 0.97, ("1-2", "near"): 0.8}


def test_a_number_of_seeds_counts_from_zero_and_presets_keep_their_level() -> None:
    runs = plan(SweepConfig(name="study", presets=["ppo"], seeds=3))
    assert [run.experiment for run in runs] == [f"study-ppo-1-1-seed{seed}" for seed in range(3)]
    assert {run.variant for run in runs} == {None}


def test_a_description_comes_back_from_json() -> None:
    sweep = SweepConfig(name="study", presets=["ppo"], seeds=[1, 2], variants={"far": ["agent.gamma=0.97"]})
    assert sweep_from_dict(sweep.model_dump(mode="json")) == sweep


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("presets: [ppo]\nsedes: 3\n", r"study\.yaml:2: sedes: unknown key; did you mean seeds\?"),
        ("presets: []\n", r"study\.yaml:1: presets: list should have at least 1 item"),
        ("presets: [ppo]\nlevels: [9-1]\n", r"study\.yaml:2: levels\.0: string should match pattern"),
        ("presets: [ppo]\nlevels: {1-1: [agent.gama=1]}\n", r"sweep study, ppo, 1-1: .*did you mean agent\.gamma"),
        ("presets: [ppo]\nlevels: {1-5: []}\n", r"study\.yaml:2: levels\.1-5: "),
        ("presets: [ppo]\nseeds: [1, 1]\n", r"study\.yaml:2: seeds: 1 is named twice"),
        ("presets: [ppo]\nseeds: 0\n", r"study\.yaml:2: seeds: "),
        ("presets: [ppo]\nvariants: {a b: []}\n", r"study\.yaml:2: variants\.a b: "),
        ("presets: [ppi]\n", r"sweep study, ppi: no preset is named 'ppi'; did you mean ppo\?"),
        ("presets: [ppo]\noverrides: [agent.gama=1]\n", r"sweep study, ppo: --set agent\.gama=1: .*did you mean agent\.gamma"),
        ("presets: [ppo]\nseeds: 10001\n", r"10,001 runs; at most 10,000"),
    ],
)
def test_a_fault_is_named_with_its_place_before_any_work(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        plan(read_sweep(file))


def test_presets_of_the_same_name_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.yaml").write_text("extends: ppo\n")
    presets = [str(tmp_path / folder / "mine.yaml") for folder in ("a", "b")]
    with pytest.raises(ConfigError, match="two runs would be named study-mine-1-1-seed0"):
        plan(SweepConfig(name="study", presets=presets))


def test_a_name_that_is_too_long_for_an_experiment_is_refused(tmp_path: Path) -> None:
    (tmp_path / f"{'a' * 60}.yaml").write_text("extends: ppo\n")
    with pytest.raises(ConfigError, match="at most 100"):
        plan(SweepConfig(name="b" * 40, presets=[str(tmp_path / f"{'a' * 60}.yaml")]))


@pytest.mark.parametrize(
    ("name", "preset"), [("levels", "ppo-robust"), ("levels.yaml", "ppo-robust"), ("teachers", "ppo-tiles-robust")]
)
def test_the_sweep_of_all_levels_is_found_in_any_folder(
    name: str, preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "levels").mkdir()  # a folder is no sweep
    runs = plan(read_sweep(sweep_file(name)))
    assert {(run.config.environment.world, run.config.environment.stage) for run in runs} == set(FINISH_X)
    assert len(runs) == 32
    sweep = name.removesuffix(".yaml")
    assert [runs[at].experiment for at in (0, -1)] == [f"{sweep}-{preset}-{level}-seed0" for level in ("1-1", "8-4")]


def test_each_level_is_taught_by_a_run_of_the_teachers_sweep() -> None:
    """Under the same actions, so that the teacher fits."""
    runs = plan_with_teachers(read_sweep(sweep_file("levels")))
    teachers, pupils = runs[::2], runs[1::2]
    assert pupils == plan(read_sweep(sweep_file("levels"))), "each is behind its teacher"
    assert teachers == plan(read_sweep(sweep_file("teachers")))
    for teacher, pupil in zip(teachers, pupils, strict=True):
        assert pupil.teachers == {teacher.experiment}
        ours, theirs = pupil.config.environment, teacher.config.environment
        assert (theirs.level_names, theirs.actions, theirs.frame_skip) == (ours.level_names, ours.actions, ours.frame_skip)


def test_only_the_teachers_that_are_needed_are_trained() -> None:
    few = SweepConfig(name="few", presets=["ppo-robust"], levels=["3-1", "1-2"], seeds=2, teachers="teachers")
    names = [run.experiment for run in plan_with_teachers(few)]
    taught = [f"few-ppo-robust-{level}-seed{seed}" for seed in (0, 1) for level in ("3-1", "1-2")]
    teachers = [f"teachers-ppo-tiles-robust-{level}-seed0" for level in ("3-1", "1-2")]
    assert names == [teachers[0], taught[0], teachers[1], taught[1], *taught[2:]], "each once, before its first pupil"


@pytest.mark.parametrize(
    ("teacher", "named"), [("null", r"\(none, because train.teacher is null\)"), ("{experiment: 'tutor'}", "tutor")]
)
def test_a_run_without_a_teacher_in_the_sweep_of_teachers_is_refused(teacher: str, named: str) -> None:
    sweep = SweepConfig(name="few", presets=["ppo-robust"], overrides=[f"train.teacher={teacher}"], teachers="teachers")
    message = f"sweep few: the teacher of few-ppo-robust-1-1-seed0, {named}, is no run of the sweep teachers: correct"
    with pytest.raises(ConfigError, match=message):
        plan_with_teachers(sweep)


def test_a_file_takes_precedence_over_a_sweep_of_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "levels.yaml").write_text("presets: [ppo]\n")
    assert len(plan(read_sweep(sweep_file("levels.yaml")))) == 1
    assert len(plan(read_sweep(sweep_file("levels")))) == 32


@pytest.mark.parametrize(("name", "hint"), [("level.yaml", "did you mean levels? "), ("x/y.yaml", ""), ("a\0b", "")])
def test_an_unknown_sweep_is_answered_with_what_there_is(name: str, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        sweep_file(name)
    assert str(raised.value).endswith(f"has this name; {hint}The project's sweeps are levels, teachers (or name a .yaml file)")


@pytest.mark.parametrize("name", sweep_names())
def test_every_sweep_of_the_project_can_be_run(name: str) -> None:
    assert plan_with_teachers(read_sweep(sweep_file(name)))
