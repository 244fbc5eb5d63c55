"""The benchmark is run small, so that it cannot rot, and its goal is held."""

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "tracking.py"


def test_logging_costs_less_than_one_percent_of_a_training(home: Path) -> None:
    spec = importlib.util.spec_from_file_location("benchmark_of_tracking", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)

    figures = benchmark.measure(home, dumps=30, rate=1.0)

    assert figures["share of training time"] < benchmark.GOAL
    assert figures["synchronous over project"] > 5
