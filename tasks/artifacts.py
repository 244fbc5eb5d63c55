"""Prefect artifacts of the phases. They are best effort: a phase does not fail if an artifact cannot be written."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

logger = logging.getLogger(__name__)


def show_markdown(key: str, markdown: str, description: str) -> None:
    """Create a Markdown artifact `key` (lower-case letters, digits and dashes). A failure is only logged.

    Args:
        key: the artifact's name, which later artifacts of the same kind share.
        markdown: the text.
        description: what Prefect's list of artifacts shows, as plain text.
    """
    _show(key, partial(create_markdown_artifact, key=key, markdown=markdown, description=description))


def show_table(key: str, table: Sequence[dict[str, Any]], description: str) -> None:
    """Create a table artifact `key` (lower-case letters, digits and dashes). A failure is only logged."""
    _show(key, partial(create_table_artifact, key=key, table=list(table), description=description))


def _show(key: str, create: Callable[[], object]) -> None:
    try:
        create()
    except Exception as error:  # an interruption by Prefect is a BaseException
        logger.warning("the Prefect artifact %s was not created: %s: %s", key, type(error).__name__, error)
