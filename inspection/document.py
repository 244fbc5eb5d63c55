"""An analysis as JSON types: what the page in the browser shows."""

import base64
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from inspection.analysis import Analysis, Ledger
from inspection.opinions import Opinion
from inspection.sheets import Layout, Pictures
from mario_env.scenery import first_area
from mario_env.wrappers import button_combinations
from mario_env.wrappers.observation import STATUS_BAR_ROWS
from reports.seen import tile_legend
from reports.style import END_REASON_LABELS, protocol_label
from reports.video import NES_FRAME_RATE

__all__ = ["describe", "layout", "opinion_values"]

_DIGITS: Final = 5


def describe(analysis: Analysis, pictures: Pictures) -> dict[str, Any]:
    """The document of an episode, without its pictures and without a model's opinion."""
    episode = analysis.episode
    environment = episode.environment
    return {
        "key": episode.key,
        "title": _title(analysis),
        "origin": dict(episode.origin),
        "figures": dict(episode.figures),
        "level": environment.level_name,
        "frame_rate": float(NES_FRAME_RATE),
        "frame_skip": environment.frame_skip,
        "noop_frames": episode.start.noop_frames,
        "frames": analysis.frames,
        "first_frames": analysis.first_frames.tolist(),
        "actions": list(episode.actions[: analysis.decisions]),
        "delays": list(episode.delays[: analysis.decisions]),
        "action_names": [" + ".join(each) for each in button_combinations(environment)],
        "buttons": list(analysis.buttons),
        "facts": {**analysis.facts, "distance": analysis.distance.tolist()},
        "ledger": _ledger(analysis.ledger),
        "events": [{"frame": each.frame, "kind": each.kind, "text": each.text} for each in analysis.events],
        "screens": layout(pictures.screens),
        "seen": _seen(analysis, pictures),
        "rom": environment.rom,
        "maps": {level: {"area": first_area(environment.rom, level)} for level in _levels(analysis)},
    }


def _levels(analysis: Analysis) -> list[str]:
    """The levels that an episode came to, in order."""
    visited = zip(analysis.facts["world"], analysis.facts["stage"], strict=True)
    return [f"{world}-{stage}" for world, stage in dict.fromkeys(visited)]


def _seen(analysis: Analysis, pictures: Pictures) -> dict[str, Any]:
    """What the agent sees: how its pictures lie in their sheets, or its tables of tiles, and how they are drawn.

    `top` says how many of the screen's 240 rows an observation leaves out at the top.
    """
    environment = analysis.episode.environment
    if environment.observation == "tiles":
        tables = analysis.observations.newest
        data = base64.b64encode(tables.tobytes()).decode()
        shape = {"rows": tables.shape[1], "columns": tables.shape[2]}
        return {"kind": "tiles", **shape, "tables": data, **tile_legend(), "top": STATUS_BAR_ROWS}
    top = STATUS_BAR_ROWS if environment.crop_status_bar else 0
    return {"kind": "frames", **layout(pictures.seen), "top": top}


def layout(of: Layout) -> dict[str, int]:
    """How pictures lie in their sheets."""
    return {"width": of.width, "height": of.height, "per_sheet": of.per_sheet, "sheets": of.sheets}


def opinion_values(opinion: Opinion, label: str) -> dict[str, Any]:
    """A model's opinion, and which model it is."""
    return {
        "model": label,
        "kind": opinion.kind,
        "scores": [rounded(each) for each in opinion.scores],
        "values": rounded(opinion.values),
        "advantages": rounded(opinion.advantages),
    }


def rounded(values: npt.NDArray[Any]) -> list[float]:
    """The numbers with five decimals."""
    return [round(float(value), _DIGITS) for value in values]


def _title(analysis: Analysis) -> str:
    origin: Mapping[str, Any] = analysis.episode.origin
    ending = END_REASON_LABELS.get(analysis.summary.end_reason, analysis.summary.end_reason)
    name = f"Episode {origin['id']}" if "id" in origin else str(origin.get("name", "Episode"))
    how = protocol_label(str(origin["protocol"])).lower() if "protocol" in origin else ""
    parts = [f"{name} in {analysis.episode.environment.level_name}", how, ending]
    return ", ".join(part for part in parts if part)


def _ledger(ledger: Ledger) -> dict[str, Any]:
    return {
        "components": {name: rounded(values) for name, values in ledger.components.items() if np.any(values)},
        "total": round(ledger.total, _DIGITS),
        "stored": round(ledger.stored, _DIGITS),
        "adds_up": ledger.adds_up,
        "differences": list(ledger.differences),
    }
