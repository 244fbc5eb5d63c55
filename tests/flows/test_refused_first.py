"""Values that another system would refuse are refused before Prefect starts and before anything is written."""

import sys
from pathlib import Path
from typing import Any

import pytest

from configs import PROJECT

pytestmark = pytest.mark.one_python

TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--set", "tracking.registered_model=team/mario"],
            "tracking.registered_model: 'team/mario' cannot name a registered model",
        ),
        (["--set", "name=latest"], "name: 'latest' cannot name a preset"),
        (["--experiment", "a/b"], "an experiment cannot be named 'a/b'"),
        pytest.param(
            ["--set", "environment.rom=rectangle"],
            "environment.rom: 'rectangle' is not in the installed gym-super-mario-bros",
            marks=pytest.mark.skipif(sys.version_info < (3, 13), reason="this stack has every ROM"),
        ),
    ],
)
def test_a_value_that_another_system_would_refuse_is_refused_first(
    mario: Any, arguments: list[str], message: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    done = mario("run", TINY, *arguments, MARIO_HOME=str(home))
    assert done.returncode == 1, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "Starting temporary server" not in done.stdout + done.stderr
    assert [path for path in home.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--experiment", "nowhere", "--extend", "5000"], "there is no experiment nowhere; `mario experiments` lists"),
        (["--experiment", "nowhere", "--extend", "5000", "--restart"], "give one of the two"),
        (["--extend", "5000"], "name it with --experiment"),
    ],
)
def test_an_impossible_extension_is_refused_before_prefect_starts(mario: Any, arguments: list[str], message: str) -> None:
    done = mario("run", TINY, *arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    assert message in done.stderr
    assert "Starting temporary server" not in done.stdout + done.stderr
