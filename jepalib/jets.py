"""`Jets`: the batch of jets that flows through the whole library.

Jets are *packed*: the particles of all jets lie one after another in one array, and
``offsets`` says where each jet begins. Nothing is padded, so nothing can leak from
padding; models pad for themselves where a kernel wants it (`pad`, `unpad`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from jepalib.errors import JepalibError
from jepalib.schema import JET_COLUMN, PARTICLE_COLUMN


@dataclass(frozen=True)
class Jets:
    """A packed batch of jets.

    Attributes:
        particles: raw constituents, columns `schema.PARTICLE_FIELDS` (GeV, mm), in
            falling pT within a jet. Groups that a data set lacks are zero.
        offsets: particles of jet i are rows offsets[i] to offsets[i + 1]; starts at 0.
        observables: per jet, columns `schema.JET_FIELDS` (GeV).
        labels: class index in `schema.CLASSES`, -1 where there is none.
        index: row of each jet in the store or file that it comes from.
    """

    particles: Float[Tensor, "particles 16"]
    offsets: Int[Tensor, " edges"]
    observables: Float[Tensor, "jets 10"]
    labels: Int[Tensor, " jets"]
    index: Int[Tensor, " jets"]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def counts(self) -> Int[Tensor, " jets"]:
        """Number of particles of each jet."""
        return self.offsets.diff()

    @property
    def jet_of_particle(self) -> Int[Tensor, " particles"]:
        """Row of the jet that each particle belongs to."""
        rows = torch.arange(len(self), device=self.offsets.device)
        return rows.repeat_interleave(self.counts, output_size=len(self.particles))

    def column(self, name: str) -> Float[Tensor, " particles"]:
        """One raw particle field by name (`schema.PARTICLE_FIELDS`)."""
        return self.particles[:, PARTICLE_COLUMN[name]]

    def observable(self, name: str) -> Float[Tensor, " jets"]:
        """One jet observable by name (`schema.JET_FIELDS`)."""
        return self.observables[:, JET_COLUMN[name]]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Jets:
        """The same jets on another device."""
        moved = {f.name: getattr(self, f.name).to(device, non_blocking=non_blocking) for f in fields(self)}
        return Jets(**moved)

    def with_particles(self, particles: Float[Tensor, "particles 16"]) -> Jets:
        """The same jets with other particle values, same numbers of particles."""
        if particles.shape != self.particles.shape:
            raise JepalibError(
                f"with_particles: got shape {tuple(particles.shape)} for {tuple(self.particles.shape)}"
            )
        return replace(self, particles=particles)

    def select_particles(self, keep: Bool[Tensor, " particles"]) -> Jets:
        """Only the particles where `keep` is True; jets may become empty.

        Jet observables (pT, energy, axis) stay those of the whole jet: inputs
        relative to the jet mean the same before and after.
        """
        return replace(self, particles=self.particles[keep], offsets=selected_offsets(self.offsets, keep))

    def take(self, rows: Int[Tensor, " chosen"] | list[int]) -> Jets:
        """The jets of the given rows, in that order (rows may repeat; -1 is the last)."""
        rows = torch.as_tensor(rows, dtype=torch.long, device=self.offsets.device)
        gather, offsets = gather_rows(self.offsets, rows)
        return Jets(
            particles=self.particles[gather],
            offsets=offsets,
            observables=self.observables[rows],
            labels=self.labels[rows],
            index=self.index[rows],
        )


def selected_offsets(
    offsets: Int[Tensor, " edges"], keep: Bool[Tensor, " particles"]
) -> Int[Tensor, " edges"]:
    """Offsets of the packed array that `keep` leaves."""
    running = torch.zeros(len(keep) + 1, dtype=torch.long, device=keep.device)
    torch.cumsum(keep, 0, out=running[1:])
    return running[offsets]


def gather_rows(
    offsets: Int[Tensor, " edges"], rows: Int[Tensor, " chosen"]
) -> tuple[Int[Tensor, " gathered"], Int[Tensor, " chosen_edges"]]:
    """Where the particles of the chosen jets lie, and the offsets of the chosen.

    Negative rows count from the last jet, as everywhere in Python.
    """
    counts = offsets.diff()[rows]
    chosen = torch.zeros(len(rows) + 1, dtype=torch.long, device=offsets.device)
    torch.cumsum(counts, 0, out=chosen[1:])
    shift = (offsets[:-1][rows] - chosen[:-1]).repeat_interleave(counts)
    return torch.arange(len(shift), device=offsets.device) + shift, chosen


def concatenate(batches: list[Jets]) -> Jets:
    """One batch from several, in order.

    Raises:
        JepalibError: the list is empty.
    """
    if not batches:
        raise JepalibError("concatenate: no batches given")
    counts = torch.cat([b.counts for b in batches])
    offsets = torch.zeros(len(counts) + 1, dtype=torch.long, device=counts.device)
    torch.cumsum(counts, 0, out=offsets[1:])
    return Jets(
        particles=torch.cat([b.particles for b in batches]),
        offsets=offsets,
        observables=torch.cat([b.observables for b in batches]),
        labels=torch.cat([b.labels for b in batches]),
        index=torch.cat([b.index for b in batches]),
    )


def pad(
    packed: Float[Tensor, "particles *features"], offsets: Int[Tensor, " edges"], length: int | None = None
) -> tuple[Float[Tensor, "jets length *features"], Bool[Tensor, "jets length"]]:
    """Packed rows as a zero-padded array, and the mask that is True on real particles.

    `length` defaults to the longest jet; a smaller one is refused, never cut.
    """
    counts = offsets.diff()
    longest = int(counts.max()) if len(counts) else 0
    length = longest if length is None else length
    if length < longest:
        raise JepalibError(f"pad: length {length} is shorter than the longest jet ({longest} particles)")
    mask = torch.arange(length, device=packed.device) < counts[:, None]
    padded = packed.new_zeros((len(counts), length, *packed.shape[1:]))
    padded[mask] = packed
    return padded, mask


def unpad(
    padded: Float[Tensor, "jets length *features"], mask: Bool[Tensor, "jets length"]
) -> Float[Tensor, "particles *features"]:
    """The real rows of a padded array, packed again; the inverse of `pad`.

    Raises:
        JepalibError: array and mask differ in jets or length.
    """
    if padded.shape[:2] != mask.shape:
        raise JepalibError(f"unpad: array {tuple(padded.shape)} and mask {tuple(mask.shape)} do not fit")
    return padded[mask]
