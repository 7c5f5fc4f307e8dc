"""Where the tokens of a batch lie: sorting jets by length and cutting micro-batches.

Tokens stay packed. A micro-batch holds jets of nearly the same length, so the little
padding that the attention kernels want costs nothing, and its activations fit a cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

VECTOR = 16  # tokens; rows of a packed bias are whole vectors long

# On a GPU small kernels cost more than padding: micro-batches are at least this large.
GPU_MICRO_BATCH = 512


@dataclass(frozen=True)
class Layout:
    """Packed tokens of one micro-batch and their places in the padded array.

    Attributes:
        offsets: tokens of jet i are rows offsets[i] to offsets[i + 1].
        length: tokens of the longest jet.
        slots: row of each token in the padded array seen as (jets * length).
    """

    offsets: Int[Tensor, " edges"]
    length: int
    slots: Int[Tensor, " tokens"]

    @property
    def jets(self) -> int:
        return len(self.offsets) - 1

    @property
    def counts(self) -> Int[Tensor, " jets"]:
        return self.offsets.diff()

    def pad(self, packed: Float[Tensor, "tokens *features"]) -> Float[Tensor, "jets length *features"]:
        """Packed tokens as a zero-padded array."""
        padded = packed.new_zeros((self.jets * self.length, *packed.shape[1:]))
        padded = padded.index_copy(0, self.slots, packed)
        return padded.unflatten(0, (self.jets, self.length))

    def unpad(self, padded: Float[Tensor, "jets length *features"]) -> Float[Tensor, "tokens *features"]:
        """The inverse of `pad`."""
        return padded.flatten(0, 1).index_select(0, self.slots)

    def bias_offsets(self, heads: int) -> Int[Tensor, " edges"]:
        """Where the bias of each jet begins in a flat array (see `attention`)."""
        return offsets_of(heads * self.counts * row_length(self.counts))

    def pair_offsets(self, lead: int) -> Int[Tensor, " edges"]:
        """Where the pairs i >= j >= `lead` of each jet begin in their packed order."""
        particles = (self.counts - lead).clamp_min(0)
        return offsets_of(particles * (particles + 1) // 2)

    def pairs(
        self, lead: int = 0
    ) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
        """(jet, i, j) of all pairs i >= j >= `lead` of tokens, ordered by them."""
        places = torch.arange(self.length, device=self.offsets.device)
        real = places < self.counts[:, None]
        lower = (places[:, None] >= places) & (places >= lead)
        return torch.nonzero(real[:, :, None] & lower, as_tuple=True)

    def padding(self) -> Float[Tensor, "jets 1 1 length"]:
        """0 on real tokens, -1e9 on padding, to be added to attention scores."""
        places = torch.arange(self.length, device=self.offsets.device)
        padding = torch.zeros(self.jets, self.length, device=self.offsets.device)
        return padding.masked_fill_(places >= self.counts[:, None], -1e9)[:, None, None, :]


def row_length(tokens: Int[Tensor, " jets"]) -> Int[Tensor, " jets"]:
    """Length of a row of the packed bias of jets of so many tokens."""
    return (tokens + VECTOR - 1) // VECTOR * VECTOR


def make_layout(offsets: Int[Tensor, " edges"]) -> Layout:
    """The layout of packed tokens with the given offsets."""
    counts = offsets.diff()
    length = int(counts.max()) if len(counts) else 0
    return Layout(offsets, length, jet_of_token(offsets) * length + place_in_jet(offsets))


def jet_of_token(offsets: Int[Tensor, " edges"]) -> Int[Tensor, " tokens"]:
    """Row of the jet of each packed token."""
    counts = offsets.diff()
    return torch.arange(len(counts), device=offsets.device).repeat_interleave(counts)


def place_in_jet(offsets: Int[Tensor, " edges"]) -> Int[Tensor, " tokens"]:
    """Number of each packed token within its jet, from 0."""
    starts = offsets[:-1].repeat_interleave(offsets.diff())
    return torch.arange(len(starts), device=offsets.device) - starts


def offsets_of(counts: Int[Tensor, " jets"]) -> Int[Tensor, " edges"]:
    """Offsets of packed tokens from the number of tokens of each jet."""
    offsets = counts.new_zeros(len(counts) + 1)
    torch.cumsum(counts, 0, out=offsets[1:])
    return offsets


def interleaved(
    edges: list[Int[Tensor, " edges"]],
) -> tuple[Int[Tensor, " tokens"], Int[Tensor, " edges"]]:
    """How several packed arrays of the same jets become one, jet by jet.

    Args:
        edges: offsets of each packed array.

    Returns:
        for each token of the joint array its row in the arrays' concatenation, and
        the joint array's offsets.
    """
    counts = torch.stack([e.diff() for e in edges])
    offsets = offsets_of(counts.sum(0))
    before = offsets[:-1] + counts.cumsum(0) - counts  # where each array's tokens of a jet begin
    places = [b[jet_of_token(e)] + place_in_jet(e) for b, e in zip(before, edges, strict=True)]
    return torch.argsort(torch.cat(places)), offsets


@dataclass(frozen=True)
class MicroBatch:
    """A range of the sorted batch: its tokens, its jets and its layout."""

    tokens: slice
    jets: slice
    layout: Layout


@dataclass(frozen=True)
class SortedBatch:
    """Jets in order of their length, cut into micro-batches.

    Attributes:
        tokens: row in the caller's order of each token of the sorted batch.
        jets: row in the caller's order of each jet of the sorted batch.
        micro_batches: consecutive ranges of the sorted batch.
    """

    tokens: Int[Tensor, " tokens"]
    jets: Int[Tensor, " jets"]
    micro_batches: list[MicroBatch]


def sort_by_length(offsets: Int[Tensor, " edges"], micro_batch: int) -> SortedBatch:
    """Sorts the jets of a batch by length and cuts micro-batches of `micro_batch` jets.

    A batch without jets becomes one micro-batch without jets.
    """
    size = max(micro_batch, GPU_MICRO_BATCH) if offsets.is_cuda else micro_batch
    order = torch.argsort(offsets.diff(), stable=True)
    sorted_offsets = offsets_of(offsets.diff()[order])
    shift = (offsets[:-1][order] - sorted_offsets[:-1]).repeat_interleave(sorted_offsets.diff())
    tokens = torch.arange(len(shift), device=offsets.device) + shift
    batches = []
    edges = sorted_offsets.tolist()
    for first in range(0, max(len(order), 1), size):
        last = min(first + size, len(order))
        layout = make_layout(sorted_offsets[first : last + 1] - edges[first])
        batches.append(MicroBatch(slice(edges[first], edges[last]), slice(first, last), layout))
    return SortedBatch(tokens, order, batches)


def unsort(
    pieces: list[Float[Tensor, "_ width"]], order: Int[Tensor, " rows"]
) -> Float[Tensor, "rows width"]:
    """Rows of the micro-batches, put back into the caller's order."""
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order), device=order.device)
    return torch.cat(pieces).index_select(0, inverse)
