"""What a person sees in a browser after two runs of the deployment: Prefect's pages, MLflow's, and the project's own.

The names of elements are those of the locked versions of Prefect and MLflow.
"""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Frame, Page, expect

from tests.e2e.conftest import Visit, assert_plays, colours, log_in, wait_until
from tests.servers import RunningServers

# The first test waits for the servers and two runs.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

TASKS = ("smoke test", "integration run", "data quality: train", "full training", "evaluation", "analysis report")
# Each with something of its text.
ARTIFACTS = {
    "smoke-test": "disk and memory",
    "links": "report, once it is written",
    "training-progress": "100%",
    "training": "episodes in",
    "quality-train": "as many rows as episodes counted",
    "evaluation": "stochastic",
    "report": "report.html",
}


def test_prefects_page_asks_for_the_secret_that_is_printed(servers: RunningServers, runs: list[str], visit: Visit) -> None:
    page = visit.page
    page.goto(servers.prefect)
    log_in(page, "mario:guessed")
    expect(page.get_by_text("Invalid credentials")).to_be_visible()
    visit.look("prefect-log-in")
    log_in(page, servers.secret)
    expect(page.get_by_role("button", name="Logout")).to_be_visible()
    expect(page.get_by_text("Flow Runs").first).to_be_visible()
    visit.look("prefect-dashboard")


def test_a_flow_run_is_shown_with_tasks_logs_and_artifacts(prefect_visit: Visit, runs: list[str]) -> None:
    page = prefect_visit.page
    open_flow_run(page, runs[0])
    expect(page.get_by_text("Completed").first).to_be_visible()
    panel = page.get_by_role("tabpanel")
    expect(panel.get_by_text("Beginning flow run")).to_be_visible()
    graph = page.locator("canvas")
    wait_until(lambda: colours(graph) > 8, page)
    prefect_visit.look("prefect-run")

    page.get_by_role("tab", name="Task Runs").click()
    for task in TASKS:
        expect(panel.get_by_role("link", name=task).first).to_be_visible()
    expect(panel.get_by_text("9 Completed")).to_be_visible()
    prefect_visit.look("prefect-tasks", whole=True)

    page.get_by_role("tab", name="Artifacts").click()
    for artifact in ARTIFACTS:
        expect(panel.get_by_role("heading", name=artifact, exact=True)).to_be_visible()
    expect(panel.get_by_text("No description")).to_have_count(0)
    expect(panel.get_by_text(re.compile(r"^(\d+) of \1 rules hold; \d+ rows"))).to_have_count(3)
    prefect_visit.look("prefect-artifacts", whole=True)


def test_every_artifact_can_be_read(prefect_visit: Visit, runs: list[str]) -> None:
    page = prefect_visit.page
    for artifact, shown in ARTIFACTS.items():
        open_flow_run(page, runs[0])
        page.get_by_role("tab", name="Artifacts").click()
        page.get_by_role("tabpanel").get_by_role("heading", name=artifact, exact=True).click()
        # Its page lists those of all runs.
        page.locator("main a[href*='/artifacts/artifact/']").first.click()
        page.wait_for_url("**/artifacts/artifact/**")
        expect(page.locator("main").get_by_text(shown).first).to_be_visible()
        prefect_visit.look(f"prefect-artifact-{artifact}")


@pytest.mark.parametrize(("artifact", "link"), [("links", "MLflow run"), ("report", "Report on ")])
def test_prefects_page_leads_to_mlflow(prefect_visit: Visit, runs: list[str], artifact: str, link: str) -> None:
    page = prefect_visit.page
    page.goto(page.url.partition("/v2/")[0] + f"/v2/artifacts/key/{artifact}")
    page.locator("main a[href*='/artifacts/artifact/']").first.click()
    page.wait_for_url("**/artifacts/artifact/**")
    run = page.locator("main a[href*='/runs/flow-run/']").first.inner_text()
    assert run.startswith(tuple(runs))
    page.goto(str(page.get_by_role("link", name=link).get_attribute("href")))
    expect(page.get_by_role("heading", name=run)).to_be_visible()


def test_a_run_and_its_curve_are_in_mlflow(mlflow_visit: Visit, runs: list[str]) -> None:
    page = mlflow_visit.page
    open_experiment(page, runs)
    mlflow_visit.look("mlflow-runs")
    page.get_by_role("link", name=runs[0]).first.click()
    expect(page.get_by_text("Finished")).to_be_visible()
    mlflow_visit.look("mlflow-run")
    page.get_by_role("tab", name="Model metrics").click()
    page.get_by_placeholder("Search metric charts").fill("rollout/ep_rew_mean")
    expect(page.get_by_role("heading", name="ep_rew_mean")).to_be_visible()
    curve = page.locator("path.js-line")
    expect(curve.first).to_have_attribute("d", re.compile(r"M.+L"))
    mlflow_visit.look("mlflow-curve")


def test_two_models_are_versions_of_one_and_can_be_compared(mlflow_visit: Visit, runs: list[str]) -> None:
    page = mlflow_visit.page
    page.get_by_role("link", name="Model registry").click()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()  # it praises the registry to newcomers
    page.get_by_role("link", name="mario-test").click()
    for version in (1, 2):
        expect(page.get_by_role("link", name=f"Version {version}")).to_be_visible()
    expect(page.get_by_text("candidate")).to_be_visible()
    mlflow_visit.look("mlflow-model")
    for row in (1, 2):
        page.get_by_role("row").nth(row).get_by_role("checkbox").check()
    page.get_by_test_id("compareButton").click()
    expect(page.get_by_text("Comparing 2 Versions").first).to_be_visible()
    for run in runs:
        expect(page.get_by_text(re.compile(run)).first).to_be_visible()
    mlflow_visit.look("mlflow-two-models")


def test_two_runs_can_be_compared(mlflow_visit: Visit, runs: list[str]) -> None:
    page = mlflow_visit.page
    open_experiment(page, runs)
    page.get_by_role("checkbox", name="Select all runs").check()
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_text("Comparing 2 Runs").first).to_be_visible()
    for run in runs:
        expect(page.get_by_text(re.compile(run)).first).to_be_visible()
    mlflow_visit.look("mlflow-two-runs")


def test_the_report_can_be_read_and_its_videos_play_within_mlflow(mlflow_visit: Visit, runs: list[str]) -> None:
    page = mlflow_visit.page
    open_experiment(page, runs)
    page.get_by_role("link", name=runs[0]).first.click()
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("report", exact=True).click()
    page.get_by_text("report.html").click()
    report = page.frame_locator("iframe")
    expect(report.get_by_role("heading", level=1)).to_be_visible()
    videos = report.locator("video")
    expect(videos).to_have_count(2)
    for number in range(2):
        assert_plays(videos.nth(number))
    expect(report.get_by_text("choose best.html in its list of files")).to_be_visible()
    mlflow_visit.look("mlflow-report")

    page.get_by_text("best.html", exact=True).click()
    episode = page.frame_locator("iframe")
    expect(episode.get_by_text("✓ adds up to the recorded reward")).to_be_visible()
    episode.get_by_label("Moment of the episode").press("End")
    expect(episode.get_by_text(re.compile(r"^Opinion of tiny"))).to_be_visible()
    episode.get_by_role("button", name="Show where the model looks").click()
    expect(episode.get_by_text(re.compile("^Red speaks for "))).to_be_visible()
    mlflow_visit.look("mlflow-episode")


def test_the_report_is_shown_without_a_fault_and_its_videos_play(visit: Visit, experiments: list[Path]) -> None:
    page = visit.page
    page.goto((experiments[0] / "report" / "report.html").as_uri())
    assert_every_picture_is_drawn(page.main_frame)
    visit.look("report", whole=True)
    videos = page.locator("video")
    expect(videos).to_have_count(2)
    for number in range(2):
        assert_plays(videos.nth(number))
    visit.look("report-videos")
    assert_nothing_was_reported(visit)


def test_a_report_fits_on_a_telephone(visit: Visit, experiments: list[Path]) -> None:
    visit.page.set_viewport_size({"width": 390, "height": 844})
    visit.page.goto((experiments[0] / "report" / "report.html").as_uri())
    assert_every_picture_is_drawn(visit.page.main_frame)
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 390
    visit.look("report-telephone", whole=True)


def test_the_comparison_can_be_explored(visit: Visit, comparison: Path) -> None:
    page = visit.page
    page.goto(comparison.as_uri())
    assert_every_picture_is_drawn(page.main_frame)
    wait_until(lambda: colours(page.locator(".interactive")) > 8, page)
    visit.look("comparison", whole=True)
    # A bar of the deaths' plot leads to the end of such an episode.
    page.locator("#endings svg a").first.click()
    clip = page.get_by_role("dialog")
    expect(clip).to_be_visible()
    assert_plays(clip.locator("video"))
    visit.look("comparison-clip")
    page.keyboard.press("Escape")
    expect(clip).to_be_hidden()
    assert_nothing_was_reported(visit)


def test_the_page_of_the_data_quality_is_shown_without_a_fault(visit: Visit, experiments: list[Path]) -> None:
    visit.page.goto((experiments[0] / "quality" / "train.html").as_uri())
    expect(visit.page.get_by_text("as many rows as episodes counted")).to_be_visible()
    visit.look("quality", whole=True)
    assert_nothing_was_reported(visit)


def open_flow_run(page: Page, name: str) -> None:
    """From any page of Prefect's, by its menu."""
    page.get_by_role("link", name="Runs").click()
    page.get_by_role("link", name=name).first.click()
    expect(page.get_by_role("tab", name="Logs")).to_be_visible()


def open_experiment(page: Page, runs: list[str]) -> None:
    """The table of runs that has these, in MLflow."""
    page.get_by_role("link", name="Experiments", exact=True).click()
    page.get_by_role("link", name=re.compile("mario")).first.click()
    for run in runs:
        expect(page.get_by_role("link", name=run).first).to_be_visible()


def assert_every_picture_is_drawn(frame: Frame) -> None:
    frame.wait_for_function("Array.from(document.images).every(image => image.complete)")
    assert frame.evaluate("document.images.length") > 0
    assert frame.evaluate("Array.from(document.images).every(image => image.naturalWidth > 0)")


def assert_nothing_was_reported(visit: Visit) -> None:
    assert visit.exceptions == []
    assert visit.console == []
    assert visit.failed == []
