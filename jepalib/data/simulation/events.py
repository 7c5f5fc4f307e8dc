"""Generated events as flat arrays: one record of a whole batch, and its final particles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np
from jaxtyping import Bool, Float, Int

NEUTRINOS = (12, 14, 16)


@dataclass(frozen=True)
class Record:
    """Every entry of the event records of a batch, one event after another.

    Attributes:
        event: event of each entry.
        pid, status: PDG id and Pythia status (positive = final).
        daughters: rows of first and last daughter in this record, -1 without.
        p4: (px, py, pz, E) in GeV.
        vertex: production point (x, y, z) in mm.
        events: number of events.
    """

    event: Int[np.ndarray, " entries"]
    pid: Int[np.ndarray, " entries"]
    status: Int[np.ndarray, " entries"]
    daughters: Int[np.ndarray, "entries 2"]
    p4: Float[np.ndarray, "entries 4"]
    vertex: Float[np.ndarray, "entries 3"]
    events: int


@dataclass(frozen=True)
class Particles:
    """Stable particles of a batch: what enters the detector.

    p4 in GeV, vertex in mm, charge in units of e, event in rising order.
    """

    event: Int[np.ndarray, " particles"]
    pid: Int[np.ndarray, " particles"]
    charge: Float[np.ndarray, " particles"]
    p4: Float[np.ndarray, "particles 4"]
    vertex: Float[np.ndarray, "particles 3"]

    def __len__(self) -> int:
        return len(self.pid)

    def take(self, keep: Bool[np.ndarray, " particles"]) -> Particles:
        """Those where `keep` is True."""
        return Particles(
            self.event[keep], self.pid[keep], self.charge[keep], self.p4[keep], self.vertex[keep]
        )


def next_record(pythia: Any, count: int) -> Record:
    """Generate `count` events (failed ones are skipped by Pythia) as one flat record."""
    return flatten_record(pythia.nextBatch(count).prt)


def flatten_record(particles: ak.Array) -> Record:
    """The awkward event records of `nextBatch` as flat arrays.

    Daughter numbers become rows of the flat arrays; 0 means none in Pythia.
    """
    counts = ak.to_numpy(ak.num(particles)).astype(np.int64)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    event = np.repeat(np.arange(len(counts)), counts)

    def flat(values: ak.Array) -> np.ndarray:
        return ak.to_numpy(ak.flatten(values))

    daughters = np.stack([flat(particles.daughter1), flat(particles.daughter2)], axis=1).astype(np.int64)
    daughters = np.where(daughters > 0, daughters + first[event][:, None], -1)
    # A missing vertex is the collision point.
    vertex = [flat(ak.fill_none(particles.vProd[axis], 0.0)) for axis in ("px", "py", "pz")]
    return Record(
        event=event,
        pid=flat(particles.id),
        status=flat(particles.status),
        daughters=daughters,
        p4=np.stack([flat(particles.p[c]) for c in ("px", "py", "pz", "e")], axis=1),
        vertex=np.stack(vertex, axis=1),
        events=len(counts),
    )


def visible_particles(record: Record, pythia: Any) -> Particles:
    """The final-state particles without neutrinos."""
    keep = (record.status > 0) & ~np.isin(np.abs(record.pid), NEUTRINOS)
    pid = record.pid[keep]
    kinds, which = np.unique(pid, return_inverse=True)
    charge = np.array([pythia.particleData.charge(int(kind)) for kind in kinds], dtype=np.float64)
    return Particles(record.event[keep], pid, charge[which], record.p4[keep], record.vertex[keep])
