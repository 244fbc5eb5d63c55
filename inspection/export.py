"""An episode as one HTML file that needs no network and no program but a browser."""

import base64
import json
import re
from collections.abc import Callable
from hashlib import sha256
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from inspection.analysis import Analysis, analyse
from inspection.document import describe, opinion_values
from inspection.episode import Episode
from inspection.opinions import Thinker
from inspection.sheets import Pictures, data_uri, level_map
from inspection.web_files import style

__all__ = ["export", "export_text", "scaled_map"]

# In the order in which they depend on each other.
_MODULES: Final = ("dom.js", "film.js", "charts.js", "clock.js", "panels.js", "map.js", "tiles.js", "view.js", "single.js")
_SALIENCY_MAPS: Final = 600
"""Of where the model looks. A longer episode has a map for every second decision, or third, and so on."""
_QUICK_MAPS: Final = 40
"""The same for a quick export: a map takes some 60 ms."""


def export(
    episode: Episode,
    path: Path,
    thinker: Thinker | None = None,
    *,
    no_opinion: str = "no model was given",
    quick: bool = False,
) -> Path:
    """Write an episode as one self-contained HTML file, and return `path`. An episode of 1-1 takes about 1.5 MB.

    Args:
        episode: the episode.
        path: the file. One that is there is replaced.
        thinker: the model whose opinion is shown; None: none.
        no_opinion: why there is no opinion, to be shown instead.
        quick: show where the model looks at 40 decisions instead of 600, and encode pictures in less time and more bytes: five
            seconds instead of twenty.

    Raises:
        PlaybackError: the episode cannot be played again.
        ModelMismatchError: the model does not fit the episode.
        OSError: the file cannot be written.
    """
    text = export_text(analyse(episode), thinker, no_opinion=no_opinion, quick=quick)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def export_text(analysis: Analysis, thinker: Thinker | None, *, no_opinion: str, quick: bool = False) -> str:
    """The HTML of :func:`export`."""
    pictures = Pictures(analysis, thorough=not quick)
    document = describe(analysis, pictures)
    document["screens"]["sources"] = _sources(pictures.screen_sheet, pictures.screens.sheets)
    document["seen"]["sources"] = _sources(pictures.seen_sheet, pictures.seen.sheets)
    for level, drawn in document["maps"].items():
        picture = level_map(document["rom"], level)
        drawn["source"] = None if picture is None else data_uri(picture)
    if thinker is None:
        document["opinion"] = {"missing": no_opinion}
    else:
        document["opinion"] = opinion_values(thinker.think(analysis), thinker.label)
        document["saliency"] = _saliency(thinker, analysis, _QUICK_MAPS if quick else _SALIENCY_MAPS)
    return _page(document)


def _page(document: dict[str, Any]) -> str:
    script, css = _script(), style()
    # A closing tag within the data would end its element. The escape means the same character in JSON.
    data = json.dumps(document, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(css)}'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(document['title'])}</title>\n"
        f'<link rel="icon" href="data:,">\n<style>{css}</style>\n</head>\n<body>\n<div id="page"></div>\n'
        f'<noscript><p class="callout">This page plays an episode and needs JavaScript.</p></noscript>\n'
        f'<script type="application/json" id="episode">{data}</script>\n<script type="module">{script}</script>\n'
        "</body>\n</html>\n"
    )


def _script() -> str:
    """All modules as one: without their imports, since each name is unique among them."""
    folder = files("inspection") / "web"
    joined = "\n".join((folder / name).read_text(encoding="utf-8") for name in _MODULES)
    without_imports = re.sub(r"^import [^;]*;\n", "", joined, flags=re.MULTILINE)
    return re.sub(r"^export ", "", without_imports, flags=re.MULTILINE)


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}"


def _sources(sheet: Callable[[int], bytes], count: int) -> list[str]:
    return [data_uri(sheet(number)) for number in range(count)]


def _saliency(thinker: Thinker, analysis: Analysis, most: int) -> dict[str, Any]:
    every = -(-analysis.decisions // most)
    found = [thinker.saliency(analysis, decision) for decision in range(0, analysis.decisions, every)]
    rows, columns = found[0].map.shape
    return {
        "rows": rows,
        "columns": columns,
        "every": every,
        "largest": [round(float(np.abs(each.map).max()), 5) for each in found],
        "maps": [scaled_map(each.map) for each in found],
    }


def scaled_map(saliency: npt.NDArray[np.float32]) -> str:
    """A map as base64 of one signed byte a cell, 127 for the largest amount."""
    largest = float(np.abs(saliency).max()) or 1.0
    return base64.b64encode((saliency / largest * 127).round().astype(np.int8).tobytes()).decode()
