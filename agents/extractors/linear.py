"""Linear layers computed by oneDNN."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch.autograd.function import once_differentiable

ONEDNN_LINEAR: Final = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.backends.cpu.get_cpu_capability() == "AVX512"
"""Whether torch has the function that `OneDNNLinear` uses, and the processor the instructions that make it faster."""


class OneDNNLinear(torch.autograd.Function):
    """A linear layer computed by oneDNN, for float32 on a CPU: the product and its gradients, except for rounding.

    torch computes linear layers with MKL, which leaves AVX-512 unused on processors of other makers than Intel. oneDNN uses it
    on all, which takes half of the time. torch's own compiler replaces linear layers with the same function, without gradients.
    """

    @staticmethod
    def forward(context: Any, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """`torch.nn.functional.linear` of float32 (n, inputs), (outputs, inputs) and (outputs,): float32 (n, outputs)."""
        context.save_for_backward(inputs, weight)
        return _product(inputs, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The gradients of the three arguments."""
        (gradient,), (inputs, weight) = gradients, context.saved_tensors
        return _product(gradient, weight.t()), _product(gradient.t(), inputs.t()), gradient.sum(0)


def _product(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")
    return product
