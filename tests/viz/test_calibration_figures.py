"""Figures of calibration: what is drawn is what the tables say, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from jepalib.errors import JepalibError
from jepalib.evaluation.calibration import (
    accuracy_against_rejection,
    entropy,
    expected_calibration_error,
    metrics_by,
    quantile_edges,
    reliability,
    tempered,
)
from jepalib.viz import calibration as figures


@pytest.fixture(scope="module")
def scores() -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 800)
    logits = 2 * rng.normal(size=(800, 10))
    logits[np.arange(800), labels] += 2
    p = softmax(logits, axis=1)
    return {"raw": p, "T = 2": tempered(p, 2.0)}, labels


def test_reliability_points_and_counts_are_the_table(scores):
    models, labels = scores
    top, bottom = figures.reliability_diagram(models, labels).axes
    assert bottom.get_xlabel() == "confidence (largest probability)"
    texts = [t.get_text() for t in top.get_legend().get_texts()]
    for i, (name, p) in enumerate(models.items()):
        table = reliability(p, labels)
        known = table[table.jets > 0]
        points, _, (bars,) = top.containers[i]
        assert points.get_xdata() == pytest.approx(known.confidence.to_numpy())
        assert points.get_ydata() == pytest.approx(known.accuracy.to_numpy())
        ends = np.array([s[:, 1] for s in bars.get_segments()])
        assert ends == pytest.approx(known[["accuracy_low", "accuracy_high"]].to_numpy())
        assert bottom.patches[i].get_data().values.tolist() == table.jets.tolist()
        assert f"{name}, ECE {expected_calibration_error(p, labels):.3f}" in texts
    assert bottom.get_ylim()[0] == 0
    assert bottom.get_ylim()[1] > 800


def test_entropies_of_right_and_wrong_make_all_jets(scores):
    models, labels = scores
    figure = figures.entropy_distributions(models, labels)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["right", "wrong"]
    for ax, (name, p) in zip(figure.axes, models.items(), strict=True):
        right, wrong = (patch.get_data().values for patch in ax.patches)
        assert right.sum() == pytest.approx((p.argmax(1) == labels).mean())
        assert right.sum() + wrong.sum() == pytest.approx(1)
        assert ax.get_title() == f"{name}, mean {entropy(p).mean():.3f}"
        assert ax.get_xlim() == pytest.approx((0, np.log(10)))
    uniform = figures.entropy_distributions({"none": np.full((800, 10), 0.1)}, labels)
    assert sum(patch.get_data().values.sum() for patch in uniform.axes[0].patches) == pytest.approx(1)
    assert len(figures.entropy_distributions({str(i): models["raw"] for i in range(5)}, labels).axes) == 5


def test_rejection_curves_are_the_table(scores):
    models, labels = scores
    noise = np.random.default_rng(1).random(800)
    (ax,) = figures.rejection_curves(models, labels, {"T = 2": noise}).axes
    assert ax.get_xlabel() == "fraction of jets rejected, most uncertain first"
    for line, band, (name, p) in zip(ax.lines, ax.collections, models.items(), strict=True):
        table = accuracy_against_rejection(p, labels, noise if name == "T = 2" else None)
        assert line.get_label() == name
        assert np.array_equal(line.get_xdata(), table.rejected)
        assert np.array_equal(line.get_ydata(), table.accuracy)
        heights = band.get_paths()[0].vertices[:, 1]
        assert heights.min() == pytest.approx(table.accuracy_low.min())
        assert heights.max() == pytest.approx(table.accuracy_high.max())


def test_panels_against_an_observable_are_the_table(scores):
    models, labels = scores
    pt = np.random.default_rng(2).uniform(500, 1000, 800)
    edges = np.append(quantile_edges(pt, 4), 1200.0)  # the last bin is empty
    tables = {name: metrics_by(p, labels, pt, edges) for name, p in models.items()}
    figure = figures.against_observable(tables, "jet $p_T$ [GeV]")
    titles = ["accuracy", "macro AUC, one-vs-one", "expected calibration error"]
    assert [ax.get_ylabel() for ax in figure.axes] == titles
    for ax, column in zip(figure.axes, ("accuracy", "auc_ovo", "ece")):
        assert ax.get_xlabel() == "jet $p_T$ [GeV]"
        for container, table in zip(ax.containers, tables.values(), strict=True):
            known = table[table.jets > 0]
            assert len(known) == 4
            points, _, bars = container
            assert points.get_ydata() == pytest.approx(known[column].to_numpy())
            spans = np.array([s[:, 0] for s in bars[0].get_segments()])
            assert spans == pytest.approx(known[["low", "high"]].to_numpy())
            assert len(bars) == (2 if column == "accuracy" else 1)
    floors = [patch.get_data().values for patch in figure.axes[-1].patches]
    for values, table in zip(floors, tables.values(), strict=True):
        assert values == pytest.approx(table.ece_floor.to_numpy(), nan_ok=True)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [*models, "calibrated, as few jets"]


def test_what_cannot_be_drawn_is_refused(scores):
    models, labels = scores
    many = {str(i): models["raw"] for i in range(9)}
    for draw in (figures.reliability_diagram, figures.entropy_distributions, figures.rejection_curves):
        with pytest.raises(JepalibError, match="9 models"):
            draw(many, labels)
        with pytest.raises(JepalibError, match="0 models"):
            draw({}, labels)
    with pytest.raises(JepalibError, match=r"uncertainties of \['other'\]"):
        figures.rejection_curves(models, labels, {"other": np.zeros(800)})
    table = metrics_by(models["raw"], labels, np.ones(800), np.array([0.0, 2.0]))
    with pytest.raises(JepalibError, match=r"table of raw has no column \['ece'\]"):
        figures.against_observable({"raw": table.drop(columns="ece")}, "n")
    with pytest.raises(JepalibError, match="0 models"):
        figures.against_observable({}, "n")
