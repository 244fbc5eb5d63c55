"""The checks of the smoke test, which find in seconds what would fail after hours.

A check is a function that returns a short description of what it found, or raises. All checks run, so that the user sees all
faults at once.
"""

import logging
import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from configs import Config, Settings
from mario_env import observation_space
from tasks.experiment import open_store
from tasks.naming import describe_level, mlflow_experiment
from tracking import resolve_tracking_uri

logger = logging.getLogger(__name__)

_STEPS = 20
_MODEL_BYTES = 30_000_000  # policy, target network and optimiser state of the largest network, rounded up
_SPOOL_BYTES_PER_STEP = 30  # waiting rows and metrics of short episodes: 1 kB each, and 4 bytes for 3 decisions
_SPARE_BYTES = 1_000_000_000  # videos, MLflow, Postgres


class CheckFailedError(RuntimeError):
    """Something that a run needs is missing; the message says what, and what to do."""


@dataclass(frozen=True)
class CheckResult:
    """The result of one check.

    Attributes:
        name: the name of the check.
        passed: whether it passed.
        detail: what it found, or why it failed.
        seconds: how long it took.
        error: the exception that it raised.
    """

    name: str
    passed: bool
    detail: str
    seconds: float
    error: Exception | None = None


def run_checks(config: Config, settings: Settings) -> list[CheckResult]:
    """Run all checks, the cheap ones first."""
    checks: Sequence[tuple[str, Callable[[Config, Settings], str]]] = (
        ("device", _device),
        ("disk and memory", _space),
        ("game", _game),
        ("workers", _workers),
        ("database", _database),
        ("tracking", _tracking),
        ("shared storage", _shared_storage),
    )
    return [_run(name, check, config, settings) for name, check in checks]


def _run(name: str, check: Callable[[Config, Settings], str], config: Config, settings: Settings) -> CheckResult:
    started = time.perf_counter()
    fault: Exception | None = None
    try:
        detail = check(config, settings)
    except Exception as error:  # the smoke test reports all faults and fails at its end
        fault, detail = error, f"{type(error).__name__}: {error}"
        logger.debug("check %s failed", name, exc_info=True)
    passed = fault is None
    result = CheckResult(name, passed, detail, time.perf_counter() - started, fault)
    logger.log(logging.INFO if passed else logging.ERROR, "%-16s %s  %s", name, "ok    " if passed else "FAILED", detail)
    return result


def _device(config: Config, settings: Settings) -> str:
    from agents import resolve_device

    return resolve_device(config.train.device)


def _space(config: Config, settings: Settings) -> str:
    """Check the disk for checkpoints and spools, and the memory for the replay buffer or a rollout."""
    import psutil

    from agents import memory_needs

    space = observation_space(config.environment)
    replay, rollout = memory_needs(config, space)
    on_disk = _MODEL_BYTES * (config.train.keep_checkpoints + len(config.train.milestones) + 2) + _SPARE_BYTES
    on_disk += _SPOOL_BYTES_PER_STEP * config.train.total_steps  # if Postgres and MLflow are unavailable all the time
    if config.train.checkpoint_replay_buffer:
        on_disk += 2 * replay  # as large as in memory; a new copy is complete before the old one is deleted
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
    """Play a few steps, and check the observation's shape and content."""
    from mario_env import make

    environment = make(config.environment, seed=config.seed)
    try:
        observation, _ = environment.reset(seed=config.seed)
        observations = [np.asarray(observation)]
        for _ in range(_STEPS):
            observation, reward, terminated, truncated, _ = environment.step(environment.action_space.sample())
            observations.append(np.asarray(observation))
            if not np.isfinite(float(reward)):
                raise CheckFailedError(f"the reward {reward} is not finite")
            if terminated or truncated:
                environment.reset()
    finally:
        environment.close()
    first, space = observations[0], observation_space(config.environment)
    if first.shape != space.shape or first.dtype != space.dtype:
        raise CheckFailedError(f"the observation is {first.shape} {first.dtype}, not {space.shape} {space.dtype}")
    if np.ptp(first) == 0 or np.array_equal(first, observations[-1]):
        raise CheckFailedError("the observation is uniform or does not change: the emulator does not run the game")
    return f"{_STEPS} steps of {describe_level(config)}, observation {first.shape} {first.dtype}"


def _workers(config: Config, settings: Settings) -> str:
    """Create as many environments as the training will have, with its demonstrations, and play one step in each.

    Demonstrations that are yet to be searched for are not there.
    """
    from mario_env import make_training_vec

    searched = config.train.curriculum is not None and config.train.curriculum.search is not None
    train = config.train.model_copy(update={"curriculum": None}) if searched else config.train
    environments = make_training_vec(config.model_copy(update={"train": train}))
    try:
        environments.reset()
        environments.step(np.zeros(config.train.n_envs, dtype=np.int64))
    finally:
        environments.close()
    where = "one process each" if config.environment.emulator == "nes-py" else "in this process"
    return f"{config.train.n_envs} environments, {where}"


def _database(config: Config, settings: Settings) -> str:
    """Write, read and delete a row of NumPy scalars."""
    from episodes.probe import check_writable

    with open_store(settings) as store:
        check_writable(store)
        return store.masked_url


def _tracking(config: Config, settings: Settings) -> str:
    from tracking.probe import check_writable

    uri = resolve_tracking_uri(settings.tracking_uri, settings.home)
    return check_writable(uri, settings.create_home(), mlflow_experiment(config))


def _shared_storage(config: Config, settings: Settings) -> str:
    """Write, read and delete a file where machines share their checkpoints."""
    from agents import SharedFolder

    if settings.checkpoints_url is None:
        return "not used: checkpoints stay on this machine (MARIO_CHECKPOINTS)"
    folder, name, content = SharedFolder.open(settings.checkpoints_url), f"check-{uuid.uuid4().hex}", b"a file of mario check"
    folder.write(name, content)
    try:
        if folder.read(name) != content:
            raise CheckFailedError(f"{folder.url} does not return what was written to it")
    finally:
        folder.remove(name)
    return folder.url


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
