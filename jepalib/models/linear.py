"""Linear layers whose weight gradients are kept in float32, with oneDNN's float32 product.

torch multiplies float32 matrices on a CPU with MKL, which leaves half of the speed of an
AMD processor with AVX-512 unused; oneDNN's generated code does not. Under bfloat16
autocast the product is in bfloat16, and the gradient of a weight is summed over
micro-batches in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


def _has_onednn() -> bool:
    """Whether this build of torch has the oneDNN linear layer (it is not public)."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


_ONEDNN = _has_onednn()


def product(x: Float[Tensor, "rows inner"], weight: Float[Tensor, "columns inner"]) -> Tensor:
    """x weight' by the fastest routine for the type and device, without gradient."""
    return affine(x, weight, None)


def affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x weight' + bias, as `product`."""
    if _ONEDNN and x.dtype == torch.float32 and not x.is_cuda and x.numel():
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            low = x.to(dtype)
            ctx.save_for_backward(low, weight)
            ctx.x_dtype, ctx.with_bias = x.dtype, bias is not None
            return affine(low, weight.to(dtype), None if bias is None else bias.to(dtype))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = product(grad, weight.to(grad.dtype).t()).to(ctx.x_dtype)
        if ctx.needs_input_grad[1]:
            grad_weight = product(grad.t(), x.t()).to(weight.dtype)
        if ctx.with_bias and ctx.needs_input_grad[2]:
            grad_bias = grad.sum(0).to(weight.dtype)  # summed in float32 inside
        return grad_x, grad_weight, grad_bias, None


def compute_dtype(x: Tensor) -> torch.dtype:
    """The type that a linear layer computes in: that of autocast, or the input's."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def linear(
    x: Float[Tensor, "rows inner"], weight: Float[Tensor, "columns inner"], bias: Tensor | None = None
) -> Float[Tensor, "rows columns"]:
    """x weight' + bias (see the module's text)."""
    return _Linear.apply(x, weight, bias, compute_dtype(x))


class Linear(nn.Linear):
    """`torch.nn.Linear` on packed rows, through `linear`."""

    def forward(self, x: Float[Tensor, "rows inner"]) -> Float[Tensor, "rows columns"]:
        return linear(x, self.weight, self.bias)
