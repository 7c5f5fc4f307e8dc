"""Decays from hand-made event records, and their match to jets."""

from __future__ import annotations

import numpy as np

from jepalib.data.simulation.events import Record
from jepalib.data.simulation.truth import last_copy, match, resonances


def record(entries: list[tuple[int, int, tuple[int, int], float, float]]) -> Record:
    """One event from (pid, status, daughters, eta, phi), each with pT 100 GeV."""
    eta, phi = np.array([e[3] for e in entries]), np.array([e[4] for e in entries])
    p3 = 100 * np.stack([np.cos(phi), np.sin(phi), np.sinh(eta)], axis=1)
    return Record(
        event=np.zeros(len(entries), dtype=int),
        pid=np.array([e[0] for e in entries]),
        status=np.array([e[1] for e in entries]),
        daughters=np.array([e[2] for e in entries]),
        p4=np.concatenate([p3, np.linalg.norm(p3, axis=1, keepdims=True)], axis=1),
        vertex=np.zeros((len(entries), 3)),
        events=1,
    )


NONE = (-1, -1)
HIGGS_TO_WW = record(
    [
        (25, -22, (1, 1), 0.0, 0.0),  # recoils into
        (25, -62, (2, 4), 0.5, 1.0),  # which decays
        (24, -22, (3, 3), 0.4, 1.1),  # recoils into
        (24, -52, (6, 7), 0.4, 1.1),
        (-24, -22, (5, 5), 0.6, 0.9),
        (-24, -52, (8, 9), 0.6, 0.9),
        (2, -23, NONE, 0.3, 1.2),
        (-1, -23, NONE, 0.5, 1.0),
        (13, -23, NONE, 0.7, 0.8),
        (-14, 23, NONE, 0.6, 3.0),  # not seen: may be anywhere
    ]
)


def test_last_copy_follows_recoils() -> None:
    np.testing.assert_array_equal(last_copy(HIGGS_TO_WW, np.array([0, 1, 2, 6])), [1, 1, 3, 6])


def test_the_decay_of_a_higgs_to_semileptonic_w_pair() -> None:
    truth = resonances(HIGGS_TO_WW, "Hqql")
    np.testing.assert_array_equal(truth.pid, [25])
    np.testing.assert_allclose([truth.eta[0], truth.phi[0], truth.pt[0]], [0.5, 1.0, 100.0])
    seen = ~np.isnan(truth.prong_eta[0])
    np.testing.assert_allclose(np.sort(truth.prong_eta[0, seen]), [0.3, 0.5, 0.7])
    np.testing.assert_array_equal(truth.code, [600 + 20 + 2])  # sixth class, muon, up quark


def test_a_jet_matches_only_if_it_holds_every_visible_product() -> None:
    truth = resonances(HIGGS_TO_WW, "Hqql")
    eta, phi = np.array([0.5, 0.5, 0.0]), np.array([1.0, 1.7, 1.0])
    np.testing.assert_array_equal(match(truth, np.zeros(3, dtype=int), eta, phi), [0, -1, 0])
    np.testing.assert_array_equal(match(truth, np.ones(3, dtype=int), eta, phi), -1)  # another event


def test_match_across_the_seam_in_phi() -> None:
    z_boson = record([(23, -62, (1, 2), 0.0, np.pi), (1, -23, NONE, 0.1, 3.1), (-1, -23, NONE, -0.1, -3.1)])
    truth = resonances(z_boson, "Zqq")
    matched = match(truth, np.zeros(1, dtype=int), np.array([0.0]), np.array([-3.0]))
    np.testing.assert_array_equal(matched, [0])


def test_tops_decay_through_their_w() -> None:
    tops = record(
        [
            (6, -62, (2, 3), 0.0, 0.0),
            (-6, -62, NONE, 0.0, 3.0),  # its decay is missing: not a resonance
            (24, -22, (4, 5), 0.1, 0.1),
            (5, -23, NONE, -0.2, 0.0),
            (-11, -23, NONE, 0.2, 0.2),
            (12, 23, NONE, 2.0, 2.0),
        ]
    )
    truth = resonances(tops, "Tbl")
    np.testing.assert_array_equal(truth.code, [1000 + 10 + 5])
    assert np.isnan(truth.prong_eta[0]).sum() == 2  # b and electron are seen


def test_quark_or_gluon_of_the_hard_process() -> None:
    hard = record([(21, -21, NONE, 0.0, 0.0), (23, -22, NONE, 0.0, 2.0), (21, -23, NONE, 0.3, -1.0)])
    truth = resonances(hard, "QCD")
    np.testing.assert_array_equal(truth.pid, [21])
    np.testing.assert_array_equal(truth.code, [100])


def test_a_batch_without_resonances_matches_nothing() -> None:
    truth = resonances(record([(21, -21, NONE, 0.0, 0.0)]), "Hbb")
    np.testing.assert_array_equal(match(truth, np.zeros(2, dtype=int), np.zeros(2), np.zeros(2)), -1)
