"""What a phase shows on Prefect's page: best effort. A page that cannot be written is no reason to lose a phase."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

logger = logging.getLogger(__name__)


def show_markdown(key: str, markdown: str) -> None:
    """Show a text under `key` (lower-case letters, digits and dashes); a server that does not take it is only logged."""
    _show(key, partial(create_markdown_artifact, key=key, markdown=markdown))


def show_table(key: str, table: Sequence[dict[str, Any]], description: str) -> None:
    """Show a table under `key` (lower-case letters, digits and dashes); a server that does not take it is only logged."""
    _show(key, partial(create_table_artifact, key=key, table=list(table), description=description))


def _show(key: str, create: Callable[[], object]) -> None:
    try:
        create()
    except Exception as error:  # not an interruption, which Prefect raises as a BaseException
        logger.warning("Prefect does not show %s: %s: %s", key, type(error).__name__, error)
