"""The detector against hand values: helix, tracks, calorimeters, energy flow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jepalib.data.simulation.calorimeter import ECAL, HCAL, log_normal
from jepalib.data.simulation.detector import MUON, NEUTRAL_HADRON, PHOTON, detect
from jepalib.data.simulation.energy_flow import Deposits, combine
from jepalib.data.simulation.events import Particles
from jepalib.data.simulation.propagation import CMS_TRACKER, inside_tracker, propagate
from jepalib.data.simulation.tracking import efficiency, found, impact_resolution

RADIUS, HALF_LENGTH = CMS_TRACKER.radius, CMS_TRACKER.half_length
RADIUS_OF_1_GEV = 1e12 / 299_792_458 / CMS_TRACKER.field  # mm


def particles(rows: list[tuple[int, float, tuple, tuple]]) -> Particles:
    """From (pid, charge, (px, py, pz), (x, y, z)), massless, each in an event of its own."""
    momenta = np.array([row[2] for row in rows], dtype=float)
    energy = np.linalg.norm(momenta, axis=1, keepdims=True)
    return Particles(
        event=np.arange(len(rows)),
        pid=np.array([row[0] for row in rows]),
        charge=np.array([row[1] for row in rows], dtype=float),
        p4=np.concatenate([momenta, energy], axis=1),
        vertex=np.array([row[3] for row in rows], dtype=float),
    )


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_neutral_particles_fly_straight_from_their_vertex() -> None:
    flight = propagate(
        particles(
            [
                (22, 0, (1, 0, 1), (0, 0, 0)),  # barrel
                (22, 0, (1, 0, 0), (0, 100, 50)),  # displaced
                (22, 0, (0.1, 0, -1), (0, 0, 0)),  # endcap
            ]
        )
    )
    np.testing.assert_allclose(flight.eta[0], np.arcsinh(1.0))
    np.testing.assert_allclose(flight.phi[1], np.arcsin(100 / RADIUS))
    np.testing.assert_allclose(flight.eta[1], np.arcsinh(50 / RADIUS))
    np.testing.assert_allclose(flight.eta[2], -np.arcsinh(10.0))
    assert not flight.d0.any()
    assert not flight.dz.any()


@pytest.mark.parametrize("charge", [1, -1])
def test_a_charged_particle_bends_on_its_circle(charge: int) -> None:
    flight = propagate(particles([(211 * charge, charge, (1, 0, 0.5), (0, 0, 0))]))
    bend = np.arcsin(RADIUS / (2 * RADIUS_OF_1_GEV))  # half the angle of the arc to the face
    np.testing.assert_allclose(flight.phi, -charge * bend)  # positive charges turn clockwise
    np.testing.assert_allclose(flight.eta, np.arcsinh(0.5 * 2 * bend * RADIUS_OF_1_GEV / RADIUS))
    np.testing.assert_allclose([flight.direction[0], flight.d0[0], flight.dz[0]], 0, atol=1e-9)


def test_signs_of_the_impact_parameters() -> None:
    """d0 = (x_d p_y - y_d p_x) / pT, nearly straight tracks of 1 TeV."""
    flight = propagate(
        particles(
            [
                (211, 1, (1000, 0, 500), (10, 1, 5)),
                (-211, -1, (1000, 0, 500), (10, -1, 5)),
                (211, 1, (0, 1000, 0), (2, 10, -3)),
            ]
        )
    )
    np.testing.assert_allclose(flight.d0, [-1, 1, 2], atol=1e-3)
    np.testing.assert_allclose(flight.dz, [0, 0, -3], atol=1e-3)  # 5 mm less 10 mm at slope 1/2


def test_a_curling_particle_reaches_the_end_face() -> None:
    flight = propagate(particles([(211, 1, (0.2, 0, 0.3), (0, 0, 0))]))
    closest = HALF_LENGTH / (2 * 0.2 * RADIUS_OF_1_GEV)  # z / r for the far side of the circle
    assert np.sinh(flight.eta[0]) >= closest


@settings(deadline=None)
@given(
    pt=st.floats(0.3, 50),
    phi=st.floats(-3.1, 3.1),
    slope=st.floats(-2, 2).filter(lambda slope: slope == 0 or abs(slope) > 1e-4),  # no million turns
    charge=st.sampled_from([-1, 1]),
    offset=st.floats(-5, 5),
    forward=st.floats(0.1, 100),
)
def test_every_point_of_a_helix_has_the_same_closest_approach(
    pt: float, phi: float, slope: float, charge: int, offset: float, forward: float
) -> None:
    """Start at distance `offset` across the direction, or a path `forward` later: the same track."""
    radius = pt * RADIUS_OF_1_GEV * charge
    x, y = -offset * np.sin(phi), offset * np.cos(phi)
    later = phi - forward / radius
    end = (
        x + radius * (np.sin(phi) - np.sin(later)),
        y - radius * (np.cos(phi) - np.cos(later)),
        slope * forward,
    )
    rows = [
        (211, charge, (pt * np.cos(phi), pt * np.sin(phi), pt * slope), (x, y, 0.0)),
        (211, charge, (pt * np.cos(later), pt * np.sin(later), pt * slope), end),
    ]
    flight = propagate(particles(rows))
    np.testing.assert_allclose(flight.d0, -offset, atol=1e-5)
    np.testing.assert_allclose(flight.dz, 0, atol=1e-5)
    np.testing.assert_allclose(np.exp(1j * flight.direction), np.exp(1j * phi), atol=1e-6)
    np.testing.assert_allclose(flight.eta[0], flight.eta[1], atol=1e-5)


def test_only_particles_from_inside_the_tracker_enter() -> None:
    rows = [(22, 0, (1, 0, 0), vertex) for vertex in ((0, 0, 0), (1300, 0, 0), (0, 0, -3001))]
    assert inside_tracker(particles(rows)).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("pid", "eta", "pt", "expected"),
    [
        (211, 0.3, 0.5, 0.70),
        (-321, -1.2, 20.0, 0.95),
        (2212, 2.0, 0.5, 0.60),
        (211, -2.4, 5.0, 0.85),
        (11, 1.0, 0.5, 0.73),
        (-11, 1.0, 150.0, 0.99),
        (11, 2.0, 50.0, 0.83),
        (11, 2.0, 150.0, 0.90),
        (13, 0.1, 0.9, 0.75),
        (-13, 2.2, 3.0, 0.98),
        (211, 0.0, 0.05, 0.0),
        (211, 2.6, 10.0, 0.0),
    ],
)
def test_tracking_efficiency(pid: int, eta: float, pt: float, expected: float) -> None:
    many = 20_000
    columns = np.full(many, pid), np.full(many, eta), np.full(many, pt)
    np.testing.assert_allclose(efficiency(*columns), expected)
    assert abs(found(*columns, rng()).mean() - expected) < 4 * np.sqrt(0.25 / many)


def test_impact_resolution_follows_the_table() -> None:
    eta, pt = np.array([0.5, -1.0, 2.0, 0.5, 0.5]), np.array([1.0, 1.0, 200.0, 0.17, 0.2])
    np.testing.assert_allclose(impact_resolution("d0", eta, pt), [0.0753, 0.0926, 0.0137, 0, 0.3543])
    np.testing.assert_allclose(impact_resolution("dz", eta, pt), [0.1113, 0.1982, 0.085, 0, 0.3693])


def test_log_normal_has_the_mean_and_width_that_are_asked_for() -> None:
    mean, width = np.full(400_000, 5.0), np.full(400_000, 2.0)
    drawn = log_normal(mean, width, rng())
    assert abs(drawn.mean() - 5) < 0.02
    assert abs(drawn.std() - 2) < 0.03
    assert (drawn > 0).all()


def test_calorimeter_shares() -> None:
    pid = np.array([22, 11, -11, 111, 310, 3122, 211, 130, -2112, 13])
    np.testing.assert_allclose(ECAL.fraction(pid), [1, 1, 1, 1, 0.3, 0.3, 0, 0, 0, 0])
    np.testing.assert_allclose(HCAL.fraction(pid), [0, 0, 0, 0, 0.7, 0.7, 1, 1, 1, 0])


def test_resolutions_at_hand_values() -> None:
    energy = np.full(3, 100.0)
    base = np.sqrt(0.8**2 + 0.11**2 * 100 + 0.4**2)
    expected = [base, 2.16 * base, np.sqrt(10.7**2 + 2.08**2 * 100)]
    np.testing.assert_allclose(ECAL.resolution(np.array([0.0, 2.0, -2.7]), energy), expected)
    near, far = np.sqrt(25 + 2.25 * 100), np.sqrt(13**2 + 2.7**2 * 100)
    np.testing.assert_allclose(HCAL.resolution(np.array([0.0, -2.9, 3.1]), energy), [near, near, far])


@pytest.mark.parametrize("calorimeter", [ECAL, HCAL])
def test_a_position_lies_in_its_own_cell(calorimeter) -> None:
    generator = rng()
    eta, phi = generator.uniform(-2.9, 2.9, 5000), generator.uniform(-np.pi, np.pi, 5000)
    cell = calorimeter.cell(eta, phi)
    assert (cell >= 0).all()
    np.testing.assert_array_equal(calorimeter.cell(*calorimeter.position(cell, generator)), cell)
    outside = calorimeter.cell(np.array([-5.0, 3.2]), np.zeros(2))
    np.testing.assert_array_equal(outside, -1)


@pytest.mark.parametrize("calorimeter", [ECAL, HCAL])
def test_angles_just_below_a_whole_turn_stay_in_their_row(calorimeter) -> None:
    """-1e-17 modulo 2 pi is 2 pi in floating point, one column too far."""
    middle = (calorimeter.edges[:-1] + calorimeter.edges[1:]) / 2
    tiny = calorimeter.cell(middle, np.full(len(middle), -1e-17))
    below = calorimeter.cell(middle, np.full(len(middle), -1e-3))
    np.testing.assert_array_equal(tiny, below)
    np.testing.assert_array_equal(calorimeter.centre(tiny), middle)


def test_cell_sizes() -> None:
    degrees = np.radians(np.arange(0.5, 360))
    for calorimeter, eta, cells in ((ECAL, 0.01, 360), (HCAL, 0.01, 72), (HCAL, 1.7, 36)):
        assert len(np.unique(calorimeter.cell(np.full(360, eta), degrees))) == cells


def _one_cell(calorimeter, events: int, energy: float) -> Deposits:
    cell = calorimeter.cell(np.array([0.05]), np.array([0.1]))
    return Deposits(np.arange(events), np.repeat(cell, events), np.full(events, energy))


def test_energy_flow_shares_each_tower_between_tracks_and_a_neutral_object() -> None:
    """Per event a track of 20 GeV and a neutral hadron of 20 GeV in one tower."""
    events = 2000
    track = _one_cell(HCAL, events, 20.0)
    both = Deposits(*(np.tile(getattr(track, name), 2) for name in ("event", "cell", "energy")))
    neutrals, scale = combine(HCAL, both, track, rng(5))
    towers = np.full(events, 40.0)
    measured, sigma = HCAL.measure(towers, HCAL.centre(track.cell), rng(5))  # the same draws
    excess = np.maximum(measured - 20, 0)
    neutral = (excess > 1) & (excess > sigma)
    assert 0.5 < neutral.mean() < 1
    np.testing.assert_array_equal(neutrals.event, np.flatnonzero(neutral))
    np.testing.assert_allclose(neutrals.energy, excess[neutral])
    np.testing.assert_allclose(scale, np.where(neutral, 1, measured / 20))


def test_soft_tracks_vanish_with_their_suppressed_tower() -> None:
    track = _one_cell(HCAL, 2000, 0.5)
    _, scale = combine(HCAL, track, track, rng())
    assert (scale == 0).mean() > 0.9


def test_tracks_that_a_calorimeter_does_not_see_pass() -> None:
    unseen = Deposits(np.zeros(1, dtype=int), np.array([-1]), np.array([10.0]))
    neutrals, scale = combine(ECAL, unseen, unseen, rng())
    assert len(neutrals.event) == 0
    np.testing.assert_array_equal(scale, 1)


def test_detected_energy_is_right_on_average() -> None:
    """Photons and neutral hadrons of 100 GeV: one massless object each, energy kept in the mean."""
    many = 4000
    phi = np.linspace(-3, 3, many)
    directions = [(100 * np.cos(a), 100 * np.sin(a), 0.0) for a in phi]
    for pid, kind, width in ((22, PHOTON, 0.015), (130, NEUTRAL_HADRON, 0.16)):
        objects = detect(particles([(pid, 0, p, (0, 0, 0)) for p in directions]), rng())
        assert (objects.kind == kind).all()
        assert not objects.impact.any()
        assert abs(objects.p4[:, 3].mean() - 100) < 4 * 100 * width / np.sqrt(many) + 0.1
        mass2 = objects.p4[:, 3] ** 2 - (objects.p4[:, :3] ** 2).sum(1)
        assert np.abs(mass2).max() < 1e-6


def test_muons_keep_their_momentum_and_leave_no_neutral_energy() -> None:
    objects = detect(particles([(13, -1, (30.0, 0, 10), (0, 0, 0))] * 1000), rng())
    assert (objects.kind == MUON).all()
    assert 0.97 < len(objects.kind) / 1000 <= 1
    np.testing.assert_allclose(objects.p4[:, :3], np.tile([30.0, 0, 10], (len(objects.kind), 1)), atol=1e-6)
    assert (objects.charge == -1).all()
    assert (objects.impact[:, [1, 3]] > 0).all()
