"""How the C library manages memory while a network learns."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Of glibc's malloc.h; mallopt(3) describes them.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_DEFAULTS = {_TRIM_THRESHOLD: 128 * 1024, _TOP_PAD: 128 * 1024, _MMAP_MAX: 65_536}
# Nothing is mapped separately, nothing freed is returned, and the heap grows in large steps.
_KEEPING = {_TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 64 * 1024 * 1024, _MMAP_MAX: 0}


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Keep freed memory for the next allocation instead of returning it to the system, within the block.

    torch allocates every intermediate result of an update, tens of megabytes each, and glibc returns such blocks as soon as
    they are freed. The system then has to find, clear and map their pages again at every layer, which takes up to a third of an
    update's time (docs/experiments.md). At the block's end all of it is returned. Without glibc this does nothing.
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
        # glibc itself returns only what lies at the heap's end, and that depends on what was allocated last.
        ctypes.CDLL(None).malloc_trim(0)


def _set(options: Callable[[int, int], int], values: dict[int, int]) -> None:
    for name, value in values.items():
        options(name, value)


def _options() -> Callable[[int, int], int] | None:
    """glibc's mallopt, or None."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return None
    options: Callable[[int, int], int] = library.mallopt
    return options
