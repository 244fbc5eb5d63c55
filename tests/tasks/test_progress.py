"""The progress artifact never delays the training. Its values are tested with the deployment."""

import socket
import threading
import time
from uuid import UUID

from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.progress import progress_artifact


def test_without_a_flow_run_prefect_is_not_asked() -> None:
    with progress_artifact("nowhere", 100, seconds_between=0.01) as progress:
        progress.steps = 50
        assert not [thread for thread in threading.enumerate() if thread.name == "progress artifact"]


def test_a_server_that_never_answers_causes_no_delay() -> None:
    run = FlowRun(id=UUID(int=1), flow_id=UUID(int=0), name="run")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.settimeout(20)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
        with temporary_settings({PREFECT_API_URL: url}), FlowRunContext.model_construct(flow_run=run, parameters={}):
            start = time.monotonic()
            with progress_artifact("silent", 100, seconds_between=0.01) as progress:
                connection, _ = silent.accept()  # the request has arrived, and gets no answer
                progress.steps = 100
            assert time.monotonic() - start < 30
        connection.close()
