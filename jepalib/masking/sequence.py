"""The greedy sequencer: a walk through a jet from each particle to its nearest neighbour.

From Point-JEPA (arXiv:2404.16432, Sec. 3.2); there and in HEP-JEPA it orders patch
centres, in JP-JEPA particles.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from jepalib.compiled import compiled
from jepalib.errors import JepalibError
from jepalib.jets import pad
from jepalib.kinematics import wrap_phi

FAR = 1e6  # its square is far below the largest float32
TWO_PI = np.float32(2 * math.pi)


def greedy_order(
    deta: Float[Tensor, " particles"], dphi: Float[Tensor, " particles"], offsets: Int[Tensor, " edges"]
) -> Int[Tensor, " particles"]:
    """Packed rows of the batch in greedy sequence, jet after jet.

    The walk starts at the particle with the smallest Δη + Δφ and goes on to the
    nearest particle, in (Δη)² + (Δφ)² with Δφ wrapped, that it has not yet visited;
    ties go to the lowest row. A numba loop serves CPU tensors and a batched torch form
    the others; both do the same float32 operations, so their results are equal.

    Args:
        deta, dphi: coordinates relative to the jet axis (dphi in radians).
        offsets: jet i holds rows offsets[i] to offsets[i + 1].

    Returns:
        int64; entries offsets[i] to offsets[i + 1] are a permutation of jet i's rows.

    Raises:
        JepalibError: a coordinate is not finite, or absurdly large.
    """
    deta, dphi = checked_places(deta, dphi, "greedy_order")
    if len(deta) == 0:
        return torch.zeros(0, dtype=torch.long, device=deta.device)
    if deta.device.type != "cpu":
        return batched_order(deta, dphi, offsets)
    order = np.empty(len(deta), np.int64)
    _walk(deta.contiguous().numpy(), dphi.contiguous().numpy(), offsets.contiguous().numpy(), order)
    return torch.from_numpy(order)


def checked_places(
    deta: Float[Tensor, " particles"], dphi: Float[Tensor, " particles"], who: str
) -> tuple[Float[Tensor, " particles"], Float[Tensor, " particles"]]:
    """The coordinates in float32, without gradient, dphi in [-π, π].

    Raises:
        JepalibError: a coordinate is not finite, or absurdly large; the message begins with `who`.
    """
    deta, dphi = deta.detach().float(), dphi.detach().float()
    if len(deta) == 0:
        return deta, dphi
    farthest = torch.stack([deta.abs().max(), dphi.abs().max()]).tolist()  # NaN where there is one
    if not (farthest[0] < FAR and farthest[1] < FAR):
        raise JepalibError(f"{who}: largest |deta|, |dphi| are {farthest}; they must be below {FAR:g}")
    if farthest[1] > math.pi:
        dphi = torch.where(dphi.abs() > math.pi, wrap_phi(dphi), dphi)
    return deta, dphi


@compiled  # no fast-math: the sums must be those of the torch form to the last bit
def _walk(deta, dphi, offsets, order):
    longest = 0
    for jet in range(len(offsets) - 1):
        longest = max(longest, offsets[jet + 1] - offsets[jet])
    eta, phi = np.empty(longest, np.float32), np.empty(longest, np.float32)
    distance = np.empty(longest, np.float32)
    # Positive floats are ordered as their bits are, and a minimum of integers is vectorised.
    bits = distance.view(np.int32)
    for jet in range(len(offsets) - 1):
        first, n = offsets[jet], offsets[jet + 1] - offsets[jet]
        here, smallest = 0, np.float32(np.inf)
        for i in range(n):
            eta[i], phi[i] = deta[first + i], dphi[first + i]
            total = eta[i] + phi[i]
            if total < smallest:
                here, smallest = i, total
        for step in range(n):
            order[first + step] = first + here
            here_eta, here_phi = eta[here], phi[here]
            eta[here] = np.inf  # visited: farther than all others
            for i in range(n):
                a, b = eta[i] - here_eta, abs(phi[i] - here_phi)
                b = min(b, TWO_PI - b)
                distance[i] = a * a + b * b
            nearest = np.int32(2**31 - 1)
            for i in range(n):
                nearest = min(nearest, bits[i])
            here = 0
            while here < n - 1 and bits[here] != nearest:
                here += 1


def batched_order(
    deta: Float[Tensor, " particles"], dphi: Float[Tensor, " particles"], offsets: Int[Tensor, " edges"]
) -> Int[Tensor, " particles"]:
    """The torch form of `greedy_order`: all jets of the batch take each step together.

    float32 coordinates, dphi in [-π, π]; n steps for the longest jet of n particles.
    """
    padded, real = pad(torch.stack([deta, dphi], dim=1), offsets)
    length = real.shape[1]
    eta, phi = padded.unbind(-1)
    free = real.clone()
    score, steps = eta + phi, []
    for _ in range(length):
        # argmin gives the first of equal values; a finished jet walks on in its padding.
        here = torch.where(free, score, math.inf).argmin(dim=1, keepdim=True)
        steps.append(here)
        free.scatter_(1, here, False)
        a, b = eta - eta.gather(1, here), (phi - phi.gather(1, here)).abs()
        b = torch.minimum(b, float(TWO_PI) - b)
        score = a * a + b * b
    return (torch.cat(steps, dim=1) + offsets[:-1, None])[real]
