"""From particle representations to one vector per jet."""

from __future__ import annotations

import torch
from jaxtyping import Float

from jepalib.jets import Jets
from jepalib.models.particle_transformer import Encoded


def mean_particles(encoded: Encoded, jets: Jets) -> Float[torch.Tensor, "jets width"]:
    """Mean particle representation of each jet (zeros for a jet without particles)."""
    total = encoded.particles.new_zeros(len(jets), encoded.particles.shape[1])
    total.index_add_(0, jets.jet_of_particle, encoded.particles)
    return total / jets.counts.clamp_min(1)[:, None]


def pool(jets: Jets, encoded: Encoded) -> Float[torch.Tensor, "jets features"]:
    """[CLS] ‖ mean ‖ max over particles; zeros in the last two for a jet without particles."""
    particles = encoded.particles.float()
    place = jets.jet_of_particle[:, None].expand_as(particles)
    largest = particles.new_zeros(len(jets), particles.shape[1])
    largest = largest.scatter_reduce(0, place, particles, "amax", include_self=False)
    mean = mean_particles(Encoded(particles, encoded.cls), jets)
    return torch.cat([encoded.cls.float(), mean, largest], dim=1)
