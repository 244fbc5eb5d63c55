"""Settings that are possible and do nothing, or train nothing: found before hours are spent on them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from configs.schema import Config, DQNConfig, PPOConfig, QRDQNConfig

# Of the training, the most that the target network may need to follow the network: behind it by more, it is as good as frozen.
_FOLLOWS_WITHIN = 0.1


def idle_settings(config: "Config") -> list[str]:
    """What in `config` would silently have no effect, each with the reason and what to do."""
    agent = config.agent
    found = [*_of_training(config)]
    found += _of_clipping(config, agent) if agent.algorithm == "ppo" else _of_replay(config, agent)
    return found


def _of_training(config: "Config") -> Iterator[str]:
    total = config.train.total_steps
    late = [milestone for milestone in config.train.milestones if milestone > total]
    if late:
        yield (
            f"train.milestones: {', '.join(map(str, late))} will not be reached, the training ends at train.total_steps "
            f"({total}): leave them out or train longer"
        )
    if not any(config.environment.reward.weights.values()):
        yield "environment.reward: every weight is 0, so that there is nothing to learn: set at least one"
    rate = config.agent.learning_rate
    if not isinstance(rate, float) and rate.start == rate.end == 0:
        yield "agent.learning_rate: it is 0 from start to end, so that nothing is learned"


def _of_clipping(config: "Config", agent: "PPOConfig") -> Iterator[str]:
    for name, value in (("clip_range", agent.clip_range), ("clip_range_vf", agent.clip_range_vf)):
        if value is not None and not isinstance(value, float) and value.start == value.end == 0:
            yield f"agent.{name}: it is 0 from start to end, so that no update may change anything"


def _of_replay(config: "Config", agent: "DQNConfig | QRDQNConfig") -> Iterator[str]:
    total, games = config.train.total_steps, config.train.n_envs
    if agent.gradient_steps == 0:
        yield "agent.gradient_steps 0 trains nothing: set 1 or more, or -1 for as many updates as transitions"
    if agent.learning_starts >= total:
        yield (
            f"agent.learning_starts ({agent.learning_starts}) is not below train.total_steps ({total}): the agent would act at "
            "random to the end and learn nothing"
        )
    if agent.buffer_size < agent.batch_size:
        yield (
            f"agent.buffer_size ({agent.buffer_size}) is below agent.batch_size ({agent.batch_size}): each update would learn "
            "from the same transitions several times"
        )
    if agent.buffer_size // games < agent.n_steps:
        yield (
            f"agent.buffer_size ({agent.buffer_size}) over train.n_envs ({games}) leaves a game fewer than agent.n_steps "
            f"({agent.n_steps}) transitions: no n-step return is ever whole"
        )
    yield from _of_target(agent, total)
    if agent.exploration_highest_eps is not None and games == 1:
        yield "agent.exploration_highest_eps spreads epsilons over several games, and train.n_envs is 1"


def _of_target(agent: "DQNConfig | QRDQNConfig", total: int) -> Iterator[str]:
    interval, tau = agent.target_update_interval, agent.tau
    if interval >= total:
        yield (
            f"agent.target_update_interval ({interval}) is not below train.total_steps ({total}): the target network would "
            "stay what it was at first"
        )
    elif tau < 1 and interval / tau > _FOLLOWS_WITHIN * total:
        yield (
            f"agent.tau {tau:g} moves the target network by so much every {interval} steps (agent.target_update_interval): it "
            f"would follow {interval / tau:.0f} steps behind, in a training of {total}. Set agent.target_update_interval to "
            "the steps between two updates, e.g. train.n_envs x agent.train_freq, or agent.tau to 1"
        )
