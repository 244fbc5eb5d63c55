"""Whole pages of a comparison."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reports.comparison.build import ComparisonPaths, build_comparison
from reports.comparison.groups import ComparedExperiment, RunInMLflow
from reports.comparison.results import ComparisonData

Make = Callable[..., ComparedExperiment]
Compare = Callable[..., ComparisonData]


class Reader(HTMLParser):
    """Collects a page's links, ids and text."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.sources: list[str] = []
        self.ids: set[str] = set()
        self.open: list[str] = []
        self._text: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids.add(given.get("id", ""))
        if tag == "a":
            self.links.append(given["href"])
        self.sources += [given[name] for name in ("src", "poster") if name in given]
        if tag not in {"meta", "link", "img", "source", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open[-1:]):
            self._text.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._text).replace("\u202f", " ").split())


def read(paths: ComparisonPaths) -> Reader:
    reader = Reader(paths.html)
    assert reader.open == []
    assert not re.search(r"\b(nan|NaN|None|inf|Undefined|NaT)\b", reader.text)
    assert {link[1:] for link in reader.links if link.startswith("#")} <= reader.ids
    assert all(source.startswith("data:") or (paths.html.parent / source).is_file() for source in reader.sources)
    return reader


@pytest.fixture(scope="module")
def whole(experiment: Make, comparison: Compare, tmp_path_factory: pytest.TempPathFactory) -> tuple[ComparisonPaths, Reader]:
    """Two variants of a preset and one of another, on one level, with a seed that was not evaluated."""
    some = [
        *(experiment(number, "ppo", f"seed={number}", run=RunInMLflow(f"run{number}")) for number in range(1, 6)),
        *(experiment(number, "ppo", f"seed={number}", "agent.gamma=0.95") for number in range(11, 14)),
        experiment(
            *(21, "pqn"),
            name="<b>bold</b>",
            report="../its/report.html",
            run=RunInMLflow("2", "http://mlflow:5000/#/experiments/1/runs/2"),
        ),
        experiment(31, "pqn", "seed=3", name="waiting", status="running"),
    ]
    shares = {1: 0.5, 2: 0.96, 3: 0.97, 4: 0.98, 5: 1.0, 11: 0.4, 12: 0.5, 13: 0.6, 21: 0.99}
    frames = [np.full((240, 256, 3), index % 256, dtype=np.uint8) for index in range(300)]

    def replay(episode: int) -> list[np.ndarray]:
        if episode != 41:
            raise ValueError("only the first is replayed")
        return frames

    folder = tmp_path_factory.mktemp("comparison")
    paths = build_comparison(
        comparison(some, shares, replay=replay, sweep_run=RunInMLflow("5eed", "http://mlflow:5000/5eed")), folder
    )
    return paths, read(paths)


def test_the_headline_is_the_group_and_not_the_best_seed(whole: tuple[ComparisonPaths, Reader]) -> None:
    text = whole[1].text
    assert "ppo (gamma 0.9) completes level 1-1 in 97 % of its episodes, ppo (gamma 0.95) in 50 %, pqn in 99 %" in text
    assert re.search(r"97 % [\d.]+ % to [\d.]+ %; 5 seeds", text)
    assert "No seed and no checkpoint was chosen here." in text
    assert "99 % 1 seed" in text
    assert "A group with one seed has no interval" in text
    assert "contains the median of all possible seeds 75 % of the time with 3, not 95 %" in text


def test_who_is_left_out_is_named_with_the_reason(whole: tuple[ComparisonPaths, Reader]) -> None:
    assert "1 left out of all figures waiting not evaluated under stochastic (status: running)" in whole[1].text


def test_every_seed_is_listed_with_its_links(whole: tuple[ComparisonPaths, Reader]) -> None:
    paths, reader = whole
    links = {"../its/report.html", "http://mlflow:5000/#/experiments/1/runs/2", "http://mlflow:5000/5eed"}
    assert links <= set(reader.links)
    assert "MLflow ( run3 )" in reader.text, "without a server there is no page to link to"
    assert "<b>bold</b> 99 % 100" in reader.text
    assert "<b>bold</b>" not in paths.html.read_text(encoding="utf-8")
    assert "agent.gamma 0.9 0.95 0.9" in reader.text


def test_the_page_needs_no_network_and_has_its_plots_beside_it(whole: tuple[ComparisonPaths, Reader]) -> None:
    paths, reader = whole
    assert [source for source in reader.sources if not source.startswith("data:")] == []
    html = paths.html.read_text(encoding="utf-8")
    assert "Bokeh" in html
    assert "cdn." not in re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert paths.html.stat().st_size < 5_000_000
    names = {path.name for path in paths.pngs}
    assert names == {"scores.png", "profile.png", "curves-completion.png", "curves-distance.png", "endings-1-1.png"}
    for path in paths.pngs:
        with Image.open(path) as picture:
            assert picture.width >= 900


def test_a_bar_leads_to_the_replay_of_such_an_episode(whole: tuple[ComparisonPaths, Reader]) -> None:
    paths, reader = whole
    bars = [link for link in reader.links if link.startswith("#ending-")]
    # Two places in each of three groups; one place has bars for two reasons. What was completed has no bar.
    assert sorted(set(bars)) == [f"#ending-{group}-1-1-{place}" for group in range(3) for place in (11, 20)]
    assert len(bars) == 9
    assert [path.name for path in paths.clips] == ["ending-41.mp4"]
    assert paths.clips[0].read_bytes()[4:8] == b"ftyp"
    assert "mario watch --episode 41 shows it whole" in reader.text
    assert "15 of 500 episodes end here (15 died). Their actions were not stored, so they cannot be replayed." in reader.text


def test_one_experiment_that_was_only_evaluated_is_a_page_too(experiment: Make, comparison: Compare, tmp_path: Path) -> None:
    data = comparison([experiment(1)], {1: 0.5})
    (tmp_path / "curves-completion.png").touch()
    (tmp_path / "files.json").write_text('["curves-completion.png"]')
    paths = build_comparison(comparison([experiment(1)], {1: 0.5}, curves=data.curves[:0], endings={}, reached={}), tmp_path)
    reader = read(paths)
    assert "ppo completes level 1-1 in 50 % of its episodes" in reader.text
    assert "There is one variant" in reader.text
    assert "Sample efficiency" not in reader.text
    assert {path.name for path in tmp_path.glob("*.png")} == {"scores.png", "profile.png"}
