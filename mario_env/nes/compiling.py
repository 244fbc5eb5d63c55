"""How the emulator's functions are compiled."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import config, njit

F = TypeVar("F", bound=Callable[..., object])

# LLVM's superword pass turns unrolled runs of words into vector instructions: it halves the drawing of the background.
config.SLP_VECTORIZE = 1  # type: ignore[attr-defined]


def _compile(**options: bool) -> Callable[[F], F]:
    arguments: dict[str, Any] = {"nogil": True, "error_model": "numpy", **options}
    return cast(Callable[[F], F], njit(**arguments))


def leaf(function: F) -> F:
    """Compile a function that only other compiled functions call.

    It does without numba's run time, which would count references to every array of a machine: 220 ns a call. Such a function
    must neither allocate anything nor assign whole arrays.
    """
    return _compile(_nrt=False, forceinline=False)(function)


def inlined(function: F) -> F:
    """Like :func:`leaf`, for a small function in a loop: LLVM puts it into its callers."""
    return _compile(_nrt=False, forceinline=True)(function)


def compiled(function: F) -> F:
    """Compile a function that only other compiled functions call, with numba's run time: it may assign whole arrays."""
    return _compile()(function)
