"""Jets of the energy-flow objects, and their substructure, with FastJet (arXiv:1111.6097)."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

import awkward as ak
import numpy as np
from jaxtyping import Float, Int

from jepalib.data.simulation.angles import pt_eta_phi
from jepalib.data.simulation.detector import Objects
from jepalib.data.simulation.processes import require

RADIUS = 0.8
PT_WINDOW = (500.0, 1000.0)  # GeV
ETA_MAX = 2.0
SOFT_DROP = {"beta": 0.0, "symmetry_cut": 0.1, "R0": RADIUS}
N_SUBJETTINESS = {
    "measure_definition": "NormalizedMeasure",
    "axes_definition": "OnePass_KT_Axes",
    "njets": [1, 2, 3, 4],
    "beta": 1.0,
    "R0": RADIUS,
}


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


def find_jets(objects: Objects, events: int) -> Clustered:
    """Anti-kT jets, R = 0.8, with 500 < pT < 1000 GeV and |eta| < 2."""
    counts = np.bincount(objects.event, minlength=events)
    sequence = _cluster(objects.p4, counts, "antikt_algorithm", RADIUS)
    jets = sequence.inclusive_jets(min_pt=PT_WINDOW[0])
    members = sequence.constituent_index(min_pt=PT_WINDOW[0])
    event = np.repeat(np.arange(events), ak.to_numpy(ak.num(jets)))
    p4 = np.stack([ak.to_numpy(ak.flatten(jets[c])) for c in ("px", "py", "pz", "E")], axis=1)
    members = ak.flatten(members, axis=1)
    first = np.cumsum(counts) - counts
    members = members + first[event]

    pt, eta, _ = pt_eta_phi(p4)
    keep = (pt > PT_WINDOW[0]) & (pt < PT_WINDOW[1]) & (np.abs(eta) < ETA_MAX)
    sizes = ak.to_numpy(ak.num(members))[keep].astype(np.int64)
    rows = ak.to_numpy(ak.flatten(members[keep], axis=1)).astype(np.int64)
    falling = -np.hypot(objects.p4[rows, 0], objects.p4[rows, 1])
    rows = rows[np.lexsort((falling, np.repeat(np.arange(len(sizes)), sizes)))]
    return Clustered(event[keep], p4[keep], rows, sizes)


def substructure(
    p4: Float[np.ndarray, "constituents 4"], counts: Int[np.ndarray, " jets"]
) -> tuple[Float[np.ndarray, " jets"], Float[np.ndarray, "jets 4"]]:
    """Soft-drop mass in GeV (arXiv:1402.2657; z_cut 0.1, beta 0) and tau_1 ... tau_4 (arXiv:1011.2268)."""
    if len(counts) == 0:
        return np.zeros(0), np.zeros((0, 4))
    # Everything belongs to the jet already: a radius that no constituent exceeds.
    sequence = _cluster(p4, counts, "cambridge_algorithm", 4.0)
    groomed = sequence.exclusive_jets_softdrop_grooming(njets=1, **SOFT_DROP)
    mass = np.maximum(ak.to_numpy(groomed.msoftdrop), 0.0)  # rounding can give m^2 < 0
    taus = np.asarray(ak.to_numpy(ak.flatten(sequence.njettiness(**N_SUBJETTINESS), axis=None)))
    return mass.astype(np.float64), taus.reshape(len(counts), 4).astype(np.float64)


def _cluster(p4: np.ndarray, counts: np.ndarray, algorithm: str, radius: float) -> Any:
    """FastJet's sequence of each group of four-vectors."""
    fastjet = require("fastjet")
    _silence_banner()
    columns = {name: p4[:, i] for i, name in enumerate(("px", "py", "pz", "E"))}
    groups = ak.unflatten(ak.zip(columns), counts)
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
