"""The exported file: small, complete, and of one piece."""

import base64
import hashlib
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from configs import PROJECT
from inspection import Analysis, Episode, Thinker, analyse
from inspection.document import describe
from inspection.export import export_text, scaled_map
from inspection.sheets import Pictures
from mario_env import play_back
from mario_env.observations import tiles
from tests.inspection.conftest import HOSTILE


@pytest.fixture(scope="module")
def page(exported: Path) -> str:
    return exported.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def document(page: str) -> dict[str, Any]:
    (data,) = re.findall(r'<script type="application/json" id="episode">(.*?)</script>', page, re.DOTALL)
    return dict(json.loads(data))


def pictures(layout: dict[str, Any]) -> NDArray[np.uint8]:
    """All pictures of some sheets."""
    sheets = [np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))) for uri in layout["sources"]]
    joined = np.concatenate(sheets)
    return joined.reshape(-1, layout["height"], layout["width"], *joined.shape[2:])


def test_every_frame_and_every_observation_is_in_it(document: dict[str, Any], analysis: Analysis) -> None:
    screens, seen, episode = pictures(document["screens"]), pictures(document["seen"]), analysis.episode
    assert len(screens) == document["frames"] == analysis.frames
    frames = play_back(episode.config.environment, episode.start, episode.actions, episode.delays)
    assert all(np.array_equal(frame.screen, screen) for frame, screen in zip(frames, screens, strict=True))
    gray = seen[..., 0] if seen.ndim == 4 else seen  # WebP has colours only
    assert np.array_equal(gray, analysis.observations.newest)
    assert len(document["opinion"]["scores"]) == len(document["saliency"]["maps"]) == analysis.decisions
    assert document["ledger"]["adds_up"]
    level = Image.open(io.BytesIO(base64.b64decode(document["maps"]["1-1"]["source"].split(",")[1])))
    assert (level.height, level.width > max(analysis.facts["x_pos"])) == (208, True)


def test_a_quick_file_has_where_the_model_looks_at_some_decisions(analysis: Analysis, thinker: Thinker) -> None:
    text = export_text(analysis, thinker, no_opinion="", quick=True)
    assert len(text) < 5_000_000
    (data,) = re.findall(r'<script type="application/json" id="episode">(.*?)</script>', text, re.DOTALL)
    kept = json.loads(data)["saliency"]
    assert len(kept["maps"]) == len(kept["largest"]) == -(-analysis.decisions // kept["every"]) <= 40
    own = thinker.saliency(analysis, 3 * kept["every"])
    assert kept["maps"][3] == scaled_map(own.map)


def test_tiles_are_given_as_tables_that_the_page_draws(episode: Episode) -> None:
    environment = episode.config.environment.model_copy(update={"observation": "tiles"})
    seen = analyse(replace(episode, config=episode.config.model_copy(update={"environment": environment})))
    given = describe(seen, Pictures(seen))["seen"]
    tables = np.frombuffer(base64.b64decode(given["tables"]), np.uint8).reshape(-1, given["rows"], given["columns"])
    assert np.array_equal(tables, seen.observations.newest)
    assert len(given["blocks"]) == len(tiles.BLOCKS)
    name, colour, width, bar = given["kinds"][tiles.MARIO - 1]
    assert (name, width, bar) == ("Mario", tiles.WIDTH, False)
    assert re.fullmatch("#[0-9a-f]{6}", colour)
    assert [kind for kind in np.unique(tables[:, given["kind_row"]]) if kind > len(given["kinds"])] == []


def test_it_is_small_and_allows_nothing_but_itself(exported: Path, page: str) -> None:
    assert exported.stat().st_size < 5_000_000
    (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', page)
    (script,) = re.findall(r'<script type="module">(.*?)</script>', page, re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    for name, text in (("script-src", script), ("style-src", style)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{name} &#x27;sha256-{digest}&#x27;" in policy
    assert "default-src &#x27;none&#x27;" in policy
    assert "unsafe" not in policy
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", page)
    assert not re.search(r"^(?:import|export) ", script, re.MULTILINE)


def test_what_came_from_data_is_escaped(page: str, document: dict[str, Any]) -> None:
    assert HOSTILE not in page
    assert HOSTILE in document["title"]
    assert HOSTILE in document["opinion"]["model"]


def test_no_two_modules_of_the_page_define_the_same_name() -> None:
    """The file holds them as one module."""
    names = [
        name
        for path in sorted((PROJECT / "inspection" / "web").glob("*.js"))
        for name in re.findall(r"^(?:export )?(?:async )?(?:function|class|const|let) (\w+)", path.read_text(), re.MULTILINE)
    ]
    assert len(names) == len(set(names)) > 30
