"""Supervised training as a method: it learns labels, and refuses those that it does not know."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from jepalib.errors import JepalibError
from jepalib.methods.supervised import Supervised, SupervisedConfig


@pytest.mark.parametrize("kind", ["particles", "patches"])
def test_it_learns_the_labels_of_a_batch(kind, jets):
    torch.manual_seed(0)
    model = Supervised("nano", SupervisedConfig(encoder=kind))
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    losses = []
    for _ in range(25):
        outputs = model(jets, model.draw(jets, torch.Generator()))
        optimizer.zero_grad()
        outputs.loss.backward()
        optimizer.step()
        losses.append(outputs.loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert 0 <= outputs.figures["accuracy"] <= 1
    assert model.encoder is model.student


def test_foreign_labels_and_settings_are_refused(jets):
    model = Supervised("nano", SupervisedConfig(classes=2))
    with pytest.raises(JepalibError, match="set classes"):
        model(jets, None)
    unlabelled = replace(jets, labels=torch.full_like(jets.labels, -1))
    with pytest.raises(JepalibError, match=f"{len(jets)} of {len(jets)}"):
        model(unlabelled, None)
    with pytest.raises(JepalibError, match="encoder 'graph'"):
        SupervisedConfig(encoder="graph")
