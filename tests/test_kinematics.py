"""The inputs and pair features against values worked out by hand or in another way."""

import math

import pytest
import torch
from made_jets import make_jets

from jepalib.kinematics import four_vectors, model_inputs, pair_features, particle_types, wrap_phi
from jepalib.schema import INPUT_GROUPS, INPUTS, PARTICLE_COLUMN, PARTICLE_TYPES


def test_inputs_of_one_particle_by_hand():
    jets = make_jets([2], seed=3)
    particles = jets.particles.clone()
    particles[0] = torch.tensor([30.0, 40.0, 0, 60, 0.3, -0.4, 0.5, 0.1, -2, 1.7, -1, 1, 0, 0, 0, 0])
    observables = jets.observables.clone()
    observables[0, 0], observables[0, 3] = 500.0, 1000.0
    jets = jets.__class__(particles, jets.offsets, observables, jets.labels, jets.index)
    x = dict(zip(INPUTS, model_inputs(jets)[0].tolist()))
    assert x["log_pt"] == pytest.approx((math.log(50) - 1.7) * 0.7)
    assert x["log_energy"] == pytest.approx((math.log(60) - 2.0) * 0.7)
    assert x["log_pt_rel"] == pytest.approx((math.log(0.1) + 4.7) * 0.7)
    assert x["log_energy_rel"] == pytest.approx((math.log(0.06) + 4.7) * 0.7)
    assert x["delta_r"] == pytest.approx((0.5 - 0.2) * 4)
    assert (x["deta"], x["dphi"]) == (pytest.approx(0.3), pytest.approx(-0.4))
    assert x["tanh_d0"] == pytest.approx(math.tanh(0.5))
    assert x["tanh_dz"] == pytest.approx(math.tanh(-2))
    assert (x["d0err"], x["dzerr"]) == (pytest.approx(0.1), 1.0)
    assert (x["charge"], x["isChargedHadron"]) == (-1, 1)


def test_inputs_are_clipped_and_zero_groups_stay_zero(jets):
    raw = jets.particles.clone()
    raw[:, PARTICLE_COLUMN["d0val"] :] = 0
    raw[0, :4] = torch.tensor([1e-12, 0, 0, 1e-12])
    x = model_inputs(jets.with_particles(raw))
    assert (x[:, INPUT_GROUPS["pid"]] == 0).all()
    assert (x[:, INPUT_GROUPS["td"]] == 0).all()
    assert x[:, :5].abs().max() <= 5
    assert torch.isfinite(x).all()


def test_particle_types_by_flag_and_charge():
    raw = torch.zeros(9, 16)
    rows = [("isPhoton", 0), ("isChargedHadron", -1), ("isNeutralHadron", 0), ("isChargedHadron", 1)]
    rows += [("isElectron", -1), ("isElectron", 1), ("isMuon", -1), ("isMuon", 1)]
    for i, (flag, charge) in enumerate(rows):
        raw[i, PARTICLE_COLUMN[flag]] = 1
        raw[i, PARTICLE_COLUMN["charge"]] = charge
    types = particle_types(make_jets([9]).with_particles(raw)).tolist()
    assert [PARTICLE_TYPES[t] for t in types[:8]] == list(PARTICLE_TYPES)
    assert types[8] == -1


def test_pair_features_symmetric_and_right(jets):
    p4 = four_vectors(jets).double()
    a, b = p4[:-1], p4[1:]
    assert torch.allclose(pair_features(a, b), pair_features(b, a))
    ln_kt, ln_z, ln_delta, ln_m2 = pair_features(a, b).unbind(-1)
    pt = p4[:, :2].norm(dim=-1)
    y = torch.atanh(p4[:, 2] / p4[:, 3])
    phi = torch.atan2(p4[:, 1], p4[:, 0])
    delta = torch.hypot(y[:-1] - y[1:], wrap_phi(phi[:-1] - phi[1:]))
    softer = torch.minimum(pt[:-1], pt[1:])
    assert torch.allclose(ln_delta, delta.log(), atol=1e-6)
    assert torch.allclose(ln_kt, (softer * delta).log(), atol=1e-6)
    assert torch.allclose(ln_z, (softer / (pt[:-1] + pt[1:])).log())
    total = a + b
    m2 = (total[:, 3] ** 2 - (total[:, :3] ** 2).sum(-1)).clamp(min=1e-8)
    assert torch.allclose(ln_m2, m2.log(), atol=1e-6)


def test_pair_of_a_particle_with_itself_is_finite(jets):
    p4 = four_vectors(jets)
    assert torch.isfinite(pair_features(p4, p4)).all()


def test_wrap_phi_range():
    phi = torch.linspace(-20, 20, 1001)
    wrapped = wrap_phi(phi)
    assert (wrapped >= -math.pi).all()
    assert (wrapped < math.pi).all()
    assert torch.allclose(torch.sin(wrapped), torch.sin(phi), atol=1e-5)
