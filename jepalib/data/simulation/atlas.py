"""The simpler, ATLAS-like detector of the top tagging twin.

Numbers of the ATLAS card of Delphes (arXiv:1307.6346): a weaker field and coarser hadronic
cells than the CMS-like detector, the same track finding. As there, tracks enter the
energy flow with their true momentum.
"""

from __future__ import annotations

import numpy as np

from jepalib.data.simulation.calorimeter import FINE_CELLS, Calorimeter
from jepalib.data.simulation.detector import Detector
from jepalib.data.simulation.propagation import Tracker


def _ecal_sigma(eta: np.ndarray, energy: np.ndarray) -> np.ndarray:
    return np.sqrt((0.0017 * energy) ** 2 + 0.101**2 * energy)


def _hcal_sigma(eta: np.ndarray, energy: np.ndarray) -> np.ndarray:
    barrel = np.sqrt((0.0302 * energy) ** 2 + 0.5205**2 * energy + 1.59**2)
    return np.where(np.abs(eta) <= 1.7, barrel, np.sqrt((0.05 * energy) ** 2 + 0.706**2 * energy))


_HCAL_CELLS = (*(0.1 * np.arange(27)), 2.8, 3.0, 3.2)  # 0.1 wide to 2.6

ATLAS = Detector(
    Tracker(2.0, 1150.0, 3510.0),
    Calorimeter("ecal", 0.5, 2.0, FINE_CELLS, ((np.inf, 1.0),), _ecal_sigma),
    Calorimeter("hcal", 1.0, 2.0, _HCAL_CELLS, ((2.5, 10.0), (np.inf, 20.0)), _hcal_sigma),
)
