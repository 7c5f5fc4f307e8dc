"""One vector per jet from every layer of a frozen encoder, over a store."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from jepalib.data.sampling import evaluation_batches
from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.models.layers import layer_outputs
from jepalib.models.pooling import mean_tokens
from jepalib.training.classifiers import BATCH


@torch.no_grad()
def encode_layers(
    encoder: nn.Module, store: JetStore, rows: np.ndarray | range, device: torch.device
) -> dict[str, Float[np.ndarray, "jets width"]]:
    """The given rows, in their order, as every layer of a frozen encoder describes them.

    A jet is the mean over its tokens after the embedding and the blocks, and the class token
    after the class blocks. Tokens are pooled batch by batch, so that no more than one batch of
    them is in memory.

    Returns:
        by the names of `models.layers.layer_names`.

    Raises:
        JepalibError: no rows, or an encoder that `layer_outputs` does not know.
    """
    encoder = encoder.to(device).eval()
    vectors: dict[str, Float[np.ndarray, "jets width"]] = {}
    for places, batch in evaluation_batches(store, rows, BATCH):
        for name, layer in layer_outputs(encoder, batch.to(device)).items():
            pooled = mean_tokens(layer.float()) if layer.cls is None else layer.cls.float()
            if name not in vectors:
                vectors[name] = np.empty((len(rows), pooled.shape[1]), np.float32)
            vectors[name][places] = pooled.cpu().numpy()
    if not vectors:
        raise JepalibError(f"{store.path}: no jets to encode")
    return vectors
