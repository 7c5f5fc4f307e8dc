"""Attention among the tokens of each packed jet, with a bias of its pairs of particles.

On a CPU numba kernels go through the packed jets one by one (`kernels`), forward and
backward; the backward pass also gives the gradient of the bias, for which torch's fused
attention has none. On a GPU, and with dropout of attention weights, tokens are padded and
torch's own `scaled_dot_product_attention` is used. A bias is a flat array on the CPU,
(heads, n, row_length(n)) for each jet of n tokens, and (jets, heads, length, length) on a GPU.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from jepalib.models import kernels
from jepalib.models.layout import Layout

WHOLE = 8  # the kernels take heads of multiples of so many channels


def attention(
    qkv: Float[Tensor, "tokens triple"],
    bias: Tensor | None,
    layout: Layout,
    heads: int,
    dropout: float = 0.0,
) -> Float[Tensor, "tokens width"]:
    """softmax(q k' / sqrt(d) + bias) v within each jet, head by head.

    Args:
        qkv: queries, keys and values side by side.
        bias: as `bias_of_pairs` makes it (on a CPU its symmetry is used), or None.
        dropout: rate at which attention weights are dropped.
    """
    if not len(qkv):
        return qkv[:, : qkv.shape[1] // 3]
    if qkv.is_cuda or dropout:
        return _padded_attention(qkv, bias, layout, heads, dropout)
    real = torch.promote_types(qkv.dtype, torch.float32)  # a type that numpy has
    bias = qkv.new_empty(0, dtype=real) if bias is None else bias.to(real)
    channels = qkv.shape[1] // (3 * heads)
    missing = -channels % WHOLE
    if missing:
        qkv = F.pad(qkv.unflatten(1, (3 * heads, channels)), (0, missing)).flatten(1)
    attended = _PackedAttention.apply(qkv, bias, layout, heads, 1 / math.sqrt(channels))
    if missing:
        attended = attended.unflatten(1, (heads, -1))[..., :channels].flatten(1)
    return attended


def bias_of_pairs(values: Float[Tensor, "pairs heads"], layout: Layout, lead: int = 0) -> Tensor:
    """The attention bias from the values of pairs i >= j >= `lead`, in the order of `Layout.pairs`.

    Symmetric in i and j, and 0 where one of the two is among the first `lead` tokens.
    """
    if not values.is_cuda:
        return _SpreadPairs.apply(values, layout, lead)
    return _dense_pairs(values, layout, lead)


def _dense_pairs(values: Tensor, layout: Layout, lead: int) -> Tensor:
    jet, i, j = layout.pairs(lead)
    dense = values.new_zeros(layout.jets, layout.length, layout.length, values.shape[1])
    return dense.index_put((jet, i, j), values).index_put((jet, j, i), values).permute(0, 3, 1, 2)


def _padded_attention(qkv: Tensor, bias: Tensor | None, layout: Layout, heads: int, dropout: float) -> Tensor:
    q, k, v = layout.pad(qkv).unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    mask = layout.padding()
    if bias is not None:
        mask = mask + dense_bias(bias, layout, heads)
    attended = F.scaled_dot_product_attention(q, k, v, mask.to(q.dtype), dropout)
    return layout.unpad(attended.transpose(1, 2).flatten(2))


def dense_bias(bias: Tensor, layout: Layout, heads: int) -> Float[Tensor, "jets heads length length"]:
    """A bias of either form as (jets, heads, length, length), 0 on padding."""
    if bias.ndim == 4:
        return bias
    jets = []
    for begin, n in zip(layout.bias_offsets(heads).tolist(), layout.counts.tolist(), strict=False):
        length = kernels.row_length(n)
        square = bias[begin : begin + heads * n * length].reshape(heads, n, length)[:, :, :n]
        jets.append(F.pad(square, (0, layout.length - n, 0, layout.length - n)))
    return torch.stack(jets)


class _PackedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, bias: Tensor, layout: Layout, heads: int, scale: float
    ) -> Float[Tensor, "tokens width"]:
        batch = _batch(qkv, bias, layout, heads, scale)
        out = bias.new_empty(len(qkv), qkv.shape[1] // 3)
        norms = bias.new_empty(2, heads, len(qkv))
        arrays = out.numpy(), norms.numpy()
        in_parallel(layout, lambda a, b: kernels.attend(batch, a, b, *arrays))
        ctx.save_for_backward(qkv, bias, norms)
        ctx.arguments = layout, heads, scale
        return out.to(qkv.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        qkv, bias, norms = ctx.saved_tensors
        batch = _batch(qkv, bias, *ctx.arguments)
        wanted = ctx.needs_input_grad[1]
        grad_qkv, grad_bias = bias.new_empty(qkv.shape), bias.new_empty(len(bias) if wanted else 0)
        arrays = norms.numpy(), grad.to(bias.dtype).contiguous().numpy(), grad_qkv.numpy(), grad_bias.numpy()
        in_parallel(ctx.arguments[0], lambda a, b: kernels.attend_backward(batch, a, b, *arrays))
        return grad_qkv.to(qkv.dtype), grad_bias if wanted else None, None, None, None


def _batch(qkv: Tensor, bias: Tensor, layout: Layout, heads: int, scale: float) -> kernels.Batch:
    numbers = qkv.detach().to(bias.dtype).contiguous().numpy()
    offsets, bias_offsets = layout.offsets.numpy(), layout.bias_offsets(heads).numpy()
    return kernels.Batch(numbers, offsets, bias.detach().numpy(), bias_offsets, heads, scale)


class _SpreadPairs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, layout: Layout, lead: int) -> Tensor:
        ctx.layout, ctx.lead, ctx.shape = layout, lead, values.shape
        pairs = _pairs(layout, lead, values.shape[1])
        bias = values.new_empty(int(pairs.bias_offsets[-1]))
        arrays = values.detach().contiguous().numpy(), bias.numpy()
        in_parallel(layout, lambda a, b: kernels.spread_pairs(pairs, a, b, *arrays))
        return bias

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        pairs = _pairs(ctx.layout, ctx.lead, ctx.shape[1])
        values = grad.new_empty(ctx.shape)
        arrays = grad.contiguous().numpy(), values.numpy()
        in_parallel(ctx.layout, lambda a, b: kernels.collect_pairs(pairs, a, b, *arrays))
        return values, None, None


def _pairs(layout: Layout, lead: int, heads: int) -> kernels.Pairs:
    edges, bias_offsets = layout.pair_offsets(lead).numpy(), layout.bias_offsets(heads).numpy()
    return kernels.Pairs(edges, lead, layout.offsets.numpy(), bias_offsets, heads)


def in_parallel(layout: Layout, kernel: Callable[[int, int], None]) -> None:
    """Runs a kernel on ranges of jets of about equal work, in as many threads as torch uses."""
    threads = min(torch.get_num_threads(), layout.jets)
    if threads < 2:
        kernel(0, layout.jets)
        return
    work = np.cumsum(layout.counts.numpy().astype(np.float64) ** 2 + 1)
    edges = np.searchsorted(work, work[-1] * np.arange(1, threads) / threads).tolist()
    edges = [0, *edges, layout.jets]
    futures = [_pool(os.getpid(), threads).submit(kernel, a, b) for a, b in pairwise(edges[1:])]
    kernel(edges[0], edges[1])
    for future in futures:
        future.result()


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Helper threads of this process (a forked one must not use its parent's)."""
    return ThreadPoolExecutor(threads - 1, thread_name_prefix="jepalib-attention")
