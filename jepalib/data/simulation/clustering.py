"""Jets of energy-flow objects or particles, and their substructure, with FastJet (arXiv:1111.6097)."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

import awkward as ak
import numpy as np
from jaxtyping import Bool, Float, Int

from jepalib.data.simulation.angles import pt_eta_phi
from jepalib.data.simulation.processes import require
from jepalib.errors import JepalibError

RADIUS = 0.8
WHOLE_JET = 4.0  # a radius that no constituent exceeds: all of them belong to the jet already
SUBJET_ALGORITHMS = {"kt": "kt_algorithm", "ca": "cambridge_algorithm"}
SOFT_DROP = {"beta": 0.0, "symmetry_cut": 0.1}
N_SUBJETTINESS = {
    "measure_definition": "NormalizedMeasure",
    "axes_definition": "OnePass_KT_Axes",
    "njets": [1, 2, 3, 4],
    "beta": 1.0,
}


@dataclass(frozen=True)
class Acceptance:
    """Which jets are kept.

    Attributes:
        radius: of the anti-kT algorithm.
        pt: window in GeV.
        direction: largest |eta|, or |y| with `rapidity`.
        leading: only the jet of largest pT of each event is looked at.
    """

    radius: float
    pt: tuple[float, float]
    direction: float
    rapidity: bool = False
    leading: bool = False


JETCLASS = Acceptance(RADIUS, (500.0, 1000.0), 2.0)


@dataclass(frozen=True)
class Clustered:
    """Jets in the acceptance.

    Attributes:
        event: event of each jet.
        p4: sum of its constituents, GeV.
        members: rows of its objects, falling pT, one jet after another.
        counts: number of objects of each jet.
    """

    event: Int[np.ndarray, " jets"]
    p4: Float[np.ndarray, "jets 4"]
    members: Int[np.ndarray, " constituents"]
    counts: Int[np.ndarray, " jets"]


def find_jets(
    event: Int[np.ndarray, " objects"],
    p4: Float[np.ndarray, "objects 4"],
    events: int,
    acceptance: Acceptance = JETCLASS,
) -> Clustered:
    """Anti-kT jets of objects (GeV; events in rising order) in the acceptance.

    That of JetClass by default: R = 0.8, 500 < pT < 1000 GeV, |eta| < 2.
    """
    counts = np.bincount(event, minlength=events)
    sequence = _cluster(p4, counts, "antikt_algorithm", acceptance.radius)
    jets = sequence.inclusive_jets(min_pt=acceptance.pt[0])
    members = sequence.constituent_index(min_pt=acceptance.pt[0])
    jet_event = np.repeat(np.arange(events), ak.to_numpy(ak.num(jets)))
    total = np.stack([ak.to_numpy(ak.flatten(jets[c])) for c in ("px", "py", "pz", "E")], axis=1)
    members = ak.flatten(members, axis=1)
    first = np.cumsum(counts) - counts
    members = members + first[jet_event]

    keep = _accepted(jet_event, total, acceptance)
    sizes = ak.to_numpy(ak.num(members))[keep].astype(np.int64)
    rows = ak.to_numpy(ak.flatten(members[keep], axis=1)).astype(np.int64)
    falling = -np.hypot(p4[rows, 0], p4[rows, 1])
    rows = rows[np.lexsort((falling, np.repeat(np.arange(len(sizes)), sizes)))]
    return Clustered(jet_event[keep], total[keep], rows, sizes)


def _accepted(
    event: Int[np.ndarray, " jets"], p4: Float[np.ndarray, "jets 4"], acceptance: Acceptance
) -> Bool[np.ndarray, " jets"]:
    pt, eta, _ = pt_eta_phi(p4)
    direction = np.arctanh(p4[:, 2] / p4[:, 3]) if acceptance.rapidity else eta
    low, high = acceptance.pt
    keep = (pt > low) & (pt < high) & (np.abs(direction) < acceptance.direction)
    if acceptance.leading and len(event):
        highest = np.zeros(event.max() + 1)
        np.maximum.at(highest, event, pt)
        keep &= pt == highest[event]
    return keep


def substructure(
    p4: Float[np.ndarray, "constituents 4"], counts: Int[np.ndarray, " jets"], radius: float = RADIUS
) -> tuple[Float[np.ndarray, " jets"], Float[np.ndarray, "jets 4"]]:
    """Soft-drop mass in GeV (arXiv:1402.2657; z_cut 0.1, beta 0) and tau_1 ... tau_4 (arXiv:1011.2268).

    `radius` is that of the jets: tau is relative to it.
    """
    if len(counts) == 0:
        return np.zeros(0), np.zeros((0, 4))
    sequence = _cluster(p4, counts, "cambridge_algorithm", WHOLE_JET)
    groomed = sequence.exclusive_jets_softdrop_grooming(njets=1, R0=radius, **SOFT_DROP)
    mass = np.maximum(ak.to_numpy(groomed.msoftdrop), 0.0)  # rounding can give m^2 < 0
    taus = np.asarray(ak.to_numpy(ak.flatten(sequence.njettiness(R0=radius, **N_SUBJETTINESS), axis=None)))
    return mass.astype(np.float64), taus.reshape(len(counts), 4).astype(np.float64)


def subjets(
    p4: Float[np.ndarray, "constituents 4"], number: int, algorithm: str = "kt"
) -> Int[np.ndarray, " constituents"]:
    """The exclusive subjet of each constituent of one jet: 0 for that of largest pT, and so on.

    Clustering is undone until `number` are left, or as many as there are constituents; each
    constituent belongs to one.

    Args:
        p4: (px, py, pz, E) in GeV.
        algorithm: "kt" (S. D. Ellis and D. E. Soper, hep-ph/9305266) or "ca", Cambridge/Aachen
            (hep-ph/9707323), which goes by angle alone.

    Raises:
        JepalibError: another algorithm, less than one subjet, or FastJet is not installed.
    """
    if algorithm not in SUBJET_ALGORITHMS or number < 1:
        known = ", ".join(SUBJET_ALGORITHMS)
        raise JepalibError(f"subjets: {number} of {algorithm!r}; give at least 1, by one of {known}")
    if len(p4) <= 1:
        return np.zeros(len(p4), np.int64)
    sequence = _cluster(p4.astype(np.float64), None, SUBJET_ALGORITHMS[algorithm], WHOLE_JET)
    members = sequence.exclusive_jets_constituent_index(njets=min(number, len(p4))).to_list()
    momenta = [p4[rows, :2].sum(0) for rows in members]
    found = np.empty(len(p4), np.int64)
    for place, subjet in enumerate(np.argsort([-np.hypot(*p) for p in momenta], kind="stable")):
        found[members[subjet]] = place
    return found


def _cluster(p4: np.ndarray, counts: np.ndarray | None, algorithm: str, radius: float) -> Any:
    """FastJet's sequence of each group of four-vectors, or of all of them without counts."""
    fastjet = require("fastjet")
    _silence_banner()
    columns = {name: p4[:, i] for i, name in enumerate(("px", "py", "pz", "E"))}
    objects = ak.zip(columns)
    groups = objects if counts is None else ak.unflatten(objects, counts)
    return fastjet.ClusterSequence(groups, fastjet.JetDefinition(getattr(fastjet, algorithm), radius))


@cache
def _silence_banner() -> None:
    """Spend FastJet's banner, which its C++ prints with the first clustering, on nothing."""
    fastjet = require("fastjet")
    sys.stdout.flush()
    kept, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    try:
        one = ak.Array([[{"px": 1.0, "py": 0.0, "pz": 0.0, "E": 1.0}]])
        definition = fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS)
        fastjet.ClusterSequence(one, definition).inclusive_jets()
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nothing)
