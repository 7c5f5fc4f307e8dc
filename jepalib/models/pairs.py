"""Pairwise interaction features as an attention bias (ParT, arXiv:2202.03772, Sec. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from jepalib.kinematics import EPS, rapidity, wrap_phi
from jepalib.models.attention import bias_of_pairs
from jepalib.models.layout import Layout
from jepalib.models.linear import affine, compute_dtype, product

STATISTICS_PAIRS = 8192  # pairs of a batch that its normalisation statistics are taken from
BLOCK = 2048  # pairs that go through the network together

Weights = list[tuple[Tensor, Tensor]]


class PairEmbed(nn.Module):
    """The network from (ln kT, ln z, ln Delta, ln m2) of a pair to one bias per head.

    Published: batch norm, then (1x1 convolution, batch norm, GELU) for each width. It
    is evaluated on real pairs i >= j only, since it is symmetric, in two steps:

    1. `folded` fixes the batch norms for the whole batch and folds them into the
       linear layers. In evaluation it uses the running statistics. In training it
       takes the batch statistics from one sample of real pairs, evenly strided over
       the whole batch (all of them in a small batch), with gradient through mean and
       variance as in any batch norm, and updates the running ones. So the statistics
       depend neither on padding nor on how the batch is cut into micro-batches.
    2. `forward` is then a plain network, applied to one micro-batch.
    """

    def __init__(self, hidden: tuple[int, ...], heads: int, pre_activation: bool = False) -> None:
        super().__init__()
        dims = (4, *hidden, heads)
        self.heads = heads
        self.pre_activation = pre_activation
        self.norms = nn.ModuleList(nn.BatchNorm1d(dim) for dim in dims)
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(dims))

    @torch.autocast("cpu", enabled=False)
    @torch.autocast("cuda", enabled=False)
    def folded(self, p4: Float[Tensor, "particles 4"], offsets: Int[Tensor, " edges"]) -> Weights:
        """Linear layers with the batch norms folded in, for the batch of these particles.

        Returns:
            scale and shift of the features, then weight and bias of each linear layer.
        """
        sample = None
        if self.training:
            first, second = sample_pairs(offsets, STATISTICS_PAIRS)
            if len(first) > 1:
                sample = features_of_pairs(p4, first, second)
        scale, shift = _affine(self.norms[0], sample)
        weights = [(scale, shift)]
        sample = None if sample is None else sample * scale + shift
        for linear, norm in zip(self.linears, self.norms[1:], strict=True):
            sample = None if sample is None else F.linear(sample, linear.weight, linear.bias)
            scale, shift = _affine(norm, sample)
            weights.append((linear.weight * scale[:, None], linear.bias * scale + shift))
            sample = None if sample is None else F.gelu(sample * scale + shift)
        return weights

    def forward(
        self, p4: Float[Tensor, "tokens 4"], layout: Layout, weights: Weights, lead: int = 0
    ) -> Tensor:
        """The attention bias of one micro-batch, as `attention` takes it.

        It is 0 for the first `lead` tokens of each jet, which are no
        particles (a class token) and whose rows of `p4` are ignored.
        """
        jet, i, j = layout.pairs(lead)
        start = layout.offsets[jet]
        with torch.autocast(p4.device.type, enabled=False):
            features = features_of_pairs(p4, start + i, start + j)
        dtype = compute_dtype(features)
        values = _PairNetwork.apply(features, dtype, self.pre_activation, *sum(weights, ()))
        return bias_of_pairs(values, layout, lead)


class _PairNetwork(torch.autograd.Function):
    """The network of folded layers, in blocks of pairs that fit a cache.

    Its hidden values are some 1.5 kB a pair, so they are made again in the backward pass.
    Forward: scale and shift, then (linear, GELU) for each layer, the last without GELU if
    `pre_activation`. No gradient goes to the features: they are data.
    """

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, dtype: torch.dtype, pre_activation: bool, *weights: Tensor
    ) -> Tensor:
        ctx.save_for_backward(features, *weights)
        ctx.dtype, ctx.pre_activation = dtype, pre_activation
        layers = _layers(weights, dtype)
        with torch.autocast(features.device.type, enabled=False):
            blocks = [_hidden(b, weights, layers, pre_activation)[-1] for b in features.split(BLOCK)]
            return torch.cat([b.to(features.dtype) for b in blocks])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        features, *weights = ctx.saved_tensors
        layers = _layers(weights, ctx.dtype)
        sums = [torch.zeros_like(w) for w in weights]
        for block, piece in zip(features.split(BLOCK), grad.split(BLOCK), strict=True):
            values = _hidden(block, weights, layers, ctx.pre_activation)
            piece = piece.to(ctx.dtype).contiguous()
            for number in range(len(layers) - 1, -1, -1):
                x, z = values[2 * number], values[2 * number + 1]
                if number < len(layers) - 1 or not ctx.pre_activation:
                    piece = torch.ops.aten.gelu_backward(piece, z)
                sums[2 + 2 * number] += product(piece.t(), x.t())
                sums[3 + 2 * number] += piece.sum(0)
                piece = product(piece, layers[number][0].t())
            sums[0] += (piece.to(block.dtype) * block).sum(0)
            sums[1] += piece.sum(0)
        return None, None, None, *sums


def _layers(weights: Sequence[Tensor], dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    low = [w.to(dtype) for w in weights[2:]]
    return list(zip(low[::2], low[1::2], strict=True))


def _hidden(
    features: Tensor, weights: Sequence[Tensor], layers: list[tuple[Tensor, Tensor]], pre_activation: bool
) -> list[Tensor]:
    """Input and output of each linear layer in turn, then the result."""
    x = torch.addcmul(weights[1], features, weights[0]).to(layers[0][0].dtype)
    values = []
    for number, (weight, bias) in enumerate(layers, start=1):
        z = affine(x, weight, bias)
        values += [x, z]
        x = F.gelu(z) if number < len(layers) or not pre_activation else z
    return [*values, x]


def features_of_pairs(
    p4: Float[Tensor, "particles 4"], first: Int[Tensor, " pairs"], second: Int[Tensor, " pairs"]
) -> Float[Tensor, "pairs 4"]:
    """`kinematics.pair_features` of rows of `p4`, with what belongs to one particle made once."""
    px, py, pz, energy = p4.unbind(1)
    single = torch.stack([torch.hypot(px, py), rapidity(p4), torch.atan2(py, px), px, py, pz, energy])
    a, b = single[:, first], single[:, second]
    delta = torch.hypot(a[1] - b[1], wrap_phi(a[2] - b[2]))
    softer = torch.minimum(a[0], b[0])
    x, y, z, e = (a[3:] + b[3:]).unbind(0)
    mass2 = e.square() - (x.square() + y.square() + z.square())
    ratio = softer / (a[0] + b[0]).clamp_min(EPS)
    return torch.stack([softer * delta, ratio, delta, mass2]).clamp_min(EPS).log().t()


def _affine(norm: nn.BatchNorm1d, sample: Float[Tensor, "pairs dims"] | None) -> tuple[Tensor, Tensor]:
    """A batch norm as scale and shift: running statistics, or those of the sample."""
    if sample is None:
        mean, variance = norm.running_mean, norm.running_var
    else:
        variance, mean = torch.var_mean(sample, 0, correction=0)
        with torch.no_grad():
            unbiased = variance * (len(sample) / (len(sample) - 1))
            norm.running_mean.lerp_(mean, norm.momentum)
            norm.running_var.lerp_(unbiased, norm.momentum)
            norm.num_batches_tracked.add_(1)
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    return scale, norm.bias - mean * scale


def sample_pairs(
    offsets: Int[Tensor, " edges"], most: int
) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """Rows of both particles of at most `most` pairs i >= j, evenly strided over the batch."""
    counts = offsets.diff()
    edges = F.pad(torch.cumsum(counts * (counts + 1) // 2, 0), (1, 0))
    total = int(edges[-1])
    n = min(total, most)
    number = torch.arange(n, device=offsets.device) * total // max(n, 1)
    jet = torch.searchsorted(edges, number, right=True) - 1
    rest = number - edges[jet]
    # pair number k of a jet has i = floor((sqrt(8k + 1) - 1) / 2), exact in float64
    i = (((8 * rest + 1).double().sqrt() - 1) / 2).long()
    j = rest - i * (i + 1) // 2
    return offsets[jet] + i, offsets[jet] + j
