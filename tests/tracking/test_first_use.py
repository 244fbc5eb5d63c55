"""What happens before the first metric: imports, a new database, silence."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

QUIET = """
import json, logging, os, socket, sys
import tracking
early = sorted({"mlflow", "torch", "stable_baselines3"} & set(sys.modules))

connected = []
original = socket.socket.connect
def connect(self, address):
    connected.append(str(address))
    return original(self, address)
socket.socket.connect = connect
socket.getaddrinfo = lambda *arguments, **options: connected.append(str(arguments)) or []

logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
from pathlib import Path
home = Path(sys.argv[1])
uri = tracking.resolve_tracking_uri(None, home)
with tracking.TrackedRun.open(uri, "quiet", "first", home=home, system_metrics=True) as run:
    run.log_metrics({"a": 1}, 1)
from mlflow.telemetry.utils import is_telemetry_disabled
from mlflow.telemetry.client import get_telemetry_client
print(json.dumps({
    "early": early,
    "connected": connected,
    "disabled": is_telemetry_disabled(),
    "client": get_telemetry_client() is not None,
    "metric": tracking.TrackedRun.open(uri, "quiet", "x", run_id=run.run_id).metric("a"),
}))
"""


def start(home: Path, folder: Path) -> "subprocess.Popen[str]":
    folder.mkdir()
    # As on a person's machine: MLflow switches its telemetry off by itself where it sees a test or a CI service.
    hidden = ("CI", "PYTEST_", "GITHUB_", "MLFLOW_", "DO_NOT_TRACK", "BUILD")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return subprocess.Popen(
        [sys.executable, "-W", "default", "-c", QUIET, str(home)],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_first_uses_at_once_end_with_one_whole_database_and_in_silence(tmp_path: Path) -> None:
    home = tmp_path / "home"
    processes = [start(home, tmp_path / f"working folder {number}") for number in (1, 2)]
    for number, process in enumerate(processes, 1):
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        facts = json.loads(output)
        assert facts == {"early": [], "connected": [], "disabled": True, "client": False, "metric": 1.0}
        lines = errors.splitlines()
        assert len(lines) == 1, errors
        assert lines[0].startswith("creating MLflow's database ")
        assert list((tmp_path / f"working folder {number}").iterdir()) == []
    leftovers = [path.name for path in (home / "mlflow").iterdir() if ".new" in path.name]
    assert leftovers == []
