"""Monte-Carlo dropout: many passes of one classifier with its dropout left on."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

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
    return plain_and_dropped(classifier, store, rows, device, passes, seed)[1]


@torch.no_grad()
def plain_and_dropped(
    classifier: Classifier,
    store: JetStore,
    rows: np.ndarray | range,
    device: torch.device,
    passes: int,
    seed: int,
) -> tuple[Float[np.ndarray, "jets classes"], Float[np.ndarray, "passes jets classes"]]:
    """`classifiers.probabilities` and `mc_probabilities` for the price of one: jets are encoded once."""
    if passes < 1 or len(rows) == 0:
        raise JepalibError(f"mc_probabilities: {passes} passes over {len(rows)} jets; give one at least")
    classifier.to(device).eval()
    layers = dropping_layers(classifier)
    if not layers:
        raise JepalibError(
            "mc_probabilities: nothing drops in it; the head mlp would (jepalib adapt --heads mlp)"
        )
    samples = None
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            for places, batch in evaluation_batches(store, rows, BATCH):
                some = _plain_then_passes(classifier, layers, batch.to(device), passes)
                if samples is None:
                    samples = np.empty((1 + passes, len(rows), some.shape[2]), np.float32)
                samples[:, places] = some.cpu().numpy()
    finally:
        classifier.eval()
    return samples[0], samples[1:]


def _plain_then_passes(
    classifier: Classifier, layers: list[nn.Module], batch: Jets, passes: int
) -> Float[Tensor, "passes jets classes"]:
    """Probabilities of one batch: nothing dropped, then each of the passes."""
    encoder_drops = bool(dropping_layers(classifier.encoder))
    classifier.eval()
    encoded = classifier.encoder(batch)
    logits = [classifier.head(encoded)]
    for layer in layers:
        layer.training = True
    for _ in range(passes):
        logits.append(classifier.head(classifier.encoder(batch) if encoder_drops else encoded))
    return torch.stack(logits).float().softmax(dim=2)
