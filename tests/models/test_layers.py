"""Layers: the last is the encoder's own output, order and micro-batches do not matter, nothing changes."""

from __future__ import annotations

import copy

import pytest
import torch
from made_jets import make_jets
from torch import nn

from jepalib.errors import JepalibError
from jepalib.models.encoders import EncoderConfig, build_encoder
from jepalib.models.layers import layer_names, layer_outputs
from jepalib.models.patch_transformer import patch_jets

KINDS = ["particles", "patches"]


def encoder_of(kind: str, micro_batch: int = 5) -> nn.Module:
    """A nano encoder whose normalisations have seen jets."""
    torch.manual_seed(1)
    encoder = build_encoder(EncoderConfig(kind=kind, registers=3), micro_batch).train()
    encoder(make_jets([30, 4, 50], seed=3))
    return encoder.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_the_last_layer_is_what_the_encoder_gives(kind, jets):
    encoder = encoder_of(kind)
    layers, whole = layer_outputs(encoder, jets), encoder(jets)
    blocks = ["embedding", "block 1", "block 2", "block 3", "block 4"]
    assert list(layers) == layer_names(encoder) == blocks + ["class block 1"] * (kind == "particles")
    last = list(layers.values())[-1]
    assert torch.equal(last.tokens, whole.tokens)
    assert torch.equal(layers["block 4"].tokens, whole.tokens)
    assert all(torch.equal(layer.offsets, whole.offsets) for layer in layers.values())
    if kind == "particles":
        assert torch.equal(last.cls, whole.cls)
        assert layers["block 4"].cls is None
    assert not any(layer.tokens.requires_grad for layer in layers.values())


def test_the_embedding_is_that_of_each_particle(jets):
    encoder = encoder_of("particles")
    seen = {}
    single = copy.deepcopy(encoder)
    single.micro_batch = len(jets)  # all in one piece, sorted by length
    single.embed.register_forward_hook(lambda module, given, output: seen.update(x=output))
    layers = layer_outputs(single, jets)
    order = torch.argsort(jets.counts, stable=True)
    sorted_back = torch.cat(
        [layers["embedding"].tokens[jets.offsets[i] : jets.offsets[i + 1]] for i in order.tolist()]
    )
    assert torch.equal(sorted_back, seen["x"])


def test_the_embedding_of_patches_is_token_plus_place_without_registers(jets):
    encoder = encoder_of("patches")
    patches = patch_jets(jets, encoder.patches, encoder.inputs)
    expected = encoder.tokeniser(patches.points) + encoder.place(patches.places)
    assert torch.equal(layer_outputs(encoder, jets)["embedding"].tokens, expected.detach())


def test_the_next_layer_follows_from_the_one_before(jets):
    """A class block applied by hand to the tokens of the last block gives the class token."""
    encoder = encoder_of("particles")
    layers = layer_outputs(encoder, jets)
    by_hand = encoder.aggregate(layers["block 4"].tokens, jets.offsets)
    torch.testing.assert_close(layers["class block 1"].cls, by_hand)


@pytest.mark.parametrize("kind", KINDS)
def test_neither_order_nor_micro_batch_matter(kind, jets):
    encoder = encoder_of(kind)
    layers = layer_outputs(encoder, jets)
    order = torch.randperm(len(jets), generator=torch.Generator().manual_seed(0))
    shuffled = layer_outputs(encoder, jets.take(order))
    other = copy.deepcopy(encoder)
    other.micro_batch = 2
    cut = layer_outputs(other, jets)
    for name, layer in layers.items():
        for found in (shuffled[name].take(torch.argsort(order)), cut[name]):
            torch.testing.assert_close(found.tokens, layer.tokens, rtol=1e-4, atol=1e-5)
            if layer.cls is not None:
                torch.testing.assert_close(found.cls, layer.cls, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_encoder_is_unchanged_also_when_it_fails(kind, jets, monkeypatch):
    encoder = encoder_of(kind)
    before = copy.deepcopy(encoder.state_dict())
    layer_outputs(encoder, jets)
    monkeypatch.setattr(encoder.trunk.blocks[1], "forward", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        layer_outputs(encoder, jets)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert not encoder.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in encoder.modules())


def test_what_has_no_layers_is_refused(jets):
    with pytest.raises(JepalibError, match="Linear"):
        layer_outputs(nn.Linear(2, 2), jets)
    with pytest.raises(JepalibError, match="eval"):
        layer_outputs(encoder_of("particles").train(), jets)
