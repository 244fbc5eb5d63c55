"""A command that restarts itself keeps its environment."""

import os
import subprocess
import sys
from pathlib import Path

from configs import PROJECT

# The first process changes variables, as Prefect's plugin does, and asks for a restart. Both print what they were started with.
PROGRAM = """
import os, sys
from flows import new_process
print(new_process.restarts(), os.environ.get("PREFECT_API_URL"), os.environ["OWN"], os.getpid(), *sys.argv[1:], flush=True)
new_process.prepare()
if new_process.restarts() == 0:
    os.environ["PREFECT_API_URL"] = "http://127.0.0.1:1/api"
    os.environ["OWN"] = "changed"
    new_process.restart_at_exit(["run", "tiny"], 0.0)
"""


def test_a_restart_has_the_environment_of_the_first_start(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment |= {"PYTHONPATH": str(PROJECT), "OWN": "kept"}
    with subprocess.Popen(
        [sys.executable, str(program), "first"], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output.splitlines() == [f"0 None kept {process.pid} first", f"1 None kept {process.pid} run tiny"]
