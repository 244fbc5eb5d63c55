"""A sweep: the runs of presets x levels x variants x seeds, described by a YAML file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator

from configs.errors import ConfigError
from configs.explaining import explain
from configs.loader import is_file, load
from configs.nearest import nearest
from configs.schema import Config
from configs.section import Section
from configs.source import Document, read_document

SWEEPS = Path(__file__).parent / "sweeps"

_MAX_NAME = 100  # characters in the name of an experiment
_MAX_RUNS = 10_000

Level = Annotated[str, Field(pattern=r"^[1-8]-[1-4]$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=40)]
Seed = Annotated[int, Field(ge=0)]


class SweepConfig(Section):
    """What a sweep runs: every combination of presets, levels, variants and seeds.

    The names of its experiments begin with `name`. So a sweep that is started again with the same name continues.
    """

    name: Name = Field(description="default: the name of the file")
    description: str = ""
    presets: list[str] = Field(min_length=1, description="names of presets, or paths of YAML files that every worker can read")
    levels: list[Level] | dict[Level, list[str]] | None = Field(
        None, min_length=1, description="such as 1-2, or overrides by level; null: the level of each preset"
    )
    seeds: list[Seed] | Annotated[int, Field(ge=1)] = Field(1, description="a list of seeds, or how many, from 0")
    overrides: list[str] = Field([], description="section.key=value for every run")
    variants: dict[Name, list[str]] | None = Field(None, min_length=1, description="overrides by the name of each variant")
    teachers: str | None = Field(
        None,
        description="the sweep that trains the teachers of these runs: the name of one of the project's, or a path that every "
        "worker can read; each run waits for its own teachers",
    )

    @field_validator("presets", "levels", "seeds")
    @classmethod
    def _distinct(cls, values: Any) -> Any:
        if isinstance(values, list) and len(set(values)) < len(values):
            twice = next(value for value in values if values.count(value) > 1)
            raise ValueError(f"{twice} is named twice")
        return values


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    Attributes:
        experiment: the name of its experiment.
        preset: the preset.
        overrides: `section.key=value`, those for the level and the seed included.
        config: the configuration that results.
        variant: the name of its variant; None: the sweep has none.
    """

    experiment: str
    preset: str
    overrides: tuple[str, ...]
    config: Config
    variant: str | None

    @property
    def teachers(self) -> frozenset[str]:
        """The experiments that train its teachers."""
        teacher = self.config.train.teacher
        return frozenset(() if teacher is None else teacher.experiments(self.config.environment.level_names).values())


def sweep_names() -> list[str]:
    """Names of the sweeps that come with the project, sorted."""
    return sorted(path.stem for path in SWEEPS.glob("*.yaml"))


def sweep_file(reference: str) -> Path:
    """The file of a sweep: the path of one, or else the name of one that comes with the project, with or without `.yaml`.

    Raises:
        ConfigError: there is neither; the message lists what comes with the project.
    """
    path, name = Path(reference), reference.removesuffix(".yaml")
    if is_file(path):
        return path
    if name in sweep_names():
        return SWEEPS / f"{name}.yaml"
    hint = nearest(name, sweep_names())
    raise ConfigError(
        f"{reference}: no such file, and no sweep of the project has this name; {f'did you mean {hint}? ' if hint else ''}"
        f"The project's sweeps are {', '.join(sweep_names())} (or name a .yaml file)"
    )


def read_sweep(path: Path) -> SweepConfig:
    """Read the description of a sweep from a YAML file.

    Raises:
        ConfigError: the file cannot be read, or a key or value is refused; the message names file, line and key.
    """
    document = read_document(path)
    document.values.setdefault("name", path.stem)
    return _validated(document)


def sweep_from_dict(values: Mapping[str, Any], source: str = "sweep") -> SweepConfig:
    """The description of a sweep from JSON types, such as the parameter of a flow run.

    Raises:
        ConfigError: a key or value is refused.
    """
    return _validated(Document(Path(source), dict(values), {}))


def plan(sweep: SweepConfig) -> list[SweepRun]:
    """The runs of a sweep: seed by seed, so that each combination has a first result early. Teachers are not among them.

    Raises:
        ConfigError: a run's configuration or name is refused, or two runs would have the same name.
    """
    seeds = list(range(sweep.seeds)) if isinstance(sweep.seeds, int) else sweep.seeds
    variants: list[tuple[str | None, list[str]]] = [(None, [])] if sweep.variants is None else [*sweep.variants.items()]
    levels = _levels(sweep)
    number = len(seeds) * len(variants) * len(levels) * len(sweep.presets)
    if number > _MAX_RUNS:
        raise ConfigError(f"sweep {sweep.name} has {number:,} runs; at most {_MAX_RUNS:,} are possible")
    runs = [
        _run(sweep, preset, level, variant, seed, [*own, *changes])
        for seed in seeds
        for preset in sweep.presets
        for level, own in levels
        for variant, changes in variants
    ]
    names = [run.experiment for run in runs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"sweep {sweep.name}: two runs would be named {twice}; their presets need different names")
    return runs


def plan_with_teachers(sweep: SweepConfig) -> list[SweepRun]:
    """The runs of a sweep, each behind the runs that train its teachers.

    Raises:
        ConfigError: as for :func:`plan`, or a run has no teacher in `sweep.teachers`.
    """
    if sweep.teachers is None:
        return plan(sweep)
    teaching = read_sweep(sweep_file(sweep.teachers))
    known = {run.experiment: run for run in plan(teaching)}
    ordered: dict[str, SweepRun] = {}
    for run in plan(sweep):
        unknown = sorted(run.teachers - known.keys()) or ([] if run.teachers else ["(none, because train.teacher is null)"])
        if unknown:
            raise ConfigError(
                f"sweep {sweep.name}: the teacher of {run.experiment}, {unknown[0]}, is no run of the sweep {sweep.teachers}: "
                "correct its train.teacher.experiment, or leave out `teachers`"
            )
        ordered |= {name: known[name] for name in sorted(run.teachers)}
        ordered[run.experiment] = run
    return list(ordered.values())


def _levels(sweep: SweepConfig) -> list[tuple[str | None, list[str]]]:
    """Each level with its own overrides."""
    if isinstance(sweep.levels, dict):
        return [*sweep.levels.items()]
    return [(None, [])] if sweep.levels is None else [(level, []) for level in sweep.levels]


def _run(sweep: SweepConfig, preset: str, level: str | None, variant: str | None, seed: int, changes: list[str]) -> SweepRun:
    world_and_stage = [] if level is None else [f"environment.world={level[0]}", f"environment.stage={level[2]}"]
    overrides = (*sweep.overrides, *world_and_stage, *changes, f"seed={seed}")
    try:
        config = load(preset, overrides)
    except ConfigError as error:
        place = ", ".join(part for part in (preset, level, variant) if part is not None)
        raise ConfigError(f"sweep {sweep.name}, {place}: {error}") from None
    parts = [sweep.name, config.name, config.environment.level_name, *([variant] if variant is not None else []), f"seed{seed}"]
    experiment = "-".join(parts)
    if len(experiment) > _MAX_NAME or not re.fullmatch(r"[A-Za-z0-9._-]+", experiment):
        raise ConfigError(
            f"sweep {sweep.name}: an experiment cannot be named {experiment!r} (at most {_MAX_NAME} letters, digits, dots and "
            "dashes): shorten the name of the sweep, the preset or the variant"
        )
    return SweepRun(experiment, preset, overrides, config, variant)


def _validated(document: Document) -> SweepConfig:
    try:
        return SweepConfig.model_validate(document.values)
    except ValidationError as error:
        raise ConfigError(explain(error, document, SweepConfig)) from None
