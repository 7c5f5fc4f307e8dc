"""Layers over a store: rows in their order, pooled as `encode` does it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.kinematics import model_inputs
from jepalib.training import layers as module
from jepalib.training.classifiers import encode, untrained_encoder
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


def weights(encoder: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in encoder.parameters() if p.ndim == 2])


def test_an_untrained_encoder_knows_the_scale_of_jets_and_is_where_the_run_began(store_path, trained):
    store, config = JetStore.open(store_path), trained.config
    encoder = untrained_encoder(trained.architecture, store, config.seed)
    rows = np.random.default_rng(config.seed).choice(np.asarray(store.rows("train")), 512, replace=False)
    inputs = model_inputs(store.read(np.sort(rows)))
    torch.testing.assert_close(encoder.input_bn.running_mean, inputs.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(encoder.input_bn.running_var, inputs.var(0), rtol=1e-4, atol=1e-4)
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm1d)]
    assert {norm.momentum for norm in norms} == {0.1}
    assert all((norm.running_mean != 0).any() for norm in norms)
    assert not encoder.training
    likeness = torch.cosine_similarity(weights(encoder), weights(trained.encoder()), dim=0)
    other = untrained_encoder(trained.architecture, store, config.seed + 1)
    assert likeness > 0.99
    assert torch.cosine_similarity(weights(other), weights(trained.encoder()), dim=0).abs() < 0.1
