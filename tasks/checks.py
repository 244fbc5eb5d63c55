"""What the smoke test looks at: everything that could fail hours later, in seconds.

A check is a function that returns what it found, in a few words, or raises. Each runs whatever the others said, so that a
person sees all faults at once.
"""

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from configs import Config, Settings
from mario_env import OBSERVATION_SHAPE
from tasks.experiment import open_store
from tracking import resolve_tracking_uri

logger = logging.getLogger(__name__)

_STEPS = 20
_MODEL_BYTES = 30_000_000  # policy, target network and optimiser state of the largest network, rounded up
_SPOOL_BYTES_PER_STEP = 30  # rows and metrics that wait, of short episodes: a kilobyte each, and 4 bytes for 3 decisions
_SPARE_BYTES = 1_000_000_000  # videos, MLflow, Postgres


class CheckFailedError(RuntimeError):
    """Something that a run needs is missing; the message says what and what to do."""


@dataclass(frozen=True)
class CheckResult:
    """One check: what it found, or why it failed, in words and as what was raised."""

    name: str
    passed: bool
    detail: str
    seconds: float
    error: Exception | None = None


def run_checks(config: Config, settings: Settings) -> list[CheckResult]:
    """Run every check, in an order in which the cheap ones come first."""
    checks: Sequence[tuple[str, Callable[[Config, Settings], str]]] = (
        ("device", _device),
        ("disk and memory", _space),
        ("game", _game),
        ("workers", _workers),
        ("database", _database),
        ("tracking", _tracking),
    )
    return [_run(name, check, config, settings) for name, check in checks]


def _run(name: str, check: Callable[[Config, Settings], str], config: Config, settings: Settings) -> CheckResult:
    started = time.perf_counter()
    fault: Exception | None = None
    try:
        detail = check(config, settings)
    except Exception as error:  # each fault is reported; the smoke task fails at the end
        fault, detail = error, f"{type(error).__name__}: {error}"
        logger.debug("check %s failed", name, exc_info=True)
    passed = fault is None
    result = CheckResult(name, passed, detail, time.perf_counter() - started, fault)
    logger.log(logging.INFO if passed else logging.ERROR, "%-16s %s  %s", name, "ok    " if passed else "FAILED", detail)
    return result


def _device(config: Config, settings: Settings) -> str:
    from agents import resolve_device
    from agents.compilation import require_compiler

    device = resolve_device(config.train.device)
    if not config.train.compile:
        return device
    require_compiler(device)
    return f"{device}, and torch can compile for it"


def _space(config: Config, settings: Settings) -> str:
    """Disk for checkpoints, replay and what waits for servers, memory for the replay buffer or a rollout."""
    import psutil
    from gymnasium.spaces import Box

    from agents import replay_bytes, rollout_bytes

    space = Box(0, 255, OBSERVATION_SHAPE, np.uint8)
    replay, rollout = replay_bytes(config, space), rollout_bytes(config, space)
    on_disk = _MODEL_BYTES * (config.train.keep_checkpoints + len(config.train.milestones) + 2) + _SPARE_BYTES
    on_disk += _SPOOL_BYTES_PER_STEP * config.train.total_steps  # should Postgres and MLflow be away all the time
    if config.train.checkpoint_replay_buffer:
        on_disk += 2 * replay  # as large as in memory, and a new copy is complete before the old one goes
    free = shutil.disk_usage(settings.create_home()).free
    available = psutil.virtual_memory().available
    if on_disk > free:
        raise CheckFailedError(
            f"{settings.home} has {_gigabytes(free)} free; checkpoints, replay buffer, outboxes and reports may take "
            f"{_gigabytes(on_disk)}: make room, or set train.checkpoint_replay_buffer=false or a smaller agent.buffer_size"
        )
    if replay > available:
        raise CheckFailedError(
            f"the replay buffer takes {_gigabytes(replay)} of memory, {_gigabytes(available)} are available: "
            "set a smaller agent.buffer_size"
        )
    if rollout > available:
        raise CheckFailedError(
            f"a rollout takes {_gigabytes(rollout)} of memory, {_gigabytes(available)} are available: "
            "set a smaller agent.n_steps or train.n_envs"
        )
    memory = f"{_gigabytes(rollout)} of memory for a rollout" if rollout else f"{_gigabytes(replay)} of memory for replay"
    return f"up to {_gigabytes(on_disk)} of {_gigabytes(free)} on disk, {memory}"


def _game(config: Config, settings: Settings) -> str:
    """The environment itself: its observation is looked at, not only its shape."""
    from mario_env import make

    environment = make(config.environment, seed=config.seed)
    try:
        observation, _ = environment.reset(seed=config.seed)
        pictures = [np.asarray(observation)]
        for _ in range(_STEPS):
            observation, reward, terminated, truncated, _ = environment.step(environment.action_space.sample())
            pictures.append(np.asarray(observation))
            if not np.isfinite(float(reward)):
                raise CheckFailedError(f"the reward {reward} is not finite")
            if terminated or truncated:
                environment.reset()
    finally:
        environment.close()
    first = pictures[0]
    if first.shape != OBSERVATION_SHAPE or first.dtype != np.uint8:
        raise CheckFailedError(f"the observation is {first.shape} {first.dtype}, not {OBSERVATION_SHAPE} uint8")
    if int(np.max(first)) < 64 or np.array_equal(first, pictures[-1]):
        raise CheckFailedError("the picture is black or does not move: the emulator does not run the game")
    return f"{_STEPS} steps of {_level(config)}, observation {first.shape} {first.dtype}"


def _workers(config: Config, settings: Settings) -> str:
    """As many environments as the training will have, one step each."""
    from mario_env import make_vec

    environments = make_vec(config.environment, config.train.n_envs, seed=config.seed)
    try:
        environments.reset()
        environments.step(np.zeros(config.train.n_envs, dtype=np.int64))
    finally:
        environments.close()
    where = "a process each" if config.environment.emulator == "nes-py" else "in this process"
    return f"{config.train.n_envs} environments, {where}"


def _database(config: Config, settings: Settings) -> str:
    """A row of NumPy scalars goes in, comes back, and is taken back."""
    from episodes.probe import check_writable

    with open_store(settings) as store:
        check_writable(store)
        return store.masked_url


def _tracking(config: Config, settings: Settings) -> str:
    from tracking.probe import check_writable

    uri = resolve_tracking_uri(settings.tracking_uri, settings.home)
    return check_writable(uri, settings.create_home(), config.tracking.experiment)


def _level(config: Config) -> str:
    environment = config.environment
    return "the full game" if environment.game == "full" else f"level {environment.world}-{environment.stage}"


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
