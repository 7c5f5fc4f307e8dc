"""Small cones around the hardest constituents of a jet: subjets for whole batches at once, without FastJet.

The hardest constituent seeds the first cone; its axis is moved to the pT centroid of what it
holds, twice. The hardest constituent that is in no cone yet seeds the next, and so on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from jepalib.jets import Jets

RADIUS = 0.2
MOVES = 2  # of a cone's axis


@dataclass(frozen=True)
class Cones:
    """Which constituent is in which cone.

    Attributes:
        member: number of the cone of each constituent, from 0 in the order of finding; -1 in none.
        axes: (Δη, Δφ) of each cone relative to the jet's axis, zero where there is none.
    """

    member: Int[Tensor, " particles"]
    axes: Float[Tensor, "jets cones 2"]


def find_cones(jets: Jets, number: int, radius: float = RADIUS) -> Cones:
    """Up to `number` cones of each jet, hardest seed first; a constituent is in one of them at most.

    Args:
        radius: in Δη and Δφ.
    """
    jet, count = jets.jet_of_particle, len(jets)
    pt = torch.hypot(jets.column("px"), jets.column("py")).double()
    places = torch.stack([jets.column("deta"), jets.column("dphi")], dim=1).double()
    member = torch.full_like(jet, -1)
    axes = places.new_zeros(count, number, 2)
    for cone in range(number):
        free = member < 0
        seed = _hardest(torch.where(free, pt, -1.0), jet, count)
        there = seed < len(pt)
        seeds = seed[there]
        axis = places.new_zeros(count, 2)
        axis[there] = places[seeds]
        for _ in range(MOVES):
            weight = torch.where(free & _near(places, axis, jet, radius), pt, 0.0)
            moment = axis.new_zeros(count, 3).index_add_(
                0, jet, weight[:, None] * torch.cat([torch.ones_like(places[:, :1]), places], dim=1)
            )
            held = there & (moment[:, 0] > 0)
            axis[held] = moment[held, 1:] / moment[held, :1]
        inside = free & there[jet] & _near(places, axis, jet, radius)
        inside[seeds] = True  # also where the axis moved away from it
        member[inside] = cone
        axes[:, cone] = axis
    return Cones(member, axes)


def _near(places: Tensor, axis: Tensor, jet: Tensor, radius: float) -> Tensor:
    return (places - axis[jet]).square().sum(1) < radius**2


def _hardest(pt: Tensor, jet: Tensor, count: int) -> Int[Tensor, " jets"]:
    """Place of each jet's first constituent of largest pT; the number of all where none is free (pT -1)."""
    most = pt.new_full((count,), -1.0).scatter_reduce_(0, jet, pt, "amax")
    places = torch.where((pt == most[jet]) & (pt >= 0), torch.arange(len(pt), device=pt.device), len(pt))
    return places.new_full((count,), len(pt)).scatter_reduce_(0, jet, places, "amin")
