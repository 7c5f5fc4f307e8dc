"""Figures of a search: what they draw follows from the numbers, and what they refuse."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from jepalib.errors import JepalibError
from jepalib.evaluation.bump_hunt import hunt
from jepalib.evaluation.sic import sic_band, sic_curve
from jepalib.evaluation.spectrum import Window
from jepalib.viz.search import mass_shapes, sic_against_signal, sic_curves, significances, spectra
from jepalib.viz.style import use_style

WINDOW = Window(np.linspace(2000.0, 5000.0, 31), 3300.0, 3700.0)


@pytest.fixture(scope="module", autouse=True)
def style():
    use_style()


def bands(names=("embedding", "observables", "untrained")) -> dict:
    rng, found = np.random.default_rng(0), {}
    for name, distance in zip(names, np.linspace(2.2, 0.5, len(names))):
        curves = [sic_curve(rng.normal(size=20_000), rng.normal(distance, size=2000)) for _ in range(3)]
        found[name] = sic_band(curves)
    return found


def scan_table(signals=(0, 20, 50, 100, 300, 1000)) -> pd.DataFrame:
    rng, rows = np.random.default_rng(0), []
    for arm, strength in (("trees on the embedding", 6), ("trees on observables", 4), ("linear head", 5)):
        for count in signals:
            for seed in range(3):
                value = 1 + strength * count / (count + 100) + 0.3 * rng.normal()
                rows.append(
                    {"arm": arm, "signals": count, "significance": count / 5000**0.5, "seed": seed,
                     "max_sic": value, "max_sic_error": 0.2, "sic_1e-4": np.nan, "sic_1e-4_error": np.nan}
                )  # fmt: skip
    return pd.DataFrame(rows)


def selections() -> tuple[np.ndarray, list]:
    rng = np.random.default_rng(3)
    x = WINDOW.centres / 13000
    shape = (1 - x) ** 8 / x**5
    bins = rng.choice(30, 20_000, p=shape / shape.sum())
    mass = np.concatenate([WINDOW.edges[bins] + 100 * rng.random(20_000), rng.normal(3500, 70, 60)])
    scores = rng.normal(2.5 * (np.arange(len(mass)) >= 20_000), 1)
    mass = np.clip(mass, 2000, 4999)
    return mass, hunt(mass, scores, np.zeros(len(mass), int), WINDOW, [1.0, 0.1, 0.01])


def test_sic_curves_draw_every_classifier_and_chance():
    figure = sic_curves(bands())
    (ax,) = figure.axes
    assert len(ax.lines) == 4
    np.testing.assert_allclose(ax.lines[-1].get_ydata() ** 2, ax.lines[-1].get_xdata())
    assert "3 seeds" in ax.get_legend().get_texts()[0].get_text()
    figure.draw_without_rendering()
    for bad in ({}, {str(i): band for i, band in enumerate(list(bands().values()) * 3)}):
        with pytest.raises(JepalibError, match="give 1 to 8"):
            sic_curves(bad)


@pytest.mark.parametrize("signals", [(0, 20, 50, 100, 300, 1000), (20, 100)])
def test_sic_against_signal_has_the_significance_above(signals):
    figure = sic_against_signal(scan_table(signals), bounds={"supervised": 9.0})
    figure.draw_without_rendering()
    ax, above = figure.axes
    assert ax.get_xlim() == above.get_xlim()
    below = [tick.get_text() for tick in ax.get_xticklabels()]
    assert below == [f"{count:,}" for count in signals]
    assert [t.get_text() for t in above.get_xticklabels()] == [f"{n / 5000**0.5:.2g}" for n in signals]
    assert "S/" in above.get_xlabel()
    assert any(np.all(np.asarray(line.get_ydata()) == 9.0) for line in ax.lines)


def test_sic_against_signal_refuses_what_it_cannot_draw():
    with pytest.raises(JepalibError, match="no column"):
        sic_against_signal(scan_table().drop(columns="arm"))
    with pytest.raises(JepalibError, match="at least one value with signal"):
        sic_against_signal(scan_table(), "sic_1e-4")
    uneven = scan_table()
    uneven.loc[3, "significance"] *= 2
    with pytest.raises(JepalibError, match="B of one size"):
        sic_against_signal(uneven)


def test_spectra_show_counts_fit_pulls_and_significance():
    mass, found = selections()
    figure = spectra(found, WINDOW)
    figure.draw_without_rendering()
    assert len(figure.axes) == 6
    last = figure.axes[2]
    assert f"{found[2].excess.z:.1f}" in last.texts[0].get_text()
    assert str(found[2].excess.observed) in last.get_title()
    pulls = figure.axes[5].patches[-1].get_data().values
    assert np.abs(pulls[~WINDOW.inside]).max() < 5
    assert pulls[WINDOW.inside].max() > 3
    with pytest.raises(JepalibError, match="0 selections; give 1 to 4"):
        spectra([], WINDOW)
    shapes = mass_shapes(mass, {"10 %": found[1].passed, "1 %": found[2].passed}, WINDOW)
    shapes.draw_without_rendering()
    with pytest.raises(JepalibError, match="that keep events"):
        mass_shapes(mass, {"none": np.zeros(len(mass), bool)}, WINDOW)


def test_significances_have_p_values_beside_them():
    _, found = selections()
    observed = {one.efficiency: one.excess.z for one in found}
    other = {cut: z - 2 for cut, z in observed.items()}
    expected = {f"{one.efficiency:g}": (one.excess.z, one.excess.z - 1, one.excess.z + 1) for one in found}
    figure = significances({"with signal": observed, "background only": other}, expected)
    figure.draw_without_rendering()
    (ax,) = figure.axes
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [observed[cut] for cut in sorted(observed)])
    assert ax.child_axes[0].get_ylabel() == "local $p$-value"
    ticks = [tick.get_text() for tick in ax.child_axes[0].get_yticklabels()]
    assert "0.5" in ticks
    with pytest.raises(JepalibError, match="0 experiments"):
        significances({})
