"""Energy flow: tracks and towers of one calorimeter combined into objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from jepalib.data.simulation.calorimeter import Calorimeter


@dataclass(frozen=True)
class Deposits:
    """What reaches a calorimeter: event, cell (-1 outside) and energy in GeV."""

    event: Int[np.ndarray, " hits"]
    cell: Int[np.ndarray, " hits"]
    energy: Float[np.ndarray, " hits"]


@dataclass(frozen=True)
class Neutrals:
    """Objects without a track: event, direction and energy in GeV."""

    event: Int[np.ndarray, " objects"]
    eta: Float[np.ndarray, " objects"]
    phi: Float[np.ndarray, " objects"]
    energy: Float[np.ndarray, " objects"]


CELLS = 1 << 20  # more than any calorimeter has; makes (event, cell) one number


def combine(
    calorimeter: Calorimeter, particles: Deposits, tracks: Deposits, rng: np.random.Generator
) -> tuple[Neutrals, Float[np.ndarray, " tracks"]]:
    """Measure the towers, and share them between tracks and neutral objects.

    An excess of a tower over its tracks that is large and significant becomes a neutral
    object at the tower's position. Otherwise the tracks are rescaled to the best
    estimate of the energy; tracks count as exact, but the estimate is the tower's, as
    the reference chain gives zero resolution no weight: tracks in a tower that was
    suppressed to zero vanish.

    Args:
        calorimeter: ECAL or HCAL.
        particles: deposits of all particles, found or not.
        tracks: the tracks with their full energy; cell -1 for those that this
            calorimeter does not see.
        rng: for resolution and positions.

    Returns:
        The neutral objects, and the factor on each track's four-momentum.
    """
    hit = (particles.cell >= 0) & (particles.energy > 0)
    keys = particles.event[hit] * CELLS + particles.cell[hit]
    towers, where = np.unique(keys, return_inverse=True)
    event, cell = towers // CELLS, towers % CELLS
    centre = calorimeter.centre(cell)
    true = _total(where, particles.energy[hit], len(towers))
    energy, sigma = calorimeter.measure(true, centre, rng)
    eta, phi = calorimeter.position(cell, rng)

    linked = tracks.cell >= 0
    tower = np.searchsorted(towers, tracks.event[linked] * CELLS + tracks.cell[linked])
    in_tracks = _total(tower, tracks.energy[linked], len(towers))
    excess = np.maximum(energy - in_tracks, 0.0)
    neutral = (excess > calorimeter.minimum) & (excess > calorimeter.significance * sigma)

    scale = np.ones(len(tracks.event))
    rescaled = energy / np.where(in_tracks > 0, in_tracks, 1.0)
    scale[linked] = np.where(neutral, 1.0, rescaled)[tower]
    return Neutrals(event[neutral], eta[neutral], phi[neutral], excess[neutral]), scale


def _total(group: np.ndarray, energy: np.ndarray, groups: int) -> np.ndarray:
    """Summed energy of each group; bincount of nothing would be integers."""
    return np.bincount(group, weights=energy, minlength=groups).astype(np.float64)
