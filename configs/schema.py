"""The typed configuration: every key the project knows, its type, its range and its default.

A configuration is a tree of frozen pydantic models. Unknown keys are refused, so a key that code reads and a key that YAML
writes cannot disagree. `configs.loader` builds a :class:`Config` from a preset and overrides, and turns pydantic's errors into
messages that name file, key and the nearest valid key.
"""

import hashlib
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from configs.agent import AgentConfig, PPOConfig, PQNConfig, ReplayAgentConfig
from configs.curriculum import DEMONSTRATED_FRAME_SKIP, CurriculumConfig, LevelName
from configs.hashing import added, runtime_only
from configs.idle import idle_settings
from configs.restrictions import MAX_NAME, alias_fault, control_character_fault, model_name_fault
from configs.section import Section
from configs.teacher import TeacherConfig

Button = Literal["NOOP", "A", "B", "start", "select", "up", "down", "left", "right"]
Protocol = Literal["greedy", "stochastic", "sticky", "noop", "random", "sticky_decisions"]

PROTOCOLS: tuple[Protocol, ...] = ("greedy", "stochastic", "sticky", "noop", "random", "sticky_decisions")
USUAL_PROTOCOLS: tuple[Protocol, ...] = ("greedy", "stochastic", "sticky", "noop", "random")

Weight = Annotated[float, Field(gt=0)]

_MOST_IN_A_NAME = 4  # levels; the name of more has their number

STORED = "stored"
"""Key of pydantic's validation context that marks a configuration read back from a store: it was accepted before."""


class RewardConfig(Section):
    """Weights of the reward, which is `scale` times the sum of the components of one decision."""

    progress: float = Field(1.0, description="per pixel beyond the furthest x reached in this level")
    progress_limit: int = Field(30, ge=1, description="most pixels of progress that are rewarded per decision")
    clock: float = Field(0.0, description="per unit of the game's clock that has run down, which counts as -1")
    score: float = Field(0.0, description="per point of the game's score")
    death: float = Field(-25.0, description="per lost life")
    completion: float = Field(50.0, description="per completed level")
    scale: float = Field(0.1, gt=0, description="factor of the sum")

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each component, by name, in the order in which they are added up."""
        return {name: getattr(self, name) for name in type(self).model_fields if name not in ("progress_limit", "scale")}


class EnvironmentConfig(Section):
    """The game and how the agent plays it."""

    emulator: Literal["fast", "nes-py"] = Field("fast", description="the project's compiled emulator, or nes-py")
    game: Literal["level", "full"] = Field("level", description="one life in one level, or three lives starting at 1-1")
    world: int = Field(1, ge=1, le=8, description="the level's world; the full game starts at 1-1")
    stage: int = Field(1, ge=1, le=4, description="the level's stage")
    levels: list[LevelName] = added(
        [], description="levels, such as [1-1, 1-2], one of which each episode plays; empty: the one that world and stage name"
    )
    rom: Literal["vanilla", "downsample", "pixel", "rectangle"] = Field("vanilla", description="the ROM's graphics")
    actions: Literal["right_only", "simple", "complex"] | list[list[Button]] = Field(
        "simple", description="gym-super-mario-bros' RIGHT_ONLY, SIMPLE_MOVEMENT, COMPLEX_MOVEMENT, or a list of combinations"
    )
    frame_skip: int = Field(4, ge=1, le=60, description="frames per decision")
    observation: Literal["frames", "tiles"] = added(
        "frames", description="what the agent sees; frames: four small gray screens; tiles: blocks and objects, from RAM"
    )
    crop_status_bar: bool = Field(False, description="cut off the top 32 rows, which show score and clock")
    life_loss_ends_episode: bool = Field(False, description="full game: losing a life terminates the episode")
    stall_after: int | None = Field(300, ge=1, description="truncate after this many decisions without progress; null: never")
    max_steps: int | None = Field(4500, ge=1, description="truncate after this many decisions; null: never")
    sticky_actions: float = Field(
        0.0, ge=0, lt=1, description="probability, at each frame until the new action starts, that the old one continues"
    )
    sticky_decisions: float = Field(
        0.0, ge=0, lt=1, description="probability that a whole decision repeats the previous one (stricter)"
    )
    noop_frames: int = Field(0, ge=0, le=600, description="idle frames after a reset: drawn from 1 to this number; 0: none")
    reward: RewardConfig = RewardConfig()

    @property
    def level_name(self) -> str:
        """The name of the level, such as `1-2`, or `full-game`; of several levels `1-1_1-2`, or `8-levels-1f0c`."""
        if self.game == "full":
            return "full-game"
        names = self.level_names
        if len(names) <= _MOST_IN_A_NAME:
            return "_".join(names)
        return f"{len(names)}-levels-{hashlib.sha256(' '.join(names).encode()).hexdigest()[:4]}"

    @property
    def level_names(self) -> list[str]:
        """The names of the levels that are played; empty for the full game."""
        if self.game == "full":
            return []
        return self.levels or [f"{self.world}-{self.stage}"]

    def at_level(self, level: str) -> Self:
        """The same environment, but each episode plays `level`."""
        return self.model_copy(update={"game": "level", "levels": [level], "world": 1, "stage": 1})

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.game == "full" and (self.world, self.stage) != (1, 1):
            raise ValueError("the full game starts at world 1, stage 1; use game: level to train on another level")
        if self.levels and self.game == "full":
            raise ValueError("levels: the full game plays all levels in their order; use game: level to choose some")
        if self.levels and (self.world, self.stage) != (1, 1):
            raise ValueError("levels: world and stage name a level, too; leave them out (world: 1, stage: 1), or levels: []")
        if twice := _repeated(self.levels):
            raise ValueError(f"levels: {twice} is named twice; train.level_sampling can give it more weight")
        if self.life_loss_ends_episode and self.game == "level":
            raise ValueError("life_loss_ends_episode is for game: full; a level ends with its only life anyway")
        if self.sticky_actions and self.sticky_decisions:
            raise ValueError("sticky_actions and sticky_decisions are alternatives; set one of them to 0")
        if isinstance(self.actions, list):
            if not self.actions:
                raise ValueError("actions: the list is empty; name at least one combination of buttons")
            if len(self.actions) > 256:
                raise ValueError("actions: at most 256 combinations (a decision is stored in one byte)")
            if any(not combination for combination in self.actions):
                raise ValueError("actions: an empty combination; write [NOOP] for no button")
        return self


def _repeated(names: Sequence[str]) -> str | None:
    """A name that occurs more than once, or None."""
    return next((name for name in names if names.count(name) > 1), None)


class ValidationConfig(Section):
    """How the current policy is evaluated during training, at each multiple of `checkpoint_every`."""

    episodes: int = Field(20, ge=1, description="episodes on each level; greedy plays one, noop evaluate.noop_frames")
    protocol: Literal["greedy", "stochastic", "sticky", "noop", "sticky_decisions"] = Field(
        "stochastic", description="as in evaluate.protocols"
    )


class TrainConfig(Section):
    """The training run."""

    total_steps: int = Field(2_000_000, ge=1, description="decisions, summed over the environments")
    planned_steps: int | None = runtime_only(
        None,
        ge=1,
        description="original total_steps, where schedules end; set by `mario run --extend`",
    )
    n_envs: int = Field(2, ge=1, le=4096, description="environments; with emulator: nes-py each has its own process")
    level_sampling: Literal["uniform", "failure"] | dict[LevelName, Weight] = added(
        "uniform",
        description="how often each of environment.levels is played; failure: the more often it is not completed; or weights",
    )
    curriculum: CurriculumConfig | None = added(
        None, description="begin episodes along a demonstration, first near its end; null: at the level's start"
    )
    teacher: TeacherConfig | None = added(
        None, description="trained policies that see tiles, and advise the one in training (agent.algorithm: ppo); null: none"
    )
    device: Literal["auto", "cpu", "cuda"] = runtime_only("auto")
    game_threads: int | None = runtime_only(
        None,
        ge=1,
        description="threads that play the games of the fast emulator; null: one for each usable processor",
    )
    torch_threads: int | None = runtime_only(
        None, ge=1, description="torch's threads on a CPU; null: the best number in a one-second measurement at the start"
    )
    checkpoint_every: int = Field(100_000, ge=1, description="steps between checkpoints")
    keep_checkpoints: int = runtime_only(2, ge=1, description="older ones are deleted, except the best and milestones")
    milestones: list[Annotated[int, Field(ge=1)]] = runtime_only(
        [], max_length=100, description="steps at which a checkpoint is written that is never deleted"
    )
    validation: ValidationConfig | None = Field(
        None, description="evaluate the policy before each checkpoint, and keep the best; null: do not"
    )
    checkpoint_replay_buffer: bool = runtime_only(True, description="save the replay buffer with the newest checkpoint")
    statistics_every: int = runtime_only(4, ge=1, description="least episodes between two lines of statistics")
    statistics_seconds: float = runtime_only(10.0, ge=0, description="least seconds between them; a terminal has a bar instead")
    progress_bar: bool = runtime_only(True)
    keep_awake: bool = runtime_only(True, description="keep the machine from suspending while it trains")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.planned_steps is not None and self.planned_steps > self.total_steps:
            raise ValueError(f"planned_steps ({self.planned_steps}) is above total_steps ({self.total_steps})")
        return self


class IntegrationConfig(Section):
    """The short run of the whole training loop before the long one."""

    min_frames: int = Field(30_000, ge=1)
    max_frames: int = Field(300_000, ge=1, description="fail if no episode has ended by then")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.max_frames < self.min_frames:
            raise ValueError("max_frames is below min_frames")
        return self


class EvaluateConfig(Section):
    """How the trained agent is evaluated."""

    model: Literal["last", "best"] = Field("last", description="the final policy, or the best one in train.validation")
    episodes: int = Field(100, ge=1, description="episodes under each protocol, on each level")
    levels: list[LevelName] = added([], description="further levels to play, on which the agent was not trained")
    protocols: list[Protocol] = Field(list(USUAL_PROTOCOLS), min_length=1, description=f"of {', '.join(PROTOCOLS)}")
    n_envs: int | None = runtime_only(
        None, ge=1, le=256, description="parallel episodes; affects speed only; null: 32, with nes-py one for each processor"
    )
    sticky_actions: float = Field(0.25, gt=0, lt=1, description="for the protocols sticky and sticky_decisions")
    noop_frames: int = Field(
        30, ge=1, le=600, description="protocol noop: plays each number of idle frames from 1 to this once"
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if len(set(self.protocols)) != len(self.protocols):
            raise ValueError("protocols: the same protocol is named twice")
        if twice := _repeated(self.levels):
            raise ValueError(f"levels: {twice} is named twice")
        return self


class EpisodesConfig(Section):
    """What is stored of each episode in addition to its row."""

    store_actions: bool = Field(True, description="store the actions, so that the episode can be replayed")


class TrackingConfig(Section):
    """What is recorded in MLflow."""

    experiment: str | None = Field(
        None, min_length=1, max_length=MAX_NAME, description="name of the MLflow experiment of a new run; null: mario-<level>"
    )
    registered_model: str | None = Field(None, description="name in the model registry; null: mario-<level>")
    system_metrics: bool = True
    videos: bool | None = Field(
        None, description="whether MLflow gets the report's videos too; null: unless the run is part of a sweep"
    )
    parent_run: str | None = Field(
        None, pattern="^[0-9a-f]{32}$", description="the MLflow run under which this one is shown; a sweep sets it"
    )

    @property
    def with_videos(self) -> bool:
        """Whether MLflow gets the report's videos."""
        return self.parent_run is None if self.videos is None else self.videos

    @field_validator("experiment")
    @classmethod
    def _one_line(cls, value: str | None) -> str | None:
        if value is not None and (fault := control_character_fault(value)):
            raise ValueError(f"{value!r} cannot name an MLflow experiment: {fault}")
        return value

    @field_validator("registered_model")
    @classmethod
    def _registrable(cls, value: str | None) -> str | None:
        if value is not None and (fault := model_name_fault(value)):
            raise ValueError(f"{value!r} cannot name a registered model: {fault}")
        return value


class ReportConfig(Section):
    """The analysis report."""

    video: bool = True


class RetryConfig(Section):
    """How transient faults (a lost connection, a full disk, a dead worker) are retried."""

    attempts: int = Field(3, ge=0, description="retries after the first failure")
    delay_seconds: float = Field(10.0, ge=0, description="seconds before the first retry; doubles each time")
    worker_timeout: float = Field(60.0, gt=0, description="nes-py: seconds without an answer after which a process is killed")
    lease_seconds: float = Field(
        60.0, ge=1, description="seconds without a sign of life after which another process may take the experiment over"
    )


class Config(Section):
    """One experiment: the environment, the agent, its training and its evaluation."""

    name: str = runtime_only(..., min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9-]*$")
    description: str = runtime_only("")
    seed: int = Field(0, ge=0, lt=2**31)
    environment: EnvironmentConfig = EnvironmentConfig()
    agent: AgentConfig
    train: TrainConfig = TrainConfig()
    integration: IntegrationConfig = IntegrationConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    episodes: EpisodesConfig = runtime_only(EpisodesConfig())
    tracking: TrackingConfig = runtime_only(TrackingConfig())
    report: ReportConfig = runtime_only(ReportConfig())
    retry: RetryConfig = runtime_only(RetryConfig())

    @field_validator("name")
    @classmethod
    def _an_alias(cls, value: str) -> str:
        if fault := alias_fault(value):
            raise ValueError(f"{value!r} cannot name a preset: {fault}")
        return value

    @model_validator(mode="after")
    def _possible(self) -> Self:
        agent = self.agent
        self._require_levels()
        if self.evaluate.model == "best" and self.train.validation is None:
            raise ValueError(
                "evaluate.model is best, but without validation nothing tells which that is: set train.validation, e.g. to {}"
            )
        if isinstance(agent, ReplayAgentConfig) and self.environment.observation != "frames":
            raise ValueError(
                f"agent.algorithm {agent.algorithm} keeps stacks of frames in its replay buffer, and cannot keep "
                f"{self.environment.observation}: set environment.observation to frames, or use ppo or pqn"
            )
        if isinstance(agent, PPOConfig | PQNConfig) and agent.batch_size > agent.n_steps * self.train.n_envs:
            raise ValueError(
                f"agent.batch_size {agent.batch_size} is larger than one rollout "
                f"(n_steps {agent.n_steps} x n_envs {self.train.n_envs} = {agent.n_steps * self.train.n_envs})"
            )
        return self

    def _require_teachable(self) -> None:
        if not isinstance(self.agent, PPOConfig):
            raise ValueError(f"train.teacher: only ppo learns from a teacher, and agent.algorithm is {self.agent.algorithm}")
        if self.environment.emulator == "nes-py" or self.environment.game == "full":
            raise ValueError("train.teacher: set environment.emulator to fast and environment.game to level")

    def _require_levels(self) -> None:
        environment, sampling = self.environment, self.train.level_sampling
        if isinstance(sampling, dict) and sampling.keys() != set(environment.levels):
            raise ValueError(
                f"train.level_sampling weighs {', '.join(sorted(sampling))}, and environment.levels has "
                f"{', '.join(sorted(environment.levels)) or 'none'}: give each of them a weight, and no other level"
            )
        if sampling != "uniform" and environment.emulator == "nes-py":
            raise ValueError(
                "train.level_sampling: with environment.emulator nes-py each process chooses levels uniformly, since it does "
                "not know of the others: leave it out, or set environment.emulator to fast"
            )
        if both := [level for level in self.evaluate.levels if level in environment.level_names]:
            raise ValueError(f"evaluate.levels: {both[0]} is trained on, and evaluated anyway: name other levels, or none")
        if self.evaluate.levels and environment.game == "full":
            raise ValueError("evaluate.levels is for game: level, since an agent of the full game plays each level in it")

    def _require_demonstrations(self, curriculum: CurriculumConfig) -> None:
        environment, given = self.environment, curriculum.demonstrations.keys()
        if environment.emulator == "nes-py":
            raise ValueError(
                "train.curriculum begins episodes from saved states, and nes-py saves none: set environment.emulator to fast"
            )
        if environment.game == "full":
            raise ValueError("train.curriculum is for game: level, since a demonstration completes one level")
        if unknown := sorted(given - set(environment.level_names)):
            raise ValueError(
                f"train.curriculum.demonstrations: {unknown[0]} is not played; the levels are "
                f"{', '.join(environment.level_names)}"
            )
        shipped = curriculum.search is None and given < set(environment.level_names)
        if shipped and environment.frame_skip != DEMONSTRATED_FRAME_SKIP:
            raise ValueError(
                f"train.curriculum: environment.frame_skip is {environment.frame_skip}, and each action of the demonstrations "
                f"that come with the project lasts {DEMONSTRATED_FRAME_SKIP} frames: set it to {DEMONSTRATED_FRAME_SKIP}, or "
                "give a demonstration of each level in train.curriculum.demonstrations, or search for some with "
                "train.curriculum.search"
            )

    @model_validator(mode="after")
    def _has_effect(self, info: ValidationInfo) -> Self:
        """Refuse keys that would silently have no effect. Stored configurations are read regardless."""
        if not (info.context or {}).get(STORED) and (idle := idle_settings(self)):
            raise ValueError("; ".join(idle))
        return self

    @model_validator(mode="after")
    def _trainable(self, info: ValidationInfo) -> Self:
        """Refuse starts and teachers that a training cannot have. After it a policy may play on nes-py, and the full game."""
        if not (info.context or {}).get(STORED):
            if self.train.curriculum is not None:
                self._require_demonstrations(self.train.curriculum)
            if self.train.teacher is not None:
                self._require_teachable()
        return self
