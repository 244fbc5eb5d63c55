import math
from typing import Any

import numpy as np
import pytest
import torch

from tracking.values import MAX_NAME, MAX_PARAM, clean_name, finite, parameters, text, without_secrets


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, 1.0),
        (0.5, 0.5),
        (np.float32(0.5), 0.5),
        (np.int64(-3), -3.0),
        (np.array(2.5), 2.5),
        (np.array([2.5]), 2.5),
        (torch.tensor(1.5), 1.5),
        (math.nan, None),
        (math.inf, None),
        (np.float64("-inf"), None),
        (torch.tensor(float("nan")), None),
        (True, None),
        (np.bool_(True), None),
        (np.array(True), None),
        (np.array([1.0, 2.0]), None),
        (10**400, None),
        ("1", None),
        (None, None),
        (1 + 2j, None),
    ],
)
def test_only_finite_real_numbers_pass(value: object, number: float | None) -> None:
    assert finite(value) == number


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("rollout/ep_rew_mean", "rollout/ep_rew_mean"),
        ("completion (%)", "completion ___"),
        ("a=b", "a_b"),
        ("/a//b/", "a/b"),
        ("a/../b/.", "a/b"),
        ("", "_"),
        ("time:fps", "time_fps"),
        ("x" * 400, "x" * MAX_NAME),
    ],
)
def test_names_become_what_mlflow_accepts(name: str, clean: str) -> None:
    from mlflow.utils import validation

    accept: Any = validation._validate_metric_name
    assert clean_name(name) == clean
    accept(clean)


def test_parameters_are_flat_texts() -> None:
    tree = {"agent": {"gamma": 0.9, "network": {"features": "small"}}, "protocols": ["greedy", "noop"], "x": None}
    assert parameters(tree) == {
        "agent.gamma": "0.9",
        "agent.network.features": "small",
        "protocols": '["greedy", "noop"]',
        "x": "None",
    }


def test_long_text_is_cut_and_says_so() -> None:
    cut = text("a" * 10_000, MAX_PARAM)
    assert len(cut) == MAX_PARAM
    assert cut.endswith("(cut; see config.yaml)")


def test_credentials_are_taken_out() -> None:
    tree: dict[str, Any] = {
        "database": {"url": "postgresql://u:secret@h/d", "password": "secret"},
        "remotes": ["https://secret@github.com/a/b"],
        "api_key": "secret",
        "GITHUB_TOKEN": "secret",
        "tokens_per_second": 5,
        "empty_password": "",
    }
    clean = without_secrets(tree)
    assert "secret" not in str(clean)
    assert "secret" not in str(parameters(tree))
    assert clean["tokens_per_second"] == 5
    assert clean["database"]["url"] == "postgresql://u:***@h/d"
    assert tree["api_key"] == "secret"
