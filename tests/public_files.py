"""Files in the public layouts of the other data sets, written without the library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

QG_MASSES = {
    22: 0.0,
    211: 0.13957,
    321: 0.493677,
    130: 0.497611,
    2212: 0.938272,
    2112: 0.939565,
    11: 0.000511,
}


def top_frame(counts: list[int], constituents: int = 200, seed: int = 0) -> pd.DataFrame:
    """Massless constituents around an axis, falling pT, zero padded; labels alternate from 1."""
    rng = np.random.default_rng(seed)
    columns = {
        f"{c}_{i}": np.zeros(len(counts)) for i in range(constituents) for c in ("E", "PX", "PY", "PZ")
    }
    for jet, count in enumerate(counts):
        pt = np.sort(rng.uniform(1, 40, count))[::-1]
        eta = rng.choice([-1, 1]) * 1.1 + rng.normal(0, 0.2, count)
        phi = 3.1 + rng.normal(0, 0.2, count)  # across the seam
        for i in range(count):
            columns[f"E_{i}"][jet] = pt[i] * np.cosh(eta[i])
            columns[f"PX_{i}"][jet] = pt[i] * np.cos(phi[i])
            columns[f"PY_{i}"][jet] = pt[i] * np.sin(phi[i])
            columns[f"PZ_{i}"][jet] = pt[i] * np.sinh(eta[i])
    truth = {name: np.zeros(len(counts)) for name in ("truthE", "truthPX", "truthPY", "truthPZ")}
    frame = pd.DataFrame(columns | truth).astype(np.float32)
    flags = {"ttv": np.zeros(len(counts), np.int64), "is_signal_new": (np.arange(len(counts)) + 1) % 2}
    return pd.concat([frame, pd.DataFrame(flags)], axis=1)


def write_top(path: Path, frame: pd.DataFrame, layout: str = "table", key: str = "table") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_hdf(path, key=key, mode="w", format=layout, complib="blosc", complevel=5)
    return path


def quark_gluon_arrays(
    counts: list[int], length: int | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """X with particles of every kind in no order, and y that alternates from 1."""
    rng = np.random.default_rng(seed)
    x = np.zeros((len(counts), length or max(counts), 4))
    for jet, count in enumerate(counts):
        x[jet, :count, 0] = rng.uniform(0.5, 60, count)
        x[jet, :count, 1] = -0.9 + rng.normal(0, 0.1, count)
        x[jet, :count, 2] = np.remainder(rng.normal(0, 0.1, count), 2 * np.pi)  # across the seam
        sign = rng.choice([-1, 1], count)
        kind = rng.choice(list(QG_MASSES), count)
        x[jet, :count, 3] = np.where(np.isin(kind, (22, 130)), kind, sign * kind)
    return x, (np.arange(len(counts)) + 1.0) % 2


def write_quark_gluon(path: Path, x: np.ndarray, y: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, X=x, y=y)
    return path


def lhco_table(counts: list[tuple[int, ...]], particles: int = 700, seed: int = 0) -> np.ndarray:
    """Events of back-to-back sprays of the given numbers of massless particles, softer by a third each.

    Columns pT, eta, phi of each particle in falling pT, zero padded; truth bits alternate from 1.
    """
    rng = np.random.default_rng(seed)
    table = np.zeros((len(counts), 3 * particles + 1))
    for event, sprays in enumerate(counts):
        first = rng.uniform(-np.pi, np.pi)
        rows = []
        for number, count in enumerate(sprays):
            share = rng.dirichlet(np.ones(count)) * 1500 * (2 / 3) ** number
            eta = rng.uniform(-1, 1) + rng.normal(0, 0.1, count)
            phi = first + np.pi * number + rng.normal(0, 0.1, count)
            rows.append(np.stack([share, eta, np.mod(phi + np.pi, 2 * np.pi) - np.pi], axis=1))
        rows = np.concatenate([*rows, np.zeros((0, 3))])
        rows = rows[np.argsort(-rows[:, 0])]
        table[event, : rows.size] = rows.ravel()
        table[event, -1] = (event + 1) % 2
    return table


def write_lhco(path: Path, table: np.ndarray, key: str = "df") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(table).to_hdf(path, key=key, mode="w", format="fixed", complib="blosc", complevel=9)
    return path
