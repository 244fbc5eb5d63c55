"""`mario compare` on a real run."""

import re
from dataclasses import replace
from typing import Any

import pytest

from configs import ConfigError, Settings
from flows.comparing import chosen
from tasks.experiment import open_store

KNOWN = {1: "ppo-a", 2: "ppo-b", 3: "dqn", 14: "1"}


@pytest.mark.parametrize(
    ("names", "ids"),
    [(["ppo-*"], [1, 2]), (["dqn", "ppo-[b]", "dqn"], [2, 3]), (["3"], [3]), (["1"], [14]), (["*"], [1, 2, 3, 14])],
)
def test_names_ids_and_patterns_mean_experiments(names: list[str], ids: list[int]) -> None:
    assert chosen(names, KNOWN) == ids


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pp0-a", r"there is no experiment 'pp0-a'; did you mean ppo-a\?"),
        ("zzz", "there is no experiment 'zzz'; `mario experiments` lists all"),
        ("99", "there is no experiment '99'"),
        ("sac-*", r"no experiment matches 'sac-\*'"),
    ],
)
def test_a_name_that_means_nothing_is_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen(["dqn", name], KNOWN)


def test_a_run_is_compared_with_one_that_was_not_evaluated(mario: Any, pipeline: Any, settings: Settings) -> None:
    with open_store(settings) as store:
        stored = store.experiment(pipeline.name)
        store.create_experiment(replace(stored.record, name="tiny-unevaluated", status="failed", mlflow_run_id=None))

    done = mario("compare", pipeline.name, "tiny-uneval*")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "left out: tiny-unevaluated not evaluated under stochastic (status: failed)" in done.stdout
    folder = settings.home / "reports" / "comparison-tiny-tiny-unevaluated"
    assert f"comparison: {folder / 'comparison.html'}" in done.stdout
    page = (folder / "comparison.html").read_text(encoding="utf-8")
    assert str(stored.record.mlflow_run_id) in page
    (report,) = re.findall(r'href="([^"]*report\.html)"', page)
    assert (folder / report).resolve() == pipeline.directory / "report" / "report.html"
    # The real episodes were played again.
    assert any(path.read_bytes()[4:8] == b"ftyp" for path in folder.glob("ending-*.mp4"))


def test_an_unknown_experiment_is_refused_with_the_nearest_name(mario: Any, pipeline: Any) -> None:
    done = mario("compare", "tyni")
    assert done.returncode == 1
    assert done.stderr == f"error: there is no experiment 'tyni'; did you mean {pipeline.name}?\n"
