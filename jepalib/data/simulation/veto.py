"""Hopeless events are given up before the shower: most of the time of an event lies after it.

The cuts are looser than the acceptance of the jets (JetClass: 500 GeV, |eta| < 2, products
within 0.8), because showers, recoil and the underlying event move jets a little.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jepalib.data.simulation.angles import pt_eta_phi, wrapped
from jepalib.data.simulation.events import NEUTRINOS
from jepalib.data.simulation.processes import require

VISIBLE_PT = 430.0  # GeV, of the decay products that are not neutrinos
ETA_MAX = 2.3
SPREAD = 1.0  # distance of a product from the sum of all

JET_SCALE = 10.0  # GeV, of the showers when the leading jet is looked at
AFTER_DECAYS = 5  # Pythia's number for the call after the showers of resonances, too late to save time
UNSEEN = (*NEUTRINOS, 23)


def early_veto(resonance: int, visible_pt: float = VISIBLE_PT) -> Any:
    """Pythia user hook that drops hard processes without a promising decay.

    Pythia keeps no reference of its own: the caller keeps the hook as long as the generator.

    Args:
        resonance: |PDG id| of the decaying particle.
        visible_pt: least pT in GeV of its visible products together.
    """

    class EarlyVeto(require("pythia8mc").UserHooks):  # the base class is there only with the package
        def canVetoProcessLevel(self) -> bool:
            return True

        def doVetoProcessLevel(self, process: Any) -> bool:
            decays = (i for i in range(process.size()) if abs(process[i].id()) == resonance)
            return not any(promising(visible_products(process, i), visible_pt) for i in decays)

    return EarlyVeto()


def jet_veto(partons: tuple[int, ...], pt: tuple[float, float], eta_max: float, radius: float) -> Any:
    """Pythia user hook for jets of a hard parton that recoils against a Z boson.

    Drops hard processes without an outgoing parton of a wanted flavour, and events whose
    leading jet, when the showers are down to `JET_SCALE`, is far outside the window: most
    of the time of an event goes into softer multiparton interactions.

    Args:
        partons: wanted |PDG id|.
        pt: loose window for the leading jet, GeV.
        eta_max: loose acceptance.
        radius: of the jets.
    """

    class JetVeto(require("pythia8mc").UserHooks):
        def canVetoProcessLevel(self) -> bool:
            return True

        def doVetoProcessLevel(self, process: Any) -> bool:
            outgoing = (process[i] for i in range(process.size()))
            return not any(entry.status() == 23 and abs(entry.id()) in partons for entry in outgoing)

        def canVetoPT(self) -> bool:
            return True

        def scaleVetoPT(self) -> float:
            return JET_SCALE

        def doVetoPT(self, position: int, event: Any) -> bool:
            if position >= AFTER_DECAYS:
                return False
            entries = (event[i] for i in range(event.size()))
            found = [(e.px(), e.py(), e.pz()) for e in entries if e.isFinal() and abs(e.id()) not in UNSEEN]
            size, direction = leading(np.array(found).reshape(-1, 3), radius)
            return not (pt[0] < size < pt[1] and abs(direction) < eta_max)

    return JetVeto()


def leading(partons: np.ndarray, radius: float) -> tuple[float, float]:
    """pT (GeV) and eta of the hardest sum of partons (px, py, pz) within `radius` of one of them."""
    if len(partons) == 0:
        return 0.0, 0.0
    _, eta, phi = pt_eta_phi(partons)
    distance = np.hypot(eta[:, None] - eta, wrapped(phi[:, None] - phi))
    pt, direction, _ = pt_eta_phi((distance < radius).astype(np.float64) @ partons)
    return float(pt.max()), float(direction[pt.argmax()])


def visible_products(process: Any, row: int) -> np.ndarray:
    """(px, py, pz) in GeV of the products of entry `row` of the hard process, W bosons decayed."""
    found, waiting = [], [row]
    while waiting:
        entry = process[waiting.pop()]
        if entry.daughter1() > 0:
            waiting += [entry.daughter1(), entry.daughter2()]
        elif abs(entry.id()) not in NEUTRINOS:
            found.append((entry.px(), entry.py(), entry.pz()))
    return np.array(found).reshape(-1, 3)


def promising(products: np.ndarray, visible_pt: float = VISIBLE_PT) -> bool:
    """Whether the visible products (px, py, pz) may become one jet of the acceptance."""
    if len(products) == 0:
        return False
    everything = np.concatenate([products, products.sum(axis=0, keepdims=True)])
    pt, eta, phi = pt_eta_phi(everything)
    distance = np.hypot(eta - eta[-1], wrapped(phi - phi[-1]))
    return bool(pt[-1] > visible_pt and abs(eta[-1]) < ETA_MAX and distance.max() < SPREAD)
