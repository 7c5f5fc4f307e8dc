"""Particles through the magnetic field: where they meet the calorimeter, how tracks begin.

Neutral particles fly straight, charged ones on a helix around the field along z. Lengths
are in mm, momenta in GeV, angles in radians.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from jepalib.data.simulation.angles import pt_eta_phi, wrapped
from jepalib.data.simulation.events import Particles

# Radius of curvature in mm of 1 GeV transverse momentum, unit charge, in 1 T: 1e12 / c.
CURVATURE = 1e12 / 299_792_458.0


@dataclass(frozen=True)
class Tracker:
    """The volume of the tracker, whose outside is the calorimeter face: field in tesla, lengths in mm."""

    field: float
    radius: float
    half_length: float


CMS_TRACKER = Tracker(3.8, 1290.0, 3000.0)


@dataclass(frozen=True)
class Flight:
    """Result of the propagation of each particle.

    Attributes:
        eta, phi: direction from the origin of the point on the calorimeter face.
        direction: azimuth of the momentum at closest approach to the beam line
            (charged), of the momentum itself (neutral).
        d0: (x_d p_y - y_d p_x) / pT at closest approach, mm; 0 for neutrals.
        dz: z of that point, mm; 0 for neutrals.
    """

    eta: Float[np.ndarray, " particles"]
    phi: Float[np.ndarray, " particles"]
    direction: Float[np.ndarray, " particles"]
    d0: Float[np.ndarray, " particles"]
    dz: Float[np.ndarray, " particles"]


def inside_tracker(particles: Particles, tracker: Tracker = CMS_TRACKER) -> Bool[np.ndarray, " particles"]:
    """Produced in front of the calorimeter, and not exactly along the beam."""
    x, y, z = particles.vertex.T
    moving = np.hypot(particles.p4[:, 0], particles.p4[:, 1]) > 1e-5
    return (np.hypot(x, y) < tracker.radius) & (np.abs(z) < tracker.half_length) & moving


def propagate(particles: Particles, tracker: Tracker = CMS_TRACKER) -> Flight:
    """Fly particles that start inside the tracker to the calorimeter face."""
    charged = particles.charge != 0
    size = len(particles)
    face = np.empty((size, 3))
    face[~charged] = _straight(particles.take(~charged), tracker)
    direction = np.arctan2(particles.p4[:, 1], particles.p4[:, 0])
    d0, dz = np.zeros(size), np.zeros(size)
    face[charged], direction[charged], d0[charged], dz[charged] = _helix(particles.take(charged), tracker)
    _, eta, phi = pt_eta_phi(face)
    return Flight(eta, phi, direction, d0, dz)


def _to_end(z: np.ndarray, pz: np.ndarray, pt: np.ndarray, tracker: Tracker) -> np.ndarray:
    """Transverse path until |z| is at the end face."""
    steps = np.where(np.abs(pz) > 1e-12, np.abs(pz), 1e-12)
    return (tracker.half_length - np.sign(pz) * z) * pt / steps


def _straight(neutral: Particles, tracker: Tracker) -> np.ndarray:
    """Points (x, y, z) where straight lines leave the cylinder."""
    (px, py, pz, _), (x, y, z) = neutral.p4.T, neutral.vertex.T
    pt = np.hypot(px, py)
    along = (x * px + y * py) / pt
    across = (x * py - y * px) / pt
    path = np.sqrt(tracker.radius**2 - across**2) - along
    path = np.minimum(path, _to_end(z, pz, pt, tracker))
    return np.stack([x + path * px / pt, y + path * py / pt, z + path * pz / pt], axis=1)


def _helix(charged: Particles, tracker: Tracker) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Face points, azimuth at closest approach, d0 and dz of charged particles.

    A positive charge turns clockwise: after the transverse path s its azimuth is
    phi - s / r, r the signed radius of curvature.
    """
    (px, py, pz, _), (x, y, z) = charged.p4.T, charged.vertex.T
    pt, phi = np.hypot(px, py), np.arctan2(py, px)
    radius = pt / (charged.charge * tracker.field) * CURVATURE
    centre_x, centre_y = x + radius * np.sin(phi), y - radius * np.cos(phi)
    centre = np.maximum(np.hypot(centre_x, centre_y), 1e-9)

    # Closest approach: on the line from the beam to the centre.
    sign = np.sign(radius)
    direction = np.arctan2(sign * centre_x, -sign * centre_y)
    near = 1 - np.abs(radius) / centre
    near_x, near_y = near * centre_x, near * centre_y
    to_near = radius * wrapped(phi - direction)  # signed path from the production point
    dz = z + pz / pt * to_near
    d0 = near_x * np.sin(direction) - near_y * np.cos(direction)

    # Barrel face: the circle leaves the cylinder at `opening` from the closest approach.
    cosine = (radius**2 + centre**2 - tracker.radius**2) / (2 * np.abs(radius) * centre)
    leaves = centre + np.abs(radius) > tracker.radius
    opening = np.arccos(np.clip(cosine, -1, 1))
    barrel = np.where(leaves, to_near + np.abs(radius) * opening, np.inf)
    path = np.minimum(barrel, _to_end(z, pz, pt, tracker))
    angle = phi - path / radius
    face_x, face_y = centre_x - radius * np.sin(angle), centre_y + radius * np.cos(angle)
    return np.stack([face_x, face_y, z + pz / pt * path], axis=1), direction, d0, dz
