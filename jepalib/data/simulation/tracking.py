"""Which charged particles leave a track, and how well its impact parameters are known."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

TRACK_ETA, TRACK_PT = 2.5, 0.1  # acceptance; pT in GeV
ETA_EDGES = (0.0, 1.5, TRACK_ETA)

# Probability by |eta| (rows: up to 1.5, up to 2.5) and pT (columns: 0.1-1, 1-100, > 100 GeV).
EFFICIENCY = {
    "hadron": ((0.70, 0.95, 0.95), (0.60, 0.85, 0.85)),
    "electron": ((0.73, 0.95, 0.99), (0.50, 0.83, 0.90)),
    "muon": ((0.75, 0.99, 0.99), (0.70, 0.98, 0.98)),
}


def efficiency(
    pid: Int[np.ndarray, " tracks"], eta: Float[np.ndarray, " tracks"], pt: Float[np.ndarray, " tracks"]
) -> Float[np.ndarray, " tracks"]:
    """Probability that the tracker finds each charged particle; 0 outside its acceptance."""
    kind = np.select([np.abs(pid) == 11, np.abs(pid) == 13], [1, 2], 0)
    table = np.array([EFFICIENCY["hadron"], EFFICIENCY["electron"], EFFICIENCY["muon"]])
    row = (np.abs(eta) > ETA_EDGES[1]).astype(int)
    column = np.digitize(pt, (1.0, 100.0), right=True)
    accepted = (np.abs(eta) <= TRACK_ETA) & (pt > TRACK_PT)
    return np.where(accepted, table[kind, row, column], 0.0)


def found(
    pid: Int[np.ndarray, " tracks"],
    eta: Float[np.ndarray, " tracks"],
    pt: Float[np.ndarray, " tracks"],
    rng: np.random.Generator,
) -> Bool[np.ndarray, " tracks"]:
    """Draw which particles leave a track."""
    return rng.random(len(pid)) < efficiency(pid, eta, pt)


@cache
def _resolution_table(quantity: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges in |eta| and pT (GeV) and sigma in mm, with a first pT row of zeros below the table."""
    csv = files("jepalib.data.simulation").joinpath("impact_parameter_resolution.csv")
    with csv.open() as handle:
        table = pd.read_csv(handle)
    table = table[table.quantity == quantity]
    sigma = table.pivot(index="abs_eta_above", columns="pt_above_gev", values="sigma_mm")
    values = np.concatenate([np.zeros((len(sigma), 1)), sigma.to_numpy()], axis=1)
    return sigma.index.to_numpy(), sigma.columns.to_numpy(), values


def impact_resolution(
    quantity: str, eta: Float[np.ndarray, " tracks"], pt: Float[np.ndarray, " tracks"]
) -> Float[np.ndarray, " tracks"]:
    """sigma of "d0" or "dz" in mm; 0 below the table's first pT bin (0.18 GeV)."""
    eta_edges, pt_edges, sigma = _resolution_table(quantity)
    row = np.clip(np.searchsorted(eta_edges, np.abs(eta), side="left") - 1, 0, len(eta_edges) - 1)
    return sigma[row, np.searchsorted(pt_edges, pt, side="left")]
