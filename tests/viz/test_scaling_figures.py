"""Figures of scaling: their marks are the measurements, their lines the fitted laws."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from jepalib.errors import JepalibError
from jepalib.evaluation.scaling import fit_power_law
from jepalib.viz.scaling import compute_frontier, scaling_axes

X = 1000.0 * 2.0 ** np.arange(4)
VALUES = 0.5 * (X / 1000) ** -0.3
ROWS = pd.DataFrame(
    {
        "size": "pico",
        "unique": 500,
        "views": np.repeat(X, 2),
        "seed": [0, 1] * 4,
        "loss": np.repeat(VALUES, 2) * np.tile([0.99, 1.01], 4),
    }
)
LAW = fit_power_law(X, ROWS.loss.to_numpy().reshape(4, 2))


def test_marks_are_seeds_and_means_and_the_line_is_the_law():
    figure = scaling_axes({"views": ROWS}, {"views": "views"}, {"views": LAW}, "loss", "loss")
    (ax,) = figure.axes
    seeds = next(c for c in ax.collections if c.get_label() == "seeds").get_offsets()
    np.testing.assert_allclose(seeds, ROWS[["views", "loss"]])
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_allclose(lines["mean"].get_ydata(), VALUES)
    drawn = lines[f"b = {LAW.exponent:.2f} ± {LAW.error:.2f}"]
    np.testing.assert_allclose(drawn.get_ydata(), LAW(drawn.get_xdata()))
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert ax.get_xlabel() == "jets seen"
    low, high = ax.get_ylim()
    assert low < ROWS.loss.min() < ROWS.loss.max() < high
    ticks = [tick for tick in ax.get_yticks() if low <= tick <= high]
    assert 2 <= len(ticks) <= 9


def test_an_axis_without_a_law_shows_its_points_alone():
    rows = {"views": ROWS, "unique jets": ROWS, "parameters": ROWS}
    columns = {"views": "views", "unique jets": "views", "parameters": "views"}
    figure = scaling_axes(rows, columns, {"views": LAW}, "loss", "loss")
    assert len(figure.axes) == 3
    assert [len(ax.lines) for ax in figure.axes] == [2, 1, 1]


def test_the_frontier_is_circled_and_every_size_named():
    table = pd.DataFrame(
        {
            "size": ["atto", "atto", "femto", "femto"],
            "parameters": [3000, 3000, 13000, 13000],
            "flops": [1e9, 2e9, 4e9, 8e9],
            "loss": [0.5, 0.4, 0.45, 0.3],
            "spread": [0.01, 0.02, np.nan, 0.01],
        }
    )
    figure = compute_frontier(table, None, [True, True, False, True], "loss", "loss")
    (ax,) = figure.axes
    circles = next(c for c in ax.collections if c.get_label() == "beaten by no other").get_offsets()
    np.testing.assert_allclose(circles, [[1e9, 0.5], [2e9, 0.4], [8e9, 0.3]])
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "atto, 3,000 parameters" in labels
    assert "femto, 13,000 parameters" in labels


def test_what_is_missing_is_named():
    with pytest.raises(JepalibError, match="no axis 'time'"):
        scaling_axes({"time": ROWS}, {"time": "views"}, {}, "loss", "loss")
    with pytest.raises(JepalibError, match=r"no column .*error"):
        scaling_axes({"views": ROWS}, {"views": "views"}, {}, "error", "error")
    with pytest.raises(JepalibError, match="no rows"):
        scaling_axes({"views": ROWS.iloc[:0]}, {"views": "views"}, {}, "loss", "loss")
    with pytest.raises(JepalibError, match=r"no column .*spread"):
        compute_frontier(ROWS, None, [], "loss", "loss")
