"""Names and labels of runs, which are the same in Prefect, MLflow and the episode store."""

import secrets
from datetime import UTC, datetime

from configs import Config

# With this limit, every generated name is a valid name of an experiment.
_MAX_PRESET = 40


def labels(config: Config) -> dict[str, str]:
    """The labels of a run: preset, algorithm, level and seed."""
    return {
        "preset": config.name,
        "algorithm": config.agent.algorithm,
        "level": config.environment.level_name,
        "seed": str(config.seed),
    }


def flow_run_tags(config: Config) -> list[str]:
    """The labels of a run as tags of its flow run, such as `level:1-1`."""
    return [f"{name}:{value}" for name, value in labels(config).items()]


def model_name(config: Config) -> str:
    """The name in the model registry: the configured one, or that of the level, so that all that play it can be compared."""
    return config.tracking.registered_model or shared_name(config)


def mlflow_experiment(config: Config) -> str:
    """The MLflow experiment of a run: the configured one, or that of the level, so that all runs on a level are in one list."""
    return config.tracking.experiment or shared_name(config)


def describe_level(config: Config) -> str:
    """The game that is played, in words: `level 1-2`, `the levels 1-1, 1-2` or `the full game`."""
    environment = config.environment
    if environment.game == "full":
        return "the full game"
    names = environment.level_names
    return f"level {names[0]}" if len(names) == 1 else f"the levels {', '.join(names)}"


def shared_name(config: Config) -> str:
    """What all runs on a level have in common, such as `mario-1-1` or `mario-full-game`."""
    return f"mario-{config.environment.level_name}"


def run_name(config: Config, stamp: str) -> str:
    """The name of a run: preset, level, seed and a stamp, such as `ppo-1-1-seed0-1125-1403-9f2c`."""
    return f"{config.name[:_MAX_PRESET]}-{config.environment.level_name}-seed{config.seed}-{stamp}"


def stamp(created: datetime | None = None, identity: str | None = None) -> str:
    """Month, day, time (UTC) and four characters that distinguish runs of the same minute.

    Args:
        created: the time; None: now.
        identity: a text whose first four characters are used; None: random characters.
    """
    return f"{(created or datetime.now(UTC)):%m%d-%H%M}-{(identity or secrets.token_hex(2))[:4]}"
