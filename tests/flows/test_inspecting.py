"""`mario inspect` on the episodes of a whole run: who is let in, what the server answers, and the file."""

import base64
import io
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from configs import Settings
from flows import inspecting
from mario_env import play_back
from tests.conftest import MARIO, Command, Pipeline
from tracking.server import free_port

pytestmark = pytest.mark.one_python


@dataclass(frozen=True)
class Inspector:
    """A running `mario inspect`: its address and its secret."""

    url: str
    secret: str

    def client(self) -> httpx.Client:
        """A browser's requests, without a cookie yet."""
        return httpx.Client(base_url=self.url, timeout=120, trust_env=False)


@pytest.fixture(scope="module")
def inspector(pipeline: Pipeline) -> Iterator[Inspector]:
    """Started and ended as a person does it."""
    port = free_port()
    process = subprocess.Popen(
        [MARIO, "inspect", "--port", str(port)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert process.stdout is not None
        printed = "".join(iter(lambda: process.stdout.readline(), "Ctrl-C stops it.\n"))
        (url,) = re.findall(r"^Episodes +(http://\S+)", printed, re.MULTILINE)
        (command,) = re.findall(r"the output of: (.+)", printed)
        assert url == f"http://127.0.0.1:{port}/"
        secret = subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout.strip()
        yield Inspector(url.rstrip("/"), secret)
    finally:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
    assert "Traceback" not in output


@pytest.fixture
def visitor(inspector: Inspector) -> Iterator[httpx.Client]:
    """Somebody who has not shown the secret."""
    with inspector.client() as client:
        yield client


@pytest.fixture(scope="module")
def client(inspector: Inspector) -> Iterator[httpx.Client]:
    """Somebody who has."""
    with inspector.client() as client:
        assert client.get("/", params={"token": inspector.secret}).status_code == 303
        yield client


def first_episode(client: httpx.Client, **wanted: str) -> int:
    rows = client.get("/api/episodes", params={"experiment": "tiny", "order": "ascending", **wanted}).json()["rows"]
    return int(rows[0]["id"])


def test_only_who_shows_the_secret_is_let_in(inspector: Inspector, visitor: httpx.Client) -> None:
    for path in ("/", "/api/choices", "/api/episodes/1", "/static/app.js"):
        refused = visitor.get(path)
        assert refused.status_code == 401
        assert "The secret" in refused.text
    assert visitor.get("/", params={"token": "mario:guessed"}).status_code == 401
    assert "This is not the secret" in visitor.post("/log-in", data={"secret": "mario:guessed"}).text
    assert visitor.post("/log-in", content=b"secret=" + b"x" * 100_000).status_code == 401
    let_in = visitor.post("/log-in", data={"secret": inspector.secret})
    assert (let_in.status_code, let_in.headers["location"]) == (303, "/")
    cookie = let_in.headers["set-cookie"]
    assert inspector.secret not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    visitor.cookies.clear()
    deep = visitor.get("/episodes/7", params={"token": inspector.secret})
    assert deep.headers["location"] == "/episodes/7", "the secret does not stay in the address"


def test_other_hosts_and_origins_are_refused(inspector: Inspector, client: httpx.Client) -> None:
    assert client.get("/").status_code == 200
    assert client.get("/", headers={"Host": "mario.example"}).status_code == 400
    for origin in ("http://mario.example", "http://127.0.0.1:1", "null"):
        assert client.post("/api/play", headers={"Origin": origin}).status_code == 403
    assert client.get("/api/choices", headers={"Origin": inspector.url}).status_code == 200


def test_pages_allow_nothing_but_the_server(client: httpx.Client) -> None:
    for path in ("/", "/api/choices", "/static/app.js"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/api/episodes/0", 400, "an episode is named by its number"),
        ("/api/episodes/1%20OR%201", 400, "an episode is named by its number"),
        ("/api/episodes/99999999", 409, "there is no episode 99999999"),
        ("/api/episodes/play-77", 404, "play it again"),
        ("/api/episodes/ID/screens/99999.webp", 404, "sheet 99999 of"),
        ("/api/episodes/ID/secrets/0.webp", 404, "there is no such picture"),
        ("/api/episodes/ID/saliency/-1", 400, "is not a number"),
        ("/api/episodes?level=9-9", 400, "a level is written as 1-2"),
        ("/api/episodes?phase=nightly", 400, "phase"),
        ("/api/episodes?sort=seed", 400, "cannot be sorted by 'seed'"),
        ("/api/episodes?colour=red", 400, "unknown parameters: colour"),
        ("/api/live/nobody", 409, "there is no experiment 'nobody'"),
        ("/api/maps/vanilla/9-9.webp", 400, "a level is written as 1-2"),
        ("/api/maps/plain/1-1.webp", 404, "there is no ROM 'plain'"),
        ("/static/server.py", 404, "there is no such file"),
        ("/static/..%2Fserver.py", 404, "there is no such page"),
        ("/etc/passwd", 404, "there is no such page"),
    ],
)
def test_what_does_not_exist_is_said(client: httpx.Client, path: str, status: int, message: str) -> None:
    answer = client.get(path.replace("ID", str(first_episode(client, phase="evaluate"))))
    assert (answer.status_code, message in answer.json()["error"]) == (status, True), answer.text


def test_an_episode_is_shown_with_the_opinion_of_its_model(client: httpx.Client) -> None:
    number = first_episode(client, phase="evaluate", protocol="sticky")
    episode = client.get(f"/api/episodes/{number}").json()
    assert episode["ledger"]["adds_up"]
    assert episode["ledger"]["differences"] == []
    opinion = client.get(f"/api/episodes/{number}/opinion").json()
    assert opinion["model"].startswith("tiny after ")
    assert len(opinion["scores"]) == len(episode["actions"])
    look = client.get(f"/api/episodes/{number}/saliency/3").json()
    assert (look["rows"], look["columns"]) == (14, 14)

    stored = inspecting.stored_episode(number, Settings.from_environment())
    frames = list(play_back(stored.config.environment, stored.start, stored.actions, stored.delays))
    sheet = client.get(f"/api/episodes/{number}/screens/1.webp")
    assert sheet.headers["content-type"] == "image/webp"
    pictures = np.asarray(Image.open(io.BytesIO(sheet.content))).reshape(-1, 240, 256, 3)
    per_sheet = episode["screens"]["per_sheet"]
    assert np.array_equal(pictures, np.stack([each.screen for each in frames[per_sheet : 2 * per_sheet]]))
    assert list(episode["maps"]) == ["1-1"]
    assert episode["maps"]["1-1"]["area"] == episode["facts"]["area"][0]
    level = Image.open(io.BytesIO(client.get("/api/maps/vanilla/1-1.webp").content))
    assert (level.height, level.width > 3152) == (208, True)
    assert client.get(f"/api/episodes/{number}/file").text.startswith("<!doctype html>")


def test_a_model_plays_now(client: httpx.Client) -> None:
    """A short play: on a level that it does not know, Mario soon dies or stalls."""
    wanted = {"model": "world-1-1", "protocol": "sticky", "seed": "3", "level": "8-1"}
    answer = client.post("/api/play", data=wanted)
    key = answer.json()["key"]
    episode = client.get(f"/api/episodes/{key}").json()
    assert episode["level"] == "8-1"
    assert episode["ledger"]["differences"] == []
    assert client.get(f"/api/episodes/{key}/opinion").json()["model"] == "world-1-1"
    again = client.post("/api/play", data={"model": "world-1-1", "protocol": "sticky", "seed": "3", "level": "8-1"}).json()[
        "key"
    ]
    assert again != key
    assert client.get(f"/api/episodes/{again}").json()["actions"] == episode["actions"]
    for wrong, message in (
        ({"model": "nobody"}, "nobody"),
        ({"model": "world-1-1", "protocol": "lucky"}, "there is no protocol 'lucky'"),
        ({"model": "world-1-1", "level": "9-9"}, "a level is written as 1-2"),
    ):
        refused = client.post("/api/play", data=wrong)
        assert refused.status_code in (400, 409)
        assert message in refused.json()["error"]


def test_an_experiment_is_followed(client: httpx.Client) -> None:
    found = client.get("/api/live/tiny").json()
    assert (found["status"], found["held"], found["total_steps"]) == ("completed", False, 1536)
    assert 0 < found["steps"] <= 1536
    wanted = {"experiment": "tiny", "phase": "train", "protocol": "training"}
    assert found["newest"] == client.get("/api/episodes", params=wanted).json()["rows"][:10]
    assert "curve" not in found
    assert client.get("/api/live/tiny", params={"curve": "yes"}).json()["curve"]


def test_a_person_takes_over_and_hands_back(client: httpx.Client) -> None:
    number = first_episode(client, phase="evaluate", protocol="sticky")
    before = client.get("/api/episodes").json()["total"]
    episode = client.get(f"/api/episodes/{number}").json()
    begun = client.post("/api/hand", data={"key": str(number), "decision": "12"}).json()
    assert len(begun["actions"]) == len(episode["action_names"])
    address = f"/api/hand/{begun['name']}"
    for action in (1, 1, 4):
        step = client.post(address, data={"action": str(action)}).json()
        assert (step["frames"], step["ended"]) == (4, False)
        picture = Image.open(io.BytesIO(base64.b64decode(step["sheet"].split(",")[1])))
        assert picture.size == (256, 4 * 240)
    assert "there is no action 200" in client.post(address, data={"action": "200"}).json()["error"]
    assert client.post(address, data={"hand_back": "yes"}).json() == {"ended": True}

    played = client.get(f"/api/episodes/{begun['name']}").json()
    assert played["actions"][:15] == [*episode["actions"][:12], 1, 1, 4]
    none = [0] * len(played["actions"])  # an episode without delays has no list of them
    assert (played["delays"] or none) == (episode["delays"] or none)[:12] + none[12:]
    assert played["ledger"]["differences"] == []
    assert played["origin"]["by_hand"] == "decisions 13 to 15"
    # From then on the model has its way.
    scores = client.get(f"/api/episodes/{begun['name']}/opinion").json()["scores"]
    assert [row.index(max(row)) for row in scores[15:]] == played["actions"][15:]
    assert client.get("/api/episodes").json()["total"] == before, "it counts nowhere"
    assert client.post("/api/hand", data={"key": str(number), "decision": "99999"}).status_code == 404


def test_the_report_leads_to_its_episodes(pipeline: Pipeline) -> None:
    folder = pipeline.directory / "report"
    pages = re.findall(r'href="((?:best|typical)\.html)"', (folder / "report.html").read_text(encoding="utf-8"))
    assert pages
    for page in pages:
        text = (folder / page).read_text(encoding="utf-8")
        assert re.search(r'"model":"tiny after [\d,]+ steps"', text)
        assert re.search(r'"saliency":\{"rows":\d+', text)
        assert len(text) < 5_000_000


def test_a_stored_episode_is_exported(client: httpx.Client, mario: Command, tmp_path: Path) -> None:
    number, file = first_episode(client, phase="train"), tmp_path / "episode.html"
    done = mario("inspect", "--episode", str(number), "--export", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"episode: {file}" in done.stdout
    assert re.search(r"tiny after [\d,]+ steps", file.read_text())
    refused = mario("inspect", "--export", str(file))
    assert "name the episode to export with --episode ID" in refused.stderr
