"""Benchmarks. Each is a script that prints a table and writes JSON."""

import configs  # noqa: F401 (it sets the wait policy of torch's threads, so it comes before torch)
