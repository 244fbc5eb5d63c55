"""What runs are called, and the labels by which they are found: the same in Prefect, MLflow and the episode store."""

import secrets
from datetime import UTC, datetime

from configs import Config, EnvironmentConfig

# So that a name made of everything stays within what an experiment may be called.
_LONGEST_PRESET = 40


def level_name(environment: EnvironmentConfig) -> str:
    """`1-2`, or `full-game`."""
    return "full-game" if environment.game == "full" else f"{environment.world}-{environment.stage}"


def labels(config: Config) -> dict[str, str]:
    """What a run is found by: preset, algorithm, level, seed."""
    return {
        "preset": config.name,
        "algorithm": config.agent.algorithm,
        "level": level_name(config.environment),
        "seed": str(config.seed),
    }


def run_name(config: Config, stamp: str) -> str:
    """For instance `ppo-1-1-seed0-1125-1403-9f2c`: preset, level, seed and a stamp."""
    return f"{config.name[:_LONGEST_PRESET]}-{level_name(config.environment)}-seed{config.seed}-{stamp}"


def stamp(created: datetime | None = None, identity: str | None = None) -> str:
    """Month, day and minute (UTC) and four characters that tell apart what began in the same minute.

    Args:
        created: None: now.
        identity: text whose first four characters are used; None: random ones.
    """
    return f"{(created or datetime.now(UTC)):%m%d-%H%M}-{(identity or secrets.token_hex(2))[:4]}"
