"""Online probes on the predictor's outputs at target places (JP-JEPA section 4.1, Eqs. 3-7).

Each probe asks how much of a masked particle can be read off its predicted
representation. Whether their gradient reaches the predictor and the encoder is the
method's choice: by default it does not, and a probe is a measurement only.

pid    particle class, cross-entropy over `schema.PARTICLE_TYPES`
td     the four trajectory-displacement inputs, mean squared error
lmv    Lorentz-momentum vector: standardised (px, py, pz, E)
pim    particle-interaction matrix: the four pair quantities from two outputs, by an MLP
pfpim  physics-forced: latent (y, phi, pT, p4) of each particle, recombined by the
       formulas of the pair quantities
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from jepalib.jets import Jets
from jepalib.kinematics import EPS, four_vectors, model_inputs, pair_features, particle_types
from jepalib.schema import INPUT_GROUPS, PARTICLE_TYPES, UNKNOWN_TYPE

PROBES = ("pid", "td", "lmv", "pim", "pfpim")


class Probes(nn.Module):
    """The probes named in `names`, all on the same particle representations.

    Args:
        width: dimension of the representations.
        names: any of `PROBES`.
    """

    def __init__(self, width: int, names: tuple[str, ...]) -> None:
        super().__init__()
        makers = {
            "pid": lambda: nn.Linear(width, len(PARTICLE_TYPES)),
            "td": lambda: nn.Linear(width, 4),
            "lmv": lambda: nn.Linear(width, 4),
            "pim": lambda: nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, 4)),
            "pfpim": lambda: nn.Linear(width, 7 * width),
        }
        self.heads = nn.ModuleDict({name: makers[name]() for name in names})

    def forward(
        self, outputs: dict[str, Float[Tensor, "particles width"]], targets: Jets
    ) -> tuple[dict[str, Float[Tensor, ""]], dict[str, Float[Tensor, ""]]]:
        """Losses and readable figures of every probe, by name.

        Args:
            outputs: by probe, the representations it may use (with or without gradient).
            targets: the masked particles themselves, same order.
        """
        with torch.autocast(targets.particles.device.type, enabled=False):
            return self._losses(outputs, targets)

    def _losses(
        self, outputs: dict[str, Tensor], targets: Jets
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        losses, figures = {}, {}
        a, b = pairs_within_jets(targets.offsets)
        for name, head in self.heads.items():
            z = outputs[name].float()
            if name == "pid":
                losses[name], figures["pid_accuracy"] = _pid(head(z), particle_types(targets))
            elif name == "td":
                truth = model_inputs(targets)[:, INPUT_GROUPS["td"]]
                losses[name] = F.mse_loss(head(z), truth)
            elif name == "lmv":
                truth, _, _ = _standardise(four_vectors(targets))
                losses[name] = F.mse_loss(head(z), truth)
            else:
                predict = _pim if name == "pim" else _pfpim
                losses[name] = _pair_loss(predict, head, z, a, b, four_vectors(targets))
        return losses, figures


def _pid(
    logits: Float[Tensor, "particles types"], types: Int[Tensor, " particles"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    known = types != UNKNOWN_TYPE
    if not known.any():
        return logits.sum() * 0.0, logits.new_tensor(float("nan"))
    logits, types = logits[known], types[known]
    return F.cross_entropy(logits, types), (logits.argmax(1) == types).float().mean()


def _pair_loss(predict, head: nn.Module, z: Tensor, a: Tensor, b: Tensor, p4: Tensor) -> Float[Tensor, ""]:
    """Mean squared error of the four pair quantities, in units of their spread in the batch."""
    if len(a) == 0:
        return sum(p.sum() for p in head.parameters()) * 0.0 + z.sum() * 0.0
    truth, mean, std = _standardise(pair_features(p4[a], p4[b]))
    prediction = predict(head, z, a, b)
    if predict is _pfpim:  # gives the quantities themselves, not their standardised values
        prediction = (prediction - mean) / std
    return F.mse_loss(prediction, truth)


def _pim(head: nn.Module, z: Tensor, a: Tensor, b: Tensor) -> Float[Tensor, "pairs 4"]:
    """An MLP of a symmetric function of the two representations."""
    return head(torch.cat([z[a] + z[b], (z[a] - z[b]).abs()], dim=1))


def _pfpim(head: nn.Module, z: Tensor, a: Tensor, b: Tensor) -> Float[Tensor, "pairs 4"]:
    """Pair quantities from latent components, the formulas of methods Eq. 4-7 on every latent axis."""
    y, phi, pt, *p4 = head(z).chunk(7, dim=1)
    pt = F.softplus(pt)
    delta = ((y[a] - y[b]).square() + (phi[a] - phi[b]).square() + EPS).sqrt()
    softer = torch.minimum(pt[a], pt[b])
    px, py, pz, energy = (component[a] + component[b] for component in p4)
    mass2 = energy.square() - px.square() - py.square() - pz.square()
    quantities = [softer * delta, softer / (pt[a] + pt[b] + EPS), delta, mass2]
    return torch.stack([q.clamp_min(EPS).log().mean(dim=1) for q in quantities], dim=1)


def _standardise(x: Float[Tensor, "rows columns"]) -> tuple[Tensor, Tensor, Tensor]:
    """Columns with mean 0 and standard deviation 1 in this batch, and that mean and deviation."""
    mean, std = x.mean(0), x.std(0, unbiased=False).clamp_min(1e-6)
    return (x - mean) / std, mean, std


def pairs_within_jets(offsets: Int[Tensor, " edges"]) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """Packed rows (a, b), a > b, of all pairs of different particles of the same jet."""
    counts = offsets.diff()
    start = offsets[:-1].repeat_interleave(counts)
    rows = torch.arange(int(offsets[-1]), device=offsets.device)
    place = rows - start  # how many earlier particles each one pairs with
    a = rows.repeat_interleave(place)
    first = torch.cumsum(place, 0) - place
    b = torch.arange(len(a), device=offsets.device) - first.repeat_interleave(place)
    return a, b + start.repeat_interleave(place)
