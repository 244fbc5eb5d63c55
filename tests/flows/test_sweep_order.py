"""The order in which the runs of a sweep start."""

from configs.sweep import SweepConfig, plan_with_teachers
from flows.sweep_order import Waiting
from flows.sweep_progress import RunState

RUNS = plan_with_teachers(SweepConfig(name="few", presets=["ppo-robust"], levels=["1-1", "1-2"], teachers="teachers"))
TEACHER, PUPIL, SECOND_TEACHER, SECOND_PUPIL = NAMES = [run.experiment for run in RUNS]


def begin(waiting: Waiting, states: dict[str, RunState]) -> list[str]:
    ready = waiting.ready(states)
    assert waiting.ready(states) == ready, "a start that the server did not answer is repeated"
    waiting.started(ready)
    return [run.experiment for run in ready]


def test_a_pupil_comes_next_when_its_teacher_is_completed() -> None:
    states, waiting = dict.fromkeys(NAMES, RunState("queued")), Waiting(RUNS, at_once=1)
    for name in NAMES:
        assert begin(waiting, states) == [name]
        for unfinished in (RunState("queued"), RunState("running")):
            states[name] = unfinished
            assert begin(waiting, states) == []
        states[name] = RunState("completed")
    assert waiting.names == set()


def test_all_teachers_start_where_any_number_may_run() -> None:
    states, waiting = dict.fromkeys(NAMES, RunState("queued")), Waiting(RUNS, at_once=None)
    assert begin(waiting, states) == [TEACHER, SECOND_TEACHER]
    assert waiting.names == {PUPIL, SECOND_PUPIL}
    states[SECOND_TEACHER] = RunState("completed")
    assert begin(waiting, states) == [SECOND_PUPIL]


def test_a_pupil_fails_with_its_teacher() -> None:
    states, waiting = dict.fromkeys(NAMES, RunState("queued")), Waiting(RUNS, at_once=2)
    begin(waiting, states)
    states[TEACHER] = RunState("failed", "no memory")
    assert begin(waiting, states) == []
    assert states[PUPIL] == RunState("failed", f"its teacher {TEACHER} has failed")
    assert waiting.names == {SECOND_PUPIL}


def test_a_run_waits_for_no_teacher_outside_the_sweep() -> None:
    pupil = RUNS[1]
    assert begin(Waiting([pupil], at_once=1), {PUPIL: RunState("queued")}) == [PUPIL]
