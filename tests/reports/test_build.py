"""Whole reports, from complete, minimal and hostile data."""

import base64
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import yaml
from PIL import Image

from episodes.statistics import summarise
from reports import page
from reports.build import build_report
from reports.data import ExperimentData, PhaseTiming, ReportData, ReportPaths, ResourceUse, RuleCheck
from reports.files import FILES
from reports.results import NARROW_SPACE
from reports.tables import evaluation_rows
from reports.video import Frame

Rows = Callable[..., pd.DataFrame]
Make = Callable[..., ExperimentData]
Scrolling = Callable[..., list[Frame]]


class Reader(HTMLParser):
    """Collects the references and the text of a page, and checks that its tags are balanced."""

    EMPTY = frozenset({"meta", "link", "img", "source", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.images: list[dict[str, str]] = []
        self.text: list[str] = []
        self.tags: list[str] = []
        self.targets: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.references.extend(given[name] for name in ("src", "href", "poster") if name in given)
        self.targets.add(given.get("id", ""))
        if tag == "img":
            self.images.append(given)
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text.append(data)


def read(paths: ReportPaths) -> Reader:
    reader = Reader()
    html = paths.html.read_text(encoding="utf-8")
    reader.feed(html)
    assert reader.open == []
    assert "url(" not in html
    assert "@import" not in html
    for reference in reader.references:
        if reference.startswith("#"):
            assert reference[1:] in reader.targets
        elif not reference.startswith("data:"):
            assert (paths.html.parent / reference).is_file()
    text = " ".join(reader.text)
    assert not re.search(r"\b(nan|NaN|None|inf|Undefined|NaT)\b", text)
    for image in reader.images:
        assert len(image["alt"]) > 20
        assert "nan" not in image["alt"]
    return reader


def test_a_whole_report(tmp_path: Path, experiment: Make, scrolling: Scrolling) -> None:
    own = experiment(
        replay=lambda _: iter(scrolling(120)),
        phases=[PhaseTiming("smoke", 4.0), PhaseTiming("train", 1800.0), PhaseTiming("report", None, "running")],
        resources=[
            ResourceUse("CPU", "%", [80.0, float("nan"), 90.0]),
            ResourceUse("memory", "MB", [10.0, 40.0], [10.0, 20.0]),
            ResourceUse("GPU", "%", []),
        ],
        quality=[
            RuleCheck("not null", True, "reward", phase="train"),
            RuleCheck("coins in range", False, "coins", "0 to 99", "101", 3),
        ],
    )
    paths = build_report(ReportData([own]), tmp_path / "report")
    reader = read(paths)
    text = " ".join(reader.text).replace("\u202f", " ")
    for expected in (
        "4 of 20 episodes",
        "episode 1",
        "Of 2 rules 1 failed",
        "coins in range",
        "85.0 %",
        "30.0 MB",
        "git checkout abc1234",
    ):
        assert expected in text
    assert paths.video_best is not None
    assert paths.video_typical is not None
    assert paths.video_best != paths.video_typical
    assert all(reference.startswith(("data:", "#")) for reference in reader.references)
    names = {path.name for path in paths.pngs}
    assert {"learning-distance.png", "protocols-completion.png", "endings-1-1.png", "phases.png", "montage.png"} <= names
    assert paths.html.stat().st_size < 5_000_000
    assert yaml.safe_load((tmp_path / "report" / "dqn-one-7.yaml").read_text()) == own.config


def test_the_evaluation_is_shown_by_level(experiment: Make, rows: Rows) -> None:
    config = {"environment": {"levels": ["1-1", "1-2"]}, "evaluate": {"levels": ["2-1"]}}
    levels = {level: {"stochastic": summarise(rows(5, completed=done))} for level, done in (("1-2", 5), ("2-1", 0))}
    own = experiment(config=config, levels=levels)
    shown = [(row["protocol"], row["cells"][0].value) for row in evaluation_rows([own], [{}])]
    assert shown == [
        ("Stochastic, level 1-2", f"100{NARROW_SPACE}%"),
        ("Stochastic, level 2-1 (not trained on)", f"0{NARROW_SPACE}%"),
    ]
    assert own.level == "the levels 1-1, 1-2"


def test_an_edition_without_videos_says_where_they_are(tmp_path: Path, experiment: Make, scrolling: Scrolling) -> None:
    whole, small = tmp_path / "whole", tmp_path / "small"
    small.mkdir()
    own = experiment(replay=lambda _: iter(scrolling(120)), inspect=lambda episode, path: path.write_text("a page"))
    paths = build_report(ReportData([own]), whole, without_videos=small)
    assert "video" in read(paths).tags
    reader = read(replace(paths, html=small / "report.html"))
    assert "video" not in reader.tags
    assert f"The videos, and a page about each of their episodes, are in {whole} on " in " ".join(reader.text)
    assert "best.html" not in reader.references
    left_out = {"best.mp4", "typical.mp4", "best.html", "typical.html", FILES}
    assert {path.name for path in small.iterdir()} == {path.name for path in whole.iterdir()} - left_out


def test_the_embedded_plots_are_also_written_as_files(tmp_path: Path, experiment: Make) -> None:
    paths = build_report(ReportData([experiment()]), tmp_path)
    inside = [base64.b64decode(image["src"].split(",", 1)[1]) for image in read(paths).images]
    assert inside == [path.read_bytes() for path in paths.pngs]
    for data in inside:
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.width >= 900


def test_several_experiments_are_compared(tmp_path: Path, experiment: Make, rows: Rows) -> None:
    some = [
        experiment(name="one"),
        experiment(name="two", id=8, evaluation=rows(20, completed=9), config={"agent": {"algorithm": "ppo"}}),
        experiment(name="three", id=9, evaluation=rows(0), train=rows(0)),
    ]
    reader = read(build_report(ReportData(some), tmp_path))
    text = " ".join(reader.text)
    assert "comparison" in reader.targets
    assert "3 experiments compared" in text
    assert "PPO-Mario completes" in text
    assert any("one ends at" in image["alt"] and "two ends at" in image["alt"] for image in reader.images)


MINIMAL: dict[str, Callable[[Rows], dict[str, pd.DataFrame]]] = {
    "nothing": lambda rows: {"train": pd.DataFrame(), "evaluation": pd.DataFrame()},
    "one training episode": lambda rows: {"train": rows(1, "training"), "evaluation": rows(0)},
    "two training episodes": lambda rows: {"train": rows(2, "training"), "evaluation": rows(0)},
    "one evaluation episode": lambda rows: {"train": rows(1, "training"), "evaluation": rows(1, "greedy")},
    "only random": lambda rows: {"train": rows(3, "training"), "evaluation": rows(5, "random")},
    "one trajectory": lambda rows: {
        "train": rows(40, "training"),
        "evaluation": pd.concat([rows(1, "greedy")] * 5).assign(id=range(5)),
    },
    "all completed": lambda rows: {"train": rows(40, "training", completed=40), "evaluation": rows(9, completed=9)},
    "episodes without progress": lambda rows: {
        "train": rows(9, "training").assign(x_pos=40, distance_traveled=0, reward=0.0),
        "evaluation": rows(9).assign(x_pos=40, distance_traveled=0, reward=0.0),
    },
    "other levels": lambda rows: {"train": rows(9, "training"), "evaluation": pd.concat([rows(9), rows(5).assign(world=2)])},
}


@pytest.mark.parametrize("case", MINIMAL)
def test_reports_from_minimal_data(tmp_path: Path, experiment: Make, rows: Rows, case: str) -> None:
    read(build_report(ReportData([experiment(**MINIMAL[case](rows))]), tmp_path))


def test_everything_from_outside_is_escaped(tmp_path: Path, experiment: Make) -> None:
    evil = "<script>alert('x')</script><img src=http://evil.example/x.png>&\"'"
    own = experiment(
        name=evil,
        config={"name": evil, "agent": {"algorithm": evil}, evil: evil},
        provenance={"git_commit": evil, evil: evil, "packages": {evil: evil}},
        quality=[RuleCheck(evil, False, evil, evil, evil, 1, evil)],
        phases=[PhaseTiming(evil, 3.0, evil)],
        resources=[ResourceUse(evil, evil, [1.0])],
    )
    reader = read(build_report(ReportData([own, experiment(name="$x_1$")], title=evil), tmp_path))
    assert "script" not in reader.tags
    assert not any("evil.example" in reference for reference in reader.references)
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".yaml")[0].count("/") == 0


def test_large_videos_are_linked(
    tmp_path: Path, experiment: Make, scrolling: Scrolling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "EMBEDDED_VIDEO_BYTES", 10)
    reader = read(build_report(ReportData([experiment(replay=lambda _: iter(scrolling(20)))]), tmp_path))
    assert "best.mp4" in reader.references
    assert "typical.mp4" in reader.references


def test_episodes_are_taken_apart_on_pages_of_their_own(tmp_path: Path, experiment: Make, scrolling: Scrolling) -> None:
    def inspect(episode: int, path: Path) -> None:
        if path.stem == "typical":
            raise RuntimeError("no room")
        path.write_text(f"episode {episode}")

    data = ReportData([experiment(replay=lambda _: iter(scrolling(20)), inspect=inspect)])
    reader = read(build_report(data, tmp_path))
    assert (tmp_path / "best.html").read_text().startswith("episode ")
    assert "best.html" in reader.references
    assert "choose best.html in its list of files" in " ".join(reader.text)
    assert "typical.html" not in reader.references, "the report does without a page that cannot be written"
    build_report(ReportData([experiment(replay=lambda _: iter(scrolling(20)))]), tmp_path)
    assert not (tmp_path / "best.html").exists(), "a later report removes the files of an earlier one"


def test_an_episode_that_cannot_be_replayed_gives_a_notice(tmp_path: Path, experiment: Make, scrolling: Scrolling) -> None:
    def broken(_: int) -> Iterator[Frame]:
        yield from scrolling(3)
        raise RuntimeError("the actions of episode 119 were not stored")

    paths = build_report(ReportData([experiment(replay=broken)]), tmp_path)
    assert "No video: the actions of episode 119 were not stored" in " ".join(read(paths).text)
    assert paths.video_best is None
    assert not list(tmp_path.glob("*.part*"))


def test_a_report_without_videos(tmp_path: Path, experiment: Make, scrolling: Scrolling) -> None:
    paths = build_report(ReportData([experiment(replay=lambda _: iter(scrolling(3)))]), tmp_path, video=False)
    assert paths.video_best is None
    assert "Watch it play" not in " ".join(read(paths).text)


def test_a_report_can_be_written_again_into_its_folder(tmp_path: Path, experiment: Make) -> None:
    build_report(ReportData([experiment()]), tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    build_report(ReportData([experiment()]), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_only_files_of_an_earlier_report_are_removed(rows: Rows, experiment: Make, tmp_path: Path) -> None:
    both = experiment(train=rows(30, "training"), evaluation=rows(5))
    build_report(ReportData([both]), tmp_path, video=False)
    before = {path.name for path in tmp_path.iterdir()}
    (tmp_path / "mine.png").touch()
    # A manipulated list must not affect files outside the folder.
    outside = tmp_path.parent / "outside.png"
    outside.touch()
    listing = tmp_path / FILES
    listing.write_text(json.dumps([*json.loads(listing.read_text()), "../outside.png"]))

    paths = build_report(ReportData([experiment(train=rows(30, "training"), evaluation=rows(0))]), tmp_path, video=False)
    after = {path.name for path in tmp_path.iterdir()}

    assert {path.name for path in paths.pngs} < {name for name in before if name.endswith(".png")}
    assert {name for name in after if name.endswith(".png")} == {path.name for path in paths.pngs} | {"mine.png"}
    assert outside.exists()
