"""A batch divided among threads: each computes its share of the features, and later of the gradients.

torch's own threads divide every operation, and wait for each other at the end of every operation. Small networks have many
short ones. Here a thread computes a whole pass on its share of the batch, so threads wait once a pass. The operations of a
share use one thread, also where the batch is too small for two shares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Final, TypeVar

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from agents.device import torch_threads

SMALLEST_SHARE: Final = 16
"""Fewer samples than that in a share are not worth a thread."""

Pass = Callable[[torch.Tensor], torch.Tensor]
Job = TypeVar("Job")
Result = TypeVar("Result")


def in_shares(features: Pass, observations: torch.Tensor, network: nn.Module) -> torch.Tensor:
    """``features(observations)``, computed on a CPU by as many threads as torch uses.

    Sums over the batch are rounded differently than in one pass. They depend on the number of threads, and on nothing else:
    each share is computed by one thread, and gradients are added up in the order of the shares.

    Args:
        features: a pass that treats samples separately: (n, ...) to (n, features). Several threads call it at once.
        observations: (n, ...); no gradient is computed for them.
        network: has all weights that `features` uses. In a copy for playing or for targets none of them need gradients.
    """
    threads = torch.get_num_threads()
    if threads == 1 or observations.device.type != "cpu":
        return features(observations)
    parameters = tuple(weights for weights in network.parameters() if weights.requires_grad)
    shares = observations.chunk(max(1, min(threads, len(observations) // SMALLEST_SHARE)))
    if not torch.is_grad_enabled() or not parameters:
        return torch.cat(_at_once(torch.no_grad()(features), shares))
    found: torch.Tensor = _Shares.apply(features, shares, parameters, *parameters)  # type: ignore[no-untyped-call]
    return found


class _Shares(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, features: Pass, shares: tuple[torch.Tensor, ...], parameters: tuple[torch.Tensor, ...], *_: torch.Tensor
    ) -> torch.Tensor:
        context.parameters = parameters
        # Within an autograd function gradients are disabled.
        context.found = _at_once(torch.enable_grad()(features), shares)
        return torch.cat([each.detach() for each in context.found])

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        found, context.found = context.found, None
        parts = torch.split(gradients[0], [len(each) for each in found])
        first, *others = _at_once(
            lambda share: torch.autograd.grad(share[0], context.parameters, share[1]), list(zip(found, parts, strict=True))
        )
        for other in others:
            for total, each in zip(first, other, strict=True):
                total += each
        return None, None, None, *first


def _at_once(work: Callable[[Job], Result], jobs: Sequence[Job]) -> list[Result]:
    """The results of all jobs. The first is done by this thread."""
    others = [_pool(len(jobs) - 1).submit(work, job) for job in jobs[1:]]
    with torch_threads(1):
        first = work(jobs[0])
    return [first, *(other.result() for other in others)]


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "share", initializer=_use_one_thread)


def _use_one_thread() -> None:
    torch.get_num_threads()  # else torch sets its own number later, when this thread asks for it first
    torch.set_num_threads(1)
