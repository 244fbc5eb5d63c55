"""The tables of the episode store: the only place that names their columns.

Each table is a dataclass whose fields carry a :class:`Fact`: SQL type, meaning, range or allowed values. The SQLAlchemy
tables, the CHECK constraints, the writer's conversion and the data-quality expectations are derived from these. Migrations are
not: each is written out and never changes, and a test compares their result with the tables here.

An *enforced* fact is a CHECK constraint: no row can break it. It guards the columns by which rows are found. Any other fact is
an expectation: a row that breaks it is stored, and the data-quality phase names it. Refusing such a row would lose evidence.
"""

from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Constraint,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from configs.game_facts import CLOCK_MAX, COINS_MAX, END_REASONS, STAGES, STATUSES, WORLDS

Phase = Literal["smoke", "integration", "train", "evaluate"]
RecordedPhase = Literal["smoke", "integration", "train", "evaluate", "alias", "report"]
EpisodeProtocol = Literal["training", "greedy", "stochastic", "sticky", "noop", "random", "sticky_decisions"]
ExperimentStatus = Literal["running", "completed", "failed", "interrupted"]
Decision = Literal["first", "promoted", "not shown", "rolled back"]

PHASES: Final[tuple[str, ...]] = get_args(Phase)
RECORDED_PHASES: Final[tuple[str, ...]] = get_args(RecordedPhase)
PROTOCOLS: Final[tuple[str, ...]] = get_args(EpisodeProtocol)
EXPERIMENT_STATUSES: Final[tuple[str, ...]] = get_args(ExperimentStatus)
DECISIONS: Final[tuple[str, ...]] = get_args(Decision)


@dataclass(frozen=True)
class Fact:
    """What every value of a column must satisfy."""

    type: TypeEngine[Any]
    meaning: str
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[str, ...] | None = None
    enforced: bool = False  # range and allowed values as a CHECK constraint instead of an expectation
    references: str | None = None
    primary_key: bool = False
    unique: bool = False


INTEGER: Final = Integer()
BIG_INTEGER: Final = BigInteger()
DOUBLE: Final[Double[float]] = Double()
TEXT: Final = Text()
JSON: Final = JSONB()
TIMESTAMP: Final = DateTime(timezone=True)
_GLOBAL_STEP: Final = (
    "training: decisions of all environments up to the episode's end; evaluation: decisions the agent was trained for, 0 for "
    "the random policy, which is no agent"
)
_TOKEN: Final = "the only attempt that may write: the fencing token; 0: there was none yet"
_EXPIRES: Final = "from when on another attempt may take over, unless it is put off before; null: at once"
_START: Final = "decisions of a demonstration that were played before the first one; null: it began at the start"
_DELAYS: Final = (
    "one byte a decision, compressed by zlib: frames that passed before the action took hold; null: no decision was delayed"
)


@dataclass(frozen=True, kw_only=True)
class ExperimentRecord:
    """One configured training: a row of `experiments` without its id."""

    name: Annotated[str, Fact(TEXT, "the experiment's name", unique=True)]
    config: Annotated[dict[str, Any], Fact(JSON, "the whole configuration")]
    config_hash: Annotated[str, Fact(TEXT, "SHA-256 of the configuration")]
    seed: Annotated[int, Fact(BIG_INTEGER, "seed of everything random", minimum=0)]
    git_commit: Annotated[str | None, Fact(TEXT, "commit of the code; null outside a repository")] = None
    git_dirty: Annotated[bool | None, Fact(Boolean(), "whether the tree had changes that were not committed")] = None
    python_version: Annotated[str, Fact(TEXT, "version of Python")]
    torch_version: Annotated[str | None, Fact(TEXT, "version of torch; null where it is not used")] = None
    packages: Annotated[dict[str, Any], Fact(JSON, "installed packages and their versions")] = field(default_factory=dict)
    device: Annotated[str, Fact(TEXT, "cpu, or the GPU's name")]
    host: Annotated[str, Fact(TEXT, "name of the machine")]
    mlflow_run_id: Annotated[str | None, Fact(TEXT, "the run in MLflow")] = None
    prefect_flow_run_id: Annotated[str | None, Fact(TEXT, "the flow run in Prefect")] = None
    status: Annotated[str, Fact(TEXT, "how it stands", allowed=EXPERIMENT_STATUSES, enforced=True)] = "running"
    started: Annotated[datetime, Fact(TIMESTAMP, "when it began")]
    ended: Annotated[datetime | None, Fact(TIMESTAMP, "when it ended; null while it runs")] = None
    attempt: Annotated[int, Fact(INTEGER, _TOKEN, minimum=0, enforced=True)] = 0


@dataclass(frozen=True, kw_only=True)
class EpisodeRow:
    """One episode: a row of `episodes` without its id.

    NumPy scalars are accepted in every field; `episodes.boundary` converts them to Python types when the row is handed over.
    """

    experiment_id: Annotated[int, Fact(BIG_INTEGER, "the experiment it belongs to", references="experiments.id")]
    phase: Annotated[str, Fact(TEXT, "part of the pipeline", allowed=PHASES, enforced=True)]
    protocol: Annotated[str, Fact(TEXT, "how the agent was run", allowed=PROTOCOLS, enforced=True)]
    env_index: Annotated[int, Fact(INTEGER, "which of the parallel environments", minimum=0, enforced=True)]
    episode_index: Annotated[int, Fact(INTEGER, "count of episodes in that environment", minimum=0, enforced=True)]
    timestamp: Annotated[datetime, Fact(TIMESTAMP, "when the episode ended")]
    reward: Annotated[float, Fact(DOUBLE, "sum of the rewards")]
    steps: Annotated[int, Fact(INTEGER, "decisions of the agent", minimum=1)]
    frames: Annotated[int, Fact(INTEGER, "emulator frames of these decisions", minimum=1)]
    duration_seconds: Annotated[float, Fact(DOUBLE, "seconds on the wall clock", minimum=0)]
    global_step: Annotated[int, Fact(BIG_INTEGER, _GLOBAL_STEP, minimum=0)]
    exploration_rate: Annotated[float, Fact(DOUBLE, "probability of a random action at the end", minimum=0, maximum=1)]
    # Progress is counted by area: a level, each bonus room and each water part for itself. The comment in the database says
    # level; changing it takes a migration. Every level is narrower than 32 screens of 256 pixels, and the game has 32 levels.
    distance_traveled: Annotated[int, Fact(INTEGER, "pixels: sum of each level's progress", minimum=0, maximum=262_144)]
    x_pos: Annotated[int, Fact(INTEGER, "Mario's x in the level at the end, in pixels", minimum=0, maximum=8191)]
    # The picture's 240 lines plus one page above and one below it: Mario jumps over the top and falls below the bottom.
    y_pos: Annotated[int, Fact(INTEGER, "Mario's height at the end, in pixels", minimum=-256, maximum=767)]
    score: Annotated[int, Fact(INTEGER, "the game's score at the end", minimum=0, maximum=9_999_990)]
    coins: Annotated[int, Fact(INTEGER, "coins at the end", minimum=0, maximum=COINS_MAX)]
    time: Annotated[int, Fact(INTEGER, "the game's clock at the end", minimum=0, maximum=CLOCK_MAX)]
    # The game counts lives in one signed byte; 0 stands for game over.
    life: Annotated[int, Fact(INTEGER, "lives left including the current one", minimum=0, maximum=128)]
    status: Annotated[str, Fact(TEXT, "Mario's size at the end", allowed=STATUSES)]
    world: Annotated[int, Fact(INTEGER, "world where it ended", minimum=WORLDS[0], maximum=WORLDS[-1])]
    stage: Annotated[int, Fact(INTEGER, "stage where it ended", minimum=STAGES[0], maximum=STAGES[-1])]
    level_completed: Annotated[bool, Fact(Boolean(), "the level, or in the full game at least one, was completed")]
    end_reason: Annotated[str, Fact(TEXT, "why it ended", allowed=END_REASONS)]
    start_decision: Annotated[int | None, Fact(INTEGER, _START, minimum=1)] = None


@dataclass(frozen=True, kw_only=True)
class StoredActions:
    """What is needed to replay an episode: a row of `episode_actions`."""

    episode_id: Annotated[int, Fact(BIG_INTEGER, "the episode", references="episodes.id", primary_key=True)]
    start: Annotated[dict[str, Any], Fact(JSON, "where the episode started")]
    decisions: Annotated[int, Fact(INTEGER, "number of actions", minimum=0, enforced=True)]
    actions: Annotated[bytes, Fact(LargeBinary(), "one byte a decision, compressed by zlib")]
    delays: Annotated[bytes | None, Fact(LargeBinary(), _DELAYS)] = None


@dataclass(frozen=True, kw_only=True)
class AcceptedRule:
    """A broken data-quality rule that a person has examined and accepted: a row of `accepted_rules`."""

    experiment_id: Annotated[int, Fact(BIG_INTEGER, "the experiment it belongs to", references="experiments.id")]
    phase: Annotated[str, Fact(TEXT, "part of the pipeline", allowed=PHASES, enforced=True)]
    rule: Annotated[str, Fact(TEXT, "name of the data-quality rule that is broken")]
    observed: Annotated[str, Fact(TEXT, "what was seen when it was accepted")]
    reason: Annotated[str, Fact(TEXT, "why it may be broken, in the person's words")]
    accepted_by: Annotated[str, Fact(TEXT, "the person's name on the machine, and the machine's")]
    accepted: Annotated[datetime, Fact(TIMESTAMP, "when it was accepted")]


@dataclass(frozen=True, kw_only=True)
class AttemptRecord:
    """One start of an experiment, the first or a continuation: a row of `attempts` without its id."""

    experiment_id: Annotated[int, Fact(BIG_INTEGER, "the experiment", references="experiments.id")]
    attempt: Annotated[int, Fact(INTEGER, "number of the start, from 1", minimum=1, enforced=True)]
    started: Annotated[datetime, Fact(TIMESTAMP, "when it began")]
    total_steps: Annotated[int, Fact(BIG_INTEGER, "decisions that this attempt trains to", minimum=1, enforced=True)]
    git_commit: Annotated[str | None, Fact(TEXT, "commit of the code; null outside a repository")] = None
    git_dirty: Annotated[bool | None, Fact(Boolean(), "whether the tree had changes that were not committed")] = None
    code: Annotated[dict[str, Any], Fact(JSON, "package of this project -> SHA-256 of its source files")]
    python_version: Annotated[str, Fact(TEXT, "version of Python")]
    torch_version: Annotated[str | None, Fact(TEXT, "version of torch; null where it is not used")] = None
    packages: Annotated[dict[str, Any], Fact(JSON, "installed packages and their versions")] = field(default_factory=dict)
    device: Annotated[str, Fact(TEXT, "cpu, or the GPU's name")]
    host: Annotated[str, Fact(TEXT, "name of the machine")]
    mlflow_run_id: Annotated[str | None, Fact(TEXT, "the run in MLflow")] = None
    prefect_flow_run_id: Annotated[str | None, Fact(TEXT, "the flow run in Prefect")] = None
    folder: Annotated[str | None, Fact(TEXT, "the experiment's folder on that machine")] = None
    holder: Annotated[str | None, Fact(TEXT, "boot of the machine, namespace, number and start of the process")] = None
    expires: Annotated[datetime | None, Fact(TIMESTAMP, _EXPIRES)] = None


@dataclass(frozen=True, kw_only=True)
class StoredPhase:
    """The record of a finished phase: a row of `phase_records` without its id."""

    experiment_id: Annotated[int, Fact(BIG_INTEGER, "the experiment", references="experiments.id")]
    kept_as: Annotated[str, Fact(TEXT, "name of a record of before an extension, such as 512-steps; empty: it counts")] = ""
    phase: Annotated[str, Fact(TEXT, "part of the pipeline", allowed=RECORDED_PHASES, enforced=True)]
    attempt: Annotated[int, Fact(INTEGER, "the attempt that recorded it", minimum=0, enforced=True)]
    seconds: Annotated[float, Fact(DOUBLE, "seconds on the wall clock", minimum=0)]
    details: Annotated[dict[str, Any], Fact(JSON, "results for later phases and the report")]
    finished: Annotated[datetime, Fact(TIMESTAMP, "when it was recorded")]


@dataclass(frozen=True, kw_only=True)
class StoredQuality:
    """The newest data-quality check of a phase: a row of `quality_results` without its id."""

    experiment_id: Annotated[int, Fact(BIG_INTEGER, "the experiment", references="experiments.id")]
    phase: Annotated[str, Fact(TEXT, "part of the pipeline", allowed=PHASES, enforced=True)]
    attempt: Annotated[int, Fact(INTEGER, "the attempt that checked it", minimum=0, enforced=True)]
    passed: Annotated[bool, Fact(Boolean(), "whether the pipeline could go on")]
    rows_checked: Annotated[int, Fact(BIG_INTEGER, "rows of the phase", minimum=0, enforced=True)]
    rules: Annotated[list[dict[str, Any]], Fact(JSON, "each rule and its result")]
    checked: Annotated[datetime, Fact(TIMESTAMP, "when it was checked")]


EPISODE_KEY: Final = ("experiment_id", "phase", "protocol", "env_index", "episode_index")
ACCEPTED_RULE_KEY: Final = ("experiment_id", "phase", "rule")
PHASE_RECORD_KEY: Final = ("experiment_id", "kept_as", "phase")
QUALITY_RESULT_KEY: Final = ("experiment_id", "phase")

# Two episodes in which all of these are equal count as the same trajectory. Comparing the actions would be certain, but they
# are not kept for every experiment; position, score and clock at the end distinguish different play well enough. Episodes whose
# trajectories are counted all begin at the start.
TRAJECTORY_COLUMNS: Final = tuple(
    each.name
    for each in fields(EpisodeRow)
    if each.name not in {*EPISODE_KEY, "timestamp", "duration_seconds", "global_step", "exploration_rate", "start_decision"}
)


@dataclass(frozen=True, kw_only=True)
class PromotionRecord:
    """A decision about the champion of a registered model: a row of `promotions` without its id."""

    model: Annotated[str, Fact(TEXT, "name of the registered model")]
    decision: Annotated[str, Fact(TEXT, "what was decided", allowed=DECISIONS, enforced=True)]
    version: Annotated[int, Fact(INTEGER, "the candidate; after a rollback the champion again", minimum=1, enforced=True)]
    champion: Annotated[int | None, Fact(INTEGER, "the champion before; null: there was none", minimum=1, enforced=True)] = None
    protocols: Annotated[list[str], Fact(JSON, "protocols that both played")] = field(default_factory=list)
    seed: Annotated[int | None, Fact(BIG_INTEGER, "seed of the episodes; null: none were played", minimum=0, enforced=True)] = (
        None
    )
    difference: Annotated[float | None, Fact(DOUBLE, "completion rate of the candidate minus that of the champion")] = None
    low: Annotated[float | None, Fact(DOUBLE, "lower end of the interval of the difference")] = None
    high: Annotated[float | None, Fact(DOUBLE, "upper end of the interval of the difference")] = None
    evidence: Annotated[dict[str, Any], Fact(JSON, "counts by protocol, experiments, runs and the commit")]
    decided: Annotated[datetime, Fact(TIMESTAMP, "when it was decided")]
    applied: Annotated[datetime | None, Fact(TIMESTAMP, "when the alias was moved; null: it was not")] = None


_RECORDS: Final[dict[str, type[Any]]] = {
    "experiments": ExperimentRecord,
    "episodes": EpisodeRow,
    "episode_actions": StoredActions,
    "accepted_rules": AcceptedRule,
    "attempts": AttemptRecord,
    "phase_records": StoredPhase,
    "quality_results": StoredQuality,
    "promotions": PromotionRecord,
}
_KEYS: Final = {
    "episodes": EPISODE_KEY,
    "accepted_rules": ACCEPTED_RULE_KEY,
    "attempts": ("experiment_id", "attempt"),
    "phase_records": PHASE_RECORD_KEY,
    "quality_results": QUALITY_RESULT_KEY,
}
_CONVENTION: Final = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


def declared(record: type[Any]) -> dict[str, tuple[Fact, bool]]:
    """The columns of a record: name → (fact, whether null is allowed), in the order of declaration."""
    columns = {}
    hints = get_type_hints(record, include_extras=True)
    for each in fields(record):
        annotation = hints[each.name]
        if get_origin(annotation) is not Annotated:
            raise TypeError(f"{record.__name__}.{each.name} has no Fact")
        value_type, fact = get_args(annotation)
        columns[each.name] = (fact, type(None) in get_args(value_type))
    return columns


def _column(name: str, fact: Fact, nullable: bool) -> Column[Any]:
    # Actions are deleted with their episode; an experiment that has episodes cannot be deleted by accident.
    extra = [ForeignKey(fact.references, ondelete="CASCADE" if fact.primary_key else None)] if fact.references else []
    return Column(
        name,
        fact.type,
        *extra,
        nullable=nullable,
        primary_key=fact.primary_key,
        autoincrement=False,
        comment=fact.meaning,
        info={"fact": fact},
    )


def _checks(name: str, fact: Fact) -> list[Constraint]:
    """The CHECK constraints of one column.

    Postgres sorts NaN above infinity, so two comparisons refuse NaN and both infinities.
    """
    checks: list[Constraint] = []
    quoted = f'"{name}"'
    if isinstance(fact.type, Double):
        finite = f"{quoted} > '-Infinity'::float8 AND {quoted} < 'Infinity'::float8"
        checks.append(CheckConstraint(finite, name=f"{name}_finite"))
    if fact.enforced and fact.allowed is not None:
        values = ", ".join(f"'{value}'" for value in fact.allowed)
        checks.append(CheckConstraint(f"{quoted} IN ({values})", name=f"{name}_allowed"))
    if fact.enforced and fact.minimum is not None:
        checks.append(CheckConstraint(f"{quoted} >= {fact.minimum:g}", name=f"{name}_minimum"))
    return checks


def build() -> MetaData:
    """The tables of this version of the program."""
    metadata = MetaData(naming_convention=_CONVENTION)
    for table_name, record in _RECORDS.items():
        columns = declared(record)
        parts: list[Any] = []
        if not any(fact.primary_key for fact, _ in columns.values()):
            parts.append(Column("id", BigInteger, Identity(), primary_key=True, comment="the database's own id"))
        parts += [_column(name, fact, nullable) for name, (fact, nullable) in columns.items()]
        for name, (fact, _) in columns.items():
            parts += _checks(name, fact)
            if fact.unique:
                parts.append(UniqueConstraint(name))
        if key := _KEYS.get(table_name):
            parts.append(UniqueConstraint(*key, name=f"uq_{table_name}_key"))
        Table(table_name, metadata, *parts)
    return metadata


metadata: Final = build()
EXPERIMENTS: Final = metadata.tables["experiments"]
EPISODES: Final = metadata.tables["episodes"]
EPISODE_ACTIONS: Final = metadata.tables["episode_actions"]
ACCEPTED_RULES: Final = metadata.tables["accepted_rules"]
ATTEMPTS: Final = metadata.tables["attempts"]
PHASE_RECORDS: Final = metadata.tables["phase_records"]
QUALITY_RESULTS: Final = metadata.tables["quality_results"]
PROMOTIONS: Final = metadata.tables["promotions"]


def fact_of(column: Column[Any]) -> Fact | None:
    """The fact of a column; None for the id."""
    fact: Fact | None = column.info.get("fact")
    return fact
