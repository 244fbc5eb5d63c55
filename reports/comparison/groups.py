"""The experiments of a comparison, grouped by variant and level.

A *variant* is a preset with its overrides: experiments whose configurations differ only in seed and level. A *group* is one
variant on one level, and its members are its seeds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from configs import Config
from configs.hashing import hashed_values
from reports.data import ReportError

SHOWN_KEYS: Final = 3  # differing keys in the label of a variant; the rest are in the table of differences
# What makes no variant: seed and level, and what does not change the agent that was trained.
_IGNORED_KEYS: Final = ("seed", "environment.game", "environment.world", "environment.stage", "environment.levels")
_IGNORED_PREFIXES: Final = ("integration.", "evaluate.episodes", "evaluate.protocols")


@dataclass(frozen=True)
class RunInMLflow:
    """A run in MLflow: its id, and the URL of its page, or "" without a server."""

    id: str
    page: str = ""


@dataclass(frozen=True)
class ComparedExperiment:
    """One experiment of a comparison.

    Attributes:
        id, name: of its row in `experiments`.
        config: its configuration.
        status: as recorded, such as `completed`.
        report: link to its own report; "": it has none.
        run: its run in MLflow; None: it has none.
    """

    id: int
    name: str
    config: Config
    status: str
    report: str = ""
    run: RunInMLflow | None = None

    @property
    def level(self) -> tuple[int, int] | None:
        """World and stage; None: the full game."""
        names = self.config.environment.level_names
        return (int(names[0][0]), int(names[0][2])) if names else None


@dataclass(frozen=True)
class Group:
    """The seeds of one variant on one level.

    Attributes:
        variant: label of the variant.
        level: world and stage; None: the full game.
        members: one experiment for each seed, by seed.
    """

    variant: str
    level: tuple[int, int] | None
    members: tuple[ComparedExperiment, ...]

    @property
    def ids(self) -> list[int]:
        """The ids of the experiments, in the order of `members`."""
        return [each.id for each in self.members]

    @property
    def name(self) -> str:
        """Variant and level, such as `ppo · 1-1`."""
        return f"{self.variant} · {level_name(self.level)}"


@dataclass(frozen=True)
class Grouping:
    """The groups, and the experiments that are in none.

    Attributes:
        groups: by variant, then by level.
        left_out: experiments in no group, with the reason.
        values: for each variant its settings without seed and level, key (such as `agent.gamma`) to value.
    """

    groups: tuple[Group, ...]
    left_out: tuple[tuple[ComparedExperiment, str], ...]
    values: Mapping[str, Mapping[str, Any]]

    @property
    def variants(self) -> list[str]:
        """The variants that have a group, in order."""
        return list(dict.fromkeys(group.variant for group in self.groups))

    @property
    def levels(self) -> list[tuple[int, int] | None]:
        """The levels in the order of the game, the full game last."""
        return sorted({group.level for group in self.groups}, key=_level_order)

    @property
    def common_levels(self) -> list[tuple[int, int] | None]:
        """The levels on which every variant has a group."""
        played = {(group.variant, group.level) for group in self.groups}
        return [level for level in self.levels if all((variant, level) in played for variant in self.variants)]

    def group(self, variant: str, level: tuple[int, int] | None) -> Group | None:
        """The group of a variant on a level; None if there is none."""
        return next((each for each in self.groups if (each.variant, each.level) == (variant, level)), None)


def group_experiments(
    experiments: Sequence[ComparedExperiment], scores: pd.DataFrame, trained: Iterable[int], protocol: str
) -> Grouping:
    """Group the experiments by variant and level.

    Experiments whose evaluation under `protocol` is missing or not finished are left out. Of several experiments with the same
    configuration and seed only one counts, because they are not independent: one that was trained rather than only evaluated,
    and the newest.

    Args:
        experiments: what to compare.
        scores: from :func:`episodes.comparison.evaluation_scores`.
        trained: ids of the experiments that have training episodes.
        protocol: of the evaluation.

    Raises:
        ReportError: no experiment has a whole evaluation under `protocol`.
    """
    rows = scores[scores["protocol"] == protocol]
    played = {int(row["experiment_id"]): int(row["episodes"]) for row in rows.to_dict("records")}
    left_out = [(each, reason) for each in experiments if (reason := _missing(each, played.get(each.id, 0), protocol))]
    missing = {each.id for each, _ in left_out}
    evaluated = [each for each in experiments if each.id not in missing]
    if not evaluated:
        names = ", ".join(each.name for each in experiments[:5]) + (", ..." if len(experiments) > 5 else "")
        raise ReportError(
            f"none of the {len(experiments)} experiments has a whole evaluation under {protocol} ({names}): wait until one "
            "has, or name another protocol"
        )
    settings = {each.id: variant_values(each.config) for each in evaluated}
    labels = _labels({each.id: (each.config.name, settings[each.id]) for each in evaluated})
    groups, repeated = _groups(evaluated, labels, set(trained))
    left_out += [(other, f"has the same configuration and seed as {kept.name}") for other, kept in repeated]
    left_out.sort(key=lambda pair: pair[0].id)
    return Grouping(tuple(groups), tuple(left_out), {labels[number]: own for number, own in settings.items()})


def _groups(
    experiments: Sequence[ComparedExperiment], labels: Mapping[int, str], trained: set[int]
) -> tuple[list[Group], list[tuple[ComparedExperiment, ComparedExperiment]]]:
    """The groups, and pairs of an experiment that does not count and the one with the same seed that does."""
    seeds: dict[tuple[str, tuple[int, int] | None], dict[int, list[ComparedExperiment]]] = {}
    for each in sorted(experiments, key=lambda each: (each.id in trained, each.id)):
        seeds.setdefault((labels[each.id], each.level), {}).setdefault(each.config.seed, []).append(each)
    groups = [
        Group(variant, level, tuple(same[-1] for _, same in sorted(own.items()))) for (variant, level), own in seeds.items()
    ]
    order = list(dict.fromkeys(labels[each.id] for each in experiments))
    groups.sort(key=lambda group: (order.index(group.variant), _level_order(group.level)))
    repeated = [(other, same[-1]) for own in seeds.values() for same in own.values() for other in same[:-1]]
    return groups, repeated


def _missing(experiment: ComparedExperiment, played: int, protocol: str) -> str:
    """Why the evaluation of an experiment cannot count; "": it can."""
    if not played:
        return f"not evaluated under {protocol} (status: {experiment.status})"
    evaluate = experiment.config.evaluate
    if len(experiment.config.environment.levels) > 1 or evaluate.levels:
        return "evaluated on several levels, and experiments are compared on one; its own report shows each level"
    planned = {"greedy": 1, "noop": evaluate.noop_frames}.get(protocol, evaluate.episodes)
    if played < planned:
        return f"has played {played} of {planned} episodes under {protocol} (status: {experiment.status})"
    return ""


def variant_values(config: Config) -> dict[str, Any]:
    """The settings that determine the trained agent, without seed and level: key, such as `agent.gamma`, to value.

    `train.total_steps` is the number of decisions that was really trained. A training that was extended keeps its hash.
    """
    values = _flat(hashed_values(config))
    values["train.total_steps"] = config.train.total_steps
    return {key: value for key, value in values.items() if key not in _IGNORED_KEYS and not key.startswith(_IGNORED_PREFIXES)}


def differences(grouping: Grouping) -> list[tuple[str, list[Any]]]:
    """The settings in which the variants differ: each key with its value in each variant; None where a variant lacks it."""
    return _differing([grouping.values[variant] for variant in grouping.variants])


def level_name(level: tuple[int, int] | None) -> str:
    """The level, such as `1-1`, or `full game`."""
    return "full game" if level is None else "{}-{}".format(*level)


def _level_order(level: tuple[int, int] | None) -> tuple[int, int]:
    return (99, 99) if level is None else level


def _labels(variants: Mapping[int, tuple[str, dict[str, Any]]]) -> dict[int, str]:
    """A label for the variant of each experiment: the preset, with the differing keys if the preset has several variants."""
    labels: dict[int, str] = {}
    for preset in dict.fromkeys(name for name, _ in variants.values()):
        own = {number: values for number, (name, values) in variants.items() if name == preset}
        kinds: list[dict[str, Any]] = []
        for values in own.values():
            if values not in kinds:
                kinds.append(values)
        differing = _differing(kinds)
        named = []
        for index in range(len(kinds)):
            parts = [f"{key.rpartition('.')[2]} {_brief(values[index])}" for key, values in differing[:SHOWN_KEYS]]
            named.append(f"{preset} ({', '.join(parts)})" if parts else preset)
        # Variants may differ only in keys that are not shown.
        named = [f"{name} #{index + 1}" if named.count(name) > 1 else name for index, name in enumerate(named)]
        labels |= {number: named[kinds.index(values)] for number, values in own.items()}
    return labels


def _differing(kinds: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Any]]]:
    keys = dict.fromkeys(key for values in kinds for key in values)
    rows = [(key, [values.get(key) for values in kinds]) for key in keys]
    return [(key, values) for key, values in rows if any(value != values[0] for value in values)]


def _brief(value: Any) -> str:
    text = "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 24 else f"{text[:23]}…"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
