"""The flow `promote-mario`: a candidate becomes the champion of its level if it is shown to be better on the same episodes."""

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from configs import ConfigError, Settings
from configs.restrictions import CANDIDATE, CHAMPION
from configs.schema import Protocol
from episodes import EpisodeStore
from episodes.paired import PairedDifference, paired_difference
from episodes.promotions import applying, champions, decisions, record_decision
from episodes.schema import Decision, PromotionRecord
from flows.evaluating import evaluate_model
from flows.models import Trust
from flows.worker_home import flow_settings
from tasks.artifacts import show_markdown
from tasks.experiment import load_experiment, open_store
from tracking import resolve_tracking_uri
from tracking.registry import RegisteredVersion, Registry

logger = logging.getLogger(__name__)

DEFAULT_EPISODES: Final = 200
DEFAULT_PROTOCOLS: Final[tuple[Protocol, ...]] = ("stochastic", "sticky")

_SAMPLED: Final = ("stochastic", "sticky", "sticky_decisions")
_SEED_BITS: Final = 31  # those of `Config.seed`


Play = Callable[[str, str, "Comparison"], object]
"""Plays the episodes of a comparison: the version's reference, the name of the experiment, the comparison."""


class PromotionError(RuntimeError):
    """A promotion or a rollback is not possible; the message says why."""


@dataclass(frozen=True)
class Promotion:
    """A decision about a champion.

    Attributes:
        decision: what was decided.
        candidate: the version it was about.
        champion: the champion before; None: there was none.
        total: the comparison over all protocols; None: nothing was played.
        protocols: the comparison by protocol.
    """

    decision: Decision
    candidate: RegisteredVersion
    champion: RegisteredVersion | None
    total: PairedDifference | None
    protocols: dict[str, PairedDifference]

    def describe(self) -> str:
        """The decision in a sentence or two."""
        name, version = self.candidate.name, self.candidate.version
        if self.decision == "rolled back":
            before = self.champion.version if self.champion else None
            return f"version {version} is the champion of {name} again, in place of version {before}"
        if self.total is None or self.champion is None:
            return f"version {version} is the first champion of {name}; there was none to compare it with"
        found = self.total
        figures = (
            f"it completed {found.first} of {found.pairs} episodes, version {self.champion.version} {found.second} of the same "
            f"ones: {100 * found.difference:+.1f} percentage points ({100 * found.interval.low:+.1f} to "
            f"{100 * found.interval.high:+.1f})"
        )
        if self.decision == "promoted":
            return f"version {version} is the champion of {name} now; {figures}"
        return f"version {version} is not shown to be better than the champion of {name}; {figures}"


@flow(name="promote-mario", flow_run_name="promote-{model}", persist_result=False)
def promote_mario(
    model: str,
    version: int | None = None,
    protocols: list[Protocol] | None = None,
    episodes: int = DEFAULT_EPISODES,
) -> dict[str, Any]:
    """Let the candidate and the champion of a registered model play the same new episodes, and decide.

    The alias `champion` moves only if the whole confidence interval of the paired difference of the completion rates lies above
    zero. The first candidate becomes champion without a comparison.

    Args:
        model: the registered name, such as mario-1-1.
        version: the candidate; None: the version that the alias `candidate` names.
        protocols: those that both play; None: stochastic and sticky.
        episodes: episodes per protocol.

    Returns:
        `decision`, the two versions, and the comparison, as JSON types.

    Raises:
        ConfigError, PromotionError: the promotion is refused, before anything is played.
    """
    promotion = promote(model, version, protocols or DEFAULT_PROTOCOLS, episodes, flow_settings())
    show_markdown("promotion", f"**{model}**: {promotion.describe()}.", f"Candidate and champion of {model}")
    return evidence(promotion)


def promote(
    model: str,
    version: int | None,
    protocols: Sequence[Protocol],
    episodes: int,
    settings: Settings,
    play: Play | None = None,
) -> Promotion:
    """What the flow :func:`promote_mario` does.

    Args:
        model: as for the flow.
        version: as for the flow.
        protocols: as for the flow.
        episodes: as for the flow.
        settings: the home folder and the servers.
        play: plays the episodes of a comparison; None: the task :func:`play_version`, which needs a Prefect server.
    """
    if exhaustive := [name for name in protocols if name not in _SAMPLED]:
        raise ConfigError(
            f"{', '.join(exhaustive)}: a promotion compares episodes that differ by their seed; "
            f"choose from {', '.join(_SAMPLED)}"
        )
    registry = Registry(resolve_tracking_uri(settings.tracking_uri, settings.home))
    candidate = _candidate(registry, model, version)
    champion = registry.at_alias(model, CHAMPION)
    if champion is not None and champion.version == candidate.version:
        raise PromotionError(f"version {candidate.version} is the champion of {model} already")
    if champion is None:
        promotion = Promotion("first", candidate, None, None, {})
        _decide(registry, promotion, [], None, {}, settings)
        return promotion
    seed = secrets.randbits(_SEED_BITS)
    compare = Comparison(settings, protocols, episodes, seed)
    total, by_protocol, experiments = compare.play(candidate, champion, play or play_version)
    decision: Decision = "promoted" if total.shows_better else "not shown"
    promotion = Promotion(decision, candidate, champion, total, by_protocol)
    _decide(registry, promotion, protocols, seed, experiments, settings)
    return promotion


def rollback(model: str, settings: Settings) -> Promotion:
    """Make the champion before the present one champion again.

    Raises:
        PromotionError: there is none, or the alias names another version than the last decision.
    """
    registry = Registry(resolve_tracking_uri(settings.tracking_uri, settings.home))
    present = registry.at_alias(model, CHAMPION)
    with open_store(settings) as store:
        known = champions(decisions(store, model))
    if present is None or len(known) < 2:
        raise PromotionError(f"{model} has no earlier champion to go back to")
    if present.version != known[-1]:
        raise PromotionError(
            f"the champion of {model} is version {present.version}, but the last decision on record is about version "
            f"{known[-1]}: somebody moved the alias by hand; move it to the version that you want by hand too"
        )
    promotion = Promotion("rolled back", registry.version(model, known[-2]), present, None, {})
    _decide(registry, promotion, [], None, {}, settings)
    return promotion


def evidence(promotion: Promotion) -> dict[str, Any]:
    """The decision and what it rests on, as JSON types."""
    champion = promotion.champion
    return {
        "decision": promotion.decision,
        "words": promotion.describe(),
        "model": promotion.candidate.name,
        "candidate": {"version": promotion.candidate.version, "run_id": promotion.candidate.run_id},
        "champion": None if champion is None else {"version": champion.version, "run_id": champion.run_id},
        "total": None if promotion.total is None else asdict(promotion.total),
        "protocols": {name: asdict(found) for name, found in promotion.protocols.items()},
    }


@dataclass(frozen=True)
class Comparison:
    """Two versions play the same episodes, each as an experiment of its own."""

    settings: Settings
    protocols: Sequence[Protocol]
    episodes: int
    seed: int

    def play(
        self, candidate: RegisteredVersion, champion: RegisteredVersion, play: Play
    ) -> tuple[PairedDifference, dict[str, PairedDifference], dict[str, str]]:
        """The comparison over all protocols and by protocol, and the names of the experiments."""
        stamp = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
        names = {
            role: f"{candidate.name[:60]}-{role}-v{version.version}-{stamp}"
            for role, version in ((CANDIDATE, candidate), (CHAMPION, champion))
        }
        play(candidate.reference, names[CANDIDATE], self)
        play(champion.reference, names[CHAMPION], self)
        with open_store(self.settings) as store:
            first, second = (self._completions(store, names[role]) for role in (CANDIDATE, CHAMPION))
        by_protocol: dict[str, PairedDifference] = {
            name: paired_difference(first[name], second[name]) for name in self.protocols
        }
        total = paired_difference(
            [done for name in self.protocols for done in first[name]],
            [done for name in self.protocols for done in second[name]],
        )
        return total, by_protocol, names

    def _completions(self, store: EpisodeStore, name: str) -> dict[str, list[bool]]:
        """By protocol whether each episode was completed, in the order of the episodes' numbers."""
        experiment = store.experiment(name).id
        found: dict[str, list[bool]] = {}
        for protocol in self.protocols:
            rows = store.episodes(experiment, phase="evaluate", protocol=protocol).sort_values("env_index")
            found[protocol] = [bool(done) for done in rows["level_completed"]]
        return found


@task(task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def play_version(reference: str, name: str, comparison: Comparison) -> None:
    """Play the episodes of a comparison with one version, as the experiment `name`."""
    # Levels that neither was trained on decide nothing.
    overrides = [f"seed={comparison.seed}", f"evaluate.protocols=[{', '.join(comparison.protocols)}]", "evaluate.levels=[]"]
    evaluate_model(reference, comparison.episodes, comparison.settings, Trust(), name, overrides)


def _candidate(registry: Registry, model: str, version: int | None) -> RegisteredVersion:
    if version is not None:
        return registry.version(model, version)
    found = registry.at_alias(model, CANDIDATE)
    if found is None:
        raise PromotionError(
            f"{model} has no version with the alias {CANDIDATE}: a run whose evaluation and data-quality checks have passed "
            "sets it; or name a version with --version"
        )
    return found


def _decide(
    registry: Registry,
    promotion: Promotion,
    protocols: Sequence[str],
    seed: int | None,
    experiments: dict[str, str],
    settings: Settings,
) -> None:
    """Record the decision and its evidence, in Postgres and with the version, and move the alias if it says so.

    Raises:
        PromotionError: another champion was chosen meanwhile.
    """
    from agents import provenance

    candidate, champion, total = promotion.candidate, promotion.champion, promotion.total
    ids = {role: load_experiment(name, settings).run_id for role, name in experiments.items()}
    told = evidence(promotion) | {
        "seed": seed,
        "experiments": experiments,
        "evaluation_runs": ids,
        "git_commit": provenance("cpu").git_commit,
    }
    record = PromotionRecord(
        model=candidate.name,
        decision=promotion.decision,
        version=candidate.version,
        champion=None if champion is None else champion.version,
        protocols=list(protocols),
        seed=seed,
        difference=None if total is None else total.difference,
        low=None if total is None else total.interval.low,
        high=None if total is None else total.interval.high,
        evidence=told,
        decided=datetime.now(UTC),
    )
    with open_store(settings) as store:
        number = record_decision(store, record)
        registry.describe(candidate, {"promotion": promotion.decision, "promotion_row": number}, promotion.describe())
        registry.log_evidence(candidate, told | {"row": number}, f"promotions/{number}.json")
        if promotion.decision == "not shown":
            return
        with applying(store, number, candidate.name):
            now = registry.at_alias(candidate.name, CHAMPION)
            if (now and now.version) != (champion and champion.version):
                raise PromotionError(
                    f"version {now.version if now else None} became the champion of {candidate.name} meanwhile: promote again, "
                    "to compare with it"
                )
            registry.set_alias(candidate, CHAMPION)
    logger.info("models:/%s@%s is version %d", candidate.name, CHAMPION, candidate.version)
