"""Patches: farthest-point centres of a jet, each with its nearest particles, in Δη and Δφ.

The tokens of HEP-JEPA (arXiv:2502.03933, Sec. 3), where every jet has as many; here their
number grows with the jet, so that a jet of any size has patches and padding none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from jepalib.compiled import compiled
from jepalib.errors import JepalibError
from jepalib.jets import gather_rows, pad
from jepalib.masking.sequence import TWO_PI, checked_places
from jepalib.models.layout import offsets_of


@dataclass(frozen=True)
class PatchConfig:
    """How a jet of n particles is cut into patches.

    Attributes:
        fraction: centres as a share of n, in (0, 1]; n · fraction is rounded, halves up.
        least: at least so many centres, or all particles where there are fewer.
        neighbours: particles of a group, the centre among them; all n where there are fewer.
    """

    fraction: float = 0.25
    least: int = 4
    neighbours: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise JepalibError(f"PatchConfig: fraction is {self.fraction}; it must be in (0, 1]")
        for name in ("least", "neighbours"):
            if getattr(self, name) < 1:
                raise JepalibError(f"PatchConfig: {name} is {getattr(self, name)}; it must be at least 1")


@dataclass(frozen=True)
class Patches:
    """The patches of a packed batch of jets; a particle may be in several groups or in none.

    Attributes:
        centres: packed particle row of each patch's centre, jet by jet, in the order of sampling.
        offsets: patches of jet i are rows offsets[i] to offsets[i + 1].
        members: packed particle rows of every group, patch by patch, the centre first and
            then nearest first.
        member_offsets: members of patch p are rows member_offsets[p] to member_offsets[p + 1].
    """

    centres: Int[Tensor, " patches"]
    offsets: Int[Tensor, " edges"]
    members: Int[Tensor, " members"]
    member_offsets: Int[Tensor, " groups"]

    def __len__(self) -> int:
        return len(self.centres)

    @property
    def counts(self) -> Int[Tensor, " jets"]:
        """Number of patches of each jet."""
        return self.offsets.diff()

    @property
    def jet_of_patch(self) -> Int[Tensor, " patches"]:
        """Row of the jet that each patch belongs to."""
        rows = torch.arange(len(self.offsets) - 1, device=self.offsets.device)
        return rows.repeat_interleave(self.counts, output_size=len(self.centres))

    @property
    def patch_of_member(self) -> Int[Tensor, " members"]:
        """Row of the patch that each member belongs to."""
        rows = torch.arange(len(self.centres), device=self.offsets.device)
        return rows.repeat_interleave(self.member_offsets.diff(), output_size=len(self.members))

    def to(self, device: torch.device | str) -> Patches:
        """The same patches on another device."""
        return Patches(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def take(self, jet_offsets: Int[Tensor, " edges"], rows: Int[Tensor, " chosen"] | list[int]) -> Patches:
        """The patches of `jets.take(rows)`, where `jet_offsets` are those of `jets`."""
        rows = torch.as_tensor(rows, dtype=torch.long, device=self.offsets.device)
        chosen, offsets = gather_rows(self.offsets, rows)
        gather, member_offsets = gather_rows(self.member_offsets, chosen)
        particles = jet_offsets.diff()[rows]
        shift = particles.cumsum(0) - particles - jet_offsets[:-1][rows]
        shift = shift.repeat_interleave(self.counts[rows])
        members = self.members[gather] + shift.repeat_interleave(member_offsets.diff())
        return Patches(self.centres[chosen] + shift, offsets, members, member_offsets)


def make_patches(
    deta: Float[Tensor, " particles"],
    dphi: Float[Tensor, " particles"],
    offsets: Int[Tensor, " edges"],
    config: PatchConfig,
) -> Patches:
    """Patches of every jet by farthest-point sampling and k nearest neighbours.

    The first centre is the particle nearest to the jet axis, in (Δη)² + (Δφ)²; each further
    one is the particle farthest from all centres so far, with Δφ wrapped. Ties go to the
    lowest row, so that without ties neither the order of the particles nor a rotation of
    the jet matters. A jet has min(n, max(least, round(fraction · n))) centres, one of
    n = 0 particles none. A numba loop serves CPU tensors and `batched_patches` the others;
    both do the same float32 operations, so their results are equal.

    Args:
        deta, dphi: of the particles relative to the jet axis (dphi in radians).
        offsets: jet i holds rows offsets[i] to offsets[i + 1].
        config: numbers of centres and neighbours.

    Raises:
        JepalibError: a coordinate is not finite, or absurdly large.
    """
    deta, dphi = checked_places(deta, dphi, "make_patches")
    if deta.device.type != "cpu":
        return batched_patches(deta, dphi, offsets, config)
    patch_offsets, member_offsets = _layout(offsets, config)
    centres = np.empty(int(patch_offsets[-1]), np.int64)
    members = np.empty(int(member_offsets[-1]), np.int64)
    places = (deta.contiguous().numpy(), dphi.contiguous().numpy())
    edges = (offsets.contiguous().numpy(), patch_offsets.numpy())
    _sample(*places, *edges, config.neighbours, centres, members)
    return Patches(torch.from_numpy(centres), patch_offsets, torch.from_numpy(members), member_offsets)


def seen_of_targets(
    patches: Patches, context: Bool[Tensor, " patches"], target: Bool[Tensor, " patches"], particles: int
) -> float:
    """Share of the particles of the target patches that are in a context patch as well.

    Patches overlap, so that masks which keep patches apart do not keep particles apart.
    """

    def inside(chosen: Bool[Tensor, " patches"]) -> Bool[Tensor, " particles"]:
        found = torch.zeros(particles, dtype=torch.bool, device=chosen.device)
        found[patches.members[chosen[patches.patch_of_member]]] = True
        return found

    hidden = inside(target)
    return float((inside(context) & hidden).sum() / hidden.sum().clamp_min(1))


def uncovered(patches: Patches, particles: int) -> Bool[Tensor, " particles"]:
    """True on the particles, of so many in the batch, that are in no group."""
    alone = torch.ones(particles, dtype=torch.bool, device=patches.members.device)
    alone[patches.members] = False
    return alone


def _layout(
    offsets: Int[Tensor, " edges"], config: PatchConfig
) -> tuple[Int[Tensor, " edges"], Int[Tensor, " groups"]]:
    """Where the patches of each jet and the members of each patch begin."""
    counts = offsets.diff()
    wanted = (counts.double() * config.fraction + 0.5).floor().long()
    centres = torch.minimum(wanted.clamp(min=config.least), counts)
    sizes = counts.clamp(max=config.neighbours).repeat_interleave(centres)
    return offsets_of(centres), offsets_of(sizes)


@compiled
def _nearest(distance, rows, reach):
    """Write the places of the smallest distances into `rows`, rising, equal ones by place."""
    found, last = 0, len(rows) - 1
    for i in range(len(distance)):
        d = distance[i]
        if found > last and d >= reach[last]:
            continue
        here = min(found, last)
        while here > 0 and reach[here - 1] > d:
            reach[here], rows[here] = reach[here - 1], rows[here - 1]
            here -= 1
        reach[here], rows[here] = d, i
        found += 1


@compiled  # no fast-math: the sums must be those of the torch form to the last bit
def _sample(deta, dphi, offsets, patch_offsets, neighbours, centres, members):
    """Fill centres and members, jet by jet; the distances from a centre serve both."""
    longest = 0
    for jet in range(len(offsets) - 1):
        longest = max(longest, offsets[jet + 1] - offsets[jet])
    distance, apart = np.empty(longest, np.float32), np.empty(longest, np.float32)
    reach = np.empty(min(neighbours, longest), np.float32)
    # Floats are ordered as their bits are (only -1 is negative), and a maximum of integers is vectorised.
    bits = apart.view(np.int32)
    done = 0
    for jet in range(len(offsets) - 1):
        first, n = offsets[jet], offsets[jet + 1] - offsets[jet]
        eta, phi = deta[first : first + n], dphi[first : first + n]
        here, smallest = 0, np.float32(np.inf)
        for i in range(n):
            apart[i] = np.inf
            radius = eta[i] * eta[i] + phi[i] * phi[i]
            if radius < smallest:
                here, smallest = i, radius
        size = min(n, neighbours)
        for patch in range(patch_offsets[jet], patch_offsets[jet + 1]):
            centres[patch] = first + here
            for i in range(n):
                a, b = eta[i] - eta[here], abs(phi[i] - phi[here])
                b = min(b, TWO_PI - b)
                distance[i] = a * a + b * b
                apart[i] = min(apart[i], distance[i])
            distance[here] = apart[here] = -1  # first of its group, never a centre again
            rows = members[done : done + size]
            _nearest(distance[:n], rows, reach)
            rows += first
            done += size
            farthest = np.int32(-(2**31))
            for i in range(n):
                farthest = max(farthest, bits[i])
            here = 0
            while bits[here] != farthest:
                here += 1


def batched_patches(
    deta: Float[Tensor, " particles"],
    dphi: Float[Tensor, " particles"],
    offsets: Int[Tensor, " edges"],
    config: PatchConfig,
) -> Patches:
    """The torch form of `make_patches`: all jets of the batch take each step together.

    float32 coordinates, dphi in [-π, π]; as many steps as the jet with most patches has.
    """
    patch_offsets, member_offsets = _layout(offsets, config)
    padded, real = pad(torch.stack([deta, dphi], dim=1), offsets)
    if not real.any():
        return Patches(offsets[:0], patch_offsets, offsets[:0], member_offsets)
    eta, phi = padded.unbind(-1)
    here = torch.where(real, eta * eta + phi * phi, math.inf).argmin(dim=1, keepdim=True)
    apart = torch.where(real, math.inf, -math.inf)
    steps, groups = [], []
    for _ in range(int(patch_offsets.diff().max())):
        steps.append(here)
        a, b = eta - eta.gather(1, here), (phi - phi.gather(1, here)).abs()
        b = torch.minimum(b, float(TWO_PI) - b)
        distance = a * a + b * b
        apart = torch.minimum(apart, distance).scatter_(1, here, -1)
        distance = torch.where(real, distance, math.inf).scatter_(1, here, -1)
        groups.append(distance.sort(dim=1, stable=True).indices[:, : config.neighbours])
        here = apart.argmax(dim=1, keepdim=True)  # the first of equal values
    begin = offsets[:-1, None]
    centres, members = torch.cat(steps, dim=1) + begin, torch.stack(groups, dim=1) + begin[..., None]
    column = torch.arange(len(steps), device=offsets.device)
    taken = column < patch_offsets.diff()[:, None]
    member = torch.arange(members.shape[2], device=offsets.device) < offsets.diff()[:, None]
    return Patches(centres[taken], patch_offsets, members[taken[..., None] & member[:, None]], member_offsets)
