"""The servers of `mario ui`, started and stopped as a person does it, and `prefect` commands that find them."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from configs import PROJECT
from tracking.server import free_port

MARIO = str(Path(sys.executable).with_name("mario"))
PREFECT = str(Path(sys.executable).with_name("prefect"))


@dataclass(frozen=True)
class RunningServers:
    """The servers that `mario ui` has started.

    Attributes:
        prefect: the address of Prefect's page.
        mlflow: the address of MLflow's page.
        secret: `USER:PASSWORD`, which Prefect's page asks for.
        process: the process of `mario ui`.
        output: what it has printed.
    """

    prefect: str
    mlflow: str
    secret: str
    process: "subprocess.Popen[str]"
    output: str


@contextmanager
def running_servers() -> Iterator[RunningServers]:
    """`mario ui` on free ports, ended by Ctrl-C. Addresses and secret are those that it prints."""
    ports = free_port(), free_port()
    arguments = [MARIO, "ui", "--prefect-port", str(ports[0]), "--mlflow-port", str(ports[1])]
    process = subprocess.Popen(arguments, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Ctrl-C"):
                break
        printed = "".join(lines)
        assert printed, "mario ui printed nothing"
        assert lines[-1].startswith("Ctrl-C"), printed
        prefect, mlflow = re.findall(r"^(?:Prefect|MLflow) +(http://\S+)", printed, re.MULTILINE)
        (command,) = re.findall(r"password: the output of: (.+)", printed)
        secret = subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout.strip()
        yield RunningServers(prefect, mlflow, secret, process, printed)
    finally:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, "a server was left running"


def prefect(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a `prefect` command in the project's folder, with no variable of Prefect set except the tests' home."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"PREFECT_HOME": os.environ["PREFECT_HOME"]} | variables
    return subprocess.run(
        [PREFECT, *arguments], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
