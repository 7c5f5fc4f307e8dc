"""Small random jets for tests, in a module of its own: each folder may have its conftest."""

from __future__ import annotations

import math

import torch

from jepalib.jets import Jets
from jepalib.schema import CLASSES


def make_jets(counts: list[int], seed: int = 0) -> Jets:
    """Physical random jets (massless-ish particles around an axis) of the given multiplicities."""
    rng = torch.Generator().manual_seed(seed)
    total, jets = sum(counts), len(counts)

    def uniform(n: int, low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(n, generator=rng)

    counts_t = torch.tensor(counts)
    jet_of = torch.arange(jets).repeat_interleave(counts_t)
    axis_eta, axis_phi = uniform(jets, -1.5, 1.5), uniform(jets, -math.pi, math.pi)
    deta = 0.2 * torch.randn(total, generator=rng)
    dphi = 0.2 * torch.randn(total, generator=rng)
    pt = torch.exp(uniform(total, 0.0, 4.5))
    order = torch.argsort(-pt, stable=True)
    order = order[torch.argsort(jet_of[order], stable=True)]  # falling pT within each jet
    pt = pt[order]
    eta = axis_eta[jet_of] + torch.where(axis_eta[jet_of] >= 0, deta, -deta)
    phi = axis_phi[jet_of] + dphi
    mass = uniform(total, 0.0, 0.5)
    px, py, pz = pt * phi.cos(), pt * phi.sin(), pt * eta.sinh()
    energy = torch.sqrt(px**2 + py**2 + pz**2 + mass**2)
    kind = torch.randint(0, 5, (total,), generator=rng)
    flags = torch.nn.functional.one_hot(kind, 5).float()
    sign = torch.where(torch.rand(total, generator=rng) < 0.5, -1.0, 1.0)
    charged = (kind == 0) | (kind >= 3)
    td = torch.stack(
        [uniform(total, -2, 2), uniform(total, 0, 0.2), uniform(total, -2, 2), uniform(total, 0, 0.3)], 1
    )
    td = td * charged[:, None]
    particles = torch.cat(
        [torch.stack([px, py, pz, energy, deta, dphi], 1), td, (sign * charged)[:, None], flags], dim=1
    )
    p4 = torch.zeros(jets, 4).index_add_(0, jet_of, particles[:, :4])
    jet_pt = torch.hypot(p4[:, 0], p4[:, 1])
    observables = torch.zeros(jets, 10)
    observables[:, 0], observables[:, 3], observables[:, 4] = jet_pt, p4[:, 3], counts_t.float()
    observables[:, 1], observables[:, 2] = axis_eta, axis_phi
    offsets = torch.zeros(jets + 1, dtype=torch.long)
    torch.cumsum(counts_t, 0, out=offsets[1:])
    return Jets(particles, offsets, observables, torch.arange(jets) % len(CLASSES), torch.arange(jets))
