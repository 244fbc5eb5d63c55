"""The flow `evaluate-mario`: `mario evaluate` as a deployment."""

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from configs import Settings
from flows.evaluating import describe_confirmation, evaluate_model
from flows.models import SHIPPED, Trust
from flows.worker_home import flow_settings
from tasks.artifacts import show_table
from tasks.experiment import checked_name, open_store
from tasks.naming import stamp


def make_flow_run_name() -> str:
    """The name of this flow run, which is also the evaluation's. A retry keeps it, and so continues the evaluation."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("only a flow run has a name")
    run, parameters = context.flow_run, context.parameters or {}
    if parameters.get("experiment"):
        return str(parameters["experiment"])
    return run.name if run.run_count > 0 else f"evaluation-{stamp(run.created, str(run.id))}"


@flow(name="evaluate-mario", flow_run_name=make_flow_run_name, persist_result=False, validate_parameters=True)
def evaluate_mario(
    model: str,
    episodes: int | None = None,
    overrides: list[str] | None = None,
    experiment: str | None = None,
    sha256: str | None = None,
) -> dict[str, Any]:
    """Play every protocol with a model, as a new experiment.

    Args:
        model: a model in `models/`, an experiment, a registered model (`models:/NAME@ALIAS`), an MLflow run, or a path.
        episodes: episodes per protocol. The default is that of the model's configuration.
        overrides: `section.key=value` for settings that differ from the model's own evaluation.
        experiment: the name of the evaluation. One that exists continues. The default is the name of this flow run.
        sha256: the SHA-256 of the manifest of a model file from elsewhere.

    Returns:
        The figures of :func:`flows.evaluating.evaluate_model`.

    Raises:
        ConfigError, ModelNotFoundError, CheckpointError, UntrustedModelError: as :func:`flows.evaluating.evaluate_model`.
    """
    settings = flow_settings()
    name = checked_name(experiment or flow_run.name)
    table, figures = evaluate_model(
        model_of(model, settings), episodes, settings, Trust(sha256), name, overrides or [], flow_run.id
    )
    found = figures.get("confirmation")
    show_table("evaluation", table, f"Evaluation of {model}" + (f": {describe_confirmation(found)}" if found else ""))
    return figures


def model_of(reference: str, settings: Settings) -> str:
    """The MLflow run of the experiment that `reference` names; `reference` itself if it names no experiment with a run."""
    if (SHIPPED / f"{reference}.json").is_file() or ":" in reference or Path(reference).expanduser().exists():
        return reference
    with open_store(settings) as store:
        number = store.find_experiment(reference)
        run = None if number is None else store.experiment(number).record.mlflow_run_id
    return run or reference
