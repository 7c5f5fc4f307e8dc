"""Ways, rejections and measures: marks are the numbers of their tables."""

import numpy as np
import pytest
from scipy.special import softmax

from jepalib.errors import JepalibError
from jepalib.evaluation.calibration import accuracy_against_rejection, entropy
from jepalib.evaluation.ensembles import METRICS, compare, ways
from jepalib.evaluation.rejection import rejection_table
from jepalib.viz.calibration import rejection_by_measure
from jepalib.viz.uncertainty import rejection_points, ways_figure


def members(strength: float, seed: int = 0, jets: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(jets) % 10
    logits = 2 * rng.normal(size=(2, jets, 10))
    logits[:, np.arange(jets), labels] += strength
    return softmax(logits, axis=2), labels


@pytest.fixture(scope="module")
def arms():
    tables = {}
    for name, strength in (("fine-tuned", 3.0), ("from-scratch", 2.0)):
        p, labels = members(strength)
        tables[name] = compare(ways(p, labels, p, np.empty((0, 1000, 10))), labels)
    return tables


def test_ways_are_the_tables_with_spread_or_bootstrap_error(arms):
    figure = ways_figure(arms)
    assert [ax.get_xlabel() for ax in figure.axes] == ["accuracy", "log loss", "expected calibration error"]
    ticks = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert ticks == ["single model", "temperature", "ensemble", "ensemble, temperature"]
    for ax, metric in zip(figure.axes, METRICS, strict=True):
        marks = iter(ax.containers)
        for table in arms.values():
            for rows, error in ((table[:2], "spread"), (table[2:], "error")):
                points, _, (bars,) = next(marks)
                assert points.get_xdata() == pytest.approx(rows[metric].to_numpy())
                widths = [np.ptp(segment[:, 0]) for segment in bars.get_segments()]
                assert widths == pytest.approx(2 * rows[f"{metric}_{error}"].to_numpy())
                assert (points.get_markerfacecolor() == "white") == (error == "error")
    floors = [line.get_xdata() for line in figure.axes[-1].lines if line.get_marker() == "|"]
    ours = [table.ece_floor.to_numpy() for table in arms.values()]
    assert any(np.array_equal(floor, ours[0]) for floor in floors)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["fine-tuned", "from-scratch", "one number", "calibrated, as few jets"]


def test_rejections_have_errors_limits_and_what_is_published():
    p, labels = members(30.0)
    some, _ = members(1.0)
    tables = {"ours": rejection_table(some, labels), "perfect": rejection_table(p, labels)}
    figure = rejection_points(tables, {"ParT, published": {"Hbb": 10638.0, "Zqq": 402.0}})
    (ax,) = figure.axes
    points, _, (bars,) = ax.containers[0]
    known = tables["ours"].rejection.notna()
    assert known.sum() >= 7
    assert points.get_ydata() == pytest.approx(tables["ours"].rejection[known])
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    assert ends == pytest.approx(tables["ours"].loc[known, ["low", "high"]].to_numpy())
    arrows = [c for c in ax.containers if len(c.lines[1]) and c.lines[1][0].get_marker() in (6, 10)]
    limits = np.concatenate([c.lines[2][0].get_segments() for c in arrows])[:, 0, 1]
    assert set(np.round(limits, 3)) == {np.round(tables["perfect"].low[0], 3)}
    published = next(line for line in ax.lines if line.get_label() == "ParT, published")
    assert list(published.get_ydata()) == [10638.0, 402.0]
    assert list(published.get_xdata()) == [0, 5]
    assert ax.get_yscale() == "log"
    assert len(ax.get_xticks()) == 9


def test_curves_of_measures_are_the_tables():
    p, labels = members(2.0)
    noise = np.random.default_rng(0).random(1000)
    measures = {"entropy": entropy(p[0]), "chance": noise}
    figure = rejection_by_measure({"a": p[0], "b": p[1]}, labels, {"a": measures, "b": measures})
    assert [ax.get_title() for ax in figure.axes] == ["a", "b"]
    for ax, member in zip(figure.axes, p, strict=True):
        for line, (name, values) in zip(ax.lines, measures.items(), strict=True):
            table = accuracy_against_rejection(member, labels, values)
            assert np.array_equal(line.get_ydata(), table.accuracy)
            assert line.get_label() == name
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["entropy", "chance"]


def test_what_cannot_be_drawn_is_refused(arms):
    with pytest.raises(JepalibError, match="the same ways"):
        ways_figure({"a": arms["fine-tuned"], "b": arms["fine-tuned"][:2]})
    with pytest.raises(JepalibError, match="0 arms"):
        rejection_points({}, {})
    p, labels = members(2.0)
    with pytest.raises(JepalibError, match=r"measures of \['b'\] for \['a'\]"):
        rejection_by_measure({"a": p[0]}, labels, {"b": {"entropy": entropy(p[0])}})
    with pytest.raises(JepalibError, match="0 models"):
        rejection_by_measure({"a": p[0]}, labels, {"a": {}})
