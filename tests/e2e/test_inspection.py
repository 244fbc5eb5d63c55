"""What a person does with `mario inspect`: finds an episode that ended in a death, looks into it, compares it, keeps it."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.conftest import MARIO
from tests.e2e.conftest import Visit, colours, wait_until
from tests.e2e.test_browser import assert_nothing_was_reported
from tracking.server import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def inspector(experiments: list[Path]) -> Iterator[tuple[str, str]]:
    """The address of the list, and the secret."""
    with running_inspector() as found:
        yield found


@contextmanager
def running_inspector(**variables: str) -> Iterator[tuple[str, str]]:
    """`mario inspect` with these environment variables, ended by Ctrl-C: the address of the list, and the secret."""
    command_line = [MARIO, "inspect", "--port", str(free_port())]
    process = subprocess.Popen(command_line, stdout=subprocess.PIPE, text=True, env=os.environ | variables)
    try:
        assert process.stdout is not None
        address, place, _ = (process.stdout.readline() for _ in range(3))
        command = place.partition("the output of: ")[2]
        secret = subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout.strip()
        yield address.split()[1], secret
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


@pytest.fixture
def inspection(inspector: tuple[str, str], visit: Visit) -> Visit:
    """The list of episodes, after the log-in."""
    address, secret = inspector
    visit.page.goto(address)
    visit.page.get_by_label("secret").fill("guessed")
    visit.page.get_by_role("button", name="Log in").click()
    expect(visit.page.get_by_role("alert")).to_have_text("This is not the secret.")
    visit.look("inspect-log-in")
    visit.page.get_by_label("secret").fill(secret)
    visit.page.get_by_role("button", name="Log in").click()
    expect(visit.page.get_by_role("heading", name="Episodes", exact=True)).to_be_visible()
    visit.console.clear()  # the refusals
    return visit


def open_fallen_episode(page: Page) -> None:
    """By the map of where episodes end."""
    page.get_by_label("Phase").select_option("train")
    page.get_by_label("Ended").select_option("died")
    expect(page).to_have_url(re.compile("end_reason=died"))
    expect(page.locator("tbody tr").first).to_contain_text("died")
    # The bars come in an answer of their own: until then they are those of all episodes.
    expect(page.locator("svg.bars a:not([aria-label*=' died at '])")).to_have_count(0)
    page.locator("svg.bars a").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("died")
    expect(page.get_by_text(re.compile("^Opinion of ")).first).to_be_visible()


def test_a_death_is_looked_into(inspection: Visit) -> None:
    page = inspection.page
    open_fallen_episode(page)
    slider = page.get_by_label("Moment of the episode")
    frames = int(str(slider.get_attribute("max"))) + 1
    # The bar of the map led to the end.
    expect(page.locator("output")).to_contain_text(f"frame {frames:,}")
    expect(page.get_by_text("✓ adds up to the recorded reward")).to_be_visible()
    expect(page.get_by_role("row", name="death")).to_be_visible()
    expect(page.locator(".events .on")).to_contain_text("dies")
    wait_until(lambda: colours(page.get_by_role("img", name="The game", exact=True)) > 6, page)

    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(page.locator("output")).to_contain_text("decision 2")
    page.keyboard.press(".")
    page.keyboard.press("s")
    expect(page.get_by_text(re.compile("^Red speaks for "))).to_be_visible()
    wait_until(lambda: "#frame=" in page.url, page)
    page.get_by_label("Speed").select_option("8")
    page.get_by_role("button", name="Play", exact=True).click()
    expect(page.locator("output")).to_contain_text(f"frame {frames:,}")  # it plays to the end and stops
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    expect(page.locator(".map canvas")).to_be_visible()
    inspection.look("inspect-episode", whole=True)
    page.set_viewport_size({"width": 400, "height": 850})
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    inspection.look("inspect-telephone", whole=True)
    assert_nothing_was_reported(inspection)


def test_a_person_takes_over_and_hands_back(inspection: Visit) -> None:
    page = inspection.page
    open_fallen_episode(page)
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(page.locator("output")).to_contain_text("decision 2")
    page.get_by_role("link", name="Take over from this moment").click()
    page.get_by_role("button", name="Start").click()
    page.keyboard.down("ArrowRight")
    expect(page.get_by_text(re.compile(r"^x \d+ · clock"))).to_be_visible()
    page.keyboard.up("ArrowRight")
    page.keyboard.press("p")
    expect(page.get_by_role("button", name="Go on", exact=True)).to_be_visible()
    inspection.look("inspect-by-hand")
    page.get_by_role("button", name="Let the model go on to the end").click()
    expect(page.get_by_text("played by hand in part: it counts nowhere")).to_be_visible()
    expect(page.get_by_text("✓ adds up to the recorded reward")).to_be_visible()
    # A page that is left gives up its requests.
    assert inspection.exceptions == inspection.console == []


def test_an_experiment_is_followed(inspection: Visit, experiments: list[Path]) -> None:
    page = inspection.page
    page.get_by_label("Experiment").select_option(experiments[0].name)
    page.get_by_role("link", name=f"Follow {experiments[0].name}").click()
    expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "100")
    expect(page.get_by_text("completed", exact=True).first).to_be_visible()
    expect(page.get_by_role("heading", name="Distance, in the order of the episodes")).to_be_visible()
    inspection.look("inspect-live", whole=True)
    page.get_by_role("link", name="Look into the newest").click()
    expect(page.get_by_text("✓ adds up to the recorded reward")).to_be_visible()
    assert inspection.exceptions == inspection.console == []


def test_two_episodes_are_compared(inspection: Visit) -> None:
    page = inspection.page
    open_fallen_episode(page)
    page.get_by_role("link", name="Compare with another").click()
    page.get_by_label("and episode").fill(str(int(page.get_by_label("Episode", exact=True).input_value()) + 1))
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_text(re.compile("They (first differ in decision|are the same)"))).to_be_visible()
    expect(page.get_by_role("img", name="The game", exact=True)).to_have_count(2)
    expect(page.get_by_text(re.compile("^Opinion of "))).to_have_count(2)
    inspection.look("inspect-comparison", whole=True)
    assert_nothing_was_reported(inspection)


def test_a_shipped_model_plays_and_its_episode_is_kept(inspection: Visit, browser: Browser, tmp_path: Path) -> None:
    page = inspection.page
    page.get_by_role("link", name="Let a model play now").click()
    page.get_by_label("Protocol").select_option("stochastic")
    page.get_by_label("Seed").fill("7")
    page.get_by_role("button", name="Play", exact=True).click()
    expect(page.get_by_text("Opinion of world-1-1.")).to_be_visible()
    assert_nothing_was_reported(inspection)  # a download is a navigation that is given up
    with page.expect_download() as download:
        page.get_by_role("link", name="Save as a file").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)

    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    kept = Visit.begin(context.new_page())
    kept.page.goto(f"{file.as_uri()}#frame=400")
    expect(kept.page.locator("output")).to_contain_text("frame 400")
    expect(kept.page.get_by_text("✓ adds up to the recorded reward")).to_be_visible()
    wait_until(lambda: colours(kept.page.get_by_role("img", name="The game", exact=True)) > 6, kept.page)
    kept.page.keyboard.press("s")
    expect(kept.page.get_by_text(re.compile("^Red speaks for "))).to_be_visible()
    kept.look("inspect-file", whole=True)
    assert_nothing_was_reported(kept)
    assert kept.foreign == []
    context.close()
