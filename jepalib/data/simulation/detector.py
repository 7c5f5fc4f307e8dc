"""The whole detector: stable particles in, reconstructed objects out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from jepalib.data.simulation.angles import pt_eta_phi
from jepalib.data.simulation.calorimeter import ECAL, HCAL, Calorimeter
from jepalib.data.simulation.energy_flow import Deposits, Neutrals, combine
from jepalib.data.simulation.events import Particles
from jepalib.data.simulation.propagation import CMS_TRACKER, Flight, Tracker, inside_tracker, propagate
from jepalib.data.simulation.tracking import found, impact_resolution

CHARGED_HADRON, NEUTRAL_HADRON, PHOTON, ELECTRON, MUON = range(5)


@dataclass(frozen=True)
class Detector:
    """What tells one detector from another; track finding is the same in all."""

    tracker: Tracker
    ecal: Calorimeter
    hcal: Calorimeter


CMS = Detector(CMS_TRACKER, ECAL, HCAL)


@dataclass(frozen=True)
class Objects:
    """Energy-flow objects of a batch, events in rising order.

    Attributes:
        event: event of each object.
        kind: CHARGED_HADRON ... MUON, in the order of the is* branches.
        p4: (px, py, pz, E) in GeV.
        charge: -1, 0, 1.
        impact: (d0, d0err, dz, dzerr) in mm; zeros for neutral objects.
    """

    event: Int[np.ndarray, " objects"]
    kind: Int[np.ndarray, " objects"]
    p4: Float[np.ndarray, "objects 4"]
    charge: Float[np.ndarray, " objects"]
    impact: Float[np.ndarray, "objects 4"]


def detect(particles: Particles, rng: np.random.Generator, detector: Detector = CMS) -> Objects:
    """Reconstruct the particles: propagation, tracks, calorimeters, energy flow."""
    particles = particles.take(inside_tracker(particles, detector.tracker))
    flight = propagate(particles, detector.tracker)
    rows, tracks = _tracks(particles, flight, detector.hcal, rng)
    photons, tracks = _flow(detector.ecal, particles, flight, rows, tracks, rng)
    hadrons, tracks = _flow(detector.hcal, particles, flight, rows, tracks, rng)
    kept = tracks.p4[:, 3] > 0
    parts = [
        Objects(
            tracks.event[kept], tracks.kind[kept], tracks.p4[kept], tracks.charge[kept], tracks.impact[kept]
        ),
        _neutral_objects(photons, PHOTON),
        _neutral_objects(hadrons, NEUTRAL_HADRON),
    ]
    order = np.argsort(np.concatenate([part.event for part in parts]), kind="stable")
    joined = (
        np.concatenate([getattr(part, name) for part in parts])[order]
        for name in ("event", "kind", "p4", "charge", "impact")
    )
    return Objects(*joined)


def _tracks(
    particles: Particles, flight: Flight, hcal: Calorimeter, rng: np.random.Generator
) -> tuple[np.ndarray, Objects]:
    """Rows of the particles with a track, and the tracks: true momentum, smeared impact."""
    pt, eta, _ = pt_eta_phi(particles.p4)
    charged = np.flatnonzero(particles.charge != 0)
    seen = found(particles.pid[charged], eta[charged], pt[charged], rng)
    # Energy flow needs a tower: a soft track that curls into the beam hole is lost.
    seen &= hcal.cell(flight.eta[charged], flight.phi[charged]) >= 0
    rows = charged[seen]
    kind = np.abs(particles.pid[rows])
    p4 = particles.p4[rows].copy()
    p4[:, 0] = pt[rows] * np.cos(flight.direction[rows])
    p4[:, 1] = pt[rows] * np.sin(flight.direction[rows])
    d0err, dzerr = (impact_resolution(name, eta[rows], pt[rows]) for name in ("d0", "dz"))
    d0 = flight.d0[rows] + d0err * rng.standard_normal(len(rows))
    dz = flight.dz[rows] + dzerr * rng.standard_normal(len(rows))
    return rows, Objects(
        event=particles.event[rows],
        kind=np.select([kind == 11, kind == 13], [ELECTRON, MUON], CHARGED_HADRON),
        p4=p4,
        charge=particles.charge[rows],
        impact=np.stack([d0, d0err, dz, dzerr], axis=1),
    )


def _flow(
    calorimeter: Calorimeter,
    particles: Particles,
    flight: Flight,
    rows: np.ndarray,
    tracks: Objects,
    rng: np.random.Generator,
) -> tuple[Neutrals, Objects]:
    """One calorimeter's neutral objects, and the tracks as it leaves them."""
    fraction = calorimeter.fraction(particles.pid)
    cell = np.where(fraction > 0, calorimeter.cell(flight.eta, flight.phi), -1)
    everything = Deposits(particles.event, cell, fraction * particles.p4[:, 3])
    own = Deposits(tracks.event, cell[rows], tracks.p4[:, 3])  # no charged particle leaves energy in both
    neutrals, scale = combine(calorimeter, everything, own, rng)
    left = Objects(tracks.event, tracks.kind, tracks.p4 * scale[:, None], tracks.charge, tracks.impact)
    return neutrals, left


def _neutral_objects(neutrals: Neutrals, kind: int) -> Objects:
    """Massless objects without a track."""
    size = len(neutrals.event)
    pt = neutrals.energy / np.cosh(neutrals.eta)
    p4 = np.stack(
        [pt * np.cos(neutrals.phi), pt * np.sin(neutrals.phi), pt * np.sinh(neutrals.eta), neutrals.energy],
        axis=1,
    )
    return Objects(neutrals.event, np.full(size, kind), p4, np.zeros(size), np.zeros((size, 4)))
