"""`mario keep --sweep`: keep the results of a sweep over levels as its runs complete, and ship their policies."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agents.errors import CheckpointError
from configs import CHECKOUT, ConfigError, Settings, config_hash
from configs.sweep import SweepConfig, SweepRun, plan, read_sweep, sweep_file
from episodes import EpisodeStore
from flows.shipping import ship_rounded
from reports.data import ReportError
from tasks.experiment import open_store
from tasks.keeping import UnfinishedError, keep_level_of, level_provenance

SHIPPED_BYTES: Final = 700_000
"""The most that a policy should take, so that the 32 of them take 25 MB with their descriptions."""

# Of the provenance, what is another in another run, or in the same run when it was continued or repeated.
_IDENTITY: Final = ("experiment", "started", "config_hash", "steps", "model_steps", "training_episodes")


@dataclass(frozen=True)
class Outcome:
    """What became of one run of the sweep.

    Attributes:
        level: the name of its folder.
        done: what was done, or why nothing was.
        refused: whether a person has to do something about it.
    """

    level: str
    done: str
    refused: bool = False


@dataclass(frozen=True)
class Places:
    """Where a sweep is kept.

    Attributes:
        results: the folder of the levels.
        models: the folder of the policies; None: none is shipped.
        replace_other: replace what is there of other runs.
    """

    results: Path
    models: Path | None
    replace_other: bool


def readme_of(results: Path) -> Path | None:
    """The README that has a section on the levels in `results`: the project's own, for the project's own folder."""
    own = CHECKOUT is not None and results.resolve() == (CHECKOUT / "results" / "levels").resolve()
    return CHECKOUT / "README.md" if own and CHECKOUT is not None else None


def sweep_of_levels(reference: str) -> tuple[SweepConfig, list[SweepRun]]:
    """A sweep that has one policy for each level and seed, and its runs.

    Raises:
        ConfigError: it is refused, or has several presets or variants.
    """
    sweep = read_sweep(sweep_file(reference))
    if len(sweep.presets) > 1 or sweep.variants is not None:
        raise ConfigError(
            f"sweep {sweep.name} has several presets or variants, and a folder is kept for each level and seed: keep its "
            "experiments one by one (`mario keep EXPERIMENT`), or give a sweep with one preset"
        )
    return sweep, plan(sweep)


def keep_sweep(sweep: SweepConfig, runs: list[SweepRun], settings: Settings, places: Places) -> Iterator[Outcome]:
    """Keep every completed run of a sweep that is not kept already, one after the other.

    A run that cannot be kept does not affect the others. The pages are the caller's to write.

    Raises:
        StoreError: the database fails.
    """
    seeds = list(range(sweep.seeds)) if isinstance(sweep.seeds, int) else sweep.seeds
    with open_store(settings) as store:
        for run in runs:
            first = run.config.seed == seeds[0]
            level = run.config.environment.level_name
            name = level if first else f"{level}-seed{run.config.seed}"
            yield _keep(run, name, settings, store, places, ship=first)


def _keep(run: SweepRun, name: str, settings: Settings, store: EpisodeStore, places: Places, *, ship: bool) -> Outcome:
    known = store.find_experiment(run.experiment)
    if known is None:
        return Outcome(name, "not begun")
    record = store.experiment(known).record
    if record.config_hash != config_hash(run.config):
        return Outcome(name, f"{run.experiment} was begun with another configuration than the sweep has for it now", True)
    try:
        provenance, evaluation = level_provenance(run.experiment, settings)
        done = []
        if not _is_kept(places.results / name, provenance, evaluation):
            notice = keep_level_of(run.experiment, settings, places.results, name, replace_other=places.replace_other).notice
            done.append(f"kept ({notice})" if notice else "kept")
        if places.models is not None and ship:
            done += _ship(run.experiment, settings, places.models / f"world-{name}", provenance, places.replace_other)
        return Outcome(name, " and ".join(done) or "unchanged")
    except UnfinishedError:
        return Outcome(name, f"not finished ({record.status})")
    except (ReportError, CheckpointError, ConfigError) as error:
        return Outcome(name, str(error), refused=True)


def _ship(experiment: str, settings: Settings, target: Path, provenance: Mapping[str, Any], replace_other: bool) -> list[str]:
    """Ship the policy of an experiment, unless it is there already. Returns what was done.

    Raises:
        ConfigError: the file has the policy of another run.
        CheckpointError: the model is damaged.
    """
    description, weights = (target.parent / f"{target.name}{suffix}" for suffix in (".json", ".pth"))
    if description.exists():
        there = _json(description).get("origin", {})
        if weights.exists() and _same(there, provenance):
            return []
        if (there.get("experiment"), there.get("started")) != (provenance["experiment"], provenance["started"]) and (
            not replace_other
        ):
            raise ConfigError(f"{description} is the policy of another run ({there.get('experiment')}): --replace replaces it")
    ship_rounded(experiment, settings, target.parent, target.name)
    size = weights.stat().st_size
    large = f", more than {SHIPPED_BYTES / 1e6:.1f} MB: train a smaller network" if size > SHIPPED_BYTES else ""
    return [f"shipped ({size / 1e6:.2f} MB{large})"]


def _is_kept(folder: Path, provenance: Mapping[str, Any], evaluation: Mapping[str, Any]) -> bool:
    """Whether `folder` has the results of this run as they are now."""
    from reports.kept import EVALUATION, RUN
    from reports.levels.keeping import LEVEL

    return (
        (folder / LEVEL).exists()
        and _same(_json(folder / RUN), provenance)
        and _json(folder / EVALUATION) == json.loads(json.dumps(evaluation))
    )


def _same(there: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    return all(there.get(key) == here[key] for key in _IDENTITY)


def _json(path: Path) -> dict[str, Any]:
    """What a file has; an empty object if it is missing or damaged, so that it is written again."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
