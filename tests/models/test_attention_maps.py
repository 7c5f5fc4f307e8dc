"""Attention weights are those of the forward pass, in the caller's order; looking changes nothing."""

from __future__ import annotations

import pytest
import torch
from made_jets import make_jets
from torch import nn

from jepalib.errors import JepalibError
from jepalib.jets import concatenate
from jepalib.models import blocks
from jepalib.models.attention_maps import attention_maps, class_attention
from jepalib.models.encoders import EncoderConfig, build_encoder
from jepalib.models.heads import ClassAttentionHead, Classifier, MLPHead
from jepalib.models.layout import make_layout
from jepalib.models.patches import make_patches


def encoder(kind: str = "particles", **options: object) -> nn.Module:
    torch.manual_seed(1)
    model = build_encoder(EncoderConfig(kind=kind, **options), micro_batch=3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
        if isinstance(module, nn.Linear):
            module.weight.data *= 2  # attention that is far from even
    return model.eval()


def classifier(kind: str) -> Classifier:
    model = encoder(kind)
    return Classifier(model, ClassAttentionHead(model.width)).eval()


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=2e-5, rtol=2e-4)


@pytest.mark.parametrize("kind", ["particles", "patches"])
def test_every_block_has_a_map_whose_rows_sum_to_one(jets, kind):
    model = classifier(kind)
    maps = attention_maps(model, jets, 4)
    own = ["class block 1"] if kind == "particles" else []
    assert [m.name for m in maps] == [f"block {i}" for i in range(1, 5)] + own + [
        "head block 1",
        "head block 2",
    ]
    deta, dphi = jets.column("deta"), jets.column("dphi")
    tokens = int(jets.counts[4])
    if kind == "patches":
        tokens = 8 + int(make_patches(deta, dphi, jets.offsets, model.encoder.patches).counts[4])
    for m in maps:
        assert m.registers == (8 if kind == "patches" and m.kind == "particles" else 0)
        among = (
            (tokens, tokens) if m.kind == "particles" else (1, 1 + tokens - (8 if kind == "patches" else 0))
        )
        assert m.weights.shape[1:] == among
        assert (m.weights >= 0).all()
        close(m.weights.sum(2), torch.ones(m.weights.shape[:2]))
    assert max(float(m.weights.max()) for m in maps) > 3 / tokens  # not even


@pytest.mark.parametrize(("kind", "options"), [
    ("particles", {}), ("patches", {}), ("patches", {"physics_bias": False, "registers": 0}),
])  # fmt: skip
def test_weights_times_values_are_what_the_block_attends_to(jets, kind, options, monkeypatch):
    """The kernels' own output, block by block, from the weights and the values that they were given."""
    model, seen = encoder(kind, **options), []
    kernel = blocks.attention

    def spy(qkv, bias, layout, heads, dropout=0.0):
        out = kernel(qkv, bias, layout, heads, dropout)
        seen.append((qkv.chunk(3, dim=1)[2].unflatten(1, (heads, -1)), out))
        return out

    monkeypatch.setattr(blocks, "attention", spy)
    maps = [m for m in attention_maps(model, jets, 3) if m.kind == "particles"]
    assert len(maps) == len(seen) == 4
    for m, (values, out) in zip(maps, seen):
        close(torch.einsum("hqk,khd->qhd", m.weights, values).flatten(1), out)


def test_class_weights_times_values_are_what_the_class_block_attends_to(jets, monkeypatch):
    model, seen = encoder(), {}
    block = model.trunk.cls_blocks[0]
    after = block.after_attention
    monkeypatch.setattr(
        block, "after_attention", lambda *args: after(seen.setdefault("args", args)[0], args[1])
    )
    block.register_forward_pre_hook(lambda _, inputs: seen.setdefault("inputs", inputs))
    weights = attention_maps(model, jets, 3)[-1].weights
    attended, cls = seen["args"]
    _, tokens, _ = seen["inputs"]
    u = block.pre_attn_norm(torch.cat([cls, tokens]))
    values = block.attn.in_proj(u).chunk(3, dim=1)[2].unflatten(1, (block.heads, -1))
    close(torch.einsum("hqk,khd->qhd", weights, values).flatten(1), attended)


def test_order_is_that_of_the_caller(jets):
    model, jet = encoder(), jets.take([3])
    order = torch.randperm(len(jet.particles), generator=torch.Generator().manual_seed(0))
    plain = attention_maps(model, jet, 0)
    other = attention_maps(model, jet.with_particles(jet.particles[order]), 0)
    close(other[1].weights, plain[1].weights[:, order][:, :, order])
    with_token = torch.cat([torch.zeros(1, dtype=torch.long), 1 + order])
    close(other[-1].weights, plain[-1].weights[:, :, with_token])


@pytest.mark.parametrize("model", [encoder(), classifier("particles")])
def test_class_attention_of_a_batch_is_that_of_its_jets(jets, model):
    found = class_attention(model, jets)  # jets of many lengths, in micro-batches of three
    head = isinstance(model, Classifier)
    for row in range(len(jets)):
        maps = attention_maps(model, jets, row)
        used = [m.weights[:, 0, 1:] for m in maps if m.name.startswith("head" if head else "class")]
        begin, end = jets.offsets[row], jets.offsets[row + 1]
        close(found[begin:end], torch.stack(used).mean((0, 1)))
        assert found[begin:end].sum() <= 1


def test_attention_to_patches_is_shared_by_their_particles(jets):
    model = classifier("patches")
    found = class_attention(model, jets)
    weights = torch.stack([m.weights for m in attention_maps(model, jets, 1) if m.kind == "class"])
    jet = jets.take([1])
    patches = make_patches(jet.column("deta"), jet.column("dphi"), jet.offsets, model.encoder.patches)
    expected = torch.zeros(128)
    for patch, weight in enumerate(weights.mean((0, 1, 2))[1:]):
        begin, end = patches.member_offsets[patch : patch + 2]
        expected[patches.members[begin:end]] += weight / (end - begin)
    close(found[2:130], expected)
    close(found[2:130].sum(), weights.mean((0, 1, 2))[1:].sum())


def test_jets_without_particles_have_none_to_attend_to():
    jets = concatenate([make_jets([5, 3]), make_jets([4]).select_particles(torch.zeros(4, dtype=torch.bool))])
    assert len(class_attention(encoder(), jets)) == 8
    assert attention_maps(encoder(), jets, 2)[-1].weights.shape == (8, 1, 1)


def test_looking_leaves_the_model_as_it_was(jets):
    model = Classifier(encoder(), MLPHead(64)).train()
    model.encoder.input_bn.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    attention_maps(model, jets, 0)
    class_attention(model, jets)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert (model.training, model.head.training, model.encoder.input_bn.training) == (True, True, False)
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_what_cannot_be_looked_at_is_refused(jets):
    with pytest.raises(JepalibError, match="no jet 12"):
        attention_maps(encoder(), jets, 12)
    with pytest.raises(JepalibError, match="PatchTransformer has no class token"):
        class_attention(encoder("patches"), jets)
    with pytest.raises(JepalibError, match="Linear holds no"):
        attention_maps(nn.Linear(1, 1), jets, 0)


def test_padding_gets_no_attention():
    block = encoder().trunk.cls_blocks[0]
    layout = make_layout(torch.tensor([0, 2, 7]))
    cls, tokens = torch.zeros(2, 64), torch.randn(7, 64)
    weights = block.weights(cls, block.keys(cls, tokens, layout), layout)
    assert (weights[0, :, 3:] == 0).all()
    assert (weights[1] > 0).all()
