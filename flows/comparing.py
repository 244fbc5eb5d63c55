"""`mario compare`: compare many experiments by seeds."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from configs import ConfigError, Settings
from configs.nearest import nearest
from tasks.comparison import PROTOCOL, Comparison, compare
from tasks.experiment import open_store


def compare_experiments(
    names: Sequence[str],
    settings: Settings,
    directory: Path | None = None,
    protocol: str = PROTOCOL,
    *,
    clips: bool = True,
) -> Comparison:
    """Compare the experiments that `names` mean: names, ids or patterns such as ``ppo-*``.

    Raises:
        ConfigError: there is no such experiment; the message suggests the nearest name.
        ReportError: none of them was evaluated under `protocol`.
        StoreError: the database fails.
    """
    from episodes.comparison import experiment_names

    with open_store(settings) as store:
        ids = chosen(names, experiment_names(store))
    return compare(ids, settings, directory, protocol=protocol, clips=clips)


def chosen(names: Sequence[str], known: Mapping[int, str]) -> list[int]:
    """The ids of the experiments that `names` mean, each once, in ascending order.

    Args:
        names: names, ids or patterns with the wildcards of a shell.
        known: the names of all experiments by id.

    Raises:
        ConfigError: a name, id or pattern means no experiment.
    """
    by_name = {name: number for number, name in known.items()}
    found: set[int] = set()
    for name in names:
        # A name with digits alone is looked up as a name first, as everywhere.
        if name in by_name:
            found.add(by_name[name])
        elif name.isascii() and name.isdigit() and int(name) in known:
            found.add(int(name))
        elif any(letter in name for letter in "*?["):
            matching = {number for number, other in known.items() if fnmatchcase(other, name)}
            if not matching:
                raise ConfigError(f"no experiment matches {name!r}; `mario experiments` lists all")
            found |= matching
        else:
            similar = nearest(name, by_name)
            hint = f"did you mean {similar}?" if similar else "`mario experiments` lists all"
            raise ConfigError(f"there is no experiment {name!r}; {hint}")
    return sorted(found)


def comparison_table(comparison: Comparison) -> list[dict[str, str]]:
    """A row for each group, for display."""
    from reports.comparison.tables import estimate_cell

    results = comparison.results
    rows = []
    for group in results.grouping.groups:
        cell = estimate_cell(results.estimate(group))
        rows.append(
            {
                "group": group.name,
                "seeds": str(len(group.members)),
                "completion (IQM)": cell.value,
                "95 % interval": cell.interval,
            }
        )
    return rows
