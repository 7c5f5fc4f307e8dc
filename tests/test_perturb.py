"""Perturbations lose what they say, keep the rest, and never leave a jet without particles."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_jets import make_jets
from torch import Tensor

from jepalib.augment import smear
from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.kinematics import four_vectors, model_inputs, wrap_phi
from jepalib.perturb import (
    dead_cell,
    dead_region,
    drop_features,
    drop_particles,
    drop_softest,
    remove_group,
    remove_input,
    shift_impact_parameters,
    smear_energy,
)
from jepalib.schema import INPUT_GROUPS, INPUTS, PARTICLE_COLUMN, PID_FIELDS, PID_INPUTS, TD_FIELDS, TD_INPUTS

FRACTIONS = st.floats(0, 1)


def numbered(jets: Jets) -> Jets:
    """The same jets with the row of each particle where its d0 was, to tell them all apart."""
    particles = jets.particles.clone()
    particles[:, 6] = torch.arange(1, len(particles) + 1)
    return jets.with_particles(particles)


def kept_rows(after: Jets) -> Tensor:
    """Rows of the particles of a numbered jet that are still there."""
    return after.column("d0val").long() - 1


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def assert_rest_kept(after: Jets, before: Jets) -> None:
    """Particles that are left are as they were, in order and in their jets; so are the jets."""
    rows = kept_rows(after)
    assert torch.equal(after.particles, before.particles[rows])
    assert torch.equal(after.jet_of_particle, before.jet_of_particle[rows])
    assert (rows.diff() > 0).all()
    for name in ("observables", "labels", "index"):
        assert torch.equal(getattr(after, name), getattr(before, name))


@pytest.mark.parametrize("name", PID_INPUTS + TD_INPUTS)
def test_one_input_becomes_zero_and_no_other_changes(jets, name):
    before, after = model_inputs(jets), model_inputs(remove_input(jets, name))
    column = INPUTS.index(name)
    assert before[:, column].abs().max() > 0
    assert (after[:, column] == 0).all()
    others = torch.arange(17) != column
    assert torch.equal(after[:, others], before[:, others])


@pytest.mark.parametrize(("group", "lost"), [("pid", INPUT_GROUPS["pid"]), ("td", INPUT_GROUPS["td"])])
def test_a_group_becomes_zero_and_no_other_changes(jets, group, lost):
    before, after = model_inputs(jets), model_inputs(remove_group(jets, group))
    expected = before.clone()
    expected[:, lost] = 0
    assert torch.equal(after, expected)
    assert not torch.equal(before, expected)


def test_a_group_is_its_inputs_one_after_another(jets):
    step = jets
    for name in TD_INPUTS:
        step = remove_input(step, name)
    assert torch.equal(step.particles, remove_group(jets, "td").particles)


def test_feature_dropout_rates_and_nesting():
    jets = make_jets([3] * 4000)
    dropped = drop_features(jets, 0.3, 0.6, seeded())
    pid = [PARTICLE_COLUMN[n] for n in PID_FIELDS]
    td = [PARTICLE_COLUMN[n] for n in TD_FIELDS]

    def held(batch, columns):  # per jet: does any particle hold anything in these columns?
        any_here = (batch.particles[:, columns] != 0).any(1).float()
        return torch.zeros(len(batch)).index_add_(0, batch.jet_of_particle, any_here) > 0

    no_pid, no_td, some_td = ~held(dropped, pid), ~held(dropped, td), held(jets, td)
    assert no_pid.float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert no_td[some_td].float().mean().item() == pytest.approx(0.6, abs=0.03)
    assert no_td[no_pid].all()  # pid dropped implies td dropped
    assert torch.equal(dropped.particles[:, :6], jets.particles[:, :6])
    again = drop_features(jets, 0.3, 0.6, seeded())
    assert torch.equal(again.particles, dropped.particles)
    assert drop_features(jets, 0.0, 0.0, seeded()) is jets


def test_what_cannot_be_removed_from_a_jet_is_refused(jets):
    with pytest.raises(JepalibError, match=r"log_pt_rel shares its columns.*without_inputs"):
        remove_input(jets, "log_pt_rel")
    with pytest.raises(JepalibError, match="no input 'd0val'; there are log_pt"):
        remove_input(jets, "d0val")
    with pytest.raises(JepalibError, match="without_inputs"):
        remove_group(jets, "kin")
    with pytest.raises(JepalibError, match="choose one of pid, td"):
        remove_group(jets, "tracks")


@settings(deadline=None, max_examples=40)
@given(FRACTIONS, st.integers(0, 99), st.lists(st.integers(0, 40), min_size=1, max_size=6))
def test_random_and_soft_losses_have_their_number(fraction, seed, counts):
    jets = numbered(make_jets(counts, seed))
    for after in (drop_particles(jets, fraction, seeded(seed)), drop_softest(jets, fraction)):
        expected = [n - min(round(fraction * n), n - 1) if n else 0 for n in counts]
        assert after.counts.tolist() == expected
        assert_rest_kept(after, jets)


def test_softest_go_first():
    jets = numbered(make_jets([20, 7, 128]))
    after = drop_softest(jets, 0.6)
    pt = four_vectors(jets)[:, :2].norm(dim=1)
    kept = torch.zeros(len(pt), dtype=torch.bool)
    kept[kept_rows(after)] = True
    for row in range(3):
        of_jet = jets.jet_of_particle == row
        assert pt[of_jet & kept].min() > pt[of_jet & ~kept].max()


def test_random_loss_is_uniform_over_places_seeded_and_nested():
    jets = numbered(make_jets([10] * 4000))
    half = drop_particles(jets, 0.5, seeded(1))
    assert torch.equal(half.particles, drop_particles(jets, 0.5, seeded(1)).particles)
    assert not torch.equal(half.particles, drop_particles(jets, 0.5, seeded(2)).particles)
    survival = torch.bincount(kept_rows(half) % 10, minlength=10) / 4000
    assert (survival - 0.5).abs().max() < 5 * 0.5 / math.sqrt(4000)
    fewer = drop_particles(jets, 0.9, seeded(1))
    assert set(kept_rows(fewer).tolist()) < set(kept_rows(half).tolist())
    last = drop_particles(jets, 1.0, seeded(1))
    assert torch.equal(last.counts, torch.ones(4000, dtype=torch.long))
    assert len(set((kept_rows(last) % 10).tolist())) == 10, "any particle may be the last"


@pytest.mark.parametrize("fraction", [-0.1, 1.01, math.nan])
def test_absurd_fractions_are_refused(jets, fraction):
    for drop in (lambda: drop_particles(jets, fraction, seeded()), lambda: drop_softest(jets, fraction)):
        with pytest.raises(JepalibError, match=r"must lie in \[0, 1\]"):
            drop()


def test_smeared_energies_keep_directions_and_move_the_jet(jets):
    after = smear_energy(jets, 0.2, seeded(3))
    assert torch.equal(after.particles, smear(jets, 0.2, seeded(3)).particles)
    jet = jets.jet_of_particle

    def summed(j: Jets) -> Tensor:
        return torch.zeros(len(j), 4, dtype=torch.float64).index_add_(0, jet, four_vectors(j).double())

    change = after.observable("energy").double() - jets.observable("energy").double()
    assert torch.allclose(change, (summed(after) - summed(jets))[:, 3], atol=1e-2)
    assert change.abs().min() > 0
    azimuth = [torch.atan2(p[:, 1], p[:, 0]).sort().values for p in (after.particles, jets.particles)]
    assert torch.allclose(*azimuth, atol=1e-5)
    with pytest.raises(JepalibError, match="smearing"):
        smear_energy(jets, -0.1, seeded())


def at(directions: list[tuple[float, float]], counts: list[int]) -> Jets:
    """Numbered jets of massless particles of 10 GeV in pT with these (η, φ)."""
    jets = make_jets(counts)
    eta, phi = torch.tensor(directions).T
    particles = jets.particles.clone()
    particles[:, :4] = 10 * torch.stack([phi.cos(), phi.sin(), eta.sinh(), eta.cosh()], 1)
    return numbered(jets.with_particles(particles))


def test_dead_region_is_absolute_and_reaches_across_pi():
    jets = at([(0.5, 0.0), (0.5, 3.1), (0.5, -3.1), (0.5, 2.9), (-0.5, 3.1), (1.5, 3.1)], [6])
    for phi in [(3.0, 3.4), (3.0, 3.4 - 2 * math.pi), (3.0 - 2 * math.pi, 3.4 - 2 * math.pi)]:
        after = dead_region(jets, (0.0, 1.0), phi)
        assert kept_rows(after).tolist() == [0, 3, 4, 5]
        assert_rest_kept(after, jets)
    # The range is directed: from -3.1 up to 3.05 is all but the rest.
    assert kept_rows(dead_region(jets, (0.0, 1.0), (-3.15, 3.0))).tolist() == [0, 1, 4, 5]
    everything = dead_region(jets, (-5.0, 5.0), (-math.pi, math.pi))
    assert kept_rows(everything).tolist() == [0], "the hardest stays"


def test_dead_region_keeps_one_of_a_jet_inside_and_none_of_its_others():
    jets = at([(0.5, 0.0), (0.5, 0.1), (3.0, 0.0), (0.5, 0.0)], [2, 2])
    after = dead_region(jets, (0.0, 1.0), (-0.5, 0.5))
    assert kept_rows(after).tolist() == [0, 2]
    assert after.counts.tolist() == [1, 1]


@settings(deadline=None, max_examples=25)
@given(st.floats(-3, 3), st.floats(0.1, 3), st.floats(-3.1, 3.1), st.floats(0.05, 6.2))
def test_dead_region_loses_exactly_what_points_there(eta, height, phi, width):
    jets = numbered(make_jets([30, 5, 1, 60]))
    after = dead_region(jets, (eta, eta + height), (phi, phi + width))
    p4 = four_vectors(jets).double()
    place_eta = torch.asinh(p4[:, 2] / p4[:, :2].norm(dim=1))
    # An independent way to the same: the distance to the middle of the range.
    away = wrap_phi(torch.atan2(p4[:, 1], p4[:, 0]) - (phi + width / 2)).abs()
    lost = (place_eta >= eta) & (place_eta < eta + height) & (away <= width / 2)
    lost[jets.offsets[:-1]] = False
    unclear = (away - width / 2).abs() < 1e-9
    kept = torch.zeros(len(lost), dtype=torch.bool)
    kept[kept_rows(after)] = True
    assert torch.equal(kept[~unclear], ~lost[~unclear])


@pytest.mark.parametrize(
    ("eta", "phi"),
    [
        ((1.0, 0.0), (0.0, 1.0)),
        ((0.0, 1.0), (1.0, 1.0)),
        ((0.0, math.nan), (0.0, 1.0)),
        ((0.0, 1.0), (0.0, 7.0)),
    ],
)
def test_regions_that_are_none_are_refused(jets, eta, phi):
    with pytest.raises(JepalibError, match="dead_region"):
        dead_region(jets, eta, phi)


@settings(deadline=None, max_examples=25)
@given(st.floats(0, 1.5), st.integers(0, 99))
def test_a_dead_cell_is_a_square_that_grows_in_place(side, seed):
    jets = numbered(make_jets([60, 1, 25, 128], seed))
    after, larger = dead_cell(jets, side, seeded(seed)), dead_cell(jets, side + 0.2, seeded(seed))
    assert_rest_kept(after, jets)
    assert set(kept_rows(larger).tolist()) <= set(kept_rows(after).tolist())
    assert set(jets.offsets[:-1].tolist()) <= set(kept_rows(after).tolist())  # the hardest of each
    lost = torch.ones(len(jets.particles), dtype=torch.bool)
    lost[kept_rows(after)] = False
    place = jets.particles[:, [4, 5]]
    for row in range(len(jets)):
        mine = (jets.jet_of_particle == row) & lost
        if mine.any():  # within one square whose centre is at most 0.4 from the axis
            inside = place[mine]
            assert (inside.amax(0) - inside.amin(0) <= side + 1e-6).all()
            assert (inside.abs() <= 0.4 + side / 2 + 1e-6).all()


def test_a_dead_cell_loses_its_share_and_a_wide_one_all_but_the_hardest():
    jets = make_jets([40] * 400)
    flat = jets.particles.clone()
    flat[:, 4:6] = 1.6 * torch.rand(len(flat), 2, generator=seeded(1)) - 0.8  # evenly over 1.6 x 1.6
    lost = 1 - len(dead_cell(jets.with_particles(flat), 0.4, seeded()).particles) / len(flat)
    assert lost == pytest.approx(0.4**2 / 1.6**2 * 39 / 40, abs=0.005)
    assert (dead_cell(jets.with_particles(flat), 3.0, seeded()).counts == 1).all()
    with pytest.raises(JepalibError, match="dead_cell: side = -1"):
        dead_cell(jets, -1.0, seeded())


def test_tracks_are_shifted_and_nothing_else(jets):
    after = shift_impact_parameters(jets, d0=0.25, dz=-0.5)
    track = jets.column("charge") != 0
    assert 0 < track.sum() < len(track)
    for name, bias in (("d0val", 0.25), ("dzval", -0.5)):
        change = after.column(name) - jets.column(name)
        assert change[track] == pytest.approx(bias, abs=1e-6)
        assert (change[~track] == 0).all()
    others = [i for i in range(16) if i not in (6, 8)]
    assert torch.equal(after.particles[:, others], jets.particles[:, others])
    assert torch.equal(after.observables, jets.observables)
    back = shift_impact_parameters(after, d0=-0.25, dz=0.5)
    assert torch.allclose(back.particles, jets.particles, atol=1e-6)


def test_shifts_without_identification_and_without_tracks(jets):
    unidentified = remove_group(jets, "pid")
    after = shift_impact_parameters(unidentified, d0=1.0)
    assert torch.equal(after.column("d0val"), shift_impact_parameters(jets, d0=1.0).column("d0val"))
    bare = remove_group(unidentified, "td")
    assert torch.equal(shift_impact_parameters(bare, d0=1.0, dz=1.0).particles, bare.particles)
    with pytest.raises(JepalibError, match="finite"):
        shift_impact_parameters(jets, d0=math.inf)


def test_nothing_asked_is_nothing_done_and_inputs_stay_as_they_were(jets):
    jets = numbered(jets)
    before = jets.particles.clone()
    for same in (
        drop_particles(jets, 0.0, seeded()),
        drop_softest(jets, 0.0),
        dead_region(jets, (8.0, 9.0), (0.0, 1.0)),
        dead_cell(jets, 0.0, seeded()),
        shift_impact_parameters(jets),
    ):
        assert torch.equal(same.particles, jets.particles)
        assert torch.equal(same.offsets, jets.offsets)
    remove_group(jets, "td")
    shift_impact_parameters(jets, d0=1.0)
    assert torch.equal(jets.particles, before)


def test_empty_jets_and_empty_batches(jets):
    none = jets.select_particles(torch.zeros(len(jets.particles), dtype=torch.bool))
    for batch in (none, jets.take([])):
        for after in (
            drop_particles(batch, 0.5, seeded()),
            drop_softest(batch, 0.5),
            dead_region(batch, (0.0, 1.0), (0.0, 1.0)),
            dead_cell(batch, 0.3, seeded()),
            drop_features(batch, 0.5, 0.5, seeded()),
            shift_impact_parameters(batch, d0=1.0),
            remove_group(batch, "pid"),
            smear_energy(batch, 0.1, seeded()),
        ):
            assert len(after) == len(batch)
            assert len(after.particles) == 0
