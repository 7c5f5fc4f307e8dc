"""Figures of results: lines equal the tables they are drawn from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from jepalib.errors import JepalibError
from jepalib.evaluation.published import published
from jepalib.evaluation.tagging import rejections
from jepalib.schema import CLASSES
from jepalib.viz import results


def metrics(**columns: object) -> pd.DataFrame:
    steps = np.arange(5, 50, 5)
    return pd.DataFrame({"step": steps, "jets_seen": steps * 64, "loss": 1 / steps, **columns})


def test_training_curves_draw_what_was_logged():
    rank = np.linspace(3, 9, 9)
    rank[4] = np.nan  # not logged at that step
    table = metrics(loss_particle=0.5, rank_cls=rank, spectrum_auc_cls=0.8, pid_accuracy=0.4, alarm=None)
    figure = results.training_curves(table)
    titles = [ax.get_ylabel() for ax in figure.axes]
    assert titles == ["loss", "effective rank", "AUC of the variance spectrum", "accuracy"]
    assert all(ax.get_xlabel() == "step" for ax in figure.axes)
    loss, parts = figure.axes[0].lines
    assert np.array_equal(loss.get_ydata(), table.loss)
    assert (loss.get_label(), parts.get_label()) == ("total", "particle")
    assert np.array_equal(figure.axes[1].lines[0].get_xdata(), np.delete(table.step, 4))
    assert figure.axes[3].lines[0].get_label() == "pid accuracy"


def test_training_curves_without_diagnostics_or_steps():
    assert len(results.training_curves(metrics()).axes) == 1
    with pytest.raises(JepalibError, match="no steps with a loss"):
        results.training_curves(pd.DataFrame())


def few_shot_table() -> pd.DataFrame:
    rows = [
        {"labels": n, "mode": mode, "seed": seed, "accuracy": 0.1 * np.log10(n) + shift + 0.01 * seed}
        for n in (500, 2000)
        for mode, shift in (("from-scratch", 0.0), ("fine-tuned", 0.1))
        for seed in range(3)
    ]
    return pd.DataFrame(rows)


def test_few_shot_lines_are_means_and_bands_one_standard_deviation():
    table = few_shot_table()
    (ax,) = results.few_shot(table).axes
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_xscale()) == ("labelled jets", "accuracy", "log")
    fine_tuned, scratch = ax.lines
    assert fine_tuned.get_label() == "fine-tuned, mean of 3 seeds"
    expected = 0.1 * np.log10([500, 2000]) + 0.01
    assert scratch.get_ydata() == pytest.approx(expected)
    band = ax.collections[2].get_paths()[0].vertices
    at_500 = band[np.isclose(band[:, 0], 500), 1]
    assert (at_500.min(), at_500.max()) == pytest.approx((expected[0] - 0.01, expected[0] + 0.01))
    points = ax.collections[3].get_offsets()
    assert sorted(points[:, 1]) == pytest.approx(sorted(table[table["mode"] == "from-scratch"].accuracy))


def test_few_shot_tables_stand_beside_each_other_on_one_axis():
    table = few_shot_table()
    trees = table[table["mode"] == "fine-tuned"].assign(mode="trees on the numbers")
    other = pd.concat([table.assign(accuracy=table.accuracy + 0.1), trees])
    figure = results.few_shot_beside({"short": table, "long": other})
    left, right = figure.axes
    assert [ax.get_title() for ax in figure.axes] == ["short", "long"]
    assert left.get_ylim() == right.get_ylim()
    assert [tick.get_text() for tick in right.get_xticklabels()] == ["500", "2,000"]
    assert right.lines[0].get_ydata() == pytest.approx(left.lines[0].get_ydata() + 0.1)
    assert right.lines[2].get_ydata() == pytest.approx(left.lines[0].get_ydata())
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == [
        "fine-tuned",
        "from-scratch",
        "trees on the numbers",
    ]
    with pytest.raises(JepalibError, match="no column"):
        results.few_shot_beside({"short": table, "long": other.drop(columns="accuracy")})


def test_few_shot_marks_what_is_published():
    rows = published("JetClass", "accuracy", "HEP-JEPA")
    (ax,) = results.few_shot(few_shot_table(), rows).axes
    texts = [t.get_text() for t in ax.get_legend().get_texts()]
    assert texts[2:] == ["\npublished, on JetClass itself:", "HEP-JEPA, fine-tuned", "HEP-JEPA, from-scratch"]
    line = ax.lines[-1]
    assert line.get_ydata() == pytest.approx([0.505, 0.586, 0.668, 0.683, 0.698])
    assert line.get_markerfacecolor() == "white"


def test_published_models_without_a_curve_are_left_to_the_table():
    (ax,) = results.few_shot(few_shot_table(), published("JetClass", "accuracy")).axes
    names = [t.get_text() for t in ax.get_legend().get_texts()][3:]
    assert names == [
        "HEP-JEPA, fine-tuned", "HEP-JEPA, from-scratch", "JP-JEPA Mini, fine-tuned",
        "JP-JEPA Small, fine-tuned", "ParT, from-scratch",
    ]  # fmt: skip
    for line in ax.lines[3:]:
        assert (np.diff(line.get_ydata()) >= 0).all()  # one kind of pre-training a curve


def test_few_shot_of_one_seed_has_no_spread_and_missing_columns_are_named():
    table = few_shot_table()
    (ax,) = results.few_shot(table[table.seed == 0]).axes
    assert ax.lines[0].get_label() == "fine-tuned, mean of 1 seed"
    band = ax.collections[0].get_paths()[0].vertices
    assert np.ptp(band[np.isclose(band[:, 0], 500), 1]) == 0
    with pytest.raises(JepalibError, match="seed"):
        results.few_shot(table.drop(columns="seed"))
    with pytest.raises(JepalibError, match="choose one head"):
        results.few_shot(pd.concat([table.assign(head="mlp"), table.assign(head="linear")]))
    with pytest.raises(JepalibError, match="'thawed'"):
        results.few_shot(table.assign(mode="thawed"))


def scores(jets: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(jets) % 10
    logits = rng.normal(size=(jets, 10))
    logits[np.arange(jets), labels] += 1
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True), labels


def test_roc_passes_through_the_quoted_points():
    p, y = scores()
    (ax,) = results.roc(p, y).axes
    lines = {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}
    assert len(lines) == len(CLASSES) - 1
    x, rejection = ax.lines[0].get_data()
    expected = rejections(p, y)["Hbb"].value
    assert rejection[np.argmin(np.abs(x - 0.5))] == pytest.approx(expected, rel=0.02)
    assert rejection.max() <= (y == 0).sum() / 10  # no point with fewer than ten background jets
    assert "TPR" in ax.get_xlabel()


def test_roc_leaves_out_absent_classes():
    p, y = scores()
    some = y < 3
    (ax,) = results.roc(p[some], y[some]).axes
    assert len(ax.get_legend().get_texts()) == 2
