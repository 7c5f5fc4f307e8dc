"""What a reader gives: jets, and an account of what was dropped, cut or filled.

Every format ends here: a reader makes a `Chunk` of what the file says, and `Chunk.usable`
drops, counts, sorts and cuts in the same way for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.schema import MAX_PARTICLES

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
        dropped: jets left out, by reason (`REASONS`, or those of a reader of its own).
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
            {reason: self.dropped[reason] + other.dropped[reason] for reason in self.dropped},
            {reason: (self.examples[reason] + other.examples[reason])[:EXAMPLES] for reason in self.dropped},
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


@dataclass(frozen=True)
class Chunk:
    """Jets as a file has them, before anything is dropped.

    Attributes:
        particles: columns `schema.PARTICLE_FIELDS`, in any order within a jet.
        offsets: particles of jet i are rows offsets[i] to offsets[i + 1].
        observables: columns `schema.JET_FIELDS`.
        labels: class of each jet, -1 where there is no single one.
        entry: number in the file of the first jet.
        absent: what the file lacks and what was filled with zeros.
    """

    particles: Float[np.ndarray, "particles 16"]
    offsets: Int[np.ndarray, " edges"]
    observables: Float[np.ndarray, "jets 10"]
    labels: Int[np.ndarray, " jets"]
    entry: int
    absent: tuple[str, ...] = ()

    def usable(self, allow_unlabelled: bool) -> ReadJets:
        """The jets that can be used, in falling pT and cut at `MAX_PARTICLES`; the rest counted."""
        jets = len(self.labels)
        finite = np.isfinite(self.observables).all(1)
        good = np.isfinite(self.particles)
        if not good.all():
            rows = np.flatnonzero(~good.all(1))
            finite[np.searchsorted(self.offsets, rows, side="right") - 1] = False
        faults = {
            NO_PARTICLES: np.diff(self.offsets) == 0,
            NOT_FINITE: ~finite,
            BAD_LABELS: np.zeros(jets, bool) if allow_unlabelled else self.labels < 0,
        }
        keep = np.ones(jets, bool)
        dropped, examples = {}, {}
        for reason in REASONS:
            bad = np.flatnonzero(faults[reason] & keep)
            keep[bad] = False
            dropped[reason], examples[reason] = len(bad), (self.entry + bad[:EXAMPLES]).tolist()
        particles, offsets, cut = _kept_particles(self.particles, self.offsets, keep)
        packed = Jets(
            particles=torch.from_numpy(particles),
            offsets=torch.from_numpy(offsets),
            observables=torch.from_numpy(self.observables[keep]),
            labels=torch.from_numpy(self.labels[keep]),
            index=torch.from_numpy(self.entry + np.flatnonzero(keep)),
        )
        account = Account(jets, dropped, examples, cut, self.absent)
        return ReadJets(packed, self.entry, self.entry + jets, account)


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


def span(path: Path, rows: int, wanted: tuple[int | None, int | None, int]) -> Iterator[tuple[int, int]]:
    """(first, last) of each chunk of rows (start, stop, step) of a file of `rows` jets.

    Raises:
        JepalibError: there are no such rows.
    """
    start, stop, step = wanted
    first, last, _ = slice(start, stop).indices(rows)
    if first >= last:
        raise JepalibError(f"{path}: no entries {start} to {stop} (it holds {rows})")
    for entry in range(first, last, step):
        yield entry, min(entry + step, last)


def whole_file(path: Path, account: Account | None) -> None:
    """To be called when a file is read to its end.

    Raises:
        JepalibError: none of its jets can be used.
    """
    if account is not None and not account.kept:
        raise JepalibError(f"{path}: none of its jets can be used ({account.report()})")


def first_bad(
    bad: Bool[np.ndarray, "jets columns"], columns: Sequence[str], path: Path, entry: int, fault: str
) -> None:
    """Refuses a file for the first entry that is True in `bad`; one name may serve all columns.

    Raises:
        JepalibError: there is one; the message names file, column, row and fault.
    """
    if bad.any():
        row, column = np.argwhere(bad)[0]
        name = columns[min(column, len(columns) - 1)]
        raise JepalibError(
            f"{path}: {name} of jet {entry + row} {fault} ({int(bad.any(axis=1).sum())} such jets in this "
            "part of the file); mend or remove these rows"
        )
