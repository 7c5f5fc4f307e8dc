"""A jet in some hundred numbers, computed from the jet itself: targets for learning without labels.

Kinematics, substructure, content, displacement, subjets and energy correlations: what a physicist
would write down of a jet before knowing what it came from. No label enters. Energies are relative
to the sum of the constituents' pT where a name begins with z.
"""

from __future__ import annotations

from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from jepalib.cones import find_cones
from jepalib.jets import Jets
from jepalib.kinematics import EPS, invariant_mass
from jepalib.schema import PARTICLE_COLUMN

KINDS = ("isChargedHadron", "isNeutralHadron", "isPhoton", "isElectron", "isMuon")
SIGNIFICANCES = (2.0, 5.0, 10.0)  # of the impact parameters, in their errors
CONES = (0.1, 0.2, 0.4)  # radii around the axis
LEADING = 4  # hardest constituents with numbers of their own
SUBJETS = 4  # of the hardest, with numbers of their own
GROUPS = [group for size in (2, 3) for group in combinations(range(SUBJETS), size)]  # with a mass
OF_SUBJETS = (
    "z",
    "r",
    "log_mass",
    "log_multiplicity",
    "charge",
    "z_lepton",
    "n_d0",
    "z_d0",
    "log_displaced_mass",
)
ANGLES = (
    0.01,
    0.02,
    0.04,
    0.06,
    0.09,
    0.13,
    0.18,
    0.24,
    0.31,
    0.4,
    0.5,
    0.65,
    0.8,
)  # between two constituents
PLACES = [PARTICLE_COLUMN[name] for name in ("deta", "dphi")]
CHARGE_POWER = 0.5  # κ of the jet charge, Krohn et al., arXiv:1209.2421
NUMBERS = (
    "log_mass", "log_pt", "girth", "width", "pt_dispersion", *(f"z_within_{cone}" for cone in CONES),
    "log_sdmass", "log_tau1", "tau21", "tau32", "tau43", "log_multiplicity", "charge",
    *(f"{what}_{kind}" for kind in KINDS for what in "nz"),
    *(f"{what}_{name}_{cut:g}" for name in ("d0", "dz") for cut in SIGNIFICANCES for what in "nz"),
    "log_displaced_mass", "log_mean_d0",
    *(f"{what}_hardest_{n + 1}" for n in range(LEADING) for what in "zr"),
    *(f"{what}_subjet_{n + 1}" for n in range(SUBJETS) for what in OF_SUBJETS),
    *(f"log_mass_subjets_{''.join(str(n + 1) for n in group)}" for group in GROUPS),
    *(f"correlation_{bin}" for bin in range(len(ANGLES) + 1)),
)  # fmt: skip


def jet_summary(jets: Jets) -> Float[Tensor, "jets numbers"]:
    """`NUMBERS` of each jet, in double precision, finite for every jet.

    Masses in GeV and counts come as ln(1 + x). Soft-drop mass and N-subjettiness are those of
    `Jets.observables`, as the data set has them; a data set without identification or
    displacement has constants there.
    """
    sums = _Sums(jets)
    numbers = {
        **_kinematics(jets, sums),
        **_substructure(jets),
        **_content(jets, sums),
        **_displacement(jets, sums),
        **_leading(jets, sums),
        **_subjets(jets, sums),
        **_correlations(jets, sums),
    }
    return torch.stack([numbers[name] for name in NUMBERS], dim=1)


class _Sums:
    """Momentum shares, distances to the axis, and sums over the constituents of each jet."""

    def __init__(self, jets: Jets) -> None:
        self.jet, self.jets = jets.jet_of_particle, len(jets)
        self.pt = torch.hypot(jets.column("px"), jets.column("py")).double()
        self.total = self.over_jet(self.pt).clamp_min(EPS)
        self.z = self.pt / self.total[self.jet]
        self.r = torch.hypot(jets.column("deta"), jets.column("dphi")).double()

    def over_jet(self, values: Tensor) -> Tensor:
        """Sum over the constituents of each jet."""
        empty = values.new_zeros(self.jets, *values.shape[1:])
        return empty.index_add_(0, self.jet, values)

    def count_and_share(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """ln(1 + number) of the chosen constituents, and their share of the momentum."""
        chosen = chosen.double()
        return self.over_jet(chosen).log1p(), self.over_jet(chosen * self.z)


def _kinematics(jets: Jets, sums: _Sums) -> dict[str, Tensor]:
    z, r = sums.z, sums.r
    mass = invariant_mass(sums.over_jet(jets.particles[:, :4].double()))
    numbers = {
        "log_mass": mass.log1p(),
        "log_pt": sums.total.log(),
        "girth": sums.over_jet(z * r),
        "width": sums.over_jet(z * r.square()),
        "pt_dispersion": sums.over_jet(z.square()).sqrt(),
    }
    return numbers | {f"z_within_{cone}": sums.over_jet(z * (r < cone)) for cone in CONES}


def _substructure(jets: Jets) -> dict[str, Tensor]:
    tau = [jets.observable(f"tau{n}").double().clamp_min(1e-6) for n in (1, 2, 3, 4)]
    ratios = {f"tau{n + 1}{n}": (tau[n] / tau[n - 1]).clamp_max(2.0) for n in (1, 2, 3)}
    softdrop = jets.observable("sdmass").double().clamp_min(0).log1p()
    return {"log_sdmass": softdrop, "log_tau1": tau[0].log(), **ratios}


def _content(jets: Jets, sums: _Sums) -> dict[str, Tensor]:
    charge = jets.column("charge").double()
    numbers = {
        "log_multiplicity": jets.counts.double().log1p(),
        "charge": sums.over_jet(charge * sums.z**CHARGE_POWER),
    }
    for kind in KINDS:
        numbers[f"n_{kind}"], numbers[f"z_{kind}"] = sums.count_and_share(jets.column(kind) > 0.5)
    return numbers


def _displacement(jets: Jets, sums: _Sums) -> dict[str, Tensor]:
    charged, numbers = jets.column("charge") != 0, {}
    for name in ("d0", "dz"):
        significance = _significance(jets, name)
        for cut in SIGNIFICANCES:
            chosen = significance > cut
            numbers[f"n_{name}_{cut:g}"], numbers[f"z_{name}_{cut:g}"] = sums.count_and_share(chosen)
        if name == "d0":
            momentum = jets.particles[:, :4].double() * (significance > SIGNIFICANCES[1])[:, None]
            numbers["log_displaced_mass"] = invariant_mass(sums.over_jet(momentum)).log1p()
            mean = sums.over_jet(jets.column("d0val").double().abs() * charged * sums.z)
            numbers["log_mean_d0"] = (mean + 1e-4).log()
    return numbers


def _significance(jets: Jets, name: str) -> Float[Tensor, " particles"]:
    """Impact parameter in its errors; 0 for neutral particles and tracks without an error."""
    value, error = jets.column(f"{name}val").double(), jets.column(f"{name}err").double()
    return value.abs() / error.clamp_min(1e-6) * ((jets.column("charge") != 0) & (error > 0))


def _leading(jets: Jets, sums: _Sums) -> dict[str, Tensor]:
    """Momentum share and distance of the hardest constituents; constituents lie in falling pT."""
    numbers, last = {}, max(len(sums.z) - 1, 0)
    for n in range(LEADING):
        there = jets.counts > n
        place = (jets.offsets[:-1] + n).clamp_max(last)
        numbers[f"z_hardest_{n + 1}"] = torch.where(there, sums.z[place], 0.0)
        numbers[f"r_hardest_{n + 1}"] = torch.where(there, sums.r[place], 0.0)
    return numbers


def _subjets(jets: Jets, sums: _Sums) -> dict[str, Tensor]:
    """Each of the hardest cones as a small jet, and the masses of two and of three of them; 0 without it."""
    cones, charge = find_cones(jets, SUBJETS), jets.column("charge").double()
    lepton = (jets.column("isElectron") + jets.column("isMuon")).double()
    displaced = (_significance(jets, "d0") > SIGNIFICANCES[0]).double()
    p4, numbers, momenta = jets.particles[:, :4].double(), {}, []
    for n in range(SUBJETS):
        inside = (cones.member == n).double()
        momenta.append(sums.over_jet(p4 * inside[:, None]))
        values = {
            "z": sums.over_jet(inside * sums.z),
            "r": cones.axes[:, n].norm(dim=1),
            "log_mass": invariant_mass(momenta[n]).log1p(),
            "log_multiplicity": sums.over_jet(inside).log1p(),
            "charge": sums.over_jet(inside * charge * sums.z**CHARGE_POWER),
            "z_lepton": sums.over_jet(inside * lepton * sums.z),
            "n_d0": sums.over_jet(inside * displaced).log1p(),
            "z_d0": sums.over_jet(inside * displaced * sums.z),
            "log_displaced_mass": invariant_mass(sums.over_jet(p4 * (inside * displaced)[:, None])).log1p(),
        }
        numbers |= {f"{name}_subjet_{n + 1}": value for name, value in values.items()}
    for group in GROUPS:
        there = momenta[group[-1]][:, 3] > 0
        mass = invariant_mass(sum(momenta[n] for n in group)).log1p()
        name = "".join(str(n + 1) for n in group)
        numbers[f"log_mass_subjets_{name}"] = torch.where(there, mass, 0.0)
    return numbers


def _correlations(jets: Jets, sums: _Sums) -> dict[str, Tensor]:
    """Energy-energy correlator: Σ 2 z_a z_b of the pairs whose distance is in each bin of `ANGLES`.

    P. Komiske et al., arXiv:2201.07800; pairs of different constituents only.
    """
    first, second = _pairs(jets)
    places, z = jets.particles[:, PLACES], sums.z.float()
    apart = (places[first] - places[second]).norm(dim=1)
    bins = torch.bucketize(apart, torch.tensor(ANGLES, device=apart.device))
    place = sums.jet[first] * (len(ANGLES) + 1) + bins
    table = z.new_zeros(len(jets) * (len(ANGLES) + 1)).index_add_(0, place, 2 * z[first] * z[second])
    columns = table.view(len(jets), -1).double().unbind(1)
    return {f"correlation_{bin}": column for bin, column in enumerate(columns)}


def _pairs(jets: Jets) -> tuple[Tensor, Tensor]:
    """Places of both constituents of every pair within each jet, each pair once."""
    later = (
        jets.offsets[1:][jets.jet_of_particle]
        - 1
        - torch.arange(jets.offsets[-1], device=jets.offsets.device)
    )
    first = torch.repeat_interleave(later)
    rank = torch.arange(len(first), device=first.device) - (later.cumsum(0) - later)[first]
    return first, first + 1 + rank
