"""Log lines for the person who watches a training."""

from __future__ import annotations

import logging
import sys

from tqdm import tqdm

_log = logging.getLogger(__name__)


def announce(line: str) -> None:
    """Log `line` at INFO, above a progress bar if there is one."""
    with tqdm.external_write_mode(file=sys.stderr):
        _log.info("%s", line)
