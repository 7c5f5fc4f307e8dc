"""The predictor of JP-JEPA: what it sees, what it must not see, and the order of its answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from made_jets import make_jets

from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.models.encoded import Encoded
from jepalib.models.layout import interleaved
from jepalib.models.particle_transformer import ParticleTransformer
from jepalib.models.predictors import AggregatePredictor, ParticlePredictor
from jepalib.models.sizes import SIZES, Size
from jepalib.schema import PARTICLE_COLUMN

LITTLE = Size(32, (32, 64, 32), 4, 2, 1, (16, 16), 16, 4, 2, 1)
PLACE = [PARTICLE_COLUMN["deta"], PARTICLE_COLUMN["dphi"]]


@pytest.fixture
def split() -> tuple[Jets, Jets]:
    """Context and target of jets in no order of length; one has a single target."""
    jets = make_jets([20, 3, 40, 2, 11], seed=1)
    keep = torch.rand(len(jets.particles), generator=torch.Generator().manual_seed(2)) < 0.6
    starts = jets.offsets[:-1]
    keep[starts], keep[starts + 1] = True, False
    return jets.select_particles(keep), jets.select_particles(~keep)


@pytest.fixture
def encoder() -> ParticleTransformer:
    torch.manual_seed(0)
    return ParticleTransformer(LITTLE).eval()


def predictor(**options: int) -> ParticlePredictor:
    torch.manual_seed(1)
    return ParticlePredictor(LITTLE, **options).eval()


def changed(jets: Jets, columns: list[int]) -> Jets:
    particles = jets.particles.clone()
    particles[:, columns] = particles[:, columns] * 1.5 + 0.1
    return jets.with_particles(particles)


def same(a: Encoded, b: Encoded, tolerance: float = 0.0) -> None:
    torch.testing.assert_close(a.tokens, b.tokens, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(a.cls, b.cls, atol=tolerance, rtol=tolerance)


def test_interleaving():
    edges = [torch.tensor([0, 1, 2]), torch.tensor([0, 2, 2]), torch.tensor([0, 1, 4])]
    order, offsets = interleaved(edges)
    assert order.tolist() == [0, 2, 3, 4, 1, 5, 6, 7]  # rows of the concatenation
    assert offsets.tolist() == [0, 4, 8]


@pytest.mark.parametrize("use_cls", [True, False])
@pytest.mark.parametrize("physics_bias", [True, False])
def test_order_and_jet_by_jet(use_cls: bool, physics_bias: bool, encoder, split):
    """All jets at once give what each jet gives by itself, in the order of the targets."""
    context, target = split
    model = predictor(use_cls=use_cls, physics_bias=physics_bias)
    together = model(encoder(context), context, target, encoder.pair_embed)
    assert together.tokens.shape == (len(target.particles), 32)
    assert together.cls.shape == (len(target), 32)
    for row in range(len(target)):
        one, its = context.take([row]), target.take([row])
        alone = model(encoder(one), one, its, encoder.pair_embed)
        rows = slice(int(target.offsets[row]), int(target.offsets[row + 1]))
        its_own = Encoded(together.tokens[rows], together.cls[row : row + 1], its.offsets)
        same(its_own, alone, 1e-5)


def test_permutation_of_targets(encoder, split):
    context, target = split
    model, encoded = predictor(), encoder(context)
    order = torch.argsort(target.jet_of_particle + torch.rand(len(target.particles)))
    plain = model(encoded, context, target, encoder.pair_embed)
    other = model(encoded, context, target.with_particles(target.particles[order]), encoder.pair_embed)
    same(other, replace(plain, tokens=plain.tokens[order]), 1e-5)


def test_only_place_and_four_vector_of_targets_are_seen(encoder, split):
    context, target = split
    model, encoded = predictor(), encoder(context)
    plain = model(encoded, context, target, encoder.pair_embed)
    hidden = [n for n in range(16) if n > 3 and n not in PLACE]
    same(model(encoded, context, changed(target, hidden), encoder.pair_embed), plain)
    for seen in ([0, 1, 2, 3], PLACE):
        other = model(encoded, context, changed(target, seen), encoder.pair_embed)
        assert (other.tokens - plain.tokens).abs().max() > 1e-4


def test_without_bias_four_vectors_are_not_seen(encoder, split):
    context, target = split
    model, encoded = predictor(physics_bias=False), encoder(context)
    plain = model(encoded, context, target, None)
    same(model(encoded, changed(context, [0, 1, 2, 3]), changed(target, [0, 1, 2, 3]), None), plain)


def test_context_cls_is_seen_only_if_asked(encoder, split):
    context, target = split
    encoded = encoder(context)
    other = replace(encoded, cls=encoded.cls + torch.randn_like(encoded.cls))
    without = predictor(use_cls=False)
    pair = encoder.pair_embed
    same(without(other, context, target, pair), without(encoded, context, target, pair))
    model = predictor()
    difference = model(other, context, target, pair).tokens - model(encoded, context, target, pair).tokens
    assert difference.abs().max() > 1e-3


def test_micro_batch_changes_nothing(encoder, split):
    context, target = split
    model, encoded = predictor(), encoder(context)
    plain = model(encoded, context, target, encoder.pair_embed)
    model.micro_batch = 2
    same(model(encoded, context, target, encoder.pair_embed), plain, 1e-5)


def test_gradients_reach_context_and_the_shared_pair_network(encoder, split):
    context, target = split
    model = predictor()
    encoder.train()
    encoded = encoder(context)
    encoded.tokens.retain_grad()
    out = model(encoded, context, target, encoder.pair_embed)
    encoder.pair_embed.zero_grad()
    (out.tokens.square().mean() + out.cls[:, 0].mean()).backward(inputs=[
        *model.parameters(), *encoder.pair_embed.parameters(), encoded.tokens
    ])  # fmt: skip
    assert encoded.tokens.grad.abs().max() > 0
    for parameter in [*model.parameters(), *encoder.pair_embed.linears.parameters()]:
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
    assert encoder.pair_embed.linears[0].weight.grad.abs().max() > 0


def test_own_pair_network(encoder, split):
    context, target = split
    model = predictor(own_pair_embed=True)
    assert model.pair_embed is not None
    assert predictor().pair_embed is None
    encoded = encoder(context)
    same(model(encoded, context, target, None), model(encoded, context, target, encoder.pair_embed))


def test_mistakes_are_named(encoder, split):
    context, target = split
    encoded = encoder(context)
    with pytest.raises(JepalibError, match="pair_embed"):
        predictor()(encoded, context, target, None)
    with pytest.raises(JepalibError, match="4 target jets"):
        predictor()(encoded, context, target.take([0, 1, 2, 3]), encoder.pair_embed)
    uneven = Size(32, (32,), 4, 1, 1, (8,), 16, 2, 1, 1)
    with pytest.raises(JepalibError, match="own_pair_embed"):
        ParticlePredictor(uneven)
    assert ParticlePredictor(uneven, own_pair_embed=True).pair_embed.heads == 2


def test_every_size_has_its_predictor():
    for size in SIZES.values():
        with torch.device("meta"):
            ParticlePredictor(size, own_pair_embed=size.heads != size.predictor_heads)
            plain = AggregatePredictor(size)
        assert plain.trunk.blocks[0].heads * 16 <= size.predictor_width


def test_micro_batches_change_nothing(split, encoder):
    context, target = split
    answers = []
    for size in (1, 2, 32):
        with torch.no_grad():
            answers.append(predictor(micro_batch=size)(encoder(context), context, target, encoder.pair_embed))
    same(answers[0], answers[2], 1e-5)
    same(answers[1], answers[2], 1e-5)
    with pytest.raises(JepalibError, match="micro_batch=0"):
        predictor(micro_batch=0)


def test_bfloat16_without_physics_bias(split, encoder):
    context, target = split
    plain = predictor(physics_bias=False)
    with torch.no_grad():
        exact = plain(encoder(context), context, target, None)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            low = plain(encoder(context), context, target, None)
    assert (low.tokens.float() - exact.tokens).std() < 0.05 * exact.tokens.std()
