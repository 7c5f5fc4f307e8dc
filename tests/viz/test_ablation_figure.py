"""The figure of the ablations: its marks are the numbers of the tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from jepalib.errors import JepalibError
from jepalib.viz.ablations import ablations

TABLE = pd.DataFrame(
    {
        "table": [4, 4, 6],
        "setting": ["four targets", "one target", "no bias"],
        "row": ["baseline", "one", "baseline"],
        "accuracy": [0.40, 0.45, 0.40],
        "spread": [0.01, np.nan, 0.01],
        "published": [0.557, 0.581, 0.557],
    }
)
SEEDS = pd.DataFrame({"row": ["baseline", "baseline", "one"], "accuracy": [0.39, 0.41, 0.45]})


def test_marks_are_the_numbers() -> None:
    figure = ablations(TABLE, SEEDS, (0.35, 0.01))
    left, right = figure.axes[0], figure.axes[1]
    assert len(figure.axes) == 4
    assert [label.get_text() for label in left.get_yticklabels()] == ["one target", "four targets"]
    (bars,) = left.containers
    np.testing.assert_allclose(bars.lines[0].get_xdata(orig=False), [0.45, 0.40])
    ends = np.array([segment[:, 0] for segment in bars.lines[2][0].get_segments()])
    np.testing.assert_allclose(ends, [[0.45, 0.45], [0.39, 0.41]])
    np.testing.assert_allclose(np.sort(left.collections[-1].get_offsets()[:, 0]), [0.39, 0.41, 0.45])
    np.testing.assert_allclose(right.lines[0].get_xdata(orig=False), [0.581, 0.557])
    assert left.get_title(loc="left") == "Table 4"
    untrained = next(line for line in left.lines if line.get_label() == "untrained")
    assert untrained.get_xdata()[0] == 0.35


def test_both_sides_have_the_same_scale_and_show_everything() -> None:
    figure = ablations(TABLE, SEEDS, None)
    left, right = (ax.get_xlim() for ax in figure.axes[:2])
    assert np.ptp(left) / 3 == pytest.approx(np.ptp(right) / 2)
    assert left[0] < 0.39 < 0.45 < left[1]
    assert right[0] < 0.557 < 0.581 < right[1]
    assert all(line.get_label() != "untrained" for line in figure.axes[0].lines)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(JepalibError, match=r"no column .*published"):
        ablations(TABLE.drop(columns="published"), SEEDS, None)
    with pytest.raises(JepalibError, match="no rows"):
        ablations(TABLE.iloc[:0], SEEDS, None)
