"""Physics augmentations of jets: rotation about the axis, smeared energies, boost along the beam; scaling.

Computed in double precision and stored in single. Particle identification and impact
parameters stay as they are; so do the soft-drop mass and the N-subjettiness of
`Jets.observables`, which describe the jet as it was measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.kinematics import wrap_phi
from jepalib.schema import JET_COLUMN, PARTICLE_COLUMN

AXIS = [JET_COLUMN[name] for name in ("pt", "eta", "phi", "energy")]
MOMENTUM = [PARTICLE_COLUMN[name] for name in ("px", "py", "pz", "energy")]
SCALED = [JET_COLUMN[name] for name in ("pt", "energy", "sdmass")]
PLACE = [PARTICLE_COLUMN[name] for name in ("deta", "dphi")]


@dataclass(frozen=True)
class AugmentConfig:
    """What `augment` does to every jet; nothing by default.

    Attributes:
        rotation: largest angle about the jet axis in radians (pi for any), drawn
            uniformly from [-rotation, rotation].
        smearing: standard deviation of the logarithm of the energy factor of a particle.
        boost: largest rapidity of the boost along the beam, drawn uniformly from
            [-boost, boost].
    """

    rotation: float = 0.0
    smearing: float = 0.0
    boost: float = 0.0

    def __post_init__(self) -> None:
        for name, largest in (("rotation", torch.pi), ("smearing", 1.0), ("boost", 5.0)):
            if not 0 <= getattr(self, name) <= largest + 1e-9:
                value = getattr(self, name)
                raise JepalibError(f"augmentation: {name} = {value}; it must lie in [0, {largest:.4g}]")


@dataclass(frozen=True)
class _Momenta:
    """Four-vectors (px, py, pz, E) in GeV of the particles and of the jets they are in."""

    particles: Float[Tensor, "particles 4"]
    jets: Float[Tensor, "jets 4"]


def augment(jets: Jets, config: AugmentConfig, generator: torch.Generator) -> Jets:
    """Jets rotated, smeared and boosted, each by its own draw; unchanged where all is off.

    Args:
        generator: on the CPU, wherever the jets are.

    Returns:
        Jets with the same particles in falling (new) pT.
    """
    if config == AugmentConfig():
        return jets
    momenta = _momenta(jets)
    if config.rotation:
        momenta = _rotated(jets, momenta, _symmetric(jets, config.rotation, generator))
    if config.smearing:
        momenta = _smeared(jets, momenta, config.smearing, generator)
    if config.boost:
        momenta = _boosted(jets, momenta, _symmetric(jets, config.boost, generator))
    return _rebuilt(jets, momenta)


def rotate(jets: Jets, angle: Float[Tensor, " jets"] | float) -> Jets:
    """Turn the three-momenta of each jet about the jet's axis, in space.

    A true rotation: energies, angles between particles, and all masses are kept, and the
    jet itself stays. In the (Δη, Δφ) plane it is a rotation for small angles only.

    Args:
        angle: radians, one for all or one per jet; right-handed about the jet momentum.
    """
    return _rebuilt(jets, _rotated(jets, _momenta(jets), _per_jet(jets, angle)))


def smear(jets: Jets, width: float, generator: torch.Generator) -> Jets:
    """Scale each particle's four-vector by a factor of its own, log-normal with mean one.

    ln f is normal with standard deviation `width`, so that f has mean one, a relative
    width of about `width`, and is never negative. Directions are kept; the jet changes by
    what its particles change.
    """
    AugmentConfig(smearing=width)
    return _rebuilt(jets, _smeared(jets, _momenta(jets), width, generator))


def boost(jets: Jets, rapidity: Float[Tensor, " jets"] | float) -> Jets:
    """Lorentz boost along the beam: every rapidity grows by `rapidity`.

    pT, φ, differences of rapidity and all invariant masses are kept; Δη is taken anew
    about the boosted jet (pseudorapidity, as in JetClass).
    """
    return _rebuilt(jets, _boosted(jets, _momenta(jets), _per_jet(jets, rapidity)))


def _symmetric(jets: Jets, largest: float, generator: torch.Generator) -> Float[Tensor, " jets"]:
    uniform = torch.rand(len(jets), generator=generator, dtype=torch.float64)
    return (largest * (2 * uniform - 1)).to(jets.particles.device)


def _per_jet(jets: Jets, value: Float[Tensor, " jets"] | float) -> Float[Tensor, " jets"]:
    value = torch.as_tensor(value, dtype=torch.float64, device=jets.particles.device)
    return value.expand(len(jets))


def _momenta(jets: Jets) -> _Momenta:
    pt, eta, phi, energy = jets.observables[:, AXIS].double().unbind(1)
    jet = torch.stack([pt * phi.cos(), pt * phi.sin(), pt * eta.sinh(), energy], dim=1)
    return _Momenta(jets.particles[:, :4].double(), jet)


def _rotated(jets: Jets, momenta: _Momenta, angle: Float[Tensor, " jets"]) -> _Momenta:
    """Rodrigues' formula, p cos a + (n x p) sin a + n (n·p)(1 - cos a), as one matrix per jet."""
    axis = torch.nn.functional.normalize(momenta.jets[:, :3], dim=1)
    x, y, z = axis.unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    along = axis[:, :, None] * axis[:, None, :]
    identity = torch.eye(3, dtype=axis.dtype, device=axis.device)
    matrix = (cos * identity + sin * cross + (1 - cos) * along)[jets.jet_of_particle]
    turned = (matrix * momenta.particles[:, None, :3]).sum(2)
    return replace(momenta, particles=torch.cat([turned, momenta.particles[:, 3:]], dim=1))


def _smeared(jets: Jets, momenta: _Momenta, width: float, generator: torch.Generator) -> _Momenta:
    normal = torch.randn(len(jets.particles), generator=generator, dtype=torch.float64)
    factor = (width * normal - width**2 / 2).exp().to(jets.particles.device)
    particles = momenta.particles * factor[:, None]
    change = particles - momenta.particles
    return _Momenta(particles, momenta.jets.index_add(0, jets.jet_of_particle, change))


def _boosted(jets: Jets, momenta: _Momenta, rapidity: Float[Tensor, " jets"]) -> _Momenta:
    def boosted(p4: Float[Tensor, "any 4"], y: Float[Tensor, " any"]) -> Float[Tensor, "any 4"]:
        cosh, sinh = y.cosh(), y.sinh()
        pz, energy = p4[:, 2], p4[:, 3]
        return torch.stack([p4[:, 0], p4[:, 1], pz * cosh + energy * sinh, energy * cosh + pz * sinh], 1)

    return _Momenta(
        boosted(momenta.particles, rapidity[jets.jet_of_particle]), boosted(momenta.jets, rapidity)
    )


def _pt_eta_phi(p4: Float[Tensor, "any 4"]) -> tuple[Tensor, Tensor, Tensor]:
    pt = torch.hypot(p4[:, 0], p4[:, 1])
    return pt, torch.asinh(p4[:, 2] / pt.clamp_min(1e-12)), torch.atan2(p4[:, 1], p4[:, 0])


def _rebuilt(jets: Jets, momenta: _Momenta) -> Jets:
    """Jets of the new four-vectors: angles about the new axis, particles in falling pT."""
    jet_pt, jet_eta, jet_phi = _pt_eta_phi(momenta.jets)
    pt, eta, phi = _pt_eta_phi(momenta.particles)
    jet = jets.jet_of_particle
    # JetClass mirrors the η axis of jets in the backward half.
    side = torch.where(jet_eta >= 0, 1.0, -1.0).to(jet_eta)
    place = torch.stack([side[jet] * (eta - jet_eta[jet]), wrap_phi(phi - jet_phi[jet])], dim=1)
    particles = jets.particles.clone()
    particles[:, :4] = momenta.particles.to(particles.dtype)
    particles[:, PLACE] = place.to(particles.dtype)
    observables = jets.observables.clone()
    axis = torch.stack([jet_pt, jet_eta, jet_phi, momenta.jets[:, 3]], dim=1)
    observables[:, AXIS] = axis.to(observables.dtype)
    # One sort by (jet, falling pT): the key of jet i lies in (i - 1, i].
    largest = pt.max() if len(pt) else 1.0
    order = torch.argsort(jet - 0.999 * pt / largest, stable=True)
    return replace(jets, particles=particles[order], observables=observables)


def scaled_to(jets: Jets, pt: float) -> Jets:
    """The same jets with all momenta and the soft-drop mass multiplied so that each jet has this pT.

    Angles and what is relative to the jet stay. A jet then no longer tells the scale of its event, and an
    encoder sees jets of the pT that it was trained on.

    Args:
        pt: GeV.

    Raises:
        JepalibError: it is not above 0, or a jet's is not.
    """
    own = jets.observable("pt")
    if not (pt > 0 and (own > 0).all()):
        raise JepalibError(
            f"scaled_to: pT of {pt:g} GeV for jets from {float(own.min()):g} GeV; all must be above 0"
        )
    factor = pt / own
    particles, observables = jets.particles.clone(), jets.observables.clone()
    particles[:, MOMENTUM] *= factor[jets.jet_of_particle][:, None]
    observables[:, SCALED] *= factor[:, None]
    return replace(jets, particles=particles, observables=observables)
