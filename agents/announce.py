"""Lines for the person who watches a training."""

from __future__ import annotations

import logging
import sys

from tqdm import tqdm

_log = logging.getLogger(__name__)


def announce(line: str) -> None:
    """Log a line at INFO; a progress bar moves out of its way."""
    with tqdm.external_write_mode(file=sys.stderr):
        _log.info("%s", line)
