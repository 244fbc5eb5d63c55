"""The job templates of the work pools, compared with those that Prefect ships for its workers, and with what the flows need."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from prefect.server.api import collections as shipped
from prefect.utilities.templating import apply_values, find_placeholders
from prefect.workers.process import ProcessJobConfiguration

from configs import Settings
from flows.deploying import PROCESS_TEMPLATE
from flows.graceful import CHECKPOINT_SECONDS

FOLDER = PROCESS_TEMPLATE.parent
KINDS = sorted(path.stem for path in FOLDER.glob("*.json"))
COLLECTIONS = json.loads(
    (Path(str(shipped.__file__)).parent / "collections_data" / "views" / "aggregate-worker-metadata.json").read_text()
)
# The Docker worker has it, and the table that Prefect ships does not list it yet.
NEWER = {"docker": {"container_create_kwargs"}}


def template(kind: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / f"{kind}.json").read_text(encoding="utf-8"))
    return loaded


def defaults(kind: str) -> dict[str, Any]:
    properties = template(kind)["variables"]["properties"]
    return {name: each["default"] for name, each in properties.items() if "default" in each}


def job(kind: str, **given: Any) -> Any:
    """What a worker makes of the template, with the values that a deployment gives."""
    return apply_values(template(kind)["job_configuration"], defaults(kind) | given)


def test_there_is_a_template_for_each_kind_of_worker() -> None:
    assert KINDS == ["docker", "kubernetes", "process"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_placeholder_is_a_variable_and_every_variable_is_used(kind: str) -> None:
    used = {each.name for each in find_placeholders(template(kind)["job_configuration"])}
    assert used == set(template(kind)["variables"]["properties"])


@pytest.mark.parametrize("kind", KINDS)
def test_variables_are_a_json_schema_that_the_defaults_satisfy(kind: str) -> None:
    schema = template(kind)["variables"]
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(defaults(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_the_worker_knows_every_key_of_the_job(kind: str) -> None:
    (own,) = [workers[kind] for workers in COLLECTIONS.values() if kind in workers]
    known = set(own["default_base_job_configuration"]["job_configuration"]) | NEWER.get(kind, set())
    assert set(template(kind)["job_configuration"]) <= known


def test_the_process_template_is_accepted_by_prefects_own_class() -> None:
    configuration = ProcessJobConfiguration.model_validate(job("process"))
    assert configuration.command is None
    assert configuration.working_dir is None


@pytest.mark.parametrize("kind", KINDS)
def test_flow_runs_have_the_variables_that_the_command_mario_sets(kind: str) -> None:
    """All but those that belong to a machine or to a server."""
    ours = Settings(Path("/home"), None, None).process_environment()
    left_out = {"MARIO_HOME", "PREFECT_HOME", "PREFECT_SERVER_ANALYTICS_ENABLED"}
    left_out |= {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"}
    home = {} if kind == "process" else {"MARIO_HOME": "/var/lib/mario"}
    assert job(kind)["env"] == {name: value for name, value in ours.items() if name not in left_out} | home


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_a_container_lets_a_training_write_its_checkpoint(kind: str) -> None:
    command = job(kind)["command"]
    assert command == "python -m flows.graceful flow-run execute"
    if kind == "kubernetes":
        assert job(kind)["job_manifest"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= CHECKPOINT_SECONDS + 30


def test_a_container_has_one_gpu_unless_told_otherwise() -> None:
    (request,) = job("docker")["container_create_kwargs"]["device_requests"]
    assert (request["count"], request["capabilities"]) == (1, [["gpu"]])
    assert job("docker", device_requests=[])["container_create_kwargs"]["device_requests"] == []

    def limits(**given: Any) -> Any:
        (container,) = job("kubernetes", **given)["job_manifest"]["spec"]["template"]["spec"]["containers"]
        return container["resources"]["limits"]

    assert limits()["nvidia.com/gpu"] == 1
    assert limits(gpu_limit=0)["nvidia.com/gpu"] == 0
    assert "cpu" not in limits(), "a variable without a value is left out"


def test_a_pod_is_no_root_and_keeps_what_runs_write() -> None:
    pod = job("kubernetes")["job_manifest"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    dockerfile = (FOLDER.parents[1] / "Dockerfile").read_text(encoding="utf-8")
    (user,) = re.findall(r"^USER (\d+):\d+$", dockerfile, re.MULTILINE)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == int(user)
    assert container["volumeMounts"][0]["mountPath"] == job("kubernetes")["env"]["MARIO_HOME"]
    assert pod["volumes"][0]["name"] == container["volumeMounts"][0]["name"]
    # The job's required parts, which the worker compares.
    manifest = job("kubernetes")["job_manifest"]
    assert (manifest["apiVersion"], manifest["kind"], manifest["spec"]["backoffLimit"]) == ("batch/v1", "Job", 0)
    assert (pod["parallelism"], pod["completions"], pod["restartPolicy"]) == (1, 1, "Never")
    assert container["name"] == "prefect-job"
