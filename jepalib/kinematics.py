"""Four-vector maths and the transformed model inputs (ParT, arXiv:2202.03772, Tab. 2)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from jepalib.jets import Jets
from jepalib.schema import PARTICLE_COLUMN, UNKNOWN_TYPE

EPS = 1e-8  # ParT's floor under every logarithm
CLIP = 5.0  # standardised inputs are clipped to +-CLIP

# (shift, scale) of the standardised inputs: (x - shift) * scale.
STANDARDISE = {
    "log_pt": (1.7, 0.7),
    "log_energy": (2.0, 0.7),
    "log_pt_rel": (-4.7, 0.7),
    "log_energy_rel": (-4.7, 0.7),
    "delta_r": (0.2, 4.0),
}


def wrap_phi(phi: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Angle in radians brought into [-pi, pi)."""
    return torch.remainder(phi + math.pi, 2 * math.pi) - math.pi


def four_vectors(jets: Jets) -> Float[Tensor, "particles 4"]:
    """(px, py, pz, E) in GeV of every particle."""
    return jets.particles[:, :4]


def model_inputs(jets: Jets) -> Float[Tensor, "particles 17"]:
    """The 17 transformed inputs of every particle, in the order `schema.INPUTS`.

    kin: standardised ln pT, ln E, ln pT/pT_jet, ln E/E_jet, Delta R, then Delta eta,
    Delta phi; pid: charge and the five flags; td: tanh d0, d0err in [0, 1], tanh dz,
    dzerr in [0, 1]. Raw zeros in the pid and td groups give zero inputs, which is how
    a data set without a group (or a dropped group) is represented.
    """
    raw = jets.particles
    jet = jets.jet_of_particle
    pt = torch.hypot(raw[:, 0], raw[:, 1]).clamp_min(EPS)
    energy = raw[:, PARTICLE_COLUMN["energy"]].clamp_min(EPS)
    jet_pt = jets.observable("pt").clamp_min(EPS)[jet]
    jet_energy = jets.observable("energy").clamp_min(EPS)[jet]
    deta, dphi = jets.column("deta"), jets.column("dphi")
    values = {
        "log_pt": pt.log(),
        "log_energy": energy.log(),
        "log_pt_rel": (pt / jet_pt).log(),
        "log_energy_rel": (energy / jet_energy).log(),
        "delta_r": torch.hypot(deta, dphi),
    }
    standard = [((values[k] - shift) * scale).clamp(-CLIP, CLIP) for k, (shift, scale) in STANDARDISE.items()]
    td = [
        jets.column("d0val").tanh(),
        jets.column("d0err").clamp(0, 1),
        jets.column("dzval").tanh(),
        jets.column("dzerr").clamp(0, 1),
    ]
    kin = torch.stack([*standard, deta, dphi], dim=1)
    return torch.cat([kin, raw[:, 10:16], torch.stack(td, dim=1)], dim=1)


def particle_types(jets: Jets) -> Int[Tensor, " particles"]:
    """Class of each particle in `schema.PARTICLE_TYPES`, `UNKNOWN_TYPE` without identification.

    The flag with the largest value decides the type, the charge its sign.
    """
    charge = jets.column("charge")
    flags = jets.particles[:, 11:16]  # h+-, h0, photon, e, mu
    value, kind = flags.max(dim=1)
    positive = (charge > 0).long()
    type_by_kind = torch.stack(
        [1 + 2 * positive, torch.full_like(kind, 2), torch.zeros_like(kind), 4 + positive, 6 + positive],
        dim=1,
    )
    types = type_by_kind.gather(1, kind[:, None])[:, 0]
    return torch.where(value > 0, types, UNKNOWN_TYPE)


def rapidity(p4: Float[Tensor, "*any 4"]) -> Float[Tensor, "*any"]:
    """Rapidity y = 1/2 ln((E + pz) / (E - pz)), in the stable form that ParT uses."""
    pz, energy = p4[..., 2], p4[..., 3]
    return 0.5 * torch.log(1 + 2 * pz / (energy - pz).clamp_min(1e-20))


def invariant_mass(p4: Float[Tensor, "*any 4"]) -> Float[Tensor, "*any"]:
    """Mass in GeV of (px, py, pz, E); 0 where rounding makes its square negative."""
    return (p4[..., 3] ** 2 - p4[..., :3].square().sum(-1)).clamp_min(0).sqrt()


def pair_features(a: Float[Tensor, "*any 4"], b: Float[Tensor, "*any 4"]) -> Float[Tensor, "*any 4"]:
    """(ln kT, ln z, ln Delta, ln m2) of pairs of four-vectors (arXiv:2202.03772, Eq. 3).

    Symmetric in a and b; each argument is clamped from below at 1e-8.
    """
    pt_a, pt_b = torch.hypot(a[..., 0], a[..., 1]), torch.hypot(b[..., 0], b[..., 1])
    phi_a, phi_b = torch.atan2(a[..., 1], a[..., 0]), torch.atan2(b[..., 1], b[..., 0])
    delta = torch.hypot(rapidity(a) - rapidity(b), wrap_phi(phi_a - phi_b))
    softer = torch.minimum(pt_a, pt_b)
    total = a + b
    mass2 = total[..., 3] ** 2 - total[..., :3].square().sum(-1)
    features = [softer * delta, softer / (pt_a + pt_b).clamp_min(EPS), delta, mass2]
    return torch.stack(features, dim=-1).clamp_min(EPS).log()
