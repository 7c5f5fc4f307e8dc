"""Figures of layers: what is drawn is what the tables say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from jepalib.errors import JepalibError
from jepalib.viz import layers as figures
from jepalib.viz.observables import FLOOR

LAYERS = ["embedding", "block 1", "class block 1"]


def measured() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [{"curve": c, "layer": layer} for c in ("pre-trained", "untrained") for layer in LAYERS]
    return pd.DataFrame(rows).assign(error=0.02, **{m: rng.uniform(0.2, 0.9, 6) for m in figures.MEASURES})


def test_every_measure_has_a_panel_with_the_curves_of_the_table():
    table = measured()
    figure = figures.measures_figure(table, "layer", "")
    assert [ax.get_ylabel() for ax in figure.axes] == list(figures.MEASURES.values())
    for ax, measure in zip(figure.axes, figures.MEASURES):
        for container, name in zip(ax.containers, ("pre-trained", "untrained")):
            drawn = container[0].get_ydata()
            assert drawn == pytest.approx(table[table.curve == name][measure].to_numpy())
        bars = [c.has_yerr for c in ax.containers]
        assert bars == [measure in ("knn", "linear", "svm")] * 2, "only accuracies have a known error"
    assert [t.get_text() for t in figure.axes[-1].get_xticklabels()] == LAYERS
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["pre-trained", "untrained"]
    guess = figures.measures_figure(table, "layer", "", classes=2).axes[-1].lines[-1]
    assert guess.get_ydata()[0] == 0.5


def test_what_a_training_has_logged_is_a_thin_line_in_its_panel():
    table = measured().assign(jets=[0, 100, 200] * 2)
    logged = {"rank": pd.DataFrame({"jets": [50, 150, 250], "rank_cls": [3.0, np.nan, 5.0]})}
    rank, spectrum, *_ = figures.measures_figure(table, "jets", "jets seen", logged).axes
    (thin,) = [line for line in rank.lines if line.get_linewidth() < 1 and line.get_marker() == "None"]
    assert (thin.get_xdata().tolist(), thin.get_ydata().tolist()) == ([50, 250], [3, 5])
    assert len(rank.lines) == len(spectrum.lines) + 1
    with pytest.raises(JepalibError, match="ppe"):
        figures.measures_figure(table.drop(columns="ppe"), "jets", "")
    many = pd.concat([table.assign(curve=str(i)) for i in range(9)])
    with pytest.raises(JepalibError, match="9 curves"):
        figures.measures_figure(many, "jets", "")


def test_physics_by_layer_draws_every_observable_and_marks_what_lies_below():
    rows = [
        {
            "curve": curve,
            "layer": layer,
            "target": target,
            "r2": 0.1 * i + 0.3 * (curve == "a"),
            "r2_error": 0.05,
        }
        for curve in "ab"
        for target in ("sdmass", "tau21", "leptons")
        for i, layer in enumerate(LAYERS)
    ]
    table = pd.DataFrame(rows)
    table.loc[0, "r2"] = -3
    reference = pd.DataFrame({"curve": "by hand", "target": ["sdmass"], "r2": [0.6], "r2_error": [0.1]})
    figure = figures.physics_by_layer(table, reference)
    assert [ax.get_title() for ax in figure.axes] == ["soft-drop mass [GeV]", "", r"$\tau_{21}$", "leptons"]
    mass, spare, tau, _ = figure.axes
    assert not spare.axison
    points, _, (bars,) = mass.containers[0]
    assert points.get_ydata() == pytest.approx([FLOOR, 0.4, 0.5])
    assert [np.ptp(s[:, 1]) / 2 for s in bars.get_segments()] == pytest.approx([0.05] * 3)
    assert tau.containers[1][0].get_ydata() == pytest.approx([0, 0.1, 0.2])
    below = [line for line in mass.lines if line.get_marker() == "v"]
    assert [len(line.get_xdata()) for line in below] == [1, 0]
    assert [line.get_ydata()[0] for line in mass.lines if line.get_linestyle() == ":"] == [0.6]
    assert not [line for line in tau.lines if line.get_linestyle() == ":"]
    assert [t.get_text() for t in spare.get_legend().get_texts()] == ["by hand", "a", "b"]
    with pytest.raises(JepalibError, match="r2_error"):
        figures.physics_by_layer(table.drop(columns="r2_error"))


def test_likeness_writes_every_value_and_names_rows_and_columns():
    table = pd.DataFrame([[1.0, 0.25], [0.5, -0.01], [0.3, 0.9]], index=["x", "y", "z"], columns=["u", "v"])
    figure = figures.likeness({"first": table, "second": table.T})
    first, second = figure.axes[:2]
    assert [t.get_text() for t in first.texts] == ["1.00", "0.25", "0.50", "-0.01", "0.30", "0.90"]
    assert [t.get_text() for t in first.get_yticklabels()] == ["x", "y", "z"]
    assert [t.get_text() for t in second.get_xticklabels()] == ["x", "y", "z"]
    np.testing.assert_array_equal(first.images[0].get_array(), table.to_numpy())
    assert first.images[0].get_clim() == second.images[0].get_clim() == (0, 1)
