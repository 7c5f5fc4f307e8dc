"""What can go wrong with measured jets: inputs lost, particles lost, energies, cells and tracks off.

Small functions from `Jets` to `Jets`. A jet that has particles keeps at least one, its hardest
unless said otherwise. Of the jet observables only `smear_energy` changes any: a loss happens
between the finding of the jet and its tagging, so pT, energy, axis and multiplicity stay those
of the whole jet, and inputs relative to the jet mean the same before and after.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from jepalib.augment import smear
from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.kinematics import four_vectors
from jepalib.schema import INPUTS, KIN_INPUTS, PARTICLE_COLUMN, PID_FIELDS, TD_FIELDS, TD_INPUTS

# Raw column of each model input that has one of its own.
OWN_FIELD = dict(zip(PID_FIELDS + TD_INPUTS, PID_FIELDS + TD_FIELDS))
GROUPS = {"pid": PID_FIELDS, "td": TD_FIELDS}
SHARED = "models.missing.without_inputs hides it from a network instead"
REACH = 0.4  # farthest from the jet axis in Δη and Δφ that a dead cell may lie; half of R = 0.8


def remove_input(jets: Jets, name: str) -> Jets:
    """One model input of the pid or td group set to its missing value, zero, for all particles.

    The raw column behind it becomes zero, which is how a data set without it is represented.
    The seven kin inputs are views of shared momenta (ln pT and ln pT/pT_jet come from the same
    px, py) and cannot be taken from the jet one by one: `models.missing.without_inputs` hides
    any of the 17 from a network, and agrees with this function on these ten.

    Args:
        name: of the pid or td inputs in `schema.INPUTS`.

    Raises:
        JepalibError: an unknown input, or one of the kin group.
    """
    if name in KIN_INPUTS:
        raise JepalibError(f"remove_input: {name} shares its columns with other inputs; {SHARED}")
    if name not in OWN_FIELD:
        raise JepalibError(f"remove_input: no input '{name}'; there are {', '.join(INPUTS)}")
    return _zeroed(jets, (OWN_FIELD[name],))


def remove_group(jets: Jets, group: str) -> Jets:
    """All inputs of "pid" or "td" set to zero for all particles, as in a data set without them.

    Raises:
        JepalibError: another group.
    """
    if group == "kin":
        raise JepalibError(f"remove_group: a jet without momenta is none; {SHARED}")
    if group not in GROUPS:
        raise JepalibError(f"remove_group: no group '{group}'; choose one of {', '.join(GROUPS)}")
    return _zeroed(jets, GROUPS[group])


def drop_features(
    jets: Jets, pid_dropout: float, td_dropout: float, generator: torch.Generator | None
) -> Jets:
    """Jets of which some lose their pid and td groups, or td alone: feature dropout (JP-JEPA section 4.1).

    One uniform number u a jet: pid is lost where u < pid_dropout, td where u < td_dropout or pid
    is lost. The sets nest, so that td is lost with the larger of the two probabilities.

    Args:
        pid_dropout, td_dropout: probabilities per jet.
        generator: on the CPU, wherever the jets are; torch's own if None.
    """
    if pid_dropout == 0 and td_dropout == 0:
        return jets
    uniform = torch.rand(len(jets), generator=generator).to(jets.particles.device)
    no_pid = uniform < pid_dropout
    no_td = uniform < max(td_dropout, pid_dropout)
    keep = torch.ones(len(jets), jets.particles.shape[1], device=jets.particles.device)
    for fields, lost in ((PID_FIELDS, no_pid), (TD_FIELDS, no_td)):
        keep[:, _columns(fields)] = (~lost).float()[:, None]
    return jets.with_particles(jets.particles * keep[jets.jet_of_particle])


def drop_particles(jets: Jets, fraction: float, generator: torch.Generator) -> Jets:
    """Lose a fraction of each jet's particles, chosen at random; any one may be the last left.

    Of n particles round(fraction n) are lost, n - 1 at most. From the same state of the generator
    a larger fraction loses all that a smaller one does, so that a scan is not noise on noise.

    Args:
        fraction: from 0 to 1.
        generator: on the CPU, wherever the jets are.

    Raises:
        JepalibError: a fraction outside 0 to 1.
    """
    key = torch.rand(len(jets.particles), generator=generator, dtype=torch.float64)
    key = key.to(jets.particles.device)
    # One sort by (jet, key): the keys of jet i lie in [i, i + 1).
    order = torch.argsort(jets.jet_of_particle + key, stable=True)
    place = torch.empty_like(order)
    place[order] = _places(jets)
    return jets.select_particles(place < _left(jets, fraction)[jets.jet_of_particle])


def drop_softest(jets: Jets, fraction: float) -> Jets:
    """Lose a fraction of each jet's particles, those of lowest pT; numbers as `drop_particles`.

    Raises:
        JepalibError: a fraction outside 0 to 1.
    """
    return jets.select_particles(_places(jets) < _left(jets, fraction)[jets.jet_of_particle])


def smear_energy(jets: Jets, width: float, generator: torch.Generator) -> Jets:
    """Scale each particle's four-vector by a log-normal factor of mean one (`augment.smear`).

    Directions stay; pT, energy and axis of the jet follow its particles, and Δη, Δφ the axis.

    Args:
        width: relative width of the factor, 0 to 1.
        generator: on the CPU, wherever the jets are.

    Raises:
        JepalibError: a width outside 0 to 1.
    """
    return smear(jets, width, generator)


def dead_region(jets: Jets, eta: tuple[float, float], phi: tuple[float, float]) -> Jets:
    """Lose all particles that point into a rectangle of the detector, but a jet's hardest.

    Particles are placed by the absolute pseudorapidity and azimuth of their momenta, not by
    their distance to the jet axis. A jet that lies wholly inside keeps its hardest particle.

    Args:
        eta: lower and upper edge; the upper one does not belong to the region.
        phi: from the first angle in rising azimuth to the second, radians, at most a full turn;
            (3.0, 3.5) and (3.0, 3.5 - 2π) are the same, and reach across ±π.

    Raises:
        JepalibError: edges that are not finite, an empty range, or one of φ above 2π.
    """
    width = phi[1] - phi[0]
    if width < 0:
        width %= 2 * math.pi
    if not all(map(math.isfinite, (*eta, *phi))) or eta[0] >= eta[1] or width == 0:
        raise JepalibError(
            f"dead_region: eta={eta}, phi={phi}; give two finite edges each, the lower eta first"
        )
    if width > 2 * math.pi + 1e-6:
        raise JepalibError(f"dead_region: phi={phi} is more than a full turn of 2π")
    place_eta, place_phi = _directions(jets)
    inside = (place_eta >= eta[0]) & (place_eta < eta[1])
    inside &= torch.remainder(place_phi - phi[0], 2 * math.pi) <= width
    return jets.select_particles(~inside | (_places(jets) == 0))


def dead_cell(jets: Jets, side: float, generator: torch.Generator) -> Jets:
    """Lose all particles in a dead square of η and φ close to each jet, but its hardest.

    Its centre is drawn for each jet, uniformly up to `REACH` from the jet axis in Δη and in Δφ: a
    dead region that stays where it is, seen by jets that happen to point at it. From the same
    state of the generator a larger square holds the smaller, so that a scan is not noise on noise.

    Args:
        side: of the square, in η and in radians; nothing is lost at 0.
        generator: on the CPU, wherever the jets are.

    Raises:
        JepalibError: a side that is negative or not finite.
    """
    if not 0 <= side < math.inf:
        raise JepalibError(f"dead_cell: side = {side}; give a finite number that is not negative")
    centre = REACH * (2 * torch.rand(len(jets), 2, generator=generator) - 1)
    place = torch.stack([jets.column("deta"), jets.column("dphi")], dim=1)
    away = (place - centre.to(place.device)[jets.jet_of_particle]).abs().amax(1) >= side / 2
    return jets.select_particles(away | (_places(jets) == 0))


def shift_impact_parameters(jets: Jets, d0: float = 0.0, dz: float = 0.0) -> Jets:
    """Add a bias to the impact parameters of all tracks, as a misaligned tracker does.

    Tracks are the particles with a charge or with any displacement column that is not zero;
    what is neutral has no impact parameter and keeps its zeros. Errors stay: the tracker does
    not know of its bias.

    Args:
        d0, dz: transverse and longitudinal bias, mm.

    Raises:
        JepalibError: a bias that is not finite.
    """
    if not (math.isfinite(d0) and math.isfinite(dz)):
        raise JepalibError(f"shift_impact_parameters: d0={d0}, dz={dz} mm; give finite numbers")
    track = (jets.column("charge") != 0) | (jets.particles[:, _columns(TD_FIELDS)] != 0).any(1)
    particles = jets.particles.clone()
    for name, bias in (("d0val", d0), ("dzval", dz)):
        particles[:, PARTICLE_COLUMN[name]] += bias * track
    return jets.with_particles(particles)


def _columns(fields: tuple[str, ...]) -> list[int]:
    return [PARTICLE_COLUMN[name] for name in fields]


def _zeroed(jets: Jets, fields: tuple[str, ...]) -> Jets:
    particles = jets.particles.clone()
    particles[:, _columns(fields)] = 0
    return jets.with_particles(particles)


def _places(jets: Jets) -> Tensor:
    """Place of each particle in its jet, 0 for the hardest."""
    rows = torch.arange(len(jets.particles), device=jets.offsets.device)
    return rows - jets.offsets[:-1][jets.jet_of_particle]


def _left(jets: Jets, fraction: float) -> Tensor:
    """Number of particles that each jet keeps."""
    if not 0 <= fraction <= 1:
        raise JepalibError(f"fraction = {fraction} of the particles to drop; it must lie in [0, 1]")
    lost = (fraction * jets.counts.double()).round().long()
    return (jets.counts - lost).clamp_min(1)


def _directions(jets: Jets) -> tuple[Float[Tensor, " particles"], Float[Tensor, " particles"]]:
    """Pseudorapidity and azimuth of each particle's momentum."""
    px, py, pz, _ = four_vectors(jets).double().unbind(1)
    pt = torch.hypot(px, py).clamp_min(1e-12)
    return torch.asinh(pz / pt), torch.atan2(py, px)
