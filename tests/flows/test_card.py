"""`mario card`: the metadata that the hub reads, and figures that are those of the evaluation."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents import Agent, load_shipped
from configs import PROJECT, ConfigError
from flows.card import model_card, read_figures
from tests.conftest import Command


@pytest.fixture(scope="module")
def agent() -> Agent:
    return load_shipped(PROJECT / "models" / "world-1-1.json")


def metadata(card: str) -> dict[str, Any]:
    """What stands between the two lines of dashes at the head."""
    head, rest = card.removeprefix("---\n").split("\n---\n", 1)
    assert rest.startswith("\n# ")
    return dict(yaml.safe_load(head))


def test_the_card_of_a_shipped_model(mario: Command, agent: Agent, tmp_path: Path) -> None:
    done = mario("card", "world-1-1", "--output", str(tmp_path / "README.md"))
    assert done.returncode == 0, done.stdout + done.stderr
    card = (tmp_path / "README.md").read_text()
    assert agent.evaluation is not None
    assert agent.origin is not None
    (index,) = metadata(card)["model-index"]
    (result,) = index["results"]
    assert result["dataset"]["type"] == "mario_env/SuperMarioBros-1-1-v0"
    measured = [each for protocol, each in agent.evaluation.items() if protocol != "random"]
    assert [metric["value"] for metric in result["metrics"]] == [each["completion_rate"] for each in measured]
    sticky = agent.evaluation["sticky"]
    low, high = (f"{100 * bound:.0f}%" for bound in (sticky["completion"]["low"], sticky["completion"]["high"]))
    assert f"| Sticky actions | 100 | 100 | {sticky['completed']} ({sticky['completed']}%) | {low} to {high} |" in card
    assert "It does not do well" not in card
    assert "Not measured: sticky decisions." in card
    assert agent.origin["commit"] in card
    assert f"| SHA-256 of world-1-1.pth | {agent.manifest.files['world-1-1.pth'].sha256} |" in card
    assert yaml.safe_load(card.partition("```yaml\n")[2].partition("```")[0])["agent"]["algorithm"] == "ppo"


def test_the_card_says_what_a_model_does_not_do_well(agent: Agent) -> None:
    assert agent.evaluation is not None
    weak = {**agent.evaluation["sticky"], "completed": 7, "completion_rate": 0.07}
    card = model_card(agent, "mine", {**agent.evaluation, "sticky_decisions": weak})
    assert "It does not do well under sticky decisions (7 of 100 completed)" in card
    assert "Not measured" not in card


def test_a_model_without_figures_says_so(agent: Agent) -> None:
    card = model_card(agent, "mine", None)
    assert "model-index" not in metadata(card)
    assert "`mario card mine --figures figures.json`" in card
    assert "Not measured: greedy, stochastic, sticky actions" in card


@pytest.mark.parametrize(
    ("environment", "played", "names"),
    [
        ({"levels": ["1-1", "4-2"]}, "the levels 1-1, 4-2", "mario_env/SuperMarioBros-1-1-v0, mario_env/SuperMarioBros-4-2-v0"),
        ({"game": "full"}, "the full game", "mario_env/SuperMarioBros-v0"),
    ],
)
def test_the_card_names_all_levels(agent: Agent, environment: dict[str, Any], played: str, names: str) -> None:
    other = agent.config.environment.model_copy(update=environment)
    trained = replace(agent, config=agent.config.model_copy(update={"environment": other}))
    card = model_card(trained, "mine", agent.evaluation)
    assert f"An agent that plays {played} of Super Mario Bros" in card
    (index,) = metadata(card)["model-index"]
    assert index["results"][0]["dataset"] == {"name": played, "type": names}


def test_figures_of_another_model_are_refused(agent: Agent, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    environment = agent.config.environment.model_dump(mode="json")
    figures = {"protocols": agent.evaluation, "steps": agent.manifest.steps, "environment": environment}
    file.write_text(json.dumps(figures))
    assert read_figures(file, agent) == agent.evaluation
    for wrong in ({"steps": 7}, {"environment": {**environment, "stage": 2}}):
        file.write_text(json.dumps(figures | wrong))
        with pytest.raises(ConfigError, match="the figures of another model"):
            read_figures(file, agent)
    file.write_text("{}")
    with pytest.raises(ConfigError, match="is no file that `mario evaluate --json` has written"):
        read_figures(file, agent)
