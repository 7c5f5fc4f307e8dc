"""Classifiers under conditions that they were not trained for: what goes wrong, and what they then say."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import nn

from jepalib import perturb
from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.models.attention_maps import class_attention
from jepalib.models.heads import Classifier
from jepalib.models.missing import without_inputs
from jepalib.progress import Progress
from jepalib.schema import INPUT_GROUPS, INPUTS, PARTICLE_COLUMN
from jepalib.training.classifiers import BATCH

LOSSES = ("random", "softest", "dead")  # kinds that take particles away
KINDS = ("clean", "input", "group", *LOSSES, "smearing", "shift")


@dataclass(frozen=True)
class Condition:
    """One thing that goes wrong.

    Attributes:
        kind: one of `KINDS`.
        what: the input or group that is removed; else empty.
        size: of the others: the fraction of particles dropped, the side of the dead cell (η and
            radians), the relative width of the smearing, the bias of both impact parameters (mm).
    """

    kind: str = "clean"
    what: str = ""
    size: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise JepalibError(f"condition '{self.kind}' is not one of {', '.join(KINDS)}")
        known = {"input": INPUTS, "group": tuple(INPUT_GROUPS)}.get(self.kind, ("",))
        if self.what not in known:
            raise JepalibError(f"condition {self.kind}: '{self.what}' is not one of {', '.join(known)}")

    @property
    def hidden(self) -> tuple[str, ...]:
        """The model inputs that are hidden from the network."""
        if self.kind == "group":
            return INPUTS[INPUT_GROUPS[self.what]]
        return (self.what,) if self.kind == "input" else ()


def all_conditions(**sizes: Iterable[float]) -> list[Condition]:
    """Clean jets, each input and each group removed, and the sizes given for other kinds.

    ``all_conditions(random=(0.1, 0.5), shift=(0.1,))``

    Raises:
        JepalibError: a kind that there is not, or that has no size.
    """
    if unsized := set(sizes) & {"clean", "input", "group"}:
        raise JepalibError(f"all_conditions: {', '.join(sorted(unsized))} has no size")
    removals = [Condition("input", name) for name in INPUTS] + [Condition("group", g) for g in INPUT_GROUPS]
    scans = [Condition(kind, size=float(size)) for kind, values in sizes.items() for size in values]
    return [Condition(), *removals, *scans]


def perturbed(jets: Jets, condition: Condition, seed: int) -> Jets:
    """The jets as they are under a condition; hidden inputs aside, which are the network's affair.

    The same seed gives the same particles whatever the network, and nested losses in a scan.
    """
    generator = torch.Generator().manual_seed(seed)
    size = condition.size
    match condition.kind:
        case "random":
            return perturb.drop_particles(jets, size, generator)
        case "softest":
            return perturb.drop_softest(jets, size)
        case "dead":
            return perturb.dead_cell(jets, size, generator)
        case "smearing":
            return perturb.smear_energy(jets, size, generator)
        case "shift":
            return perturb.shift_impact_parameters(jets, d0=size, dz=size)
    return jets


def kept(jets: Jets, condition: Condition, seed: int) -> Bool[torch.Tensor, " particles"]:
    """Which particles are still there under a condition."""
    mask = torch.ones(len(jets.particles), dtype=torch.bool, device=jets.particles.device)
    if condition.kind not in LOSSES:
        return mask
    # No loss looks at d0, so that it can carry the place of each particle in its jet.
    places = torch.arange(len(mask), device=mask.device) - jets.offsets[:-1][jets.jet_of_particle]
    marked = jets.particles.clone()
    marked[:, PARTICLE_COLUMN["d0val"]] = places.to(marked)
    left = perturbed(jets.with_particles(marked), condition, seed)
    rows = jets.offsets[:-1][left.jet_of_particle] + left.column("d0val").long()
    return torch.zeros_like(mask).index_fill_(0, rows, True)


def losses(jets: Jets, conditions: Sequence[Condition], seed: int) -> pd.DataFrame:
    """The conditions (kind, what, size), and the shares of particles and of pT that each takes from a jet.

    Columns lost_particles and lost_pt: means over jets, pT summed as numbers.
    """
    pt = torch.hypot(jets.column("px"), jets.column("py"))
    rows = []
    for condition in conditions:
        lost = ~kept(jets, condition, seed)
        shares = {
            "lost_particles": float(np.nanmean(_share(jets, torch.ones_like(pt), lost))),
            "lost_pt": float(np.nanmean(_share(jets, pt, lost))),
        }
        rows.append({"kind": condition.kind, "what": condition.what, "size": condition.size, **shares})
    return pd.DataFrame(rows)


@torch.no_grad()
def probabilities_under(
    classifiers: Sequence[Classifier],
    jets: Jets,
    conditions: Sequence[Condition],
    seed: int,
    device: torch.device,
    quiet: bool = False,
) -> Float[np.ndarray, "classifiers conditions jets classes"]:
    """Class probabilities by each classifier under each condition.

    All classifiers see the same jets, perturbed once, so that they compare jet by jet. On a CPU
    they run side by side, one a core: for jets, one thread is as fast as two.

    Args:
        classifiers: with the same classes.
        seed: of all that is random in the conditions.

    Raises:
        JepalibError: no classifiers or no jets.
    """
    if not classifiers or len(jets) == 0:
        raise JepalibError(f"robustness: {len(classifiers)} classifiers, {len(jets)} jets; give both")
    order = torch.argsort(jets.counts, stable=True)  # alike in length, so that little is padded
    jets = jets.take(order)
    scores: list[np.ndarray] = []
    workers = 1 if device.type == "cuda" else min(len(os.sched_getaffinity(0)), len(classifiers))
    with (
        Progress(len(conditions) * len(classifiers), "robustness", unit="passes", quiet=quiet) as bar,
        ThreadPoolExecutor(workers) as pool,
    ):
        for condition in conditions:
            batches = [b.to(device) for b in _batches(perturbed(jets, condition, seed))]
            jobs = [pool.submit(_scores, c, batches, condition.hidden, device) for c in classifiers]
            scores.append(np.stack([job.result() for job in jobs]))
            bar.add(len(classifiers), note=" ".join(filter(None, (condition.kind, condition.what))))
    result = np.empty_like(stacked := np.stack(scores, axis=1))
    result[:, :, order.numpy()] = stacked
    return result


def attention_to_lost(
    classifier: nn.Module, jets: Jets, conditions: Sequence[Condition], seed: int, device: torch.device
) -> Float[np.ndarray, "conditions jets"]:
    """Share of the class token's attention to particles that lay, before the loss, on those then lost.

    Of the attention to particles alone (`attention_maps.class_attention`), so that looking
    everywhere alike gives the share of particles lost. Order of the jets as given; NaN for one
    without particles.

    Raises:
        JepalibError: an encoder without class attention.
    """
    looked = torch.cat([class_attention(classifier.to(device), b.to(device)).cpu() for b in _batches(jets)])
    return np.stack([_share(jets, looked, ~kept(jets, condition, seed)) for condition in conditions])


def _share(
    jets: Jets, weight: Float[torch.Tensor, " particles"], lost: Bool[torch.Tensor, " particles"]
) -> Float[np.ndarray, " jets"]:
    """Share of each jet's weight that lies on its lost particles; NaN without weight."""
    zeros = weight.new_zeros(len(jets))
    total = zeros.index_add(0, jets.jet_of_particle, weight)
    return (zeros.index_add(0, jets.jet_of_particle, weight * lost) / total).numpy()


def _batches(jets: Jets) -> list[Jets]:
    return [jets.take(rows) for rows in torch.arange(len(jets)).split(BATCH)]


@torch.no_grad()  # a thread has a setting of its own
def _scores(
    classifier: Classifier, batches: Sequence[Jets], hidden: Sequence[str], device: torch.device
) -> Float[np.ndarray, "jets classes"]:
    model = (without_inputs(classifier, hidden) if hidden else classifier.eval()).to(device)
    return np.concatenate([model(batch).float().softmax(1).cpu().numpy() for batch in batches])
