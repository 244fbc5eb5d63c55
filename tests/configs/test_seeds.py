"""Random number streams: each consumer has its own, and different seeds share none."""

import numpy as np
import pytest

from configs import PROTOCOLS
from configs.seeds import Stream, game_seeds, generator, seed_of, sequence

SEEDS = [*range(50), 2**31 - 1]


def parts(stream: Stream) -> list[tuple[int | str, ...]]:
    """The key parts that are used with `stream`; empty for some."""
    match stream:
        case Stream.GAME:
            return [(game,) for game in range(16)] + [(game, again) for game in range(4) for again in range(1, 4)]
        case Stream.CONTINUATION:
            return [(step, episodes) for step in (0, 100_000) for episodes in (0, 1, 100_000)]
        case Stream.VALIDATION | Stream.BUTTONS:
            return [(number,) for number in (0, 1, 2, 100_000)]
        case Stream.EVALUATION:
            return [(protocol,) for protocol in PROTOCOLS]
        case _:
            return [()]


def test_no_two_streams_coincide() -> None:
    streams = [(seed, stream, *each) for seed in SEEDS for stream in Stream for each in parts(stream)]
    states = {tuple(sequence(*stream).generate_state(4)) for stream in streams}
    assert len(states) == len(streams)
    # They also differ from a plain generator of the seed, which an environment with a given seed uses.
    assert not states & {tuple(np.random.SeedSequence(seed).generate_state(4)) for seed in SEEDS}


def test_streams_of_derived_seeds_do_not_coincide_either() -> None:
    """Validations and evaluations derive the streams of their games and choices from derived seeds."""
    roots = [*SEEDS]
    for seed in SEEDS:
        roots += [seed_of(seed, Stream.EVALUATION, protocol) for protocol in PROTOCOLS]
        roots += [seed_of(seed_of(seed, Stream.VALIDATION, n), Stream.EVALUATION, "stochastic") for n in range(20)]
        roots += [seed_of(seed, Stream.INTEGRATION, bits=31)]
    games = [own for root in roots for own in game_seeds(root, 4)]
    assert len(set(games)) == len(games)
    assert len({seed_of(root, Stream.CHOICES) for root in roots} | set(games)) == len(games) + len(roots)


def test_a_stream_never_changes() -> None:
    """Otherwise published results could not be reproduced."""
    assert seed_of(0, Stream.GAME, 0) == 0x76DEC394C2BFF7FF2491A895F3B20E04
    assert [stream.value for stream in Stream] == list(range(12))
    assert generator(3, Stream.EXPLORATION).random() == generator(3, Stream.EXPLORATION).random()


@pytest.mark.parametrize("bits", [31, 63, 128])
def test_a_seed_has_the_requested_number_of_bits(bits: int) -> None:
    seeds = [seed_of(seed, Stream.TORCH, bits=bits) for seed in range(200)]
    assert all(0 <= seed < 2**bits for seed in seeds)
    assert max(seeds) > 2 ** (bits - 1)


def test_game_seeds_without_a_seed_are_none() -> None:
    assert game_seeds(None, 2) == [None, None]
