"""Maps by class and figures of transfer: what is drawn, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from made_jets import make_jets

from jepalib.errors import JepalibError
from jepalib.schema import CLASSES
from jepalib.viz.maps import class_map, placed_map, property_maps
from jepalib.viz.transfer import transfer_figure, two_classes


def test_map_shows_every_class_alone_and_all_jets_together():
    places, labels = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % len(CLASSES)
    figure = class_map(places, labels)
    assert len(figure.axes) == 1 + len(CLASSES)
    assert len(figure.axes[0].collections[0].get_offsets()) == 60
    own = figure.axes[3].collections[1].get_offsets()
    np.testing.assert_allclose(own, places[labels == 2])


def test_property_maps_are_the_same_places_in_other_colours():
    rng = np.random.default_rng(0)
    places, labels = rng.normal(size=(60, 2)), np.arange(60) % len(CLASSES)
    table = pd.DataFrame({"energy": rng.uniform(500, 2000, 60), "sdmass": rng.uniform(0, 200, 60)})
    table.loc[:4, "sdmass"] = np.nan
    figure = property_maps(places, labels, table)
    titles = [bar.get_xlabel() for bar in figure.axes if bar.get_label() == "<colorbar>"]
    assert titles == ["jet energy [GeV]", "soft-drop mass [GeV]"]
    by_class, energy, mass = figure.axes[:3]
    assert len(by_class.collections[0].get_offsets()) == 60
    dots = energy.collections[1]
    drawn = zip(map(tuple, dots.get_offsets().tolist()), dots.get_array().tolist())
    assert dict(drawn) == dict(zip(map(tuple, places.tolist()), table.energy))
    assert [len(c.get_offsets()) for c in mass.collections] == [5, 55], "jets without a mass are grey"
    with pytest.raises(JepalibError, match="rapidity"):
        property_maps(places, labels, table.assign(rapidity=0.0))
    with pytest.raises(JepalibError, match="59 rows"):
        property_maps(places, labels, table[1:])


def test_placed_map_shows_new_jets_of_each_class():
    rng = np.random.default_rng(0)
    places, labels = rng.normal(size=(60, 2)), np.arange(60) % len(CLASSES)
    new, kinds = rng.normal(size=(20, 2)), np.arange(20) % len(CLASSES)
    figure = placed_map(places, labels, new, kinds, ("Hbb", "Tbl"))
    for ax, number in zip(figure.axes, (1, 9), strict=True):
        others, own, arrived = (c.get_offsets() for c in ax.collections)
        assert len(others) == 54
        np.testing.assert_allclose(own, places[labels == number])
        np.testing.assert_allclose(arrived, new[kinds == number])


def test_maps_name_the_classes_of_other_data_sets():
    rng = np.random.default_rng(0)
    places, labels = rng.normal(size=(20, 2)), np.arange(20) % 2
    names = ("q", "g")
    table = pd.DataFrame({"pt": rng.uniform(500, 1000, 20)})
    legend = property_maps(places, labels, table, names).axes[2].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["q", "g"]
    (ax,) = placed_map(places, labels, places[:4], labels[:4], ("g",), names).axes
    assert ax.get_title() == "g"
    np.testing.assert_allclose(ax.collections[1].get_offsets(), places[labels == 1])


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
