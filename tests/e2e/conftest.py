"""What the tests in a browser share: the servers of `mario ui`, two runs of the deployment, and headless Chromium."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, Response, expect, sync_playwright

from configs import PROJECT
from tests.conftest import TINY, Command
from tests.servers import RunningServers, prefect, running_servers

SCREENSHOTS = PROJECT / ".mario-e2e"
# For a busy machine: everything that is awaited comes within seconds on a quiet one.
PATIENCE_MS = 60_000.0


@dataclass
class Visit:
    """A page of the browser, and what went wrong on it.

    Attributes:
        page: the page.
        console: errors and warnings on its console.
        exceptions: of its scripts that nobody caught.
        failed: requests without an answer, and why.
        server_errors: answers with a status from 500 on.
        foreign: requests to other machines, answered or not.
    """

    page: Page
    console: list[str]
    exceptions: list[str]
    failed: list[str]
    server_errors: list[str]
    foreign: list[str]

    @classmethod
    def begin(cls, page: Page) -> "Visit":
        visit = cls(page, [], [], [], [], [])
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", visit._hear)
        page.on("pageerror", lambda error: visit.exceptions.append(str(error)))
        page.on("request", visit._send)
        page.on("requestfailed", visit._fail)
        page.on("response", visit._answer)
        return visit

    def look(self, name: str, whole: bool = False) -> Path:
        """Keep a picture of what can be seen now; with `whole`, of the page to its end."""
        path = SCREENSHOTS / f"{name}.png"
        self.page.screenshot(path=path, full_page=whole)
        return path

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.console.append(message.text)

    def _send(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme in ("http", "https") and address.hostname not in ("127.0.0.1", "localhost"):
            self.foreign.append(request.url)

    def _fail(self, request: Request) -> None:
        # A person who leaves a page cancels the pictures that are on their way.
        if (request.resource_type, request.failure) != ("image", "net::ERR_ABORTED"):
            self.failed.append(f"{request.url[:100]}: {request.failure}")

    def _answer(self, response: Response) -> None:
        if response.status >= 500:
            self.server_errors.append(f"{response.status} {response.url}")


def wait_until(condition: Callable[[], bool], page: Page) -> None:
    """Wait for something that no element tells.

    Raises:
        AssertionError: it does not come within the patience of these tests.
    """
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        page.wait_for_timeout(100)


def colours(element: Locator) -> int:
    """How many colours the element shows: an empty plot has one or two."""
    picture = Image.open(BytesIO(element.screenshot())).convert("RGB")
    found = picture.getcolors(picture.width * picture.height)
    assert found is not None
    return len(found)


def assert_plays(video: Locator) -> None:
    """Start a video and wait until it plays. It has a picture, not only a sound or a frame."""
    video.scroll_into_view_if_needed()
    video.evaluate("video => video.play()")
    wait_until(lambda: bool(video.evaluate("video => video.currentTime > 0.3 && video.readyState >= 2")), video.page)
    assert video.evaluate("video => video.error") is None
    assert video.evaluate("video => video.videoWidth / video.videoHeight") == pytest.approx(256 / 240)
    assert colours(video) > 8


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, or the one that the variable CHROMIUM names. Earlier screenshots are removed."""
    wanted = os.environ.get("CHROMIUM", "chromium")
    path = shutil.which(wanted)
    assert path, f"{wanted} is not here: `make e2e` installs Chromium on Debian; CHROMIUM names another"
    shutil.rmtree(SCREENSHOTS, ignore_errors=True)
    SCREENSHOTS.mkdir()
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as driver:
        # Chromium's sandbox does not work for root.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = driver.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()
    print(f"screenshots: {SCREENSHOTS}")  # noqa: T201 (a person wants to look at them)


@pytest.fixture(scope="session")
def servers() -> Iterator[RunningServers]:
    """Prefect, its workers and MLflow, as `make ui` starts them."""
    with running_servers() as running:
        yield running


@pytest.fixture(scope="session")
def runs(servers: RunningServers) -> list[str]:
    """`prefect deployment run train-mario` with two seeds, waited for. The beginnings of the runs' names."""

    def run(seed: int) -> "subprocess.CompletedProcess[str]":
        overrides = f'overrides=["seed={seed}", "train.total_steps=2048"]'
        return prefect("deployment", "run", "train-mario", "--param", f"preset={TINY}", "--param", overrides, "--watch")

    with ThreadPoolExecutor() as pool:
        for done in pool.map(run, (1, 2)):
            assert done.returncode == 0, done.stdout + done.stderr
    return ["tiny-1-1-seed1-", "tiny-1-1-seed2-"]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """A new page of a person who has not been here before. No server may fail, and no other machine be asked."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    visit = Visit.begin(context.new_page())
    yield visit
    context.close()
    assert visit.server_errors == []
    assert visit.foreign == []


@pytest.fixture
def prefect_visit(servers: RunningServers, runs: list[str], visit: Visit) -> Visit:
    """Prefect's page after the log-in."""
    visit.page.goto(servers.prefect)
    log_in(visit.page, servers.secret)
    expect(visit.page.get_by_role("link", name="Runs")).to_be_visible()
    return visit


def log_in(page: Page, secret: str) -> None:
    """Type what the page asks for."""
    page.get_by_placeholder("admin:pass").fill(secret)
    page.get_by_role("button", name="Login").click()


@pytest.fixture
def mlflow_visit(servers: RunningServers, runs: list[str], visit: Visit) -> Visit:
    """MLflow's page for those who train models. It opens with the one for language models, and an offer to help."""
    visit.page.goto(servers.mlflow)
    visit.page.get_by_text("Model training", exact=True).click()
    visit.page.locator("[data-component-id='mlflow.assistant.chat_panel.close']").click()
    expect(visit.page.get_by_role("link", name="Model registry")).to_be_visible()
    return visit


@pytest.fixture(scope="session")
def experiments(home: Path, runs: list[str]) -> list[Path]:
    """The folders of the two runs."""
    return [next((home / "experiments").glob(f"{name}*")) for name in runs]


@pytest.fixture(scope="session")
def comparison(home: Path, mario: Command, experiments: list[Path]) -> Path:
    """The page of `mario compare`."""
    folder = home / "comparison"
    done = mario("compare", *(each.name for each in experiments), "--output", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    (page,) = folder.glob("*.html")
    return page
