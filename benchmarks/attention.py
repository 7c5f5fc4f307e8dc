"""Attention among the tokens of short sequences: the packed kernels against torch's own.

    python benchmarks/attention.py [--tokens 4096] [--rounds 15]

Forward and backward, in float32 on one thread, with 8 heads of 8 or 16 channels, for jets that all
have the same length, which is kind to torch: its `scaled_dot_product_attention` pays for no padding.
The bias gets a gradient, as the bias of pairs of particles does. The two take turns, so that a
disturbance hits both; medians of processor time a jet are printed, and of the ratio within a round.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from jepalib.models.attention import attention, bias_of_pairs
from jepalib.models.layout import Layout, make_layout
from jepalib.models.memory import keep_freed_memory

HEADS = 8
LENGTHS = 8, 18, 40, 100
Attend = Callable[[Tensor, Tensor | None], Tensor]


def torch_attention(jets: int) -> Attend:
    """torch's attention of packed jets of the same length."""

    def attend(qkv: Tensor, bias: Tensor | None) -> Tensor:
        q, k, v = qkv.unflatten(0, (jets, -1)).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v, bias).transpose(1, 2).flatten(2).flatten(0, 1)

    return attend


def biases(layout: Layout) -> tuple[Tensor, Tensor]:
    """The same symmetric bias as the kernels and as torch take it."""
    values = torch.randn(int(layout.pair_offsets(0)[-1]), HEADS)
    jet, i, j = layout.pairs()
    dense = torch.empty(layout.jets, HEADS, layout.length, layout.length)
    dense[jet, :, i, j] = values
    dense[jet, :, j, i] = values
    return bias_of_pairs(values, layout), dense


def seconds(attend: Attend, qkv: Tensor, bias: Tensor | None, grad: Tensor) -> float:
    """Processor time of one pass forward and back."""
    start = time.process_time()
    attend(qkv, bias).backward(grad)
    elapsed = time.process_time() - start
    qkv.grad = None
    if bias is not None:
        bias.grad = None
    return elapsed


def compare(length: int, channels: int, with_bias: bool, tokens: int, rounds: int) -> tuple[float, ...]:
    """Median seconds a jet of both, and of their ratio.

    Raises:
        AssertionError: they do not give the same.
    """
    jets = max(tokens // length, 1)
    layout = make_layout(torch.arange(jets + 1) * length)
    qkv = torch.randn(jets * length, 3 * HEADS * channels).requires_grad_()
    grad = torch.randn(jets * length, HEADS * channels)
    packed, dense = (b.requires_grad_() for b in biases(layout)) if with_bias else (None, None)
    ways = [(lambda x, b: attention(x, b, layout, HEADS), packed), (torch_attention(jets), dense)]
    torch.testing.assert_close(*(attend(qkv, bias) for attend, bias in ways), atol=1e-5, rtol=1e-4)
    for attend, bias in ways:
        seconds(attend, qkv, bias, grad)
    times = np.empty((rounds, 2))
    for number in range(rounds):
        for way in (0, 1) if number % 2 else (1, 0):  # who comes first finds a the cache otherwise filled
            attend, bias = ways[way]
            times[number, way] = seconds(attend, qkv, bias, grad)
    return *(np.median(times, 0) / jets), float(np.median(times[:, 1] / times[:, 0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=4096, help="of all jets of a pass together")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("channels  tokens  bias   kernels     torch  microseconds a jet")
    for channels in (8, 16):
        for length in LENGTHS:
            for with_bias in (False, True):
                a, b, ratio = compare(length, channels, with_bias, args.tokens, args.rounds)
                print(
                    f"{channels:8}{length:8}{'yes' if with_bias else 'no':>6}"
                    f"{1e6 * a:10.1f}{1e6 * b:10.1f}  kernels {ratio:.1f} times as fast"
                )


if __name__ == "__main__":
    main()
