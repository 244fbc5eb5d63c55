"""A process that plays one environment for :mod:`mario_env.vector`; it never imports torch.

Requests are tuples (command, data); answers are ("result", value) or ("failed", description). The process ends when the other
end of its connection closes, so that it never outlives the process that started it.
"""

import os
import sys
import traceback
from multiprocessing.connection import Connection
from typing import Any

import cv2
import gymnasium

from configs.schema import EnvironmentConfig
from mario_env.factory import make

__all__ = ["WORKER_CODE", "serve"]

# Passed to `python -c`. Not multiprocessing: its spawn and forkserver import the parent's main module into every worker, which
# is Prefect's engine or a command line that loads torch (seconds and 300 MB each), and make every script that trains need an
# `if __name__ == "__main__"`.
WORKER_CODE = """
import json, sys
arguments = json.loads(sys.argv[1])
sys.path[:] = arguments["path"]
from mario_env.worker import serve
serve(arguments["connection"])
"""


def serve(descriptor: int) -> None:
    """Receive a configuration and a seed through this file descriptor, make the environment, and answer requests."""
    cv2.setNumThreads(1)
    connection = Connection(descriptor)
    try:
        config, seed = connection.recv()
        _answer_all(connection, config, seed)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent closed the connection, or is gone
    finally:
        connection.close()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # without waiting for what libraries do at exit: a worker holds nothing


def _answer_all(connection: Connection, config: EnvironmentConfig, seed: int | None) -> None:
    env: gymnasium.Env[Any, Any] | None = None
    try:
        env = make(config, seed=seed)
        connection.send(("result", (env.observation_space, env.action_space)))
        while True:
            command, data = connection.recv()
            if command == "close":
                return
            connection.send(("result", _answer(env, command, data)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except Exception:
        connection.send(("failed", traceback.format_exc()))
    finally:
        if env is not None:
            env.close()


def _answer(env: gymnasium.Env[Any, Any], command: str, data: Any) -> Any:
    """Carry out one of stable-baselines3's commands (`SubprocVecEnv`), which fix names and shapes."""
    match command:
        case "step":
            return _step(env, data)
        case "reset":
            seed, options = data
            return env.reset(seed=seed, options=options or None)
        case "render":
            return env.unwrapped.render()
        case "env_method":
            name, arguments, keywords = data
            return env.get_wrapper_attr(name)(*arguments, **keywords)
        case "get_attr":
            return env.get_wrapper_attr(data)
        case "has_attr":
            return env.has_wrapper_attr(data)
        case "set_attr":
            name, value = data
            return env.set_wrapper_attr(name, value)
        case "is_wrapped":
            return _is_wrapped(env, data)
    raise ValueError(f"unknown command {command!r}")


def _step(env: gymnasium.Env[Any, Any], action: Any) -> tuple[Any, Any, bool, dict[str, Any], dict[str, Any]]:
    """Step; at the end of an episode keep the last observation in info and start the next one."""
    observation, reward, terminated, truncated, info = env.step(action)
    done = terminated or truncated
    info["TimeLimit.truncated"] = truncated and not terminated
    reset_info: dict[str, Any] = {}
    if done:
        info["terminal_observation"] = observation
        observation, reset_info = env.reset()
    return observation, reward, done, info, reset_info


def _is_wrapped(env: gymnasium.Env[Any, Any], wrapper: type[Any]) -> bool:
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, wrapper):
            return True
        env = env.env
    return False
