"""Measurements: each prints its table."""

import configs  # noqa: F401 (before torch: it says how torch's threads wait)
