"""The patch encoder: what its tokens depend on, and what they must not depend on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from made_jets import make_jets

from jepalib.errors import JepalibError
from jepalib.kinematics import four_vectors, model_inputs
from jepalib.models.patch_transformer import MiniPointNet, PatchTransformer, patch_jets
from jepalib.models.patches import PatchConfig, make_patches
from jepalib.models.pooling import jet_vector, pool
from jepalib.models.sizes import Size

LITTLE = Size(32, (16, 32), 4, 2, 0, (16,), 16, 4, 1, 0)


def encoder(seed: int = 0, **options) -> PatchTransformer:
    torch.manual_seed(seed)
    model = PatchTransformer(LITTLE, **options)
    with torch.no_grad():  # running statistics other than 0 and 1, as after training
        model.train()(make_jets([20, 30, 7]))
    return model.eval()


@pytest.mark.parametrize("options", [{}, {"registers": 0}, {"physics_bias": False}, {"inputs": "kin"}])
def test_each_jet_is_encoded_by_itself_in_any_micro_batch(options):
    jets = make_jets([12, 1, 40, 2, 3, 25])
    model = encoder(**options)
    together = model(jets)
    assert together.cls is None
    assert together.offsets.diff().tolist() == [4, 1, 10, 2, 3, 6]
    model.micro_batch = 2
    torch.testing.assert_close(model(jets).tokens, together.tokens, atol=1e-5, rtol=1e-4)
    for row in range(len(jets)):
        alone = model(jets.take([row])).tokens
        part = together.tokens[together.offsets[row] : together.offsets[row + 1]]
        torch.testing.assert_close(alone, part, atol=1e-5, rtol=1e-4)


def test_the_order_of_particles_does_not_matter():
    jets = make_jets([30, 9, 17])
    order = torch.argsort(jets.jet_of_particle + torch.rand(len(jets.particles)))
    shuffled = jets.with_particles(jets.particles[order])
    model = encoder()
    for function in (jet_vector, pool):
        a, b = function(model(jets)), function(model(shuffled))
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    assert jet_vector(model(jets)).shape == (3, model.jet_width)


def test_points_are_seen_from_their_centre_and_momenta_add_up():
    jets = make_jets([3, 30])
    config = PatchConfig(0.25, 4, 8)
    batch, patches = (
        patch_jets(jets, config),
        make_patches(jets.column("deta"), jets.column("dphi"), jets.offsets, config),
    )
    assert batch.points.shape == (3 + 8, 8, 18)
    assert batch.points[:, 0, 5:7].abs().max() == 0  # the centre itself comes first
    last = slice(int(patches.member_offsets[-2]), int(patches.member_offsets[-1]))
    members = patches.members[last]
    torch.testing.assert_close(batch.p4[-1], four_vectors(jets)[members].sum(0))
    torch.testing.assert_close(batch.points[-1, :, 0], model_inputs(jets)[members, 0])
    shift = jets.column("deta")[members] - jets.column("deta")[patches.centres[-1]]
    torch.testing.assert_close(batch.points[-1, :, 5], shift / 0.1)
    short = batch.points[0]
    assert torch.equal(short[3:], short[:1].expand(5, -1))  # a jet of three repeats the centre


def test_repeated_points_do_not_change_a_token():
    torch.manual_seed(0)
    net = MiniPointNet(18, (16, 32), 32)
    points = torch.randn(5, 4, 18)
    repeated = torch.cat([points, points[:, :1].expand(-1, 4, -1)], 1)
    torch.testing.assert_close(net(points), net(repeated), atol=1e-6, rtol=1e-5)


def test_selected_patches_are_those_of_the_mask():
    batch = patch_jets(make_jets([16, 40, 5]), PatchConfig())
    keep = torch.arange(len(batch.places)) % 3 != 0
    chosen = batch.select(keep)
    assert torch.equal(chosen.points, batch.points[keep])
    assert torch.equal(chosen.p4, batch.p4[keep])
    counts = [int(keep[a:b].sum()) for a, b in zip(batch.offsets[:-1], batch.offsets[1:])]
    assert chosen.offsets.diff().tolist() == counts


@pytest.mark.parametrize("column", ["places", "p4", "points"])
def test_places_and_momenta_and_points_all_matter(column):
    model, batch = encoder(), patch_jets(make_jets([30, 20]), PatchConfig())
    other = replace(batch, **{column: getattr(batch, column) * 1.3})
    assert (model.encode(other).tokens - model.encode(batch).tokens).abs().max() > 1e-4
    if column == "p4":
        plain = encoder(physics_bias=False)
        assert torch.equal(plain.encode(other).tokens, plain.encode(batch).tokens)


def test_bfloat16_is_near_float32_and_everything_gets_a_gradient():
    model, jets = encoder().train(), make_jets([30, 20, 12, 33])
    exact = model(jets).tokens
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(jets).tokens
        rough.float().square().mean().backward()
    assert (rough.float() - exact).std() < 0.05 * exact.std()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_bad_settings_are_refused():
    with pytest.raises(JepalibError, match="inputs"):
        PatchTransformer(LITTLE, inputs="pid")
    with pytest.raises(JepalibError, match="micro_batch"):
        PatchTransformer(LITTLE, micro_batch=0)
