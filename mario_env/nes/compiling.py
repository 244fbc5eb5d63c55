"""How the emulator's functions are compiled."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import config, njit

F = TypeVar("F", bound=Callable[..., object])

# LLVM's superword pass turns unrolled runs of words into vector instructions: it halves the drawing of the background.
config.SLP_VECTORIZE = 1  # type: ignore[attr-defined]


def _compile(**options: bool) -> Callable[[F], F]:
    arguments: dict[str, Any] = {"_nrt": False, "nogil": True, "error_model": "numpy", **options}
    return cast(Callable[[F], F], njit(**arguments))


def leaf(function: F) -> F:
    """Compile a function that only other compiled functions call.

    Without numba's run-time: it would count references to every array of a machine, 220 ns a call. Such a function must
    allocate nothing.
    """
    return _compile(forceinline=False)(function)


def inlined(function: F) -> F:
    """Like :func:`leaf`, for a small function in the midst of a loop: LLVM puts it into its callers."""
    return _compile(forceinline=True)(function)
