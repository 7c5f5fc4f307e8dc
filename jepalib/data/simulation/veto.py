"""Hopeless events are given up before the shower: most of the time of an event lies after it.

The cuts are looser than the acceptance of the jets (500 GeV, |eta| < 2, products within
0.8), because showers, recoil and the underlying event move jets a little.
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
