"""From a flow run to its MLflow run and its report, and back; and the labels by which a flow run is found."""

import logging
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from configs import Config
from tasks.artifacts import show_markdown
from tasks.experiment import Experiment, open_run
from tasks.naming import labels

logger = logging.getLogger(__name__)


def label_flow_run(config: Config) -> None:
    """Tag the flow run with preset, algorithm, level and seed. Best effort: a flow does not fail for its tags."""
    tags = {f"{name}:{value}" for name, value in labels(config).items()}
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(UUID(str(flow_run.id)), tags=sorted({*flow_run.tags, *tags}))
    except Exception as error:
        logger.warning("the flow run has not got its tags: %s", error)


def link(experiment: Experiment) -> None:
    """Name the MLflow run and the report in the flow run's artifacts, and the flow run in MLflow's tags. Best effort."""
    try:
        with open_run(experiment) as run:
            url = run.url
            run.set_tags({"prefect_flow_run": _own_page(), "folder": str(experiment.directory)})
    except Exception as error:
        logger.warning("the links between Prefect and MLflow are missing: %s", error)
        return
    show_markdown("links", _links(experiment, url))


def _links(experiment: Experiment, url: str) -> str:
    # Of a store without a server the URL is that of the server which `mario ui` starts, behind words that say so.
    words, _, page = url.rpartition(" ")
    when = f" ({words.rstrip(', then')})" if words else ""
    return (
        f"Experiment **{experiment.name}**, files in `{experiment.directory}`\n\n"
        f"- [MLflow run]({page}){when}\n"
        f"- [report, once it is written]({page}/artifacts/report/report.html){when}\n"
    )


def _own_page() -> str:
    """The flow run's page, or its id where a temporary server has no page that lasts."""
    page = str(flow_run.ui_url)
    return page if page.startswith("http") else str(flow_run.id)
