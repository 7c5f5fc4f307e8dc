"""The LHC Olympics data set (Zenodo 4536377; arXiv:2101.08320): whole events, two jets of each.

``events_anomalydetection.h5``: a pandas table of the "fixed" layout, key ``df``, compressed
with blosc (which PyTables reads): 700 × (pT, eta, phi) in GeV and radians, zero padded, then the
truth bit (1 signal, 0 background). Particles are massless and have neither identity nor
displacement. They are clustered with anti-kT, R = 1.0, and the two jets of largest pT are kept.

A store of this data set holds the two jets of an event in neighbouring rows, the leading one first:
rows 2 i and 2 i + 1. `events_of` makes events of them again, with the dijet mass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tables
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from jepalib.data.accounts import NOT_FINITE, Account, Chunk, ReadJets, span, whole_file
from jepalib.data.constituents import SUBSTRUCTURE, jet_columns
from jepalib.data.hdf5 import damaged, opened
from jepalib.data.simulation.clustering import Acceptance, find_jets
from jepalib.errors import JepalibError
from jepalib.jets import Jets, concatenate
from jepalib.progress import Progress

TITLE = "LHC Olympics"
VALUES = "df/block0_values"
EXAMPLES = 3  # entries named per reason
CHUNK = 500  # events decoded together: 8 MB
RADIUS = 1.0
MIN_PT = 20.0  # GeV, of a jet; the events were triggered on one of 1.2 TeV
JETS = Acceptance(RADIUS, (MIN_PT, np.inf), np.inf)
TOO_FEW = f"fewer than two jets above {MIN_PT:g} GeV in the event"


@dataclass(frozen=True)
class DijetEvents:
    """Events of two jets.

    Attributes:
        leading, subleading: the jets of larger and of smaller pT of each event; labels are the
            truth bit, -1 where there is none.
        mjj: invariant mass of both, GeV.
        masses: of each jet (all constituents, nothing groomed), GeV, leading first.
        event: number in the file, or in the store.
    """

    leading: Jets
    subleading: Jets
    mjj: Float[Tensor, " events"]
    masses: Float[Tensor, "events 2"]
    event: Int[Tensor, " events"]

    @property
    def signal(self) -> Bool[Tensor, " events"]:
        """Whether the truth bit says so."""
        return self.leading.labels == 1

    def __len__(self) -> int:
        return len(self.event)


def events_of(jets: Jets) -> DijetEvents:
    """Events of jets that lie in pairs, as `iterate_lhco` and stores of this data set have them.

    Masses come from the jets' pT, eta, phi and energy, which are those of all constituents.

    Raises:
        JepalibError: the jets are no pairs.
    """
    event = jets.index // 2
    if len(jets) % 2 or (event[::2] != event[1::2]).any() or (jets.index[::2] % 2).any():
        raise JepalibError(
            "LHC Olympics: these jets are no pairs of one event each; read rows 2 i and 2 i + 1"
        )
    pt, eta, phi, energy = (jets.observable(name).double() for name in ("pt", "eta", "phi", "energy"))
    p4 = torch.stack([pt * phi.cos(), pt * phi.sin(), pt * eta.sinh(), energy], dim=1)
    even = torch.arange(0, len(jets), 2)
    return DijetEvents(
        leading=jets.take(even),
        subleading=jets.take(even + 1),
        mjj=_mass(p4[::2] + p4[1::2]),
        masses=_mass(p4).reshape(-1, 2),
        event=event[::2],
    )


def _mass(p4: Float[Tensor, "rows 4"]) -> Float[Tensor, " rows"]:
    return (p4[:, 3] ** 2 - p4[:, :3].square().sum(1)).clamp_min(0).sqrt().float()


def read_lhco(
    path: Path, events: Int[np.ndarray, " chosen"] | int | None = None, quiet: bool = True
) -> tuple[DijetEvents, Account]:
    """Events of a file in memory, and an account of what was dropped or cut.

    Args:
        events: the first so many, or the events of these numbers (in rising order), such as a choice
            by `truth_of`; all by default (10 kB an event, some 10 ms to cluster it).
        quiet: without progress.

    Raises:
        JepalibError: as `iterate_lhco`; or an event that the file does not hold.
    """
    path, parts = Path(path), []
    account: Account | None = None
    with opened(path, TITLE) as store:
        values = _values(store, path)
        rows = np.arange(len(values)) if events is None else events
        rows = np.arange(min(rows, len(values))) if isinstance(rows, int) else np.unique(rows)
        if not len(rows) or rows[0] < 0 or rows[-1] >= len(values):
            raise JepalibError(f"{path}: no such events (it holds {len(values)}, numbered from 0)")
        with Progress(len(rows), path.name, unit="events", quiet=quiet) as bar:
            for first in range(0, len(rows), CHUNK):
                chosen = rows[first : first + CHUNK]
                part = _jets(_decoded(values, chosen, path), 0, path, RADIUS)
                jets = part.jets
                event = torch.from_numpy(chosen)[jets.index // 2]
                parts.append(replace(jets, index=2 * event + jets.index % 2))
                account = part.account if account is None else account + part.account
                bar.add(len(chosen))
    whole_file(path, account)
    return events_of(concatenate(parts)), account


def truth_of(path: Path) -> Int[np.ndarray, " events"]:
    """The truth bit of every event, read without the particles in memory; -1 without one.

    Raises:
        JepalibError: the file is missing, damaged, or has another layout.
    """
    path = Path(path)
    with opened(path, TITLE) as store:
        values = _values(store, path)
        if values.shape[1] % 3 == 0:
            return np.full(len(values), -1)
        parts = [
            _decoded(values, np.arange(a, b), path)[:, -1]
            for a, b in span(path, len(values), (None, None, CHUNK))
        ]
    return np.concatenate(parts).astype(np.int64)


def is_lhco(path: Path) -> bool:
    """Whether a file is HDF5 with a table of this data set's name."""
    try:
        with tables.open_file(str(path)) as file:
            return "/df" in file
    except (OSError, tables.HDF5ExtError):
        return False


def entries_of_lhco(path: Path, allow_unlabelled: bool = False) -> int:
    """Number of jets, two an event, that a file holds, after checking its layout.

    Raises:
        JepalibError: as `iterate_lhco`.
    """
    path = Path(path)
    with opened(path, TITLE) as store:
        return 2 * len(_values(store, path, not allow_unlabelled))


def iterate_lhco(
    path: Path,
    start: int | None = None,
    stop: int | None = None,
    allow_unlabelled: bool = False,
    chunk: int = CHUNK,
) -> Iterator[ReadJets]:
    """The two leading jets of each event (labels: 0 background, 1 signal), some hundred events at a time.

    `jets.index` is 2 i for the leading and 2 i + 1 for the other jet of event i of the file; both
    or none are there. Jet observables are computed from all constituents, soft drop and
    tau_1 … tau_4 among them (FastJet; some 10 ms an event with the clustering). Events with
    values that are not finite or with fewer than two jets are dropped and counted, as two jets.

    Args:
        start, stop: events, not jets.
        allow_unlabelled: for embedding and predicting: the truth bit may be missing (-1), and
            the substructure, which no model takes as input, is left at zero.

    Raises:
        JepalibError: the file is missing, damaged, not HDF5, or of another layout, a pT is
            negative, a truth bit neither 0 nor 1, FastJet is not installed, or no event can be used.
    """
    path = Path(path)
    account: Account | None = None
    with opened(path, TITLE) as store:
        values = _values(store, path, not allow_unlabelled)
        for first, last in span(path, len(values), (start, stop, chunk)):
            rows = np.arange(first, last)
            part = _jets(_decoded(values, rows, path), first, path, None if allow_unlabelled else RADIUS)
            account = part.account if account is None else account + part.account
            yield part
        whole_file(path, account)


def _values(store: Any, path: Path, need_truth: bool = False) -> Any:
    """The table of numbers in an open file; rows are read when asked for.

    Raises:
        JepalibError: there is none, or not of three numbers a particle and a truth bit.
    """
    node = store.get_node(VALUES)
    if node is None:
        names = [found._v_name for found in store.root]
        raise JepalibError(f"{path}: has no pandas table 'df' of one block, only {names}; not {TITLE}")
    if len(node.shape) != 2 or node.shape[1] < 3 or node.shape[1] % 3 == 2:
        raise JepalibError(
            f"{path}: its table has the shape {tuple(map(int, node.shape))}; {TITLE} files have 3 columns "
            "for each particle and one for the truth bit (2101)"
        )
    if need_truth and node.shape[1] % 3 == 0:
        raise JepalibError(f"{path}: has {node.shape[1]} columns and so no truth bit")
    return node


def _decoded(
    values: Any, rows: Int[np.ndarray, " chosen"], path: Path
) -> Float[np.ndarray, "chosen columns"]:
    try:
        if rows[-1] - rows[0] + 1 == len(rows):
            return values[int(rows[0]) : int(rows[-1]) + 1].astype(np.float64)
        return values[rows.tolist(), :].astype(np.float64)
    except Exception as error:  # PyTables raises many kinds for damaged data
        raise damaged(path, error) from error


def _jets(
    table: Float[np.ndarray, "events columns"], entry: int, path: Path, radius: float | None
) -> ReadJets:
    """The two leading jets of each event that can be used, and what became of the others.

    Args:
        entry: number of the first event; rows follow each other.
        radius: for the substructure; None leaves it at zero.
    """
    particles = table[:, : 3 * (table.shape[1] // 3)].reshape(len(table), -1, 3)
    labels = _labels(table, path, entry)
    _refuse((particles[..., 0] < 0).any(1), path, entry, "the pT of a particle", "negative")
    finite = np.isfinite(particles).all(axis=(1, 2))
    real = (particles[..., 0] > 0) & finite[:, None]
    pt, eta, phi = particles[real].T
    p4 = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta)], axis=1)
    members, counts = _two_leading(np.nonzero(real)[0], p4, len(table))
    columns, observables = jet_columns(p4[members], None, counts, radius)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    absent = () if radius is not None else SUBSTRUCTURE
    chunk = Chunk(columns, offsets, observables, np.repeat(labels, 2), 2 * entry, absent)
    part = chunk.usable(allow_unlabelled=True)
    faults = {NOT_FINITE: ~finite, TOO_FEW: finite & (counts[::2] == 0)}
    account = Account(
        2 * len(table),
        {reason: 2 * int(bad.sum()) for reason, bad in faults.items()},
        {reason: (2 * (entry + np.flatnonzero(bad)[:EXAMPLES])).tolist() for reason, bad in faults.items()},
        part.account.cut_particles,
        absent,
    )
    return replace(part, account=account)


def _labels(table: Float[np.ndarray, "events columns"], path: Path, entry: int) -> Int[np.ndarray, " events"]:
    if table.shape[1] % 3 == 0:
        return np.full(len(table), -1)
    truth = table[:, -1]
    _refuse(~np.isin(truth, (0, 1)), path, entry, "the truth bit", "neither 0 nor 1")
    return truth.astype(np.int64)


def _refuse(bad: Bool[np.ndarray, " events"], path: Path, entry: int, what: str, fault: str) -> None:
    if bad.any():
        first = entry + int(np.argmax(bad))
        raise JepalibError(
            f"{path}: {what} of event {first} is {fault} ({int(bad.sum())} such events in this part of the "
            "file); mend or remove these rows"
        )


def _two_leading(
    event: Int[np.ndarray, " particles"], p4: Float[np.ndarray, "particles 4"], events: int
) -> tuple[Int[np.ndarray, " members"], Int[np.ndarray, " jets"]]:
    """Particles of the two hardest jets of each event, and how many each jet has; 0 and 0 for fewer jets."""
    if not len(event):
        return np.zeros(0, np.int64), np.zeros(2 * events, np.int64)
    jets = find_jets(event, p4, events, JETS)
    pt = np.hypot(jets.p4[:, 0], jets.p4[:, 1])
    order = np.lexsort((-pt, jets.event))
    found = np.bincount(jets.event, minlength=events)
    first = (np.cumsum(found) - found)[found >= 2]
    chosen = order[(first[:, None] + np.arange(2)).ravel()]  # leading and subleading, event by event
    begins = np.cumsum(jets.counts) - jets.counts
    counts = np.zeros((events, 2), np.int64)
    counts[found >= 2] = jets.counts[chosen].reshape(-1, 2)
    own = [jets.members[begins[jet] : begins[jet] + jets.counts[jet]] for jet in chosen]
    return np.concatenate([*own, np.zeros(0, np.int64)]), counts.ravel()
