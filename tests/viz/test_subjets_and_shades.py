"""Outlines hold their particles and prongs are found; any number of a particle may be its colour."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from matplotlib.path import Path

from jepalib.data.simulation.clustering import subjets
from jepalib.errors import JepalibError
from jepalib.kinematics import four_vectors
from jepalib.viz import displays
from jepalib.viz.shading import QUANTITIES, Shade, shade
from jepalib.viz.subjets import draw_subjets, outline


def prongs(places: list[tuple[float, float]], pt: float = 10.0) -> np.ndarray:
    """Massless particles near each place (eta, phi), five for each, the first prong hardest."""
    rng, rows = np.random.default_rng(0), []
    for number, (eta, phi) in enumerate(places):
        for _ in range(5):
            e, f, p = eta + rng.normal(0, 0.01), phi + rng.normal(0, 0.01), pt / (1 + number)
            rows.append([p * np.cos(f), p * np.sin(f), p * np.sinh(e), p * np.cosh(e)])
    return np.array(rows)


@pytest.mark.parametrize("algorithm", ["kt", "ca"])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_each_prong_is_a_subjet_hardest_first(number, algorithm):
    p4 = prongs([(0.3, 0.1), (-0.3, 0.2), (0.1, -0.5), (0.6, 0.6)][:number])
    order = np.random.default_rng(1).permutation(len(p4))
    found = subjets(p4[order], number, algorithm)
    assert found.tolist() == np.repeat(np.arange(number), 5)[order].tolist()


def test_kt_goes_by_momentum_and_cambridge_aachen_by_angle():
    p4 = np.concatenate([prongs([(0.0, 0.0), (0.25, 0.0)]), prongs([(-0.6, 0.0)], pt=0.01)])
    assert subjets(p4, 2, "kt").tolist() == [0] * 5 + [1] * 5 + [0] * 5  # what is soft is no prong
    assert subjets(p4, 2, "ca").tolist() == [0] * 10 + [1] * 5


def test_few_particles_have_few_subjets():
    assert subjets(prongs([(0, 0)])[:2], 4).tolist() == [0, 1]
    assert subjets(prongs([(0, 0)])[:1], 3).tolist() == [0]
    assert len(subjets(np.zeros((0, 4)), 2)) == 0


@pytest.mark.parametrize("row", range(12))
def test_outlines_hold_the_particles_of_their_subjet(jets, row):
    jet = jets.take([row])
    figure = Figure()
    ax = figure.subplots()
    handles = draw_subjets(ax, jet, 3)
    of_particle = subjets(four_vectors(jet).double().numpy(), 3)
    shown = [p for p in ax.patches if isinstance(p, Polygon)]
    assert len(shown) == len(handles) == min(3, int(jet.counts[0]))
    total = 0
    for n, (polygon, handle) in enumerate(zip(shown, handles)):
        members = of_particle == n
        assert Path(polygon.get_xy()).contains_points(jet.particles[members, 4:6].numpy()).all()
        momentum = four_vectors(jet)[members].sum(0)
        assert handle.get_label() == f"subjet {n + 1}, {torch.hypot(momentum[0], momentum[1]):.0f} GeV"
        total += int(members.sum())
    assert total == int(jet.counts[0])
    assert len({(h.get_color(), h.get_linestyle()) for h in handles}) == len(handles)


def test_outline_of_one_place_and_of_places_on_a_line():
    assert len(outline(np.zeros((1, 2)))) == 24
    line = np.stack([np.linspace(0, 1, 4), np.zeros(4)], 1)
    assert Path(outline(line)).contains_points(line).all()


def test_what_cannot_be_clustered_is_refused(jets, monkeypatch):
    with pytest.raises(JepalibError, match="5 subjets; outlines keep apart for 1 to 4"):
        displays.jet_figure(jets, 1, subjets=5)
    with pytest.raises(JepalibError, match="give at least 1, by one of kt, ca"):
        displays.jet_figure(jets, 1, subjets=2, algorithm="antikt")
    monkeypatch.setitem(sys.modules, "fastjet", None)
    with pytest.raises(JepalibError, match=r"fastjet: pip install 'jepalib\[sim\]'"):
        displays.jet_figure(jets, 1, subjets=2)


def test_subjets_are_in_the_legend(jets):
    texts = [t.get_text() for t in displays.jet_figure(jets, 3, subjets=2).legends[0].get_texts()]
    assert [t.split(",")[0] for t in texts if t.startswith("subjet")] == ["subjet 1", "subjet 2"]


def test_significance_is_that_of_tracks_and_zero_without(jets):
    shown = shade(jets, "d0sig")
    charged = (jets.column("d0err") > 0).numpy()
    expected = (jets.column("d0val").abs() / jets.column("d0err")).numpy()[charged]
    assert shown.values[charged] == pytest.approx(expected)
    assert (shown.values[~charged] == 0).all()
    assert 0 < charged.sum() < len(charged)
    assert shade(jets, "energy").values == pytest.approx(jets.column("energy").numpy())


def test_any_array_colours_particles_on_one_scale_for_all_jets(jets):
    values = np.linspace(0, 1, len(jets.particles))
    given = Shade(values, "attention")
    colors = given.of_jet(jets, 1).colors()
    assert colors == pytest.approx(given.colors()[2:130])
    ax = displays.jet_figure(jets, 1, given).axes
    assert ax[1].get_ylabel() == "attention"
    assert ax[1].get_ylim() == (0, 1)  # that of the batch, not of the jet
    found = displays.jet_figure(jets, 1, Shade(values, "x", LogNorm(0.1, 1))).axes[1]
    assert found.get_ylim() == pytest.approx((0.1, 1))


def test_a_shade_of_equal_values_or_of_other_particles(jets):
    assert np.isfinite(Shade(np.ones(3), "x").colors()).all()
    with pytest.raises(JepalibError, match="3 values of 'x' for 423 particles"):
        displays.jet_figure(jets, 0, Shade(np.ones(3), "x"))


def test_every_named_quantity_has_its_unit():
    with_unit = {name for name, (title, *_) in QUANTITIES.items() if "[" in title}
    assert with_unit == {"pt", "energy", "d0val", "dzval"}
