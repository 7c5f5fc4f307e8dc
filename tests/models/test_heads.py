"""Heads on encoded jets."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from made_jets import make_jets
from torch import nn

from jepalib.jets import Jets
from jepalib.models.encoded import Encoded
from jepalib.models.heads import ClassAttentionHead, Classifier, LinearHead, MLPHead
from jepalib.models.particle_transformer import ParticleTransformer
from jepalib.models.sizes import Size

LITTLE = Size(32, (32, 64, 32), 4, 1, 1, (16,), 16, 4, 1, 1)


@pytest.fixture
def encoded(jets: Jets) -> Encoded:
    rng = torch.Generator().manual_seed(0)
    n = len(jets.particles), len(jets)
    return Encoded(*(torch.randn(rows, 32, generator=rng) for rows in n), jets.offsets)


@pytest.mark.parametrize("head", [MLPHead, LinearHead, ClassAttentionHead])
@pytest.mark.parametrize("classes", [2, 10])
def test_classifier(head: type[nn.Module], classes: int, jets: Jets):
    model = Classifier(ParticleTransformer(LITTLE), head(32, classes))
    logits = model(jets)
    assert logits.shape == (len(jets), classes)
    nn.functional.cross_entropy(logits, jets.labels % classes).backward()
    assert all(p.grad.isfinite().all() for p in model.head.parameters())
    assert any(p.grad.abs().max() > 0 for p in model.encoder.parameters())


def test_mlp_head_is_as_published():
    kinds = [type(layer).__name__ for layer in MLPHead(32, 10).layers]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Dropout"] * 2 + ["Linear"]
    layers = MLPHead(32, 10).layers
    assert [layers[n].out_features for n in (0, 4, 8)] == [128, 128, 10]
    assert layers[0].bias is None
    assert layers[4].bias is None
    assert layers[8].bias is not None
    assert layers[3].p == layers[7].p == 0.5


@pytest.mark.parametrize("head", [MLPHead, LinearHead])
def test_jet_heads_read_cls_only(head: type[nn.Module], encoded: Encoded):
    model = head(32, 10).eval()
    other = replace(encoded, tokens=encoded.tokens + 1)
    torch.testing.assert_close(model(other), model(encoded), rtol=0, atol=0)
    assert (model(replace(encoded, cls=encoded.cls + 1)) - model(encoded)).abs().max() > 1e-3


def test_class_attention_reads_particles_of_its_jet_only(jets: Jets, encoded: Encoded):
    head = ClassAttentionHead(32, 10, micro_batch=5).eval()
    plain = head(encoded)
    other = replace(encoded, cls=encoded.cls + 1)
    torch.testing.assert_close(head(other), plain, rtol=0, atol=0)
    order = torch.argsort(jets.jet_of_particle + torch.rand(len(jets.particles)))
    shuffled = replace(encoded, tokens=encoded.tokens[order])
    torch.testing.assert_close(head(shuffled), plain, atol=1e-5, rtol=1e-4)
    moved = encoded.tokens.clone()
    moved[: int(jets.offsets[1])] += torch.randn(1, 32)
    difference = (head(replace(encoded, tokens=moved)) - plain).abs().amax(1)
    assert difference[0] > 1e-3
    assert difference[1:].max() < 1e-5


def test_class_attention_of_an_empty_jet_is_finite():
    jets = make_jets([0, 4])
    head = ClassAttentionHead(32, 3)
    scores = head(Encoded(torch.randn(4, 32), torch.randn(2, 32), jets.offsets))
    assert scores.isfinite().all()
