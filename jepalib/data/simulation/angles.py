"""Angles of four-vectors: pT, pseudorapidity and azimuth, and differences of azimuths."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

LEAST_PT = 1e-9  # GeV; keeps the pseudorapidity of what flies along the beam finite


def pt_eta_phi(
    p: Float[np.ndarray, "*any components"],
) -> tuple[Float[np.ndarray, "*any"], Float[np.ndarray, "*any"], Float[np.ndarray, "*any"]]:
    """(pT, eta, phi) of vectors that begin with px, py, pz; phi in [-pi, pi]."""
    pt = np.hypot(p[..., 0], p[..., 1])
    return pt, np.arcsinh(p[..., 2] / np.maximum(pt, LEAST_PT)), np.arctan2(p[..., 1], p[..., 0])


def wrapped(angle: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    """Angle in radians brought into [-pi, pi)."""
    return np.remainder(angle + np.pi, 2 * np.pi) - np.pi
