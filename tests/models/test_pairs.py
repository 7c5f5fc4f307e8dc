"""The pair network: features, sampled statistics, folding and its own gradient."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_jets import make_jets
from torch import nn

from jepalib.kinematics import pair_features
from jepalib.models import pairs
from jepalib.models.attention import dense_bias
from jepalib.models.layout import make_layout, offsets_of
from jepalib.models.pairs import PairEmbed, features_of_pairs, sample_pairs


def all_pairs(offsets: torch.Tensor) -> set[tuple[int, int]]:
    edges = offsets.tolist()
    return {(i, j) for a, b in pairwise(edges) for i in range(a, b) for j in range(a, i + 1)}


def test_features_are_those_of_kinematics():
    p4 = make_jets([30, 1, 128]).particles[:, :4]
    first = torch.randint(len(p4), (500,))
    second = torch.cat([torch.randint(len(p4), (450,)), first[450:]])  # some with themselves
    torch.testing.assert_close(features_of_pairs(p4, first, second), pair_features(p4[first], p4[second]))


@settings(deadline=None)
@given(counts=st.lists(st.integers(0, 30), max_size=8), most=st.integers(1, 200))
def test_sample_is_valid_without_repetition_and_spread(counts: list[int], most: int):
    offsets = offsets_of(torch.tensor(counts, dtype=torch.long))
    first, second = sample_pairs(offsets, most)
    valid = all_pairs(offsets)
    chosen = list(zip(first.tolist(), second.tolist(), strict=True))
    assert len(chosen) == len(set(chosen)) == min(most, len(valid))
    assert set(chosen) <= valid


def test_batch_statistics_are_those_of_batch_norm():
    """With fewer pairs than the sample, training equals plain batch norm over all pairs."""
    jets = make_jets([12, 30, 1, 0, 25])
    torch.manual_seed(0)
    network = PairEmbed((16, 16), 4).train()
    plain = nn.Sequential()
    for number, norm in enumerate(network.norms):
        plain.append(nn.BatchNorm1d(norm.num_features))
        if number < len(network.linears):
            if number:
                plain.append(nn.GELU())
            plain.append(network.linears[number])
    plain.append(nn.GELU())
    layout = make_layout(jets.offsets)
    p4 = jets.particles[:, :4]
    bias = network(p4, layout, network.folded(p4, jets.offsets))
    first, second = sample_pairs(jets.offsets, 10**6)
    expected = plain.train()(pair_features(p4[first], p4[second]))
    jet, i, j = layout.pairs()
    found = dense_bias(bias, layout, 4)[jet, :, i, j]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    theirs = [layer for layer in plain if isinstance(layer, nn.BatchNorm1d)]
    for mine, other in zip(network.norms, theirs, strict=True):
        torch.testing.assert_close(mine.running_mean, other.running_mean, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(mine.running_var, other.running_var, atol=1e-4, rtol=1e-4)
        assert mine.num_batches_tracked == other.num_batches_tracked == 1
    weight = torch.linspace(-1, 1, found.numel()).reshape(found.shape) / len(found)
    parameters = list(network.linears.parameters())
    mine = torch.autograd.grad((found * weight).sum(), parameters, retain_graph=True)
    other = torch.autograd.grad((expected * weight).sum(), parameters)
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)


def test_evaluation_uses_and_keeps_running_statistics():
    jets = make_jets([12, 30])
    network = PairEmbed((16,), 4).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    p4 = jets.particles[:, :4]
    network(p4, make_layout(jets.offsets), network.folded(p4, jets.offsets))
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


@pytest.mark.parametrize("pre_activation", [True, False])
def test_network_gradient_in_float64(pre_activation: bool, monkeypatch):
    monkeypatch.setattr(pairs, "BLOCK", 4)  # several blocks, the last one short
    rng = torch.Generator().manual_seed(0)
    shapes = [(4,), (4,), (5, 4), (5,), (3, 5), (3,), (2, 3), (2,)]
    weights = [torch.randn(s, dtype=torch.float64, generator=rng).requires_grad_() for s in shapes]
    features = torch.randn(11, 4, dtype=torch.float64, generator=rng)

    def run(*weights: torch.Tensor) -> torch.Tensor:
        return pairs._PairNetwork.apply(features, torch.float64, pre_activation, *weights)

    assert torch.autograd.gradcheck(run, weights)
