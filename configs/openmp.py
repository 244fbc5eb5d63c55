"""How the threads of torch's OpenMP wait for each other."""

import os
from collections.abc import MutableMapping


def wait_asleep(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let threads that wait sleep instead of spin, unless the person has said otherwise. Call it before torch is loaded.

    torch brings GNU's libgomp on Linux and LLVM's libomp on macOS, and both read `OMP_WAIT_POLICY` once, when they are loaded.
    By default threads spin for a while at the end of every layer. Where another program wants the same cores, they spin away
    the time slices that the thread they wait for would need. `benchmarks/waiting.py` measures what sleeping costs and brings.
    """
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
