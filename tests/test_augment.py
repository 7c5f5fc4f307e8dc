"""Augmentations keep the physics that they should keep, and change what they say."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_jets import make_jets
from torch import Tensor

from jepalib.augment import AugmentConfig, augment, boost, rotate, scaled_to, smear
from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.kinematics import four_vectors, model_inputs, rapidity, wrap_phi
from jepalib.schema import JET_COLUMN

COUNTS = [2, 128, 5, 40, 33, 17, 60, 3, 25, 90, 12, 8]
ALL = AugmentConfig(rotation=math.pi, smearing=0.1, boost=0.4)


def with_true_axis(jets: Jets) -> Jets:
    """The same jets, their axis, pT and energy those of the sum of their particles, particles in step."""
    total = torch.zeros(len(jets), 4, dtype=torch.float64)
    total.index_add_(0, jets.jet_of_particle, four_vectors(jets).double())
    observables = jets.observables.clone()
    pt = total[:, :2].norm(dim=1)
    axis = {
        "pt": pt, "eta": torch.asinh(total[:, 2] / pt), "phi": torch.atan2(total[:, 1], total[:, 0]),
        "energy": total[:, 3],
    }  # fmt: skip
    for name, values in axis.items():
        observables[:, JET_COLUMN[name]] = values.float()
    return boost(replace(jets, observables=observables), 0.0)


@pytest.fixture
def jets() -> Jets:
    return with_true_axis(make_jets(COUNTS))


def identity(jets: Jets) -> Tensor:
    """Columns that no augmentation changes, as a key of each particle (unique in random jets)."""
    return torch.cat([jets.jet_of_particle[:, None].float(), jets.particles[:, 6:]], dim=1)


def matched(after: Jets, before: Jets) -> Tensor:
    """Rows of `after` in the order of the particles of `before`."""
    order_of = [np.lexsort(identity(j).numpy().T) for j in (after, before)]
    rows = torch.empty(len(before.particles), dtype=torch.long)
    rows[torch.from_numpy(order_of[1])] = torch.from_numpy(order_of[0])
    return rows


def charged(jets: Jets) -> Jets:
    """The same jets with impact parameters for all particles, so that each is told from all others."""
    particles = jets.particles.clone()
    particles[:, 6] = torch.linspace(-2, 2, len(particles))
    return jets.with_particles(particles)


def pair_masses(jets: Jets, rows: Tensor | None = None) -> Tensor:
    """Invariant mass of each particle with the next one of its jet, GeV, in double precision."""
    p4 = four_vectors(jets).double()
    p4 = p4 if rows is None else p4[rows]
    same = jets.jet_of_particle[1:] == jets.jet_of_particle[:-1]
    pair = (p4[1:] + p4[:-1])[same]
    return (pair[:, 3] ** 2 - pair[:, :3].square().sum(1)).clamp_min(0).sqrt()


def jet_masses(jets: Jets) -> Tensor:
    total = torch.zeros(len(jets), 4, dtype=torch.float64)
    total.index_add_(0, jets.jet_of_particle, four_vectors(jets).double())
    return (total[:, 3] ** 2 - total[:, :3].square().sum(1)).sqrt()


def assert_consistent(jets: Jets) -> None:
    """Falling pT; Δη, Δφ and the jet's own numbers follow from the four-vectors."""
    p4 = four_vectors(jets).double()
    pt = p4[:, :2].norm(dim=1)
    same = jets.jet_of_particle[1:] == jets.jet_of_particle[:-1]
    assert (pt[:-1] >= pt[1:] * (1 - 1e-6))[same].all()
    eta, jet_eta = torch.asinh(p4[:, 2] / pt), jets.observable("eta")[jets.jet_of_particle].double()
    side = torch.where(jet_eta >= 0, 1.0, -1.0)
    assert torch.allclose(jets.column("deta").double(), side * (eta - jet_eta), atol=2e-6)
    phi = torch.atan2(p4[:, 1], p4[:, 0]) - jets.observable("phi")[jets.jet_of_particle].double()
    assert wrap_phi(jets.column("dphi").double() - phi).abs().max() < 2e-6
    total = torch.zeros(len(jets), 4, dtype=torch.float64).index_add_(0, jets.jet_of_particle, p4)
    for name, expected in (("pt", total[:, :2].norm(dim=1)), ("energy", total[:, 3])):
        assert torch.allclose(jets.observable(name).double(), expected, rtol=1e-5)


@settings(deadline=None, max_examples=25)
@given(st.floats(-math.pi, math.pi), st.integers(0, 99))
def test_rotation_keeps_masses_energies_and_the_jet(angle, seed):
    jets = charged(with_true_axis(make_jets([2, 60, 17, 1, 30], seed)))
    turned = rotate(jets, angle)
    rows = matched(turned, jets)
    assert torch.equal(turned.particles[rows, 3], jets.particles[:, 3])
    # The rounding of single precision, seen against the energies that a mass is a difference of.
    assert torch.allclose(pair_masses(turned, rows), pair_masses(jets), rtol=1e-4, atol=0.02)
    assert torch.allclose(jet_masses(turned)[:3], jet_masses(jets)[:3], rtol=1e-4, atol=0.02)
    assert torch.allclose(turned.observables, jets.observables, rtol=1e-6, atol=1e-6)
    assert_consistent(turned)


def test_rotation_is_by_its_angle_about_the_jet(jets):
    angle = torch.linspace(-3, 3, len(jets), dtype=torch.float64)
    jets = charged(jets)
    turned = rotate(jets, angle)
    eta, phi = jets.observable("eta").double(), jets.observable("phi").double()
    axis = torch.stack([phi.cos() / eta.cosh(), phi.sin() / eta.cosh(), eta.tanh()], 1)[jets.jet_of_particle]

    def transverse(j: Jets, rows: Tensor) -> tuple[Tensor, Tensor]:
        p = four_vectors(j).double()[rows, :3]
        along = (p * axis).sum(1)
        return along, p - along[:, None] * axis

    along, before = transverse(jets, torch.arange(len(jets.particles)))
    after_along, after = transverse(turned, matched(turned, jets))
    assert torch.allclose(after_along, along, rtol=1e-5, atol=1e-4)
    sine = (torch.linalg.cross(before, after) * axis).sum(1)
    found = torch.atan2(sine, (before * after).sum(1))
    clear = before.norm(dim=1) > 0.05  # the angle of what lies on the axis is rounding
    off = wrap_phi(found - angle[jets.jet_of_particle])
    assert off[clear].abs().max() < 1e-3
    assert clear.float().mean() > 0.9


def test_rotation_back_gives_the_jets_again(jets):
    back = rotate(rotate(jets, 2.1), -2.1)
    assert torch.allclose(back.particles, jets.particles, rtol=1e-5, atol=2e-5)
    assert torch.equal(back.particles[:, 6:], jets.particles[:, 6:])


def test_boost_keeps_transverse_momenta_masses_and_rapidity_differences(jets):
    jets = charged(jets)
    shift = torch.linspace(-1, 1, len(jets), dtype=torch.float64)
    moved = boost(jets, shift)
    assert torch.equal(matched(moved, jets), torch.arange(len(jets.particles))), "pT does not change"
    assert torch.allclose(moved.particles[:, :2], jets.particles[:, :2])
    assert torch.allclose(pair_masses(moved), pair_masses(jets), rtol=1e-4, atol=0.02)
    assert torch.allclose(jet_masses(moved), jet_masses(jets), rtol=1e-4)
    rise = rapidity(four_vectors(moved).double()) - rapidity(four_vectors(jets).double())
    assert torch.allclose(rise, shift[jets.jet_of_particle], atol=2e-3)
    assert torch.allclose(moved.observable("pt"), jets.observable("pt"))
    assert_consistent(moved)
    back = boost(moved, -shift)
    assert torch.allclose(back.particles, jets.particles, rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("width", [0.02, 0.2])
def test_smearing_has_its_stated_width_and_mean_one(width):
    jets = charged(with_true_axis(make_jets([128] * 300)))
    smeared = smear(jets, width, torch.Generator().manual_seed(1))
    rows = matched(smeared, jets)
    factor = (smeared.column("energy")[rows] / jets.column("energy")).double()
    n = len(factor)
    assert factor.log().std().item() == pytest.approx(width, rel=4 / math.sqrt(2 * n))
    assert factor.mean().item() == pytest.approx(1, abs=5 * width / math.sqrt(n))
    scaled = four_vectors(jets).double() * factor[:, None]
    assert torch.allclose(four_vectors(smeared)[rows].double(), scaled, rtol=1e-5, atol=1e-5)
    assert_consistent(smeared)


def test_smearing_shifts_a_cut_jet_by_what_its_particles_change(jets):
    kept = jets.select_particles(torch.arange(len(jets.particles)) % 3 > 0)
    smeared = smear(kept, 0.1, torch.Generator().manual_seed(0))

    def sums(j: Jets) -> Tensor:
        energy = torch.zeros(len(j), dtype=torch.float64)
        return energy.index_add_(0, j.jet_of_particle, j.column("energy").double())

    change = smeared.observable("energy").double() - kept.observable("energy").double()
    assert torch.allclose(change, sums(smeared) - sums(kept), atol=1e-2)


def test_all_three_together_are_consistent_and_keep_the_rest(jets):
    jets = charged(jets)
    after = augment(jets, ALL, torch.Generator().manual_seed(3))
    assert_consistent(after)
    rows = matched(after, jets)
    assert torch.equal(after.particles[rows, 6:], jets.particles[:, 6:])
    assert torch.equal(rows.sort().values, torch.arange(len(rows)))
    for name in ("offsets", "labels", "index"):
        assert torch.equal(getattr(after, name), getattr(jets, name))
    assert torch.equal(after.observables[:, 4:], jets.observables[:, 4:])
    assert not torch.allclose(after.column("deta"), jets.column("deta"), atol=1e-3)


def test_the_generator_decides_and_nothing_else(jets):
    once, again, other = (augment(jets, ALL, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(once.particles, again.particles)
    assert not torch.equal(once.particles, other.particles)


def test_draws_fill_their_ranges():
    jets = with_true_axis(make_jets([2] * 2000))
    moved = augment(jets, AugmentConfig(boost=0.5), torch.Generator().manual_seed(0))
    p4 = [four_vectors(j).double() for j in (moved, jets)]
    shift = (rapidity(p4[0]) - rapidity(p4[1]))[::2]
    assert shift.abs().max() < 0.51
    assert shift.std().item() == pytest.approx(0.5 / math.sqrt(3), rel=0.1)
    assert shift.mean().abs() < 0.03


def test_nothing_asked_is_nothing_done(jets):
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    assert augment(jets, AugmentConfig(), generator) is jets
    assert torch.equal(generator.get_state(), state)


def test_single_particles_and_empty_jets(jets):
    single = with_true_axis(make_jets([1, 1, 1]))
    turned = rotate(single, 1.0)
    assert torch.allclose(turned.particles, single.particles, rtol=1e-5, atol=1e-5)
    assert torch.isfinite(augment(single, ALL, torch.Generator().manual_seed(0)).particles).all()
    empty = jets.select_particles(torch.zeros(len(jets.particles), dtype=torch.bool))
    assert len(augment(empty, ALL, torch.Generator().manual_seed(0)).particles) == 0
    assert len(augment(jets.take([]), ALL, torch.Generator().manual_seed(0))) == 0


@pytest.mark.parametrize("name", ["rotation", "smearing", "boost"])
@pytest.mark.parametrize("value", [-0.1, math.nan, 100.0])
def test_absurd_settings_are_refused(name, value):
    with pytest.raises(JepalibError, match=name):
        AugmentConfig(**{name: value})


def test_scaling_changes_the_scale_alone(jets):
    scaled = scaled_to(jets, 750.0)
    factor = 750 / jets.observable("pt")
    assert torch.allclose(scaled.observable("pt"), torch.tensor(750.0))
    assert torch.allclose(four_vectors(scaled), four_vectors(jets) * factor[jets.jet_of_particle][:, None])
    for name in ("energy", "sdmass"):
        assert torch.allclose(scaled.observable(name), jets.observable(name) * factor)
    for name in ("eta", "phi", "nparticles", "tau1", "tau4"):
        assert (scaled.observable(name) == jets.observable(name)).all()
    assert (scaled.particles[:, 4:] == jets.particles[:, 4:]).all()
    assert torch.allclose(
        model_inputs(scaled)[:, 2:], model_inputs(jets)[:, 2:], atol=1e-5
    )  # all but ln pT, ln E
    again = scaled_to(scaled_to(jets, 3.0), 750.0)
    assert torch.allclose(again.particles, scaled.particles, rtol=1e-5)


def test_no_scale_is_no_pt(jets):
    with pytest.raises(JepalibError, match="all must be above 0"):
        scaled_to(jets, 0.0)
    jets.observables[1, JET_COLUMN["pt"]] = 0
    with pytest.raises(JepalibError, match="for jets from 0 GeV"):
        scaled_to(jets, 750.0)
