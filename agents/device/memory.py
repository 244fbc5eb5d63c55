"""Settings of the C library's memory allocator for training networks."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Constants of glibc's malloc.h; see mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_DEFAULTS = {_TRIM_THRESHOLD: 128 * 1024, _TOP_PAD: 128 * 1024, _MMAP_MAX: 65_536}
# No allocation is mapped separately, freed memory is not returned, and the heap grows in large steps.
_KEEPING = {_TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 64 * 1024 * 1024, _MMAP_MAX: 0}


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Within the block, keep freed memory for the next allocation instead of returning it to the system.

    torch allocates memory for every intermediate result of an update, tens of megabytes each. glibc returns such memory as soon
    as it is freed. The system then has to find, clear and map pages again at every layer, which takes up to a third of the
    time of an update (docs/experiments.md). At the end of the block all freed memory is returned. Without glibc this does
    nothing.
    """
    options = _options()
    if options is None:
        yield
        return
    _set(options, _KEEPING)
    try:
        yield
    finally:
        _set(options, _DEFAULTS)
        # By itself glibc returns only memory at the end of the heap.
        ctypes.CDLL(None).malloc_trim(0)


def _set(options: Callable[[int, int], int], values: dict[int, int]) -> None:
    for name, value in values.items():
        options(name, value)


def _options() -> Callable[[int, int], int] | None:
    """The function mallopt of glibc; None without glibc."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return None
    options: Callable[[int, int], int] = library.mallopt
    return options
