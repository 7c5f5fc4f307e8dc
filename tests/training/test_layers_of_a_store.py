"""Layers over a store: rows in their order, pooled as `encode` does it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.training import layers as module
from jepalib.training.classifiers import encode
from jepalib.training.layers import encode_layers

CPU = torch.device("cpu")


def test_rows_come_in_their_order_and_the_last_layers_are_those_of_encode(store_path, trained, monkeypatch):
    store, encoder = JetStore.open(store_path), trained.encoder()
    rows = np.random.default_rng(0).choice(1000, 70, replace=False)
    vectors = encode_layers(encoder, store, rows, CPU)
    pooled = encode(encoder, store, rows, CPU).pooled.numpy()
    assert list(vectors) == ["embedding", *(f"block {i}" for i in range(1, 5)), "class block 1"]
    assert all(x.shape == (70, 64) and np.isfinite(x).all() for x in vectors.values())
    np.testing.assert_allclose(vectors["class block 1"], pooled[:, :64], atol=1e-5)
    np.testing.assert_allclose(vectors["block 4"], pooled[:, 64:128], atol=1e-5)
    monkeypatch.setattr(module, "BATCH", 9)
    for name, x in encode_layers(encoder, store, rows, CPU).items():
        np.testing.assert_allclose(x, vectors[name], atol=1e-5)


def test_no_rows_are_refused(store_path, trained):
    with pytest.raises(JepalibError, match="no jets"):
        encode_layers(trained.encoder(), JetStore.open(store_path), np.zeros(0, int), CPU)
