"""Losses and regularisers of the self-supervised objectives."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# Floor of the nearest-neighbour distance in KoLeo, added in quadrature: duplicates give a
# finite loss and no gradient, near-duplicates a gradient of at most 1 / (2 * floor).
KOLEO_FLOOR = 1e-4
SIGREG_DIRECTIONS = 256


def smooth_l1(
    prediction: Float[Tensor, "rows width"], target: Float[Tensor, "rows width"]
) -> Float[Tensor, ""]:
    """Smooth L1 (beta = 1), mean over rows and dimensions; 0 without rows."""
    if prediction.numel() == 0:
        return prediction.sum() * 0.0
    return F.smooth_l1_loss(prediction.float(), target.float())


def koleo(z: Float[Tensor, "jets width"]) -> Float[Tensor, ""]:
    """Kozachenko-Leonenko regulariser of L2-normalised rows (JP-JEPA Eq. 1; Sablayrolles et al. 2019).

    -1/n sum_i ln min_{j != i} |z_i - z_j|. Finite on duplicates (see `KOLEO_FLOOR`);
    a batch of one has no neighbour and gives 0.
    """
    z = F.normalize(z.float(), dim=1)
    if len(z) < 2:
        return z.sum() * 0.0
    with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
        likeness = z @ z.T  # in bfloat16 the nearest neighbour would be a wrong one
        likeness.fill_diagonal_(-2.0)
        nearest = likeness.argmax(dim=1)
    distance = ((z - z[nearest]).square().sum(dim=1) + KOLEO_FLOOR**2).sqrt()
    return -distance.log().mean()


def sigreg(
    z: Float[Tensor, "jets width"],
    generator: torch.Generator | None = None,
    directions: int = SIGREG_DIRECTIONS,
) -> Float[Tensor, ""]:
    """Sketched isotropic Gaussian regularisation (LeJEPA, arXiv:2511.08544; JP-JEPA Eq. 2).

    For random unit directions a, the Epps-Pulley statistic of the projected batch
    against N(0, 1): integral of |psi(t) - exp(-t^2/2)|^2 w(t) dt, psi the empirical
    characteristic function and w(t) = exp(-t^2/2), by the trapezoidal rule on 17 knots
    in [-5, 5]; mean over the directions. `generator` lives on the CPU.
    """
    z = z.float()
    axes = torch.randn(directions, z.shape[1], generator=generator)
    axes = F.normalize(axes, dim=1).to(z.device)
    knots = torch.linspace(-5.0, 5.0, 17, device=z.device)
    with torch.autocast(z.device.type, enabled=False):
        phase = (z @ axes.T)[:, :, None] * knots  # jets, directions, knots
    gauss = torch.exp(-0.5 * knots.square())
    error = (phase.cos().mean(0) - gauss).square() + phase.sin().mean(0).square()
    return torch.trapezoid(error * gauss, knots, dim=1).mean()
