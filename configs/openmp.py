"""The wait policy of torch's OpenMP threads."""

import os
from collections.abc import MutableMapping


def use_passive_waiting(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let waiting threads sleep instead of spin, unless `OMP_WAIT_POLICY` is set. Call this before torch is loaded.

    torch ships GNU's libgomp on Linux and LLVM's libomp on macOS. Both read the variable once, when they are loaded. By default
    threads spin for a while at the end of every layer. If other programs use the same cores, this takes time from the very
    thread that is waited for. `benchmarks/waiting.py` measures both policies.
    """
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
