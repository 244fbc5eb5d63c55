"""A batch divided among threads gives the features and gradients of an undivided one, the same each time."""

from collections.abc import Iterator

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from agents.algorithms.heads import NoisyLinear
from agents.device import torch_threads
from agents.extractors import NatureCNN, SmallCNN, TileNetwork
from mario_env.observations import Frames, Tiles

NETWORKS = {
    "nature": lambda: NatureCNN(Frames().space, 32),
    "small": lambda: SmallCNN(Frames().space, 32),
    "small, normalised": lambda: SmallCNN(Frames().space, 32, layer_norm=True),
    "tiles": lambda: TileNetwork(Tiles().space, 32),
}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> BaseFeaturesExtractor:
    torch.manual_seed(0)
    return NETWORKS[request.param]()


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    with torch_threads(None):
        yield


def observations(network: BaseFeaturesExtractor, count: int) -> torch.Tensor:
    space = network._observation_space
    assert isinstance(space, gym.spaces.Box)
    numbers = np.random.default_rng(0).integers(256, size=(count, *space.shape), dtype=np.uint8)
    return torch.as_tensor(numbers)


def computed(network: BaseFeaturesExtractor, count: int, threads: int) -> list[torch.Tensor]:
    """The features, and the gradient of every weight of a function of them."""
    torch.set_num_threads(threads)
    network.zero_grad()
    features = network(observations(network, count))
    (features * torch.linspace(-1, 1, features.numel()).view_as(features)).sum().backward()
    return [features.detach(), *(weights.grad.clone() for weights in network.parameters() if weights.grad is not None)]


def seen_shares(network: BaseFeaturesExtractor, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """From now on, for each share: how many samples it has, and how many threads torch uses for it."""
    shares = []
    whole = network._features  # type: ignore[operator]

    def features(share: torch.Tensor) -> torch.Tensor:
        shares.append((len(share), torch.get_num_threads()))
        return whole(share)

    monkeypatch.setattr(network, "_features", features)
    return shares


@pytest.mark.parametrize("count", [31, 32, 33, 150])
@pytest.mark.parametrize("threads", [2, 3])
def test_features_and_gradients_are_those_of_one_thread_except_for_rounding(
    network: BaseFeaturesExtractor, count: int, threads: int
) -> None:
    alone, shared = computed(network, count, 1), computed(network, count, threads)

    assert len(alone) == 1 + len(list(network.parameters()))
    for one, other in zip(alone, shared, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(one.abs().max()))


def test_the_same_threads_give_the_same_bits(network: BaseFeaturesExtractor) -> None:
    first = computed(network, 100, 2)

    assert all(torch.equal(one, other) for _ in range(5) for one, other in zip(first, computed(network, 100, 2), strict=True))


def test_without_gradients_features_are_the_same(network: BaseFeaturesExtractor) -> None:
    expected, *_ = computed(network, 100, 2)
    with torch.no_grad():
        found = network(observations(network, 100))

    assert torch.equal(found, expected)
    assert not found.requires_grad


def test_each_share_is_computed_by_a_thread_of_its_own(network: BaseFeaturesExtractor, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = seen_shares(network, monkeypatch)

    computed(network, 100, 2)

    assert shares == [(50, 1), (50, 1)]
    assert torch.get_num_threads() == 2


def test_a_small_batch_is_one_share(network: BaseFeaturesExtractor, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = seen_shares(network, monkeypatch)

    computed(network, 31, 2)

    assert shares == [(31, 1)]


def test_one_thread_computes_the_batch_itself(network: BaseFeaturesExtractor, monkeypatch: pytest.MonkeyPatch) -> None:
    """So an evaluation, which has one thread, plays the same whatever the number in the training was."""
    monkeypatch.setattr("agents.extractors.shares._pool", None)
    shares = seen_shares(network, monkeypatch)

    computed(network, 100, 1)

    assert shares == [(100, 1)]


def test_a_copy_that_does_not_learn_needs_no_gradients(network: BaseFeaturesExtractor) -> None:
    expected, *_ = computed(network, 100, 2)
    network.requires_grad_(False)

    found = network(observations(network, 100))

    assert torch.equal(found, expected)
    assert not found.requires_grad


def test_noise_is_drawn_by_one_thread() -> None:
    network = SmallCNN(Frames().space, 32)
    network.linear[0] = NoisyLinear(network.linear[0].in_features, 32)
    network.linear[0].noisy = True
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        found.append(computed(network, 100, 2))

    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_an_error_in_a_share_is_raised(network: BaseFeaturesExtractor, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(share: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(f"{len(share)} samples")

    monkeypatch.setattr(network, "_features", fails)

    with pytest.raises(RuntimeError, match="50 samples"):
        computed(network, 100, 2)
