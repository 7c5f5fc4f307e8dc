"""Pairwise interaction features as an attention bias (ParT, arXiv:2202.03772, Sec. 3)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from jepalib.kinematics import pair_features
from jepalib.models.layout import Layout

STATISTICS_PAIRS = 8192  # pairs of a batch that its normalisation statistics are taken from

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
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in zip(dims[:-1], dims[1:], strict=True))

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
                sample = pair_features(p4[first], p4[second])
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
    ) -> Float[Tensor, "jets heads length length"]:
        """The attention bias of one micro-batch.

        It is 0 on padding and for the first `lead` tokens of each jet, which are no
        particles (a class token) and whose rows of `p4` are ignored.
        """
        jet, i, j = tril_pairs(layout, lead)
        start = layout.offsets[jet]
        features = pair_features(p4[start + i], p4[start + j])
        (scale, shift), *layers = weights
        x = features * scale + shift
        for number, (weight, bias) in enumerate(layers, start=1):
            x = F.linear(x, weight, bias)
            if number < len(layers) or not self.pre_activation:
                x = F.gelu(x)
        x = x.float()
        dense = x.new_zeros(layout.jets, layout.length, layout.length, self.heads)
        dense = dense.index_put((jet, i, j), x).index_put((jet, j, i), x)
        return dense.permute(0, 3, 1, 2)


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


def tril_pairs(layout: Layout, lead: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """(jet, i, j) of all pairs i >= j >= lead of real tokens of a micro-batch."""
    places = torch.arange(layout.length, device=layout.offsets.device)
    real = places < layout.counts[:, None]
    lower = (places[:, None] >= places) & (places >= lead)
    return torch.nonzero(real[:, :, None] & lower, as_tuple=True)


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
