"""The two calorimeters (CMS-like): cells, what each particle deposits, and what is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

_STRANGE = (310, 3122)  # K0S, Lambda: shared between both
_ELECTROMAGNETIC = (11, 22, 111)
Resolution = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Calorimeter:
    """One calorimeter.

    Attributes:
        name: "ecal" or "hcal"; decides which particles it sees.
        minimum, significance: thresholds in GeV and in sigma.
        half: cell edges in eta from 0 outwards.
        widths: (|eta|, degrees): the width in phi of cells whose middle is below |eta|.
        sigma: resolution sigma(E) in GeV of (eta, energy).
    """

    name: str
    minimum: float
    significance: float
    half: tuple[float, ...]
    widths: tuple[tuple[float, float], ...]
    sigma: Resolution

    @property
    def edges(self) -> Float[np.ndarray, " edges"]:
        """Cell edges in eta, from -max to max."""
        half = np.array(self.half)
        return np.concatenate([-half[:0:-1], half])

    def fraction(self, pid: Int[np.ndarray, " particles"]) -> Float[np.ndarray, " particles"]:
        """Share of each particle's energy that this calorimeter sees."""
        kind = np.abs(pid)
        ecal = np.where(np.isin(kind, _ELECTROMAGNETIC), 1.0, np.where(np.isin(kind, _STRANGE), 0.3, 0.0))
        return np.where(kind == 13, 0.0, ecal if self.name == "ecal" else 1.0 - ecal)

    def cell(
        self, eta: Float[np.ndarray, " hits"], phi: Float[np.ndarray, " hits"]
    ) -> Int[np.ndarray, " hits"]:
        """Number of the cell at each point of the face; -1 outside the calorimeter."""
        edges = self.edges
        row = np.searchsorted(edges, eta, side="right") - 1
        inside = (row >= 0) & (row < len(edges) - 1)
        row = np.where(inside, row, 0)
        width = self._phi_width(edges, row)
        column = np.floor(np.remainder(phi, 2 * np.pi) / width)
        # The remainder of a tiny negative angle is rounded up to 2 pi itself.
        column = np.minimum(column, np.rint(2 * np.pi / width) - 1).astype(np.int64)
        return np.where(inside, row * 360 + column, -1)

    def _phi_width(self, edges: np.ndarray, row: np.ndarray) -> np.ndarray:
        middle = np.abs(edges[row] + edges[row + 1]) / 2
        limits, degrees = np.array(self.widths).T
        return np.radians(degrees[np.searchsorted(limits, middle, side="right")])

    def centre(self, cell: Int[np.ndarray, " cells"]) -> Float[np.ndarray, " cells"]:
        """eta of the middle of each cell."""
        edges, row = self.edges, cell // 360
        return (edges[row] + edges[row + 1]) / 2

    def position(
        self, cell: Int[np.ndarray, " cells"], rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, " cells"], Float[np.ndarray, " cells"]]:
        """(eta, phi) drawn uniformly within each cell."""
        edges, row = self.edges, cell // 360
        eta = edges[row] + rng.random(len(cell)) * (edges[row + 1] - edges[row])
        return eta, (cell % 360 + rng.random(len(cell))) * self._phi_width(edges, row)

    def resolution(
        self, eta: Float[np.ndarray, " cells"], energy: Float[np.ndarray, " cells"]
    ) -> Float[np.ndarray, " cells"]:
        """sigma(E) in GeV at the cell's eta."""
        return self.sigma(eta, energy)

    def measure(
        self,
        energy: Float[np.ndarray, " cells"],
        eta: Float[np.ndarray, " cells"],
        rng: np.random.Generator,
    ) -> tuple[Float[np.ndarray, " cells"], Float[np.ndarray, " cells"]]:
        """Measured energy (0 below threshold) and its sigma, GeV."""
        drawn = log_normal(energy, self.resolution(eta, energy), rng)
        sigma = self.resolution(eta, drawn)
        return np.where(self.passes(drawn, sigma), drawn, 0.0), sigma

    def passes(self, energy: Float[np.ndarray, " cells"], sigma: Float[np.ndarray, " cells"]) -> np.ndarray:
        """Whether an energy is above the minimum and significant."""
        return (energy >= self.minimum) & (energy >= self.significance * sigma)


def _ecal_sigma(eta: np.ndarray, energy: np.ndarray) -> np.ndarray:
    size = np.abs(eta)
    base = np.sqrt((0.008 * energy) ** 2 + 0.11**2 * energy + 0.40**2)
    forward = np.sqrt((0.107 * energy) ** 2 + 2.08**2 * energy)
    endcap = (2.16 + 5.6 * (size - 2) ** 2) * base
    return np.where(size <= 1.5, (1 + 0.64 * eta**2) * base, np.where(size <= 2.5, endcap, forward))


def _hcal_sigma(eta: np.ndarray, energy: np.ndarray) -> np.ndarray:
    near = np.sqrt((0.05 * energy) ** 2 + 1.5**2 * energy)
    return np.where(np.abs(eta) <= 3.0, near, np.sqrt((0.13 * energy) ** 2 + 2.7**2 * energy))


_BARREL = tuple(0.087 * np.arange(20))  # 0 ... 1.653
_ENDCAP = (1.74, 1.83, 1.93, 2.043, 2.172, 2.322, 2.5, 2.65, 2.868, 2.95, 3.125)
FINE_CELLS = tuple(0.0174 * np.arange(171))  # to 2.958

ECAL = Calorimeter("ecal", 0.5, 2.0, FINE_CELLS, ((np.inf, 1.0),), _ecal_sigma)
HCAL = Calorimeter("hcal", 1.0, 1.0, _BARREL + _ENDCAP, ((0.087 * 18, 5.0), (np.inf, 10.0)), _hcal_sigma)


def log_normal(
    mean: Float[np.ndarray, " draws"], width: Float[np.ndarray, " draws"], rng: np.random.Generator
) -> Float[np.ndarray, " draws"]:
    """Draws of a log-normal with the given mean and standard deviation (positive means)."""
    squared = np.log1p((width / mean) ** 2)
    return np.exp(np.log(mean) - squared / 2 + np.sqrt(squared) * rng.standard_normal(len(mean)))
