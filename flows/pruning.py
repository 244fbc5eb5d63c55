"""`mario prune`: its rules and its table."""

from collections.abc import Sequence
from typing import cast

from configs import ConfigError
from episodes.pruning import RULES, Rule
from tasks.pruning import Found


def chosen_rules(names: Sequence[str]) -> list[Rule]:
    """The rules with these names; all if there are none.

    Raises:
        ConfigError: there is no such rule.
    """
    if unknown := [name for name in names if name not in RULES]:
        raise ConfigError(f"there is no rule {unknown[0]!r}; there are {', '.join(RULES)}")
    return cast("list[Rule]", list(names or RULES))


def pruning_table(found: Sequence[Found]) -> list[dict[str, str]]:
    """A row for each experiment, for display."""
    return [
        {
            "experiment": each.rows.name,
            "ended": f"{each.rows.ended:%Y-%m-%d}",
            "rule": each.rows.rule,
            "episodes": f"{each.rows.episodes:,}",
            "actions": f"{each.rows.actions:,}",
            "MB": f"{(each.rows.bytes + each.bytes) / 1e6:.1f}",
            "files": _files(each),
        }
        for each in found
    ]


def total(found: Sequence[Found]) -> str:
    """The sums over `found` in one phrase."""
    experiments = sum(each.rows.rule != "actions" for each in found)
    episodes, actions = sum(each.rows.episodes for each in found), sum(each.rows.actions for each in found)
    files, size = sum(each.files for each in found), sum(each.rows.bytes + each.bytes for each in found) / 1e6
    rows = f"experiments: {experiments}, episodes: {episodes:,}, actions of episodes: {actions:,}"
    return f"{rows}, files: {files:,}; {size:,.1f} MB"


def _files(found: Found) -> str:
    if found.rows.rule == "actions":
        return ""
    return f"not here (begun on {found.rows.host})" if found.folder is None else f"{found.files:,}"
