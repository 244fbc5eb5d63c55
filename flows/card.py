"""`mario card`: a model card, the README.md of a model on the Hugging Face hub.

The metadata at its head are those that the hub reads (https://huggingface.co/docs/hub/model-cards). Where cards of agents
usually give "mean ± deviation of 10 episodes", this one gives each protocol with its count, its interval and its seeds.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from configs import ConfigError, to_dict
from configs.schema import PROTOCOLS
from reports.style import levels_in_words, protocol_label

if TYPE_CHECKING:
    from agents import Agent
    from configs import Config

_RULES: Final = {
    "greedy": "the best action, always; the game is deterministic, so there is one trajectory",
    "stochastic": "PPO samples from its policy; the others act at random with their last exploration rate",
    "sticky": "greedy; at each frame the last action goes on with probability {sticky:g} until the new one starts",
    "sticky_decisions": "greedy; each decision repeats the previous one with probability {sticky:g}",
    "noop": "greedy, after 1 to {noop} idle frames, each number once",
    "random": "uniform actions, for reference",
}
_WEAK: Final = 0.5
"""A completion rate below this is named as a limit."""


def read_figures(file: Path, agent: "Agent") -> Mapping[str, Any]:
    """The figures by protocol in a file of `mario evaluate --json`.

    Raises:
        ConfigError: it is another kind of file, or its figures are of another environment or of other steps.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        protocols, steps, environment = found["protocols"], found["steps"], found["environment"]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ConfigError(f"{file} is no file that `mario evaluate --json` has written ({error})") from None
    if steps != agent.manifest.steps or environment != agent.config.environment.model_dump(mode="json"):
        raise ConfigError(f"{file} has the figures of another model, or of this one in another environment")
    return dict(protocols)


def model_card(agent: "Agent", name: str, figures: Mapping[str, Any] | None) -> str:
    """The card as Markdown.

    Args:
        agent: the model.
        name: how `mario` finds it.
        figures: of its evaluation, by protocol, as JSON types; None: it was not evaluated.
    """
    parts = [
        "---\n" + yaml.safe_dump(_metadata(agent, name, figures), sort_keys=False, allow_unicode=True) + "---",
        f"# {name}",
        _summary(agent),
        "## Results\n\n" + _results(agent.config, name, figures),
        "## Limits\n\n" + _limits(agent, figures),
        "## Use\n\n" + _use(name),
        "## Lineage\n\n" + _lineage(agent),
        "## Configuration\n\n```yaml\n" + yaml.safe_dump(to_dict(agent.config), sort_keys=False) + "```",
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(agent: "Agent", name: str, figures: Mapping[str, Any] | None) -> dict[str, Any]:
    levels = agent.config.environment.level_names
    dataset = {
        "name": levels_in_words(levels),
        "type": ", ".join(f"mario_env/SuperMarioBros-{level}-v0" for level in levels) or "mario_env/SuperMarioBros-v0",
    }
    metrics = [
        {
            "type": "completion_rate",
            "name": f"completion rate, {protocol_label(protocol).lower()}, {each['episodes']} episodes",
            "value": each["completion_rate"],
            "verified": False,
        }
        for protocol, each in (figures or {}).items()
        if protocol != "random"
    ]
    task = {"type": "reinforcement-learning", "name": "reinforcement-learning"}
    result = {"task": task, "dataset": dataset, "metrics": metrics}
    index = {"model-index": [{"name": name, "results": [result]}]} if metrics else {}
    tags = ["reinforcement-learning", "deep-reinforcement-learning", "super-mario-bros", agent.manifest.algorithm]
    return {"library_name": "train-mario", "pipeline_tag": "reinforcement-learning", "tags": tags, **index}


def _summary(agent: "Agent") -> str:
    environment, manifest = agent.config.environment, agent.manifest
    seen = "the last four screens, small and gray" if environment.observation == "frames" else "blocks and objects, from RAM"
    return (
        f"An agent that plays {levels_in_words(environment.level_names)} of Super Mario Bros, trained with "
        f"{manifest.algorithm.upper()} for {manifest.steps:,} decisions of {environment.frame_skip} frames. "
        f"It sees {seen}, and has {manifest.n_actions} actions."
    )


def _results(config: "Config", name: str, figures: Mapping[str, Any] | None) -> str:
    if not figures:
        return (
            f"It has not been evaluated. `mario evaluate {name} --json figures.json` does so, and "
            f"`mario card {name} --figures figures.json` writes this card again."
        )
    rows = ["| protocol | episodes | different | completed | 95 % interval | mean distance, pixels | mean reward |"]
    rows.append("|---|---|---|---|---|---|---|")
    for protocol, each in figures.items():
        completed = f"{each['completed']} ({each['completion_rate']:.0%})"
        cells = (each["episodes"], each["distinct"], completed, _interval(each["completion"]))
        means = (f"{each['distance_mean']:,.0f}", f"{each['reward_mean']:.2f}")
        rows.append(f"| {' | '.join(map(str, (protocol_label(protocol), *cells, *means)))} |")
    values = {"sticky": config.evaluate.sticky_actions, "noop": config.evaluate.noop_frames}
    rules = [f"- {protocol_label(each)}: {_RULES[each].format(**values)}." for each in figures if each in _RULES]
    notes = [f"- {protocol_label(each)}: {found['note']}" for each, found in figures.items() if found["note"]]
    explained = (
        "Intervals are Wilson's, and hold for episodes of this one trained agent: other seeds of the training may differ. Each "
        f"episode has random numbers of its own, derived from the seed {config.seed}, the protocol and its number."
    )
    return "\n".join([*rows, "", explained, "", *rules, *notes])


def _interval(found: Mapping[str, float] | None) -> str:
    return "none" if found is None else f"{found['low']:.0%} to {found['high']:.0%}"


def _limits(agent: "Agent", figures: Mapping[str, Any] | None) -> str:
    known = dict(figures or {})
    weak = [
        f"{protocol_label(protocol).lower()} ({each['completed']} of {each['episodes']} completed)"
        for protocol, each in known.items()
        if protocol != "random" and each["completion_rate"] < _WEAK
    ]
    missing = [protocol_label(protocol).lower() for protocol in PROTOCOLS if protocol not in known]
    trained = levels_in_words(agent.config.environment.level_names)
    lines = [
        f"One training with one seed ({agent.config.seed}): the figures say nothing about how well the method does on average.",
        f"Trained on {trained} only. Nothing is known of other levels unless they were evaluated.",
    ]
    if weak:
        lines.append(f"It does not do well under {', '.join(weak)}: it relies on its actions being executed as chosen.")
    if missing:
        lines.append(f"Not measured: {', '.join(missing)}.")
    lines.append("The game is Nintendo's. Neither the ROM nor any part of it is in the model.")
    return "\n".join(f"- {line}" for line in lines)


def _use(name: str) -> str:
    commands = (
        f"mario watch {name}\nmario evaluate {name}\nmario inspect   # 'Let a model play now' shows what it sees and thinks"
    )
    return f"```sh\n{commands}\n```\n\nThe files have tensors and JSON only. Loading them executes no code."


def _lineage(agent: "Agent") -> str:
    manifest, origin = agent.manifest, dict(agent.origin or {})
    packages = origin.pop("packages", {})
    origin.pop("validations", None)
    facts: dict[str, Any] = {
        "preset": manifest.name,
        "configuration (SHA-256)": manifest.config_hash,
        "seed": agent.config.seed,
        "decisions": f"{manifest.steps:,}",
        "created": manifest.created,
        **{name.replace("_", " "): value for name, value in origin.items() if name not in ("seed", "steps", "config_hash")},
        **{f"SHA-256 of {name}": entry.sha256 for name, entry in manifest.files.items()},
    }
    rows = [f"| {name} | {_plain(value)} |" for name, value in facts.items()]
    if packages:
        rows.append(f"| packages | {', '.join(f'{package} {version}' for package, version in sorted(packages.items()))} |")
    return "\n".join(["| | |", "|---|---|", *rows])


def _plain(value: Any) -> str:
    """A value for a cell of a table."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
