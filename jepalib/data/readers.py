"""JetClass ROOT files, as downloaded or as simulated, read into packed `Jets`.

Both kinds of jagged branch are taken: `std::vector<float>` (the downloads) and `float[]`
with a counter branch (what uproot writes). Labels may be of any number type, and are of
three in the downloads. What cannot be used is dropped, counted by reason and reported.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import awkward as ak
import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from jepalib.data.rootfile import (
    JET_BRANCHES,
    LABEL_BRANCHES,
    PARTICLE_BRANCHES,
    decoded,
    open_tree,
    planned_branches,
)
from jepalib.errors import JepalibError
from jepalib.jets import Jets, concatenate
from jepalib.schema import MAX_PARTICLES

CHUNK = 10_000  # jets decoded together: about 50 MB
BLOCK = 4096  # particles interleaved together, so that they stay in the cache
EXAMPLES = 3  # entries named per reason
NO_PARTICLES = "no particles"
NOT_FINITE = "NaN or infinite values"
BAD_LABELS = "labels do not sum to one"  # exactly one label is 1 and the others are 0
REASONS = (NO_PARTICLES, NOT_FINITE, BAD_LABELS)  # a jet counts under the first that holds


@dataclass(frozen=True)
class Account:
    """What became of the entries of a file, or of a chunk of it.

    Attributes:
        entries: jets that were read; the kept and the dropped add up to it.
        dropped: jets left out, by reason (`REASONS`).
        examples: for each reason the first few entries left out.
        cut_particles: particles beyond `MAX_PARTICLES` in falling pT, which were cut.
        absent: branches that the file lacks and that were filled (zeros, label -1).
    """

    entries: int
    dropped: dict[str, int]
    examples: dict[str, list[int]]
    cut_particles: int
    absent: tuple[str, ...]

    def __add__(self, other: Account) -> Account:
        return Account(
            self.entries + other.entries,
            {reason: self.dropped[reason] + other.dropped[reason] for reason in REASONS},
            {reason: (self.examples[reason] + other.examples[reason])[:EXAMPLES] for reason in REASONS},
            self.cut_particles + other.cut_particles,
            self.absent,
        )

    @property
    def kept(self) -> int:
        """Jets that can be used."""
        return self.entries - sum(self.dropped.values())

    def report(self) -> str:
        """What was left out or filled, in words; empty if nothing was."""
        words = []
        for reason, count in self.dropped.items():
            named = ", ".join(map(str, self.examples[reason]))
            if count:
                more = ", …" if count > len(self.examples[reason]) else ""
                words.append(f"{count} of {self.entries} jets dropped: {reason} (entries {named}{more})")
        if self.cut_particles:
            words.append(f"{self.cut_particles} particles beyond {MAX_PARTICLES} cut")
        if self.absent:
            words.append(f"branches absent and filled: {', '.join(self.absent)}")
        return "; ".join(words)


@dataclass(frozen=True)
class ReadJets:
    """Jets of one file, or of a chunk of it, and an account of those left out.

    Attributes:
        jets: the jets kept; `jets.index` is the entry of each in the file.
        start, stop: the entries that were read.
        account: what was dropped, cut or filled.
    """

    jets: Jets
    start: int
    stop: int
    account: Account

    @property
    def kept(self) -> Bool[np.ndarray, " entries"]:
        """True for each entry of start .. stop that is among `jets`."""
        mask = np.zeros(self.stop - self.start, bool)
        mask[self.jets.index.numpy() - self.start] = True
        return mask


def entries_of(path: Path, allow_unlabelled: bool = False) -> int:
    """Number of jets that a file says it holds, after checking that it can be read.

    Raises:
        JepalibError: as `read_jetclass`.
    """
    with open_tree(path) as tree:
        planned_branches(tree, path, allow_unlabelled)
        return tree.num_entries


def read_jetclass(
    path: Path, start: int | None = None, stop: int | None = None, allow_unlabelled: bool = False
) -> ReadJets:
    """One file, or entries `start` to `stop` of it, as packed jets.

    Args:
        allow_unlabelled: for embedding and predicting on files of one's own. Only the
            `part_*` branches and the jet's pt, eta, phi and energy are required; without
            labels (or where they are no single one) the label is -1, observables that the
            file lacks are zero, and the report says so. `ReadJets.kept` tells which
            entries have a jet, so that results can be given for every one in order.

    Raises:
        JepalibError: the file is missing, truncated, empty, not ROOT, without the tree or
            a branch, its jagged branches disagree in length, or no jet is left.
    """
    parts = list(iterate_jetclass(path, start, stop, allow_unlabelled))
    account = reduce(operator.add, (part.account for part in parts))
    return ReadJets(concatenate([part.jets for part in parts]), parts[0].start, parts[-1].stop, account)


def iterate_jetclass(
    path: Path,
    start: int | None = None,
    stop: int | None = None,
    allow_unlabelled: bool = False,
    chunk: int = CHUNK,
) -> Iterator[ReadJets]:
    """`read_jetclass` in chunks of at most `chunk` jets, whatever the size of the file."""
    path = Path(path)
    with open_tree(path) as tree:
        branches = planned_branches(tree, path, allow_unlabelled)
        first, last, _ = slice(start, stop).indices(tree.num_entries)
        if first >= last:
            raise JepalibError(f"{path}: no entries {start} to {stop} (it holds {tree.num_entries})")
        account: Account | None = None
        for entry, arrays in decoded(tree, path, branches, (first, last, chunk)):
            part = _chunk(arrays, path, entry, allow_unlabelled)
            account = part.account if account is None else account + part.account
            yield part
        if account is not None and not account.kept:
            raise JepalibError(f"{path}: none of its jets can be used ({account.report()})")


def _chunk(arrays: dict[str, ak.Array], path: Path, entry: int, allow_unlabelled: bool) -> ReadJets:
    """Checks, drops, sorts and cuts the jets of one chunk that starts at `entry`."""
    particles, offsets = _particles(arrays, path, entry)
    jets = len(offsets) - 1
    observables = np.zeros((jets, len(JET_BRANCHES)), np.float32)
    for column, name in enumerate(JET_BRANCHES):
        if name in arrays:
            observables[:, column] = _flat(arrays[name], path, name)
    labels, single = _labels(arrays, path, jets)
    finite = np.isfinite(observables).all(1)
    good = np.isfinite(particles)
    if not good.all():
        finite[np.searchsorted(offsets, np.flatnonzero(~good.all(1)), side="right") - 1] = False
    faults = {
        NO_PARTICLES: np.diff(offsets) == 0,
        NOT_FINITE: ~finite,
        BAD_LABELS: np.zeros(jets, bool) if allow_unlabelled else ~single,
    }
    keep = np.ones(jets, bool)
    dropped, examples = {}, {}
    for reason in REASONS:
        bad = np.flatnonzero(faults[reason] & keep)
        keep[bad] = False
        dropped[reason], examples[reason] = len(bad), (entry + bad[:EXAMPLES]).tolist()
    particles, offsets, cut = _kept_particles(particles, offsets, keep)
    absent = [name for name in JET_BRANCHES if name not in arrays]
    absent += [] if LABEL_BRANCHES[0] in arrays else ["label_*"]
    packed = Jets(
        particles=torch.from_numpy(particles),
        offsets=torch.from_numpy(offsets),
        observables=torch.from_numpy(observables[keep]),
        labels=torch.from_numpy(labels[keep]),
        index=torch.from_numpy(entry + np.flatnonzero(keep)),
    )
    return ReadJets(packed, entry, entry + jets, Account(jets, dropped, examples, cut, tuple(absent)))


def _particles(
    arrays: dict[str, ak.Array], path: Path, entry: int
) -> tuple[Float[np.ndarray, "particles 16"], Int[np.ndarray, " edges"]]:
    """The particle branches as columns of one array, and the offsets that they share."""
    counts: np.ndarray | None = None
    columns = []
    for name in PARTICLE_BRANCHES:
        lists = arrays[name].layout
        if not isinstance(lists, ak.contents.ListOffsetArray):
            raise JepalibError(f"{path}: branch {name} holds no list of particles for each jet")
        own = np.diff(lists.offsets.data).astype(np.int64)
        if counts is None:
            counts = own
        elif not np.array_equal(own, counts):
            bad = int(np.flatnonzero(own != counts)[0])
            raise JepalibError(
                f"{path}: entry {entry + bad} has {own[bad]} values of {name} but {counts[bad]} of "
                f"{PARTICLE_BRANCHES[0]}; the file is damaged"
            )
        inside = lists.content[int(lists.offsets[0]) : int(lists.offsets[-1])]
        columns.append(_flat(ak.Array(inside), path, name))
    particles = np.empty((len(columns[0]), len(columns)), np.float32)
    for first in range(0, len(particles), BLOCK):
        block = slice(first, first + BLOCK)
        for column, values in enumerate(columns):
            particles[block, column] = values[block]
    return particles, np.concatenate([[0], np.cumsum(counts)])


def _flat(values: ak.Array, path: Path, name: str) -> np.ndarray:
    """One number per entry, of whatever number type the file has."""
    array = ak.to_numpy(values) if values.ndim == 1 else None
    if array is None or array.dtype.kind not in "biuf":
        raise JepalibError(f"{path}: branch {name} holds {values.type.content}, not one number")
    return array


def _labels(
    arrays: dict[str, ak.Array], path: Path, jets: int
) -> tuple[Int[np.ndarray, " jets"], Bool[np.ndarray, " jets"]]:
    """Class of each jet (-1 without), and where exactly one label is 1 and the rest 0."""
    if LABEL_BRANCHES[0] not in arrays:
        return np.full(jets, -1), np.zeros(jets, bool)
    table = np.stack([_flat(arrays[name], path, name).astype(np.float32) for name in LABEL_BRANCHES], 1)
    single = ((table == 0) | (table == 1)).all(1) & (table.sum(1) == 1)
    return np.where(single, table.argmax(1), -1), single


def _kept_particles(
    particles: Float[np.ndarray, "particles 16"],
    offsets: Int[np.ndarray, " edges"],
    keep: Bool[np.ndarray, " jets"],
) -> tuple[Float[np.ndarray, "kept 16"], Int[np.ndarray, " kept_edges"], int]:
    """Particles of the kept jets in falling pT, at most `MAX_PARTICLES` each; how many were cut."""
    counts = np.diff(offsets)
    if not keep.all():
        particles, counts = particles[np.repeat(keep, counts)], counts[keep]
    jet = np.repeat(np.arange(len(counts)), counts)
    pt = np.square(particles[:, 0]) + np.square(particles[:, 1])  # squared, for the order only
    rising = np.flatnonzero((pt[1:] > pt[:-1]) & (jet[1:] == jet[:-1]))
    if len(rising):
        unsorted = np.zeros(len(counts), bool)
        unsorted[jet[rising]] = True
        places = np.flatnonzero(unsorted[jet])
        particles[places] = particles[places[np.lexsort((-pt[places], jet[places]))]]
    short = np.minimum(counts, MAX_PARTICLES)
    cut = int((counts - short).sum())
    if cut:
        rank = np.arange(len(jet)) - np.repeat(np.cumsum(counts) - counts, counts)
        particles = particles[rank < MAX_PARTICLES]
    return particles, np.concatenate([[0], np.cumsum(short)]), cut
