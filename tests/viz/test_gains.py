"""Gains over training from scratch: differences of means, with intervals, drawn where the tables say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from jepalib.errors import JepalibError
from jepalib.evaluation.label_savings import LabelCount, labels_needed
from jepalib.viz import gains


def table() -> pd.DataFrame:
    rows = []
    for labels, level in ((500, 0.5), (2000, 0.6)):
        for seed, noise in enumerate((-0.01, 0.0, 0.01)):
            common = {"labels": labels, "seed": seed}
            rows.append({**common, "mode": "from-scratch", "jets_pretrained": 0, "accuracy": level + noise})
            for views, gain in ((1e5, 0.02), (1e6, 0.1)):
                one = {"mode": "fine-tuned", "jets_pretrained": views, "accuracy": level + gain + noise}
                rows.append(common | one)
    return pd.DataFrame(rows)


def test_gains_are_differences_of_means_with_an_interval():
    found = gains.gains(table())
    assert found.gain.tolist() == pytest.approx([0.02, 0.1, 0.02, 0.1])
    assert found.error.tolist() == pytest.approx([np.sqrt(2 * 0.01**2 / 3)] * 4)
    assert found.word.tolist() == ["no difference beyond the spread", "a gain"] * 2


def test_figures_draw_means_and_gains():
    figure = gains.by_views(table())
    assert [ax.get_title() for ax in figure.axes] == ["500 labels", "2,000 labels"]
    curve, level = figure.axes[1].lines
    assert curve.get_ydata() == pytest.approx([0.62, 0.7])
    assert level.get_ydata() == pytest.approx([0.6, 0.6])
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["100 k", "1 M"]
    (ax,) = gains.gain_by_views(table()).axes
    assert ax.get_xscale() == "log"
    lines = [bars.lines[0] for bars in ax.containers]
    assert [line.get_ydata().tolist() for line in lines] == [pytest.approx([0.02, 0.1])] * 2
    assert ax.get_legend_handles_labels()[1] == ["500 labels", "2,000 labels"]


def test_trees_are_a_level_and_a_curve_where_the_table_has_them():
    trees = table()[lambda t: t["mode"] == "from-scratch"]
    trees = trees.assign(mode=gains.TREES, jets_pretrained=None, accuracy=trees.accuracy + 0.03)
    rows = pd.concat([table(), trees])
    panel = gains.by_views(rows).axes[0]
    drawn = {line.get_label(): np.unique(line.get_ydata()).tolist() for line in panel.lines}
    assert drawn["trees on the numbers"] == [pytest.approx(0.53)]
    assert panel.get_xlim()[1] < 2e6
    last = rows[rows.jets_pretrained.isin([0, 1e6]) | (rows["mode"] == gains.TREES)]
    needed = labels_needed(last, "fine-tuned", np.random.default_rng(0))
    (ax,) = gains.labels_saved(last, needed).axes
    assert ax.get_legend_handles_labels()[1] == ["fine-tuned", "from-scratch", "trees on the numbers"]


def test_arrows_end_where_from_scratch_gets_as_far_or_beyond_the_measured():
    rows = table()
    last = rows[rows.jets_pretrained.isin([0, 1e6])]
    last = last.assign(accuracy=last.accuracy - 0.05 * (last["mode"] == "fine-tuned"))  # 0.55 and 0.65
    needed = labels_needed(last, "fine-tuned", np.random.default_rng(0))
    (ax,) = gains.labels_saved(last, needed).axes
    arrows = [note for note in ax.texts if note.arrow_patch is not None]
    assert [note.xy for note in arrows] == [pytest.approx((1000, 0.55))]  # half way in the logarithm
    assert [note.get_text() for note in ax.texts if note.get_text()] == ["× 2"]
    (ax,) = gains.labels_saved(last.assign(accuracy=rows.accuracy), needed_of(0.7, 2000)).axes
    assert [note.get_text() for note in ax.texts if note.get_text()] == ["> × 4"]
    assert max(note.xy[0] for note in ax.texts) > 2000


def needed_of(accuracy, most):
    """500 labels that are worth more than was measured."""
    count = LabelCount(np.inf, np.inf, np.inf, 500, most)
    return pd.DataFrame({"labels": [500], "accuracy": [accuracy], "needed": [count]})


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(JepalibError, match="no labels with both frozen and from-scratch"):
        gains.gains(table(), "frozen")
    with pytest.raises(JepalibError, match=r"lacks .*jets_pretrained"):
        gains.by_views(table().drop(columns="jets_pretrained"))
