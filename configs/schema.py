"""The typed configuration: every key the project knows, its type, its range and its default.

A configuration is a tree of frozen pydantic models. Unknown keys are refused, so a key that code reads and a key that YAML
writes cannot disagree. `configs.loader` builds a :class:`Config` from a preset and overrides, and turns pydantic's errors into
messages that name file, key and the nearest valid key.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic.config import JsonDict

from configs.idle import idle_settings
from configs.restrictions import MAX_NAME, alias_fault, control_character_fault, model_name_fault

Button = Literal["NOOP", "A", "B", "start", "select", "up", "down", "left", "right"]
Protocol = Literal["greedy", "stochastic", "sticky", "noop", "random", "sticky_decisions"]

ALGORITHMS: tuple[str, ...] = ("dqn", "qrdqn", "ppo")
PROTOCOLS: tuple[Protocol, ...] = ("greedy", "stochastic", "sticky", "noop", "random", "sticky_decisions")
USUAL_PROTOCOLS: tuple[Protocol, ...] = ("greedy", "stochastic", "sticky", "noop", "random")


STORED = "stored"
"""In pydantic's context when a configuration that was in use before is read again."""


_ASIDE: JsonDict = {"computes": False}


def aside(default: Any, **rest: Any) -> Any:
    """A key that changes nothing that is computed: no part of what an experiment is (`computed`), and free to change."""
    return Field(default, json_schema_extra=_ASIDE, **rest)


class Section(BaseModel):
    """A part of the configuration: immutable, no unknown keys, no silent conversion of one type to another."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class RewardConfig(Section):
    """Weights of the reward, which is `scale` times the sum of the components of one decision."""

    progress: float = Field(1.0, description="for each pixel beyond the furthest x reached in this level")
    progress_limit: int = Field(30, ge=1, description="most pixels of progress that one decision is paid for")
    clock: float = Field(0.0, description="for each unit of the game's clock that ran down, counted as -1")
    score: float = Field(0.0, description="for each point of the game's score")
    death: float = Field(-25.0, description="for each life lost")
    completion: float = Field(50.0, description="for each level completed")
    scale: float = Field(0.1, gt=0, description="multiplies the sum")


class EnvironmentConfig(Section):
    """The game as the agent meets it."""

    emulator: Literal["fast", "nes-py"] = Field("fast", description="what executes the ROM: ours, compiled, or nes-py")
    game: Literal["level", "full"] = Field("level", description="one life in one level, or three lives from 1-1 on")
    world: int = Field(1, ge=1, le=8, description="the level's world; the full game starts at 1-1")
    stage: int = Field(1, ge=1, le=4, description="the level's stage")
    rom: Literal["vanilla", "downsample", "pixel", "rectangle"] = Field("vanilla", description="the ROM's graphics")
    actions: Literal["right_only", "simple", "complex"] | list[list[Button]] = Field(
        "simple", description="gym-super-mario-bros' RIGHT_ONLY, SIMPLE_MOVEMENT, COMPLEX_MOVEMENT, or a list of combinations"
    )
    frame_skip: int = Field(4, ge=1, le=60, description="frames a decision lasts")
    crop_status_bar: bool = Field(False, description="cut the 32 rows with score and clock off the picture")
    life_loss_ends_episode: bool = Field(False, description="in the full game: a lost life terminates the episode")
    stall_after: int | None = Field(300, ge=1, description="truncate after so many decisions without progress; null: never")
    max_steps: int | None = Field(4500, ge=1, description="truncate after so many decisions; null: never")
    sticky_actions: float = Field(
        0.0, ge=0, lt=1, description="at each frame until the new action takes hold: probability that the old one stays"
    )
    sticky_decisions: float = Field(
        0.0, ge=0, lt=1, description="probability that a whole decision is replaced by the one before; harsher"
    )
    noop_frames: int = Field(0, ge=0, le=600, description="idle 1 to so many frames (drawn at random) after a reset; 0: none")
    reward: RewardConfig = RewardConfig()

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.game == "full" and (self.world, self.stage) != (1, 1):
            raise ValueError("the full game starts at world 1, stage 1; use game: level to train on another level")
        if self.life_loss_ends_episode and self.game == "level":
            raise ValueError("life_loss_ends_episode is for game: full; a level ends with its only life anyway")
        if self.sticky_actions and self.sticky_decisions:
            raise ValueError("sticky_actions and sticky_decisions are two rules for the same thing; set one of them to 0")
        if isinstance(self.actions, list):
            if not self.actions:
                raise ValueError("actions: the list is empty; name at least one combination of buttons")
            if len(self.actions) > 256:
                raise ValueError("actions: at most 256 combinations (one byte stores a decision)")
            if any(not combination for combination in self.actions):
                raise ValueError("actions: an empty combination; write [NOOP] for no button")
        return self


class LinearSchedule(Section):
    """A value that falls (or rises) linearly over the whole training."""

    start: float = Field(ge=0)
    end: float = Field(ge=0)


Rate = float | LinearSchedule


class NetworkConfig(Section):
    """The convolutional network; `nature` is that of Mnih et al. 2015 (stable-baselines3's NatureCNN)."""

    features: Literal["nature", "small"] = Field("nature", description="nature: 32-64-64 filters; small: 16-32 filters")
    features_dim: int = Field(512, ge=1, description="units of the layer behind the convolutions")


class _AgentBase(Section):
    learning_rate: Annotated[float, Field(gt=0)] | LinearSchedule = 1e-4
    gamma: float = Field(0.9, ge=0, le=1)
    network: NetworkConfig = NetworkConfig()


class PrioritisedConfig(Section):
    """How transitions are drawn by how wrong their value was (Schaul et al. 2016, proportional; its section 4.1's defaults)."""

    alpha: float = Field(0.6, ge=0, le=1, description="how much priorities count; 0: not at all")
    beta_start: float = Field(0.4, ge=0, le=1, description="how much of the bias is corrected at first; rises to 1 linearly")


class _ReplayAgent(_AgentBase):
    """What the algorithms with a replay buffer share; stable-baselines3's names and defaults where none is better."""

    buffer_size: int = Field(100_000, ge=1)
    learning_starts: int = Field(10_000, ge=0)
    batch_size: int = Field(32, ge=1)
    tau: float = Field(1.0, gt=0, le=1)
    train_freq: int = Field(4, ge=1, description="steps of all environments together between updates; n_envs transitions each")
    gradient_steps: int = Field(1, ge=-1)
    n_steps: int = Field(1, ge=1)
    double: bool = Field(False, description="the network itself chooses the action its target values (van Hasselt et al. 2016)")
    dueling: bool = Field(False, description="a stream for the state's value, one for advantages (Wang et al. 2016)")
    noisy: bool = Field(
        False, description="layers whose weights are drawn again explore in epsilon's place (Fortunato et al. 2018)"
    )
    prioritised: PrioritisedConfig | None = Field(None, description="draw what surprised most more often; null: uniformly")
    target_update_interval: int = Field(10_000, ge=1)
    exploration_fraction: float = Field(0.1, gt=0, le=1)
    exploration_initial_eps: float = Field(1.0, ge=0, le=1)
    exploration_final_eps: float = Field(0.02, ge=0, le=1)
    exploration_highest_eps: float | None = Field(
        None, gt=0, le=1, description="final epsilon of the game that explores most, others between (Horgan et al. 2018)"
    )
    exploration_zeta: float | None = Field(
        None, gt=1, description="random actions last as this zeta distribution says (Dabney et al. 2021: 2); null: one decision"
    )
    max_grad_norm: float = Field(10.0, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.exploration_highest_eps is not None and self.exploration_highest_eps < self.exploration_final_eps:
            raise ValueError("exploration_highest_eps is below exploration_final_eps, which is the lowest")
        if self.dueling and self.network.features_dim < 2:
            raise ValueError("dueling: the streams share network.features_dim units out among them; it must be at least 2")
        return self


class DQNConfig(_ReplayAgent):
    """Mnih et al. 2015, stable-baselines3's DQN."""

    algorithm: Literal["dqn"]


class QRDQNConfig(_ReplayAgent):
    """Dabney et al. 2017, sb3-contrib's QR-DQN."""

    algorithm: Literal["qrdqn"]
    n_quantiles: int = Field(50, ge=1)


class PPOConfig(_AgentBase):
    """Schulman et al. 2017, stable-baselines3's PPO."""

    algorithm: Literal["ppo"]
    learning_rate: Annotated[float, Field(gt=0)] | LinearSchedule = 2.5e-4
    n_steps: int = Field(512, ge=2)
    batch_size: int = Field(256, ge=2)
    n_epochs: int = Field(4, ge=1)
    gae_lambda: float = Field(0.95, ge=0, le=1)
    clip_range: Annotated[float, Field(gt=0)] | LinearSchedule = 0.2
    clip_range_vf: Annotated[float, Field(gt=0)] | LinearSchedule | None = None
    normalize_advantage: bool = True
    ent_coef: Annotated[float, Field(ge=0)] | LinearSchedule = 0.01
    vf_coef: float = Field(0.5, ge=0)
    max_grad_norm: float = Field(0.5, gt=0)
    target_kl: float | None = Field(None, gt=0)


AgentConfig = Annotated[DQNConfig | QRDQNConfig | PPOConfig, Field(discriminator="algorithm")]


class ValidationConfig(Section):
    """How the current policy is judged in the course of a training, at each multiple of `checkpoint_every`."""

    episodes: int = Field(20, ge=1, description="episodes each time; under greedy one, under noop evaluate.noop_frames")
    protocol: Literal["greedy", "stochastic", "sticky", "noop", "sticky_decisions"] = Field(
        "stochastic", description="as in evaluate.protocols"
    )


class TrainConfig(Section):
    """The training run."""

    total_steps: int = Field(2_000_000, ge=1, description="decisions, summed over the environments")
    planned_steps: int | None = aside(
        None,
        ge=1,
        description="total_steps it was begun with, where schedules end; set by `mario run --extend`",
    )
    n_envs: int = Field(2, ge=1, le=256, description="environments; with emulator: nes-py a process each")
    device: Literal["auto", "cpu", "cuda"] = aside("auto")
    game_threads: int | None = aside(
        None,
        ge=1,
        description="threads that play the games of the fast emulator; null: as many as the process may use processors",
    )
    torch_threads: int | None = aside(
        None, ge=1, description="threads of the network on a CPU; null: what a second's measurement at the start finds best"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the network's arithmetic; bfloat16 where the processor or GPU is made for it, else float32"
    )
    compile: bool = Field(
        False,
        description="torch.compile the network: a minute at the start, then perhaps faster; on a CPU needs a C++ compiler",
    )
    overlap: bool = Field(False, description="dqn, qrdqn: learn while the environments play; acts one update behind")
    checkpoint_every: int = Field(100_000, ge=1, description="steps between checkpoints")
    keep_checkpoints: int = aside(2, ge=1, description="older ones are deleted, except the best and milestones")
    milestones: list[Annotated[int, Field(ge=1)]] = aside(
        [], max_length=100, description="steps at which a checkpoint is written that is never deleted"
    )
    validation: ValidationConfig | None = Field(
        None, description="let the policy play before each checkpoint, and keep the best; null: do not"
    )
    checkpoint_replay_buffer: bool = aside(True, description="save the replay buffer with the newest checkpoint")
    statistics_every: int = aside(4, ge=1, description="episodes between lines of statistics")
    statistics_seconds: float = aside(10.0, ge=0, description="and seconds between them; a terminal shows the bar instead")
    progress_bar: bool = aside(True)
    keep_awake: bool = aside(True, description="keep the machine from suspending while it trains")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.planned_steps is not None and self.planned_steps > self.total_steps:
            raise ValueError(f"planned_steps ({self.planned_steps}) is above total_steps ({self.total_steps})")
        return self


class IntegrationConfig(Section):
    """The short real run before the long one."""

    min_frames: int = Field(30_000, ge=1)
    max_frames: int = Field(300_000, ge=1, description="give up when no episode has ended by then")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.max_frames < self.min_frames:
            raise ValueError("max_frames is below min_frames")
        return self


class EvaluateConfig(Section):
    """How agents are compared."""

    model: Literal["last", "best"] = Field(
        "last", description="the policy at the end of the training, or the one that did best in train.validation"
    )
    episodes: int = Field(100, ge=1, description="episodes under each protocol")
    protocols: list[Protocol] = Field(list(USUAL_PROTOCOLS), min_length=1, description=f"of {', '.join(PROTOCOLS)}")
    n_envs: int | None = aside(
        None, ge=1, le=256, description="episodes at a time, which changes speed alone; null: 32, with nes-py one a processor"
    )
    sticky_actions: float = Field(0.25, gt=0, lt=1, description="for the protocols sticky and sticky_decisions")
    noop_frames: int = Field(30, ge=1, le=600, description="for the protocol noop: 1 to so many idle frames, each number once")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if len(set(self.protocols)) != len(self.protocols):
            raise ValueError("protocols: one is named twice")
        return self


class EpisodesConfig(Section):
    """What is kept of each episode beside its row."""

    store_actions: bool = Field(True, description="keep the actions, so that the episode can be watched again")


class TrackingConfig(Section):
    """What goes to MLflow."""

    experiment: str = Field("train-mario", min_length=1, max_length=MAX_NAME, description="MLflow's experiment")
    registered_model: str | None = Field(None, description="name in the model registry; null: mario-<level>-<algorithm>")
    system_metrics: bool = True

    @field_validator("experiment")
    @classmethod
    def _one_line(cls, value: str) -> str:
        if fault := control_character_fault(value):
            raise ValueError(f"{value!r} can name no experiment of MLflow: {fault}")
        return value

    @field_validator("registered_model")
    @classmethod
    def _registrable(cls, value: str | None) -> str | None:
        if value is not None and (fault := model_name_fault(value)):
            raise ValueError(f"{value!r} can name no model in the registry: {fault}")
        return value


class ReportConfig(Section):
    """The analysis report."""

    video: bool = True


class RetryConfig(Section):
    """How a phase answers a transient fault (a lost connection, a full disk, a dead worker)."""

    attempts: int = Field(3, ge=0, description="retries after the first failure")
    delay_seconds: float = Field(10.0, ge=0, description="wait before the first retry; doubles each time")
    worker_timeout: float = Field(60.0, gt=0, description="nes-py: seconds without an answer after which a process is killed")


class Config(Section):
    """One experiment: what is played, what learns, how long, and how it is judged."""

    name: str = aside(..., min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9-]*$")
    description: str = aside("")
    seed: int = Field(0, ge=0, lt=2**31)
    environment: EnvironmentConfig = EnvironmentConfig()
    agent: AgentConfig
    train: TrainConfig = TrainConfig()
    integration: IntegrationConfig = IntegrationConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    episodes: EpisodesConfig = aside(EpisodesConfig())
    tracking: TrackingConfig = aside(TrackingConfig())
    report: ReportConfig = aside(ReportConfig())
    retry: RetryConfig = aside(RetryConfig())

    @field_validator("name")
    @classmethod
    def _an_alias(cls, value: str) -> str:
        if fault := alias_fault(value):
            raise ValueError(f"{value!r} can be no preset's name: {fault}")
        return value

    @model_validator(mode="after")
    def _possible(self) -> Self:
        agent = self.agent
        if self.evaluate.model == "best" and self.train.validation is None:
            raise ValueError(
                "evaluate.model is best, but nothing tells which that is: set train.validation as well, e.g. to {}"
            )
        if agent.algorithm == "ppo" and agent.batch_size > agent.n_steps * self.train.n_envs:
            raise ValueError(
                f"agent.batch_size {agent.batch_size} is larger than one rollout "
                f"(n_steps {agent.n_steps} x n_envs {self.train.n_envs} = {agent.n_steps * self.train.n_envs})"
            )
        if agent.algorithm == "ppo" and self.train.overlap:
            raise ValueError(
                "train.overlap is for dqn and qrdqn: PPO learns from what the newest policy played, and waits for it"
            )
        return self

    @model_validator(mode="after")
    def _has_effect(self, info: ValidationInfo) -> Self:
        """Refuse what would silently do nothing; what is stored already is read all the same."""
        if not (info.context or {}).get(STORED) and (idle := idle_settings(self)):
            raise ValueError("; ".join(idle))
        return self


def computed(config: Config) -> dict[str, Any]:
    """What determines the results, as JSON types: all keys but those `aside`, with the steps that it was begun with."""
    values = _computed(config)
    values["train"]["total_steps"] = config.train.planned_steps or config.train.total_steps
    return values


def _computed(section: BaseModel) -> dict[str, Any]:
    dumped = section.model_dump(mode="json")
    present = {
        name: getattr(section, name) for name, field in type(section).model_fields.items() if field.json_schema_extra != _ASIDE
    }
    return {name: _computed(value) if isinstance(value, BaseModel) else dumped[name] for name, value in present.items()}
