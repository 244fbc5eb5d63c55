"""What the pages of `mario inspect` look like in each of their states: light and dark, on a desk and in a hand.

Pictures are kept in `.mario-e2e/`, named inspect-STATE-WIDTH-SCHEME.png. In each state nothing overflows, every control has a
name, and every text can be read.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, expect

from agents import load_shipped
from benchmarks import synthetic
from configs import PROJECT, Config, config_hash, to_dict
from episodes import EpisodeRow, EpisodeStore, ExperimentRecord, pending, remove_embedded
from episodes.writer import insert_episodes
from mario_env import EpisodeStart, play_back
from mario_env.demonstrations import read_plays
from tests.e2e.conftest import Visit, colours, wait_until
from tests.e2e.test_browser import assert_nothing_was_reported
from tests.e2e.test_inspection import running_inspector

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
WIDTHS = (1280, 400)

# Of the visible texts, those whose contrast with what is behind them is too low (WCAG 2.2, 1.4.3); of the controls, those
# without a name. A picture behind a text is not looked at.
FAULTS = """() => {
  const faults = [];
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const linear = (part) => (part <= 10.31 ? part / 3294.6 : ((part / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([red, green, blue]) => 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const seen = (element) => element.getClientRects().length > 0 && !element.closest("[aria-hidden=true], :disabled, svg");
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !seen(element)) continue;
    const style = getComputedStyle(element);
    const [one, other] = [luminance(parse(style.color)), luminance(ground(element))].sort((a, b) => b - a);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const contrast = (one + 0.05) / (other + 0.05);
    const text = element.textContent.trim().slice(0, 40);
    if (contrast < (large ? 3 : 4.5)) faults.push(`contrast ${contrast.toFixed(2)}: ${text}`);
  }
  for (const element of document.querySelectorAll("a, button, input, select, summary, [role], [tabindex]")) {
    if (element.closest("[aria-hidden=true]") || element.matches("[role=alert], [role=status]")) continue;
    const labels = [...(element.labels ?? [])].map((label) => label.textContent).join("");
    const name = element.getAttribute("aria-label") || labels || element.textContent;
    if (!name.trim()) faults.push(`no name: ${element.outerHTML.slice(0, 80)}`);
  }
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  if (wide > 0) faults.push(`${wide} pixels wider than the window`);
  return faults;
}"""


def look(visit: Visit, state: str) -> None:
    """Keep pictures of a state, and find no fault in it."""
    faults = []
    for width in WIDTHS:
        visit.page.set_viewport_size({"width": width, "height": 900})
        for scheme in SCHEMES:
            visit.page.emulate_media(color_scheme=scheme)
            faults += [f"{width} {scheme}: {fault}" for fault in visit.page.evaluate(FAULTS)]
            visit.look(f"inspect-{state}-{width}-{scheme}", whole=True)
    visit.page.set_viewport_size({"width": 1280, "height": 900})
    assert faults == []


@pytest.fixture(scope="module")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of this module's own."""
    return tmp_path_factory.mktemp("states") / ".mario"


@pytest.fixture(scope="module")
def store(own_home: Path) -> Iterator[EpisodeStore]:
    """Its database, without an episode."""
    try:
        with EpisodeStore.open(None, own_home) as store:
            yield store
    finally:
        remove_embedded(own_home)


@pytest.fixture(scope="module")
def inspector(own_home: Path, store: EpisodeStore) -> Iterator[tuple[str, str]]:
    """The address of the pages, and the secret."""
    with running_inspector(MARIO_HOME=str(own_home)) as found:
        yield found


@pytest.fixture
def states(inspector: tuple[str, str], visit: Visit) -> Visit:
    """The list of episodes, after the log-in."""
    address, secret = inspector
    visit.page.goto(address)
    visit.page.get_by_label("secret").fill(secret)
    visit.page.get_by_role("button", name="Log in").click()
    expect(visit.page.get_by_role("heading", name="Episodes", exact=True)).to_be_visible()
    visit.console.clear()
    return visit


def create_experiment(store: EpisodeStore, name: str, config: Config) -> int:
    record = ExperimentRecord(
        name=name, config=to_dict(config), config_hash=config_hash(config), seed=0, python_version="", device="", host="",
        started=datetime.now(UTC),
    )  # fmt: skip
    return store.create_experiment(record)


def insert(store: EpisodeStore, plays: Iterator[pending.PendingEpisode]) -> None:
    while some := list(islice(plays, 1000)):
        with store.transaction("writing") as connection:
            insert_episodes(connection, some)


def cut_off_after(demonstration: str) -> dict[str, Any]:
    """The environment of a demonstration that stops on its way."""
    return {"actions": "complex", "stall_after": None, "max_steps": len(read_plays()[demonstration])}


def insert_finish(store: EpisodeStore, name: str, demonstration: str, **environment: Any) -> None:
    """Store an experiment with one episode: a shipped demonstration, in the environment of the shipped model."""
    config, actions = load_shipped(PROJECT / "models" / "world-1-1.json").config, read_plays()[demonstration]
    config = config.model_copy(update={"environment": config.environment.model_copy(update=environment)})
    *_, last = play_back(config.environment, EpisodeStart(), actions)
    assert last.summary is not None
    own = {each: getattr(last.summary, each) for each in EpisodeRow.__dataclass_fields__ if hasattr(last.summary, each)}
    row = EpisodeRow(
        experiment_id=create_experiment(store, name, config), phase="evaluate", protocol="greedy", env_index=0,
        episode_index=0, timestamp=datetime.now(UTC), global_step=0, exploration_rate=0.0, **own,
    )  # fmt: skip
    insert(store, iter([pending.convert(row, last.summary.start.to_json(), last.summary.actions, last.summary.delays)]))


def test_before_the_log_in_and_with_an_empty_database(inspector: tuple[str, str], states: Visit, store: EpisodeStore) -> None:
    page = states.page
    expect(page.get_by_text("No episode has been stored yet.")).to_be_visible()
    look(states, "empty")
    page.context.clear_cookies()
    page.goto(inspector[0])
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    look(states, "log-in")


def test_one_episode(states: Visit, store: EpisodeStore) -> None:
    insert_finish(store, "world-1-1", "1-1")
    page = states.page
    page.reload()
    expect(page.get_by_text("1 to 1 of 1 episode", exact=True)).to_be_visible()
    expect(page.get_by_text(re.compile("^level 1-1, 1 episode; a bar leads to one of them"))).to_be_visible()
    wait_for_level(page)
    look(states, "one")
    page.get_by_role("row").nth(1).get_by_role("link").click()
    open_in_the_middle(page)
    expect(page.get_by_text("Opinion of world-1-1.")).to_be_visible()
    page.get_by_role("button", name="Show where the model looks").click()
    expect(page.get_by_text(re.compile("^Red speaks for "))).to_be_visible()
    look(states, "episode")
    assert_nothing_was_reported(states)


def test_a_very_long_episode_and_two_side_by_side(states: Visit, store: EpisodeStore) -> None:
    insert_finish(store, "full-game", "full", **cut_off_after("full"), game="full", levels=[], life_loss_ends_episode=False)
    insert_finish(store, "by-the-pipe", "1-1 pipe", **cut_off_after("1-1 pipe"))
    page = states.page
    origin = page.url.rstrip("/")
    page.goto(f"{origin}/episodes/2")
    open_in_the_middle(page)
    expect(page.get_by_text(re.compile("^No model's opinion: "))).to_be_visible()
    look(states, "long")
    page.goto(f"{origin}/compare?left=1&right=3")
    expect(page.get_by_text("They first differ in decision")).to_be_visible()
    page.get_by_role("button", name="1 coin, frame 665").click()  # below the ground
    expect(page.get_by_text("Now in another area than the one on the map.")).to_be_visible()
    look(states, "comparison")
    assert_nothing_was_reported(states)  # that there is no model for these two is no fault


def test_a_model_plays_and_a_person_takes_over(states: Visit) -> None:
    page = states.page
    origin = page.url.rstrip("/")
    page.goto(f"{origin}/play")
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    look(states, "play")
    page.goto(f"{origin}/hand?episode=1&decision=150")
    expect(page.get_by_role("button", name="Start")).to_be_visible()
    wait_until(lambda: colours(page.get_by_role("img", name="The game", exact=True)) > 6, page)
    look(states, "hand")
    assert_nothing_was_reported(states)


def test_ten_thousand_episodes_a_training_and_errors(states: Visit, store: EpisodeStore) -> None:
    config = load_shipped(PROJECT / "models" / "world-1-1.json").config
    experiment = create_experiment(store, "followed", config)
    insert(store, (pending.convert(*play) for play in synthetic.episodes(experiment, (1, 1), 10_000, seed=0)))
    page = states.page
    origin = page.url.rstrip("/")
    page.reload()
    expect(page.get_by_text("of 10,003 episodes")).to_be_visible()
    wait_for_level(page)
    look(states, "ten-thousand")
    page.goto(f"{origin}/live?experiment=followed")
    expect(page.get_by_role("progressbar")).to_be_visible()
    look(states, "live")
    assert_nothing_was_reported(states)
    for name, address, message in (
        ("unknown", "/episodes/99999999", "there is no episode 99999999"),
        ("unplayable", "/episodes/10000", "it was played under another configuration"),
    ):
        page.goto(origin + address)
        expect(page.get_by_role("alert")).to_contain_text(message)
        look(states, f"error-{name}")
    assert states.exceptions == []


def open_in_the_middle(page: Page) -> None:
    """To the middle of the episode, with its picture and that of the level."""
    expect(page.get_by_text("✓ adds up to the recorded reward")).to_be_visible()
    slider = page.get_by_label("Moment of the episode")
    slider.fill(str(int(str(slider.get_attribute("max"))) // 2))
    wait_until(lambda: colours(page.get_by_role("img", name="The game", exact=True)) > 6, page)
    wait_until(partial(page.evaluate, "document.querySelector('.map img').naturalWidth > 256"), page)


def wait_for_level(page: Page) -> None:
    """The picture of the level below the bars."""
    expect(page.locator("svg.bars image").first).to_be_attached()
