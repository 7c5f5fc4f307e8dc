"""Floating-point operations of a network on given jets, counted while it runs.

Counted is what the mathematics asks for of the real, packed tokens: no padding, and nothing that
an implementation computes twice to save memory (the "model FLOPs" of Chowdhery et al.,
arXiv:2204.02311, App. B). A multiplication with an addition counts 2. Forward, with n tokens of a
jet, width w, h heads:

    linear layer a to b           2 a b each row (a token, a patch, a jet)
    attention in a jet            4 n² w            n² w for the scores, as much for the values, times 2
    class attention on n tokens   6 w² + 4 h (n + 1) w    query, its way to the keys, values of the mean;
                                                          scores and means; linear layers beside
    network of pairs              2 sum(a b) n (n + 1) / 2    over its layers, for pairs i >= j

Backward, a product costs once more for each of its two factors that wants a gradient: training is
three times the forward pass, a teacher without gradient once. Left out is whatever grows with the
tokens but not with the width squared or the tokens squared: normalisations, activations, softmax,
physics features of pairs, and the statistics of batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from jepalib.jets import Jets
from jepalib.models.blocks import ClassAttentionBlock, ParticleAttentionBlock, PlainBlock
from jepalib.models.layout import Layout
from jepalib.models.pairs import PairEmbed

KINDS = ("linear", "attention", "class attention", "pairs")
PROBES = "probes"  # submodules of this name only watch: no gradient of theirs trains the network


@contextmanager
def counting(network: nn.Module) -> Iterator[Counter[str]]:
    """Counts the operations of whatever parts of the network are called meanwhile, by `KINDS`.

    Forward and, for what takes part in a gradient, backward. Online probes are left out.
    """
    counts: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
    hooks = []
    for name, module in network.named_modules():
        if PROBES in name.split("."):
            continue
        for kind, formula in FORMULAS.items():
            if isinstance(module, kind):
                hook = partial(_add, counts, formula)
                hooks.append(module.register_forward_hook(hook))
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()


def encoder_flops(encoder: nn.Module, jets: Jets) -> dict[str, float]:
    """Operations of a forward pass for each jet, on average over these jets, by kind."""
    with torch.no_grad(), counting(encoder) as counts:
        encoder(jets)
    return {kind: count / len(jets) for kind, count in counts.items()}


def step_flops(method: nn.Module, jets: Jets, generator: torch.Generator) -> dict[str, float]:
    """Operations of a training step for each jet, on average over these jets, by kind.

    The masks are drawn as in training. Running statistics of the method are changed.

    Args:
        method: any of `methods.registry`, in training mode: with `draw` and `forward`.
    """
    drawn = method.draw(jets, generator)
    with torch.enable_grad(), counting(method) as counts:
        method(jets, drawn, generator)
    return {kind: count / len(jets) for kind, count in counts.items()}


def _add(counts: Counter[str], formula: Callable, module: nn.Module, given: tuple, answer: Any) -> None:
    kind, count = formula(module, *given)
    counts[kind] += count


def _passes(first: bool, second: bool) -> int:
    """Products forward, and backward towards each factor that wants a gradient."""
    return 1 + (torch.is_grad_enabled() and first) + (torch.is_grad_enabled() and second)


def _linear(layer: nn.Linear, x: Tensor) -> tuple[str, int]:
    rows = x.numel() // layer.in_features
    passes = _passes(x.requires_grad, layer.weight.requires_grad)
    return "linear", 2 * rows * layer.in_features * layer.out_features * passes


def _attention(block: nn.Module, x: Tensor, layout: Layout, bias: Tensor | None) -> tuple[str, int]:
    trained = x.requires_grad or block.attn.in_proj.weight.requires_grad
    pairs = int(layout.counts.square().sum())
    return "attention", 4 * pairs * x.shape[1] * _passes(trained, trained)


def _class_attention(block: ClassAttentionBlock, cls: Tensor, x: Tensor, layout: Layout) -> tuple[str, int]:
    """The query, its way to the keys, and values are products with weights; scores and means are not."""
    weighted = block.attn.in_proj.weight.requires_grad
    asks = cls.requires_grad or weighted
    told = asks or x.requires_grad
    width, places = cls.shape[1], layout.jets + int(layout.counts.sum())
    projections = _passes(cls.requires_grad, weighted) + _passes(asks, weighted) + _passes(told, weighted)
    attended = _passes(asks, told) + _passes(told, told)
    count = 2 * layout.jets * width**2 * projections + 2 * block.heads * places * width * attended
    return "class attention", count


def _pairs(network: PairEmbed, p4: Tensor, layout: Layout, weights: object, lead: int = 0) -> tuple[str, int]:
    pairs = int(layout.pair_offsets(lead)[-1])
    each = sum(layer.in_features * layer.out_features for layer in network.linears)
    trained = network.linears[0].weight.requires_grad
    return "pairs", 2 * pairs * each * _passes(trained, trained)


FORMULAS: dict[type[nn.Module], Callable[..., tuple[str, int]]] = {
    nn.Linear: _linear,
    ParticleAttentionBlock: _attention,
    PlainBlock: _attention,
    ClassAttentionBlock: _class_attention,
    PairEmbed: _pairs,
}
