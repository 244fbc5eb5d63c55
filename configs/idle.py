"""Valid settings that would have no effect, or train nothing. They are found before the training starts."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from configs.agent import EpsilonGreedyConfig, PPOConfig, ReplayAgentConfig
    from configs.schema import Config

# The longest time constant of the target network and of averaged weights, as a fraction of the training. A slower one is
# practically frozen.
_MAX_LAG = 0.1


def idle_settings(config: "Config") -> list[str]:
    """Messages on settings of `config` that would silently have no effect, each with the reason and the remedy."""
    from configs.agent import EpsilonGreedyConfig, PPOConfig, ReplayAgentConfig

    agent = config.agent
    found = [*_check_training(config), *_check_observation(config), *_check_average(config), *_check_videos(config)]
    found += [*_check_levels(config), *_check_search(config)]
    found += _check_exploration(config, agent) if isinstance(agent, EpsilonGreedyConfig) else []
    found += _check_clipping(config, agent) if isinstance(agent, PPOConfig) else []
    found += _check_replay(config, agent) if isinstance(agent, ReplayAgentConfig) else []
    return found


def _check_training(config: "Config") -> Iterator[str]:
    total = config.train.total_steps
    late = [milestone for milestone in config.train.milestones if milestone > total]
    if late:
        yield (
            f"train.milestones: {', '.join(map(str, late))} will not be reached, because the training ends at "
            f"train.total_steps ({total}): leave them out or train longer"
        )
    if not any(config.environment.reward.weights.values()):
        yield "environment.reward: every weight is 0, so there is nothing to learn: set at least one"
    rate = config.agent.learning_rate
    if not isinstance(rate, float) and rate.start == rate.end == 0:
        yield "agent.learning_rate: it is 0 throughout, so nothing is learned"


def _check_observation(config: "Config") -> Iterator[str]:
    environment = config.environment
    if environment.crop_status_bar and environment.observation == "tiles":
        yield "environment.crop_status_bar crops pictures, and environment.observation tiles has none: set it to false"


def _check_levels(config: "Config") -> Iterator[str]:
    if config.train.level_sampling == "failure" and len(config.environment.level_names) < 2:
        yield "train.level_sampling chooses among several levels, and there is one: name more in environment.levels"


def _check_search(config: "Config") -> Iterator[str]:
    curriculum, levels = config.train.curriculum, set(config.environment.level_names)
    if curriculum is not None and curriculum.search and levels <= curriculum.demonstrations.keys():
        yield (
            "train.curriculum.search is for levels without a demonstration, and train.curriculum.demonstrations has one of "
            "every level: leave one of the two out"
        )


def _check_videos(config: "Config") -> Iterator[str]:
    if config.tracking.videos and not config.report.video:
        yield "tracking.videos copies the report's videos to MLflow, and report.video is false: set it to true"


def _check_clipping(config: "Config", agent: "PPOConfig") -> Iterator[str]:
    for name, value in (("clip_range", agent.clip_range), ("clip_range_vf", agent.clip_range_vf)):
        if value is not None and not isinstance(value, float) and value.start == value.end == 0:
            yield f"agent.{name}: it is 0 throughout, so no update can change anything"


def _check_replay(config: "Config", agent: "ReplayAgentConfig") -> Iterator[str]:
    total, games = config.train.total_steps, config.train.n_envs
    if agent.gradient_steps == 0:
        yield "agent.gradient_steps is 0, so nothing is trained: set 1 or more, or -1 for as many updates as transitions"
    if agent.learning_starts >= total:
        yield (
            f"agent.learning_starts ({agent.learning_starts}) is not below train.total_steps ({total}): the agent would act "
            "randomly throughout and learn nothing"
        )
    if agent.buffer_size < agent.batch_size:
        yield (
            f"agent.buffer_size ({agent.buffer_size}) is below agent.batch_size ({agent.batch_size}): each update would use "
            "the same transitions several times"
        )
    if agent.buffer_size // games < agent.n_steps:
        yield (
            f"agent.buffer_size ({agent.buffer_size}) divided by train.n_envs ({games}) is below agent.n_steps "
            f"({agent.n_steps}): no n-step return would ever be complete"
        )
    yield from _check_target(agent, total)


def _check_exploration(config: "Config", agent: "EpsilonGreedyConfig") -> Iterator[str]:
    if agent.exploration_highest_eps is not None and config.train.n_envs == 1:
        yield "agent.exploration_highest_eps distributes epsilons over several games, but train.n_envs is 1"


def _check_average(config: "Config") -> Iterator[str]:
    decay = config.agent.average_decay
    if decay is None:
        return
    updates, lag = _updates(config), 1 / (1 - decay)
    if lag > _MAX_LAG * updates:
        yield (
            f"agent.average_decay is {decay:g}: the average would lag {lag:.0f} updates behind in a training of {updates:.0f}, "
            "so an old policy would play. Set a smaller decay, or train longer"
        )


def _updates(config: "Config") -> float:
    """The number of updates in the whole training, without those that a shortened last rollout loses or adds."""
    from configs.agent import PPOConfig, PQNConfig

    agent, total, games = config.agent, config.train.total_steps, config.train.n_envs
    if isinstance(agent, PPOConfig | PQNConfig):
        return total / (agent.n_steps * games) * agent.n_epochs * -(-agent.n_steps * games // agent.batch_size)
    each = agent.gradient_steps if agent.gradient_steps > 0 else agent.train_freq * games
    return max(total - agent.learning_starts, 0) / (agent.train_freq * games) * each


def _check_target(agent: "ReplayAgentConfig", total: int) -> Iterator[str]:
    interval, tau = agent.target_update_interval, agent.tau
    if interval >= total:
        yield (
            f"agent.target_update_interval ({interval}) is not below train.total_steps ({total}): the target network would "
            "keep its initial weights"
        )
    elif tau < 1 and interval / tau > _MAX_LAG * total:
        yield (
            f"agent.tau is {tau:g} and agent.target_update_interval is {interval}: the target network would lag "
            f"{interval / tau:.0f} steps behind in a training of {total} steps. Set agent.target_update_interval to the "
            "steps between two updates, e.g. train.n_envs x agent.train_freq, or agent.tau to 1"
        )
