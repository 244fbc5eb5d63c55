"""Links between a flow run, its MLflow run and its report, and the tags of a flow run."""

import logging
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from configs import Config
from tasks.artifacts import show_markdown
from tasks.experiment import Experiment, open_run
from tasks.naming import flow_run_tags

logger = logging.getLogger(__name__)


def label_flow_run(config: Config) -> None:
    """Tag the flow run with preset, algorithm, level and seed. A failure is only logged."""
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(UUID(str(flow_run.id)), tags=sorted({*flow_run.tags, *flow_run_tags(config)}))
    except Exception as error:
        logger.warning("the flow run could not be tagged: %s", error)


def link(experiment: Experiment) -> None:
    """Link the MLflow run and the report in an artifact of the flow run, and the flow run in an MLflow tag. Best effort."""
    try:
        with open_run(experiment) as run:
            url = run.url
            run.set_tags({"prefect_flow_run": _flow_run_page(), "folder": str(experiment.directory)})
    except Exception as error:
        logger.warning("the links between Prefect and MLflow are missing: %s", error)
        return
    show_markdown("links", _links(experiment, url), "MLflow run, report and files")


def _links(experiment: Experiment, url: str) -> str:
    # For a store without a server, the URL is that of the server of `mario ui`, with an explanation before it.
    words, _, page = url.rpartition(" ")
    when = f" ({words.rstrip(', then')})" if words else ""
    return (
        f"Experiment **{experiment.name}**, files in `{experiment.directory}`\n\n"
        f"- [MLflow run]({page}){when}\n"
        f"- [report, once it is written]({page}/artifacts/report/report.html){when}\n"
    )


def _flow_run_page() -> str:
    """The URL of the flow run's page; its id if a temporary server has no permanent page."""
    page = str(flow_run.ui_url)
    return page if page.startswith("http") else str(flow_run.id)
