"""Where every random number comes from: one seed, and a stream of its own for each user of randomness.

NumPy's `SeedSequence` mixes a seed with a spawn key; other keys, or another seed, give streams that share nothing. Two
generators that are seeded with one number run through the same numbers instead: exploration, the first game and the sampling
of replay would throw the same coins. With seed + i for game i, trainings of seeds n and n + 1 play the same games.
"""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """The users of randomness, and what follows each key. A number, once given, keeps its meaning: results depend on it."""

    GAME = 0
    """One game of several: its index, then how often its process was replaced. No-op starts and sticky coins take turns."""
    ACTION_SAMPLES = 1
    """`sample` of an action space."""
    NUMPY = 2
    """NumPy's global generator: what replay memories are sampled with, and the order of a rollout's batches."""
    TORCH = 3
    """torch's generators: first weights, actions of PPO, noisy layers."""
    EXPLORATION = 4
    """Epsilon-greedy actions in training."""
    CONTINUATION = 5
    """A training that goes on, but not exactly: the step it goes on from, and how many of its episodes are on record."""
    INTEGRATION = 6
    """The integration run."""
    VALIDATION = 7
    """One validation in the course of a training: how many there have been."""
    EVALUATION = 8
    """One evaluation, or validation: its protocol's name."""
    CHOICES = 9
    """Random actions of a policy, or of the random player, in an evaluation."""
    BUTTONS = 10
    """Buttons pressed by benchmarks: the number of the play."""


def sequence(seed: int, stream: Stream, *parts: int | str) -> np.random.SeedSequence:
    """The seed sequence of a user; `seed` is the experiment's (from 0 on), or one that `seed_of` derived."""
    keys = (part if isinstance(part, int) else int.from_bytes(part.encode(), "big") for part in parts)
    return np.random.SeedSequence(seed, spawn_key=(int(stream), *keys))


def generator(seed: int, stream: Stream, *parts: int | str) -> np.random.Generator:
    """A generator of the user's own."""
    return np.random.default_rng(sequence(seed, stream, *parts))


def seed_of(seed: int, stream: Stream, *parts: int | str, bits: int = 128) -> int:
    """A seed of the user's own, at least 0 and below 2**bits, for what takes no generator or has users of its own."""
    words: list[int] = sequence(seed, stream, *parts).generate_state(4).tolist()
    whole = sum(word << 32 * place for place, word in enumerate(words))
    return whole & ((1 << bits) - 1)


def game_seeds(seed: int | None, count: int) -> list[int | None]:
    """Seeds of `count` games, each its own; another `seed` gives others. None gives None for each."""
    return [None if seed is None else seed_of(seed, Stream.GAME, index) for index in range(count)]
