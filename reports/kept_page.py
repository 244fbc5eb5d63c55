"""The README.md of a results folder, which describes how far the agent gets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from episodes.statistics import ProtocolSummary
from reports.data import ExperimentData
from reports.results import NARROW_SPACE, duration, headline, number, protocol_summaries, sentence_case
from reports.style import protocol_label
from reports.tables import command, completion_cell, distance_cell


def kept_page(data: ExperimentData, name: str, run: Mapping[str, Any], folder: Path) -> str:
    """The page in Markdown. It links the other files in `folder`."""
    summaries = protocol_summaries(data)
    result = headline(data, summaries)
    parts = [
        f"# {name}",
        f"**{result.sentence}** {result.detail}",
        _table(summaries),
        _caveats(data, summaries, run),
        _picture(folder),
        "![Distance over training](learning-curve.png)" if (folder / "learning-curve.png").exists() else "",
        "## The run",
        _run(data, run),
        "## Repeat it",
        f"```sh\n{command(data)}\n```",
        _files(folder),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _picture(folder: Path) -> str:
    """The picture that is kept of a level."""
    pictures = {"flag.png": "The moment at which an episode completes the level", "furthest.png": "The furthest an episode got"}
    return "\n".join(f"![{what}]({name})" for name, what in pictures.items() if (folder / name).exists())


def _table(summaries: Mapping[str, ProtocolSummary]) -> str:
    lines = [
        f"| protocol | episodes | different | completed | share (95{NARROW_SPACE}% interval) | px, IQM (interval) |",
        "|---|---:|---:|---:|---|---|",
    ]
    for protocol, summary in summaries.items():
        cells = (completion_cell(summary), distance_cell(summary))
        share, distance = (f"{cell.value} ({cell.interval})" if cell.interval else cell.value for cell in cells)
        counts = (number(summary.episodes), number(summary.distinct), number(summary.completed))
        lines.append(f"| {' | '.join((protocol_label(protocol), *counts, share, distance))} |")
    return "\n".join(lines)


def _caveats(data: ExperimentData, summaries: Mapping[str, ProtocolSummary], run: Mapping[str, Any]) -> str:
    notes = [f"{protocol_label(protocol)}: {each.note}" for protocol, each in summaries.items() if each.note]
    notes.append(
        "The game is deterministic: if only few episodes differ, the agent has nearly memorised one trajectory. Sticky "
        "actions, if the agent was not trained with them, show how it does off that path. "
        f"{_choice(data, run)} "
        "Intervals are for this one trained agent: one seed was trained, and another may give other results."
    )
    return " ".join(sentence_case(note) for note in notes)


def _choice(data: ExperimentData, run: Mapping[str, Any]) -> str:
    """A sentence on which policy of the training was evaluated."""
    if data.config.get("evaluate", {}).get("model") != "best":
        return "The agent is the policy at the end of the training, not a chosen checkpoint."
    validations = run.get("validations", [])
    protocol = protocol_label(data.config["train"]["validation"]["protocol"]).lower()
    each = max((validated["episodes"] for validated in validations), default=0)
    return (
        f"The agent is the policy after {number(run['model_steps'])} steps, the best in {len(validations)} validations "
        f"({protocol}, {each} episodes each) during the training. "
        "The episodes of the table have other seeds, so the choice does not bias them."
    )


def _run(data: ExperimentData, run: Mapping[str, Any]) -> str:
    tree = " with uncommitted changes" if run.get("dirty") else ""
    episodes = number(run["training_episodes"])
    lines = {
        "Agent": f"{data.algorithm}, {data.level}",
        "Training": f"{number(run['steps'])} steps, {episodes} episodes, {_training_time(run)}, begun {run['started'][:10]}",
        **{f"Teacher of {each['level']}": _teacher(each) for each in run.get("teachers", [])},
        "Seed": str(run["seed"]),
        "Commit": f"{run['commit']}{tree}" if run.get("commit") else "unknown",
        "Machine": ", ".join(part for part in (run["device"], f"{run['cores']} cores" if "cores" in run else "") if part),
        "Versions": f"Python {run['python']}, "
        + ", ".join(f"{package} {version}" for package, version in run["packages"].items() if package != "train-mario"),
    }
    return "\n".join(f"- {label}: {text}" for label, text in lines.items())


def _teacher(teacher: Mapping[str, Any]) -> str:
    trained = f", {number(teacher['steps'])} steps, {duration(teacher['training_seconds'])}" if "steps" in teacher else ""
    return f"{teacher['experiment']}, from tiles{trained}"


def _training_time(run: Mapping[str, Any]) -> str:
    seconds, whole = run["training_seconds"], run["first_to_last_episode_seconds"]
    if whole > 1.05 * seconds + 60:
        return f"{duration(whole)} from the first to the last episode with interruptions, {duration(seconds)} since the last"
    return duration(seconds)


def _files(folder: Path) -> str:
    described = {
        "report.html": "the whole report",
        "typical.mp4": "a typical evaluation episode",
        "best.mp4": "the best evaluation episode",
        "evaluation.json": "the figures, by protocol",
        "learning-curve.csv": "training in spans of steps",
        "config.yaml": "the whole configuration",
        "run.json": "the provenance of the run",
        "level.json": "what the table of the levels says of it besides",
    }
    described |= {path.name: "the configuration of the teacher" for path in sorted(folder.glob("teacher-*.yaml"))}
    lines = [f"- [{name}]({name}): {what}" for name, what in described.items() if (folder / name).exists()]
    if (folder / "best.mp4").exists() and not (folder / "typical.mp4").exists():
        lines = [
            line.replace("the best evaluation episode", "the best evaluation episode, also a typical one") for line in lines
        ]
    return "\n".join(lines)
