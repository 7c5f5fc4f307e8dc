"""The objective of a pre-training on jets that it has not seen, with the same masks for every run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import nn

from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.training.loop import step_generator
from jepalib.training.runs import Run

BATCH = 256  # jets at most; one size for all runs, since some losses compare the jets of a batch


@dataclass(frozen=True)
class HeldOut:
    """What a method says of jets that it was not trained on.

    Attributes:
        loss: the objective, mean over jets.
        error: its standard error over batches (NaN for a single one). Runs that are judged on
            the same jets share most of it.
        parts: the parts of the objective and what else the method tells, by name.
        jets, left_out: how many were used, and had fewer than two constituents.
    """

    loss: float
    error: float
    parts: dict[str, float]
    jets: int
    left_out: int


@torch.no_grad()
def held_out_loss(
    run: Run, store: JetStore, rows: np.ndarray | range, device: torch.device, seed: int = 0
) -> HeldOut:
    """The loss of a run, or of a snapshot of one, on some rows of a store, in evaluation mode.

    Batches and all that is drawn for them depend on rows and seed alone: two runs of one method are
    asked the same questions, whatever their sizes. Targets that are standardised (`JetTargets`)
    are so over these jets so far, not with what each run saw in training.

    Raises:
        JepalibError: a part of the run is missing, or the rows hold fewer than two usable jets.
    """
    method = run.method().to(device)
    for module in method.modules():
        if isinstance(module, nn.BatchNorm1d) and not module.affine:
            module.reset_running_stats()  # it standardises targets: over these jets so far
            module.train()
    rows = np.asarray(rows)
    usable = rows[store.counts[rows] >= 2]
    if len(usable) < 2:
        raise JepalibError(
            f"{store.path}: {len(usable)} of {len(rows)} jets have two constituents or more; give others"
        )
    values = [
        _one_batch(method, store, chosen, device, step_generator(seed, number))
        for number, chosen in enumerate(_batches(usable, seed))
    ]
    sizes = np.array([size for size, _ in values])
    table = {name: np.array([found[name] for _, found in values]) for name in values[0][1]}
    means = {name: float(np.average(column, weights=sizes)) for name, column in table.items()}
    error = table["loss"].std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return HeldOut(means.pop("loss"), float(error), means, len(usable), len(rows) - len(usable))


def _batches(rows: Int[np.ndarray, " rows"], seed: int) -> list[Int[np.ndarray, " batch"]]:
    """Mixed, in nearly equal batches of at least two jets."""
    mixed = np.random.default_rng(seed).permutation(rows)
    return [np.sort(batch) for batch in np.array_split(mixed, -(-len(mixed) // BATCH))]


def _one_batch(
    method: nn.Module,
    store: JetStore,
    rows: Int[np.ndarray, " batch"],
    device: torch.device,
    generator: torch.Generator,
) -> tuple[int, dict[str, float]]:
    jets = store.read(rows).to(device)
    outputs = method(jets, method.draw(jets, generator), generator)
    told = {"loss": outputs.loss, **outputs.parts, **outputs.figures}
    return len(rows), {name: float(value) for name, value in told.items()}
