"""The section `agent` of the configuration: a class for each algorithm, with the algorithm's own keys."""

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from configs.hashing import added
from configs.section import Section


class LinearSchedule(Section):
    """A value that changes linearly over the whole training."""

    start: float = Field(ge=0)
    end: float = Field(ge=0)


Rate = float | LinearSchedule


class NetworkConfig(Section):
    """The network. `nature` is the one of Mnih et al. 2015 (stable-baselines3's NatureCNN)."""

    features: Literal["nature", "small", "tiles"] = Field(
        "nature", description="nature: 32-64-64 filters; small: 16-32 filters; tiles: for environment.observation tiles"
    )
    features_dim: int = Field(512, ge=1, description="units of the last layer")
    layer_norm: bool = added(
        False, description="layer normalisation (Ba et al. 2016) before each ReLU; not for features: nature"
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.layer_norm and self.features == "nature":
            raise ValueError("layer_norm: the network nature has none; choose features: small")
        return self


class AgentBaseConfig(Section):
    learning_rate: Annotated[float, Field(gt=0)] | LinearSchedule = 1e-4
    gamma: float = Field(0.9, ge=0, le=1)
    network: NetworkConfig = NetworkConfig()
    average_decay: float | None = added(
        None,
        gt=0,
        lt=1,
        description="decay per update of averaged weights, which the evaluated policy has; null: no average",
    )


class PrioritisedConfig(Section):
    """Prioritised experience replay (Schaul et al. 2016, proportional variant, with the defaults of its section 4.1)."""

    alpha: float = Field(0.6, ge=0, le=1, description="exponent of the priorities; 0: uniform sampling")
    beta_start: float = Field(0.4, ge=0, le=1, description="initial exponent of the importance weights; rises linearly to 1")


class EpsilonGreedyConfig(AgentBaseConfig):
    """Keys of the algorithms that learn values of actions and explore epsilon-greedily."""

    exploration_fraction: float = Field(0.1, gt=0, le=1)
    exploration_initial_eps: float = Field(1.0, ge=0, le=1)
    exploration_final_eps: float = Field(0.02, ge=0, le=1)
    exploration_highest_eps: float | None = Field(
        None, gt=0, le=1, description="final epsilon of the most exploring game; others lie between (Horgan et al. 2018)"
    )
    exploration_zeta: float | None = Field(
        None, gt=1, description="zeta exponent for the length of random actions (Dabney et al. 2021 use 2); null: one decision"
    )
    dueling: bool = Field(False, description="separate streams for state value and advantages (Wang et al. 2016)")
    max_grad_norm: float = Field(10.0, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.exploration_highest_eps is not None and self.exploration_highest_eps < self.exploration_final_eps:
            raise ValueError("exploration_highest_eps is below exploration_final_eps, which must be the lowest epsilon")
        if self.dueling and self.network.features_dim < 2:
            raise ValueError("dueling: the two streams divide network.features_dim units; it must be at least 2")
        return self


class ReplayAgentConfig(EpsilonGreedyConfig):
    """Keys of the algorithms with a replay buffer. Names, and most defaults, are those of stable-baselines3."""

    buffer_size: int = Field(100_000, ge=1)
    learning_starts: int = Field(10_000, ge=0)
    batch_size: int = Field(32, ge=1)
    tau: float = Field(1.0, gt=0, le=1)
    train_freq: int = Field(4, ge=1, description="vectorised steps between updates; each gives n_envs transitions")
    gradient_steps: int = Field(1, ge=-1)
    n_steps: int = Field(1, ge=1)
    double: bool = Field(False, description="double Q-learning (van Hasselt et al. 2016)")
    noisy: bool = Field(False, description="noisy layers explore instead of epsilon (Fortunato et al. 2018)")
    prioritised: PrioritisedConfig | None = Field(None, description="prioritised replay; null: uniform sampling")
    target_update_interval: int = Field(10_000, ge=1)


class DQNConfig(ReplayAgentConfig):
    """DQN (Mnih et al. 2015) of stable-baselines3."""

    algorithm: Literal["dqn"]


class QRDQNConfig(ReplayAgentConfig):
    """QR-DQN (Dabney et al. 2017) of sb3-contrib."""

    algorithm: Literal["qrdqn"]
    n_quantiles: int = Field(50, ge=1)


class PPOConfig(AgentBaseConfig):
    """PPO (Schulman et al. 2017) of stable-baselines3."""

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


class MunchausenConfig(Section):
    """Munchausen reinforcement learning (Vieillard et al. 2020, with the settings of its section 4)."""

    alpha: float = Field(
        0.9, ge=0, le=1, description="share of the action's scaled log-probability that is added to the reward"
    )
    temperature: float = Field(0.03, gt=0, description="of the softmax of the values, in units of the reward")
    floor: float = Field(-1.0, lt=0, description="lowest value of the scaled log-probability")


class PQNConfig(EpsilonGreedyConfig):
    """PQN (Gallici et al. 2024): Q(lambda) on short rollouts of many games, without replay buffer and target network."""

    algorithm: Literal["pqn"]
    learning_rate: Annotated[float, Field(gt=0)] | LinearSchedule = 2.5e-4
    n_steps: int = Field(32, ge=2, description="decisions of each game in a rollout")
    batch_size: int = Field(128, ge=2)
    n_epochs: int = Field(2, ge=1)
    q_lambda: float = Field(0.65, ge=0, le=1, description="lambda of the returns; 0: one step, 1: the whole rollout")
    munchausen: MunchausenConfig | None = Field(None, description="Munchausen rewards and soft values; null: neither")


_Agent = DQNConfig | QRDQNConfig | PPOConfig | PQNConfig
AgentConfig = Annotated[_Agent, Field(discriminator="algorithm")]
ALGORITHMS: tuple[str, ...] = tuple(get_args(kind.model_fields["algorithm"].annotation)[0] for kind in get_args(_Agent))
