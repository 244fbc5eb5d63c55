"""The names under which Gymnasium knows the game. Importing :mod:`mario_env` registers them.

Gymnasium has no plugins since version 1.0, so something has to import the package. A prefix does as well:
`gymnasium.make("mario_env:mario_env/SuperMarioBros-v0")`.

>>> import gymnasium
>>> import mario_env  # registers the game
>>> env = gymnasium.make("mario_env/SuperMarioBros-1-1-v0", frame_skip=4, actions="simple", render_mode="rgb_array")
>>> observation, info = env.reset(seed=0)
>>> observation.shape, env.render().shape
((4, 84, 84), (240, 256, 3))
>>> terminated = truncated = False
>>> while not (terminated or truncated):
...     observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
>>> info["x_pos"] >= 40, info["end_reason"] in ("died", "stalled", "timed_out", "completed", "step_limit")
(True, True)
>>> envs = gymnasium.make_vec("mario_env/SuperMarioBros-v0", num_envs=8, sticky_actions=0.25)
>>> envs.reset(seed=0)[0].shape
(8, 4, 84, 84)
"""

import copy
from typing import Any, Final

import gymnasium
from gymnasium.envs.registration import EnvSpec

from configs.game_facts import STAGES, WORLDS
from configs.schema import EnvironmentConfig

__all__ = ["NAMESPACE", "environment_spec", "register_environments"]

NAMESPACE: Final = "mario_env"


def register_environments() -> None:
    """Register the full game (`SuperMarioBros-v0`) and each level (`SuperMarioBros-1-1-v0` to `SuperMarioBros-8-4-v0`)."""
    _register("SuperMarioBros", {"game": "full"})
    for world in WORLDS:
        for stage in STAGES:
            _register(f"SuperMarioBros-{world}-{stage}", {"game": "level", "world": world, "stage": stage})


def environment_spec(config: EnvironmentConfig) -> EnvSpec:
    """What `gymnasium.make` makes the environment of `config` from, also in a process that has not imported this package."""
    level = f"-{config.level_names[0]}" if len(config.level_names) == 1 else ""
    spec = copy.deepcopy(gymnasium.spec(f"{NAMESPACE}/SuperMarioBros{level}-v0"))
    spec.kwargs = config.model_dump(mode="json")
    return spec


def _register(name: str, keys: dict[str, Any]) -> None:
    identity = f"{NAMESPACE}/{name}-v0"
    if identity in gymnasium.registry:
        return
    gymnasium.register(
        identity,
        entry_point="mario_env.environments:SuperMarioBrosEnv",
        vector_entry_point="mario_env.environments:SuperMarioBrosVectorEnv",
        kwargs=keys,
    )
