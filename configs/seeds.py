"""Random number streams: one seed per experiment, and an independent stream for each consumer of random numbers.

NumPy's `SeedSequence` mixes a seed with a spawn key. Different keys or seeds give independent streams. Generators that share
one seed would draw the same numbers instead: exploration, the first game and replay sampling would be correlated. With
seed + i for game i, trainings with seeds n and n + 1 would play the same games.
"""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """The consumers of random numbers, and the key parts of each. Numbers must never change: results depend on them."""

    GAME = 0
    """One of several games. Key: its index, then how often its process was replaced. Serves no-op starts and sticky actions."""
    ACTION_SAMPLES = 1
    """`sample` of an action space."""
    NUMPY = 2
    """NumPy's global generator: sampling from replay buffers, and the order of minibatches in a rollout."""
    TORCH = 3
    """torch's generators: initial weights, actions of PPO, noisy layers."""
    EXPLORATION = 4
    """Epsilon-greedy actions in training."""
    CONTINUATION = 5
    """A training that is resumed, but not exactly. Key: the step it resumes from, then its number of recorded episodes."""
    INTEGRATION = 6
    """The integration run."""
    VALIDATION = 7
    """One validation during training. Key: the number of earlier validations."""
    EVALUATION = 8
    """One evaluation or validation. Key: the name of its protocol."""
    CHOICES = 9
    """Random actions of a policy, or of the protocol random, in an evaluation."""
    BUTTONS = 10
    """Random buttons in benchmarks. Key: the number of the episode."""
    SEARCH = 11
    """The search for a demonstration. Key: the level, then which of its demonstrations it is."""


def sequence(seed: int, stream: Stream, *parts: int | str) -> np.random.SeedSequence:
    """The seed sequence of a consumer. `seed` is the experiment's (at least 0), or one that `seed_of` derived."""
    keys = (part if isinstance(part, int) else int.from_bytes(part.encode(), "big") for part in parts)
    return np.random.SeedSequence(seed, spawn_key=(int(stream), *keys))


def generator(seed: int, stream: Stream, *parts: int | str) -> np.random.Generator:
    """The generator of a consumer."""
    return np.random.default_rng(sequence(seed, stream, *parts))


def seed_of(seed: int, stream: Stream, *parts: int | str, bits: int = 128) -> int:
    """A seed for a consumer that takes no generator or derives further streams; at least 0 and below 2**bits."""
    words: list[int] = sequence(seed, stream, *parts).generate_state(4).tolist()
    whole = sum(word << 32 * place for place, word in enumerate(words))
    return whole & ((1 << bits) - 1)


def game_seeds(seed: int | None, count: int) -> list[int | None]:
    """Different seeds for `count` games, derived from `seed`. If `seed` is None, each is None."""
    return [None if seed is None else seed_of(seed, Stream.GAME, index) for index in range(count)]
