"""The log lines of the project's packages on Prefect's console and pages."""

import logging

from configs import LOGGERS


def show_project_logs() -> None:
    """Show the project's log lines from INFO on. Prefect shows only warnings of loggers other than its own."""
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)
