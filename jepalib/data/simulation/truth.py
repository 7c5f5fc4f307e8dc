"""Which decay a jet holds: the resonance, its visible products, and the match to jets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from jepalib.data.simulation.angles import pt_eta_phi, wrapped
from jepalib.data.simulation.events import NEUTRINOS, Record
from jepalib.data.simulation.processes import RECIPES
from jepalib.schema import CLASSES

MATCH_RADIUS = 0.8
MAX_PRONGS = 4
HARD_OUTGOING = 23  # |status| of the hard process's outgoing particles


@dataclass(frozen=True)
class Resonances:
    """The decays of a batch that may become jets of the class.

    Attributes:
        event: event of each resonance.
        pid: its PDG id.
        pt, eta, phi: its momentum just before the decay (GeV, radians).
        prong_eta, prong_phi: directions of the visible decay products before they
            radiate; NaN fills the rows of decays with fewer.
        code: decay code, see `decay_code`.
    """

    event: Int[np.ndarray, " resonances"]
    pid: Int[np.ndarray, " resonances"]
    pt: Float[np.ndarray, " resonances"]
    eta: Float[np.ndarray, " resonances"]
    phi: Float[np.ndarray, " resonances"]
    prong_eta: Float[np.ndarray, "resonances prongs"]
    prong_phi: Float[np.ndarray, "resonances prongs"]
    code: Int[np.ndarray, " resonances"]


def resonances(record: Record, name: str) -> Resonances:
    """The resonances of class `name` in a batch; for QCD the hard partons."""
    wanted = RECIPES[name].resonance
    if wanted == 0:
        kind = np.abs(record.pid)
        rows = np.flatnonzero((np.abs(record.status) == HARD_OUTGOING) & ((kind <= 5) | (kind == 21)))
        prongs = np.full((len(rows), MAX_PRONGS), -1)
        prongs[:, 0] = rows
    else:
        rows = np.flatnonzero((np.abs(record.pid) == wanted) & (record.daughters[:, 0] >= 0))
        rows = rows[last_copy(record, rows) == rows]
        prongs = _prongs(record, rows)
    pt, eta, phi = pt_eta_phi(record.p4[rows])
    _, prong_eta, prong_phi = pt_eta_phi(record.p4[prongs])
    prong_eta[prongs < 0] = np.nan
    return Resonances(
        record.event[rows],
        record.pid[rows],
        pt,
        eta,
        phi,
        prong_eta,
        prong_phi,
        decay_code(name, np.where(prongs >= 0, np.abs(record.pid[prongs]), 0)),
    )


def decay_code(name: str, prong_pid: Int[np.ndarray, "resonances prongs"]) -> Int[np.ndarray, " resonances"]:
    """Number for `aux_truth_match`: 100 (class + 1) + 10 (1 electron, 2 muon) + heaviest quark.

    The class counts from 0 in `schema.CLASSES`, the quark is its PDG id (0 without any).
    """
    lepton = np.where(prong_pid == 11, 1, np.where(prong_pid == 13, 2, 0)).max(axis=1, initial=0)
    quark = np.where(prong_pid <= 5, prong_pid, 0).max(axis=1, initial=0)
    return 100 * (CLASSES.index(name) + 1) + 10 * lepton + quark


def match(
    truth: Resonances,
    event: Int[np.ndarray, " jets"],
    eta: Float[np.ndarray, " jets"],
    phi: Float[np.ndarray, " jets"],
) -> Int[np.ndarray, " jets"]:
    """Row of the resonance with all visible products within 0.8 of each jet, -1 for none."""
    matched = np.full(len(event), -1)
    if len(truth.event) == 0:
        return matched
    order = np.argsort(truth.event, kind="stable")
    first = np.searchsorted(truth.event[order], event, side="left")
    last = np.searchsorted(truth.event[order], event, side="right")
    for step in range(int((last - first).max(initial=0))):
        inside = first + step < last
        row = order[np.where(inside, first + step, 0)]
        good = inside & (matched < 0) & _contains(truth, row, eta, phi)
        matched[good] = row[good]
    return matched


def last_copy(record: Record, rows: Int[np.ndarray, " chosen"]) -> Int[np.ndarray, " chosen"]:
    """Follow each particle through recoils and radiation to its final copy."""
    while True:
        daughters = record.daughters[rows]
        same = (daughters >= 0) & (record.pid[daughters] == record.pid[rows][:, None])
        if not same.any():
            return rows
        rows = np.where(same[:, 0], daughters[:, 0], np.where(same[:, 1], daughters[:, 1], rows))


def _prongs(record: Record, rows: np.ndarray) -> np.ndarray:
    """Rows of the visible decay products (-1 fills), with W bosons decayed in turn."""
    daughters = record.daughters[rows]
    final = last_copy(record, daughters.ravel()).reshape(daughters.shape)
    is_w = np.abs(record.pid[daughters]) == 24
    pairs = np.where(is_w[:, :, None], record.daughters[final], -1)
    pairs[~is_w, 0] = daughters[~is_w]
    prongs = pairs.reshape(len(rows), MAX_PRONGS)
    return np.where(np.isin(np.abs(record.pid[prongs]), NEUTRINOS), -1, prongs)


def _contains(
    truth: Resonances, row: np.ndarray, eta: np.ndarray, phi: np.ndarray
) -> Bool[np.ndarray, " jets"]:
    turn = wrapped(truth.prong_phi[row] - phi[:, None])
    distance = np.hypot(truth.prong_eta[row] - eta[:, None], turn)
    return np.all(np.isnan(distance) | (distance < MATCH_RADIUS), axis=1)
