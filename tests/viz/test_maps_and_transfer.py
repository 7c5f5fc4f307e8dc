"""Maps by class and figures of transfer: what is drawn, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_jets

from jepalib.errors import JepalibError
from jepalib.schema import CLASSES
from jepalib.viz.maps import class_map
from jepalib.viz.transfer import transfer_figure, two_classes


def test_map_shows_every_class_alone_and_all_jets_together():
    places, labels = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % len(CLASSES)
    figure = class_map(places, labels)
    assert len(figure.axes) == 1 + len(CLASSES)
    assert len(figure.axes[0].collections[0].get_offsets()) == 60
    own = figure.axes[3].collections[1].get_offsets()
    np.testing.assert_allclose(own, places[labels == 2])


def test_transfer_figure_shows_seeds_means_and_published():
    ours = pd.DataFrame(
        {"dataset": ["top"] * 3, "arm": ["frozen", "frozen", "scratch"], "accuracy": [0.8, 0.9, 0.7]}
    )
    theirs = pd.DataFrame({"dataset": ["top", "top"], "arm": ["frozen", "other"], "value": [0.93, 0.5]})
    (ax,) = transfer_figure(ours, theirs).axes
    assert [t.get_text() for t in ax.get_yticklabels()] == ["frozen", "scratch"]
    assert ax.lines[0].get_xdata().tolist() == pytest.approx([0.85, 0.85])
    assert ax.collections[1].get_offsets().tolist() == [[0.93, 0.0]]
    with pytest.raises(JepalibError, match="accuracy"):
        transfer_figure(ours.drop(columns="accuracy"), theirs)


def test_two_classes_are_fractions_of_their_own_jets():
    jets = make_jets(list(range(10, 60)) * 6)
    jets = replace(jets, labels=torch.arange(len(jets)) % 2)
    figure = two_classes(jets, ("QCD", "top"))
    heights = [patch.get_data().values for patch in figure.axes[0].patches]
    assert len(heights) == 2
    assert all(h.sum() == pytest.approx(1, abs=0.02) for h in heights)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["QCD", "top"]
