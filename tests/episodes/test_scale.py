"""The benchmark of the store is run small, so that it cannot rot: its rows are valid, and what it measures can be done."""

from pathlib import Path

from benchmarks import store as benchmark
from benchmarks.synthetic import evaluation_episodes
from configs import Settings
from episodes import EpisodeStore


def test_the_benchmark_writes_valid_rows_that_can_be_reported_and_compared(lone_store: EpisodeStore, tmp_path: Path) -> None:
    settings = Settings(tmp_path, lone_store.url, None)
    judged = evaluation_episodes(320)
    ids = benchmark.add_experiments(lone_store, "writer", 2, judged)

    benchmark.write(settings, ids, 320, through_outbox=True)
    figures = benchmark.sizes(lone_store)
    whole = benchmark.merge(lone_store, ids, judged)
    benchmark.split(lone_store, ids, whole, judged, ["a run", "another", "a third"])

    runs = [benchmark.count(lone_store, lone_store.experiment(f"run-{number}").id) for number in range(3)]
    assert min(runs) > judged * 6
    assert benchmark.count(lone_store, whole) == 640 - judged * 6 - 320 // 50
    assert 60 < figures["bytes of actions, compressed"] < figures["decisions an episode"] / 2
    benchmark.check(benchmark.WHOLE, settings)
    benchmark.report(benchmark.WHOLE, settings)
    assert (tmp_path / "report" / "report.html").is_file()
    benchmark.compare("writer-1*", settings)
