"""`mario experiments`: list experiments with their status and progress."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from configs import Settings
from episodes import ExperimentOverview
from tasks.experiment import open_store


def list_experiments(
    settings: Settings, count: int, status: str | None = None, preset: str | None = None
) -> list[dict[str, str]]:
    """The newest experiments as rows for display, newest first.

    Args:
        settings: the home folder and the servers.
        count: the largest number of rows.
        status: only experiments with this recorded status, or `gone`: recorded as running, but its process has ended.
            `running` excludes these.
        preset: only experiments of this preset.

    Raises:
        StoreError: the database fails.
    """
    # A process holds an experiment while it runs it.
    held = {"running": True, "gone": False}.get(status or "")
    with open_store(settings) as store:
        found = store.overview(count, status="running" if status == "gone" else status, preset=preset, held=held)
    now = datetime.now(UTC)
    return [_row(each, now) for each in found]


def any_gone(rows: Sequence[dict[str, str]]) -> bool:
    """Whether the process of one of the experiments is gone."""
    return any(row["status"] == "gone" for row in rows)


def _row(each: ExperimentOverview, now: datetime) -> dict[str, str]:
    return {
        "name": each.name,
        "preset": each.preset,
        "status": "gone" if each.status == "running" and not each.held else each.status,
        "steps": f"{each.steps:,} of {each.total_steps:,}",
        "completed": f"{each.completed} of {each.played}" if each.played else "-",
        "begun": f"{_age(now - each.started)} ago",
    }


def _age(since: timedelta) -> str:
    """A duration in its two largest units."""
    minutes = int(since.total_seconds()) // 60
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // (24 * 60)} d {minutes // 60 % 24} h"
