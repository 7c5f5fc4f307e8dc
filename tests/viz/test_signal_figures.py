"""SIC by signal: every classifier and signal is drawn where its numbers are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from jepalib.errors import JepalibError
from jepalib.viz.signals import sic_by_signal

SIGNALS = ("Hbb", "Tbqq", "Zqq")
GROUPS = {"seen": ["Hbb"], "new": ["Zqq", "Tbqq"]}


def table(arms=("trees", "linear")) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        [
            {"signal": s, "arm": a, "signals": 100, "seed": seed, "max_sic": 2 + i + 0.1 * rng.normal(),
             "max_sic_error": 0.1, "sic_1e-2": np.nan, "sic_1e-2_error": np.nan}
            for s in SIGNALS for i, a in enumerate(arms) for seed in range(3)
        ]
    )  # fmt: skip


def test_means_stand_in_the_row_of_their_signal():
    rows = table()
    figure = sic_by_signal(rows, GROUPS)
    figure.draw_without_rendering()
    assert [ax.get_title() for ax in figure.axes] == list(GROUPS)
    ax = figure.axes[1]
    assert len(ax.get_yticklabels()) == 2
    drawn = [container.lines[0].get_xydata()[0] for container in ax.containers]
    expected = rows[(rows.signal == "Tbqq") & (rows.arm == "linear")].max_sic.mean()
    places = [y for x, y in drawn if x == pytest.approx(expected)]
    assert len(places) == 1
    assert round(places[0]) == 1  # the second row
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["trees", "linear"]


def test_without_a_value_nothing_is_drawn_and_mistakes_are_named():
    figure = sic_by_signal(table(), GROUPS, "sic_1e-2")
    figure.draw_without_rendering()
    assert not figure.axes[0].containers
    with pytest.raises(JepalibError, match="the table has no Hcc"):
        sic_by_signal(table(), {"all": ["Hcc"]})
    with pytest.raises(JepalibError, match="no column"):
        sic_by_signal(table().drop(columns="seed"), GROUPS)
    with pytest.raises(JepalibError, match="9 classifiers"):
        sic_by_signal(table([str(i) for i in range(9)]), GROUPS)
