"""Monte-Carlo dropout: many passes of one classifier with its dropout left on."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from jepalib.data.sampling import evaluation_batches
from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.models.heads import Classifier
from jepalib.training.classifiers import BATCH


def dropping_layers(module: nn.Module) -> list[nn.Module]:
    """What drops something at random in training: dropout layers, and blocks with a rate of their own."""
    rates = (
        (layer, layer.p if isinstance(layer, nn.Dropout) else getattr(layer, "dropout", None))
        for layer in module.modules()
    )
    return [layer for layer, rate in rates if isinstance(rate, float) and rate > 0]


@torch.no_grad()
def mc_probabilities(
    classifier: Classifier,
    store: JetStore,
    rows: np.ndarray | range,
    device: torch.device,
    passes: int,
    seed: int,
) -> Float[np.ndarray, "passes jets classes"]:
    """Class probabilities of the given rows, in their order, in passes that each drop something else.

    Y. Gal and Z. Ghahramani (arXiv:1506.02142). Only what drops is switched on: batch normalisation
    keeps the averages of training. Where only the head drops, each jet is encoded once.
    `evaluation.calibration.average` and `disagreement` make one score and its uncertainty of them.

    Args:
        passes: how many.
        seed: of what is dropped; the same rows, passes and seed give the same again.

    Raises:
        JepalibError: nothing drops in this classifier, less than one pass, or no jets.
    """
    if passes < 1 or len(rows) == 0:
        raise JepalibError(f"mc_probabilities: {passes} passes over {len(rows)} jets; give one at least")
    classifier.to(device).eval()
    in_encoder, layers = dropping_layers(classifier.encoder), dropping_layers(classifier)
    if not layers:
        raise JepalibError(
            "mc_probabilities: nothing drops in it; the head mlp would (jepalib adapt --heads mlp)"
        )
    samples = None
    for layer in layers:
        layer.training = True
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            for places, batch in evaluation_batches(store, rows, BATCH):
                some = _passes(classifier, batch.to(device), passes, bool(in_encoder))
                if samples is None:
                    samples = np.empty((passes, len(rows), some.shape[2]), np.float32)
                samples[:, places] = some.cpu().numpy()
    finally:
        classifier.eval()
    return samples


def _passes(classifier: Classifier, batch: Jets, passes: int, anew: bool) -> torch.Tensor:
    """Probabilities (passes, jets, classes) of one batch; `anew` encodes it in each pass."""
    encoded = classifier.encoder(batch)
    logits = []
    for number in range(passes):
        if anew and number:
            encoded = classifier.encoder(batch)
        logits.append(classifier.head(encoded))
    return torch.stack(logits).float().softmax(dim=2)
