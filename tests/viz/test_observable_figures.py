"""Figures of the regression: what is drawn is what the tables say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from jepalib.errors import JepalibError
from jepalib.evaluation.observables import PHYSICS, TARGETS
from jepalib.viz import observables as figures


def compared(**sets: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"features": name, "target": target, "r2": r2, "r2_error": 0.02}
            for name, values in sets.items()
            for target, r2 in zip(TARGETS[-3:], values)
        ]
    )


def test_r2_markers_and_bars_are_the_table():
    table = compared(hand=[0.9, 0.5, 0.2], embedding=[0.95, 0.8, 0.4])
    (ax,) = figures.r2_by_observable(table).axes
    assert [t.get_text() for t in ax.get_yticklabels()] == [
        r"ln $\tau_4$",
        "soft-drop mass [GeV]",
        "constituents",
    ]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["hand", "embedding"]
    for container, name in zip(ax.containers, ("hand", "embedding")):
        points, _, (bars,) = container
        expected = table[table.features == name].r2.to_numpy()
        assert points.get_xdata() == pytest.approx(expected)
        assert [np.ptp(s[:, 0]) / 2 for s in bars.get_segments()] == pytest.approx([0.02] * 3)
        rows = np.asarray(points.get_ydata())
        assert np.array_equal(np.round(rows), [0, 1, 2])
    first, second = (c[0].get_ydata() for c in ax.containers)
    assert (np.asarray(first) != np.asarray(second)).all(), "markers of one row stand apart"
    assert ax.yaxis_inverted(), "the first target is at the top"


def test_r2_far_below_zero_is_marked_and_what_is_undefined_is_left_out():
    table = compared(poor=[-3.0, np.nan, 0.3])
    (ax,) = figures.r2_by_observable(table).axes
    points = ax.containers[0][0]
    drawn = [line for line in ax.lines if line.get_marker() == "<"]
    assert len(drawn) == 1
    assert drawn[0].get_xdata() == pytest.approx([figures.FLOOR])
    assert drawn[0].get_ydata() == pytest.approx([0.0])
    assert np.asarray(points.get_xdata(), float) == pytest.approx([np.nan, np.nan, 0.3], nan_ok=True)


def test_r2_refuses_what_it_cannot_draw():
    with pytest.raises(JepalibError, match="r2_error"):
        figures.r2_by_observable(compared(a=[0.1]).drop(columns="r2_error"))
    with pytest.raises(JepalibError, match="several rows"):
        figures.r2_by_observable(pd.concat([compared(a=[0.1])] * 2))
    with pytest.raises(JepalibError, match="9 feature sets"):
        figures.r2_by_observable(compared(**{f"set{i}": [0.1] for i in range(9)}))


def test_residuals_and_density_hold_every_jet_that_has_the_observable():
    rng = np.random.default_rng(0)
    truth = pd.DataFrame({"sdmass": rng.uniform(20, 200, 1000)})
    predicted = truth + 5 + 10 * rng.normal(size=truth.shape)
    truth.loc[:99, "sdmass"] = np.nan
    figure = figures.predicted_against_true(truth, predicted, "sdmass")
    density, spread, bar = figure.axes
    assert density.get_xlabel() == "true soft-drop mass [GeV]"
    assert spread.get_xlabel() == "predicted − true soft-drop mass [GeV]"
    assert bar.get_ylabel() == "jets"
    outline = spread.patches[0].get_path().vertices
    widths = np.diff(outline[:, 0])
    step = widths[widths > 0].min()
    assert np.sum(widths * outline[:-1, 1]) / step == pytest.approx(900, rel=0.01)
    residual = (predicted - truth).sdmass.dropna()
    assert f"{residual.median():+.3g}" in spread.get_legend().get_texts()[0].get_text()
    assert figure.get_suptitle() == "900 jets, 100 without this observable"
    counts = density.collections[0].get_array()
    assert 880 <= counts.sum() <= 900, "all but the outermost half per cent"


def test_predicted_against_true_names_mistakes():
    table = pd.DataFrame({"tau1": [0.1, 0.2, np.nan]})
    with pytest.raises(JepalibError, match="no observable 'tau2'; there are: tau1"):
        figures.predicted_against_true(table, table, "tau2")
    with pytest.raises(JepalibError, match="3 true rows, 2 predicted"):
        figures.predicted_against_true(table, table[:2], "tau1")
    with pytest.raises(JepalibError, match="only 1 jets have tau1"):
        figures.predicted_against_true(table[1:], table[1:], "tau1")


def test_every_target_has_a_title():
    assert set(figures.TITLES) == {*TARGETS, *PHYSICS}
    assert figures.TITLES["efp_3_triangle"][0] == "ln EFP triangle, $d$ = 3"
