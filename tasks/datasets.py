"""What an agent is trained and evaluated on, as datasets in MLflow: the ROM, the environment, the levels, the observation.

Runs that differ in nothing of this have the same dataset, whatever their seed and algorithm.
"""

from typing import Any

from configs import Config, EvaluateConfig
from configs.hashing import section_hash
from mario_env import observation_space
from mario_env.console import rom_sha256
from tasks.naming import shared_name
from tracking import TrackedRun


def log_training_data(run: TrackedRun, config: Config) -> None:
    """Log the game that an agent is trained on as a dataset of the run."""
    run.log_dataset("training", shared_name(config), _game(config))


def log_evaluation_data(run: TrackedRun, config: Config, evaluate: EvaluateConfig | None = None) -> None:
    """Log the game that an agent is evaluated on as a dataset of the run, with the protocols, which change the environment."""
    evaluate = evaluate or config.evaluate
    protocols = {
        "protocols": list(evaluate.protocols),
        "episodes": evaluate.episodes,
        "evaluation_sha256": section_hash(evaluate),
    }
    run.log_dataset("evaluation", shared_name(config), {**_game(config), **protocols})


def _game(config: Config) -> dict[str, Any]:
    environment = config.environment
    space = observation_space(environment)
    return {
        "rom": environment.rom,
        "rom_sha256": rom_sha256(environment.rom),
        "environment_sha256": section_hash(environment),
        "levels": environment.level_names or [environment.level_name],
        "observation": f"{environment.observation}, {space.shape} {space.dtype}",
    }
