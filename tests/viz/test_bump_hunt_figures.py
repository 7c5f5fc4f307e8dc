"""Figures of repeated hunts: every arm and number drawn, and what they refuse."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from jepalib.errors import JepalibError
from jepalib.viz.bump_hunt import found_against_injected, p_value_shares
from jepalib.viz.style import use_style


@pytest.fixture(scope="module", autouse=True)
def style():
    use_style()


def test_every_arm_and_seed_is_a_point_at_its_number():
    rows = [
        {"arm": arm, "signals": count, "seed": seed, "z": rise * count + 0.1 * seed}
        for arm, rise in (("pre-trained", 0.04), ("untrained", 0.01))
        for count in (0, 50, 100)
        for seed in range(3)
    ]
    figure = found_against_injected(pd.DataFrame(rows), {0: 0.0, 50: 1.1, 100: 2.2})
    ax = figure.axes[0]
    curves = [line for line in ax.lines if not line.get_label().startswith("_")]
    assert [line.get_label() for line in curves] == ["pre-trained", "untrained"]
    np.testing.assert_allclose(curves[0].get_ydata(), [0.1, 2.1, 4.1])
    points = [line for line in ax.lines if line.get_linestyle() == "None"]
    assert [len(line.get_xdata()) for line in points] == [9, 9]
    assert max(np.abs(points[1].get_xdata() - np.repeat([0, 50, 100], 3))) < 3
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0", "50", "100"]
    many = pd.DataFrame([row | {"arm": str(i)} for i in range(9) for row in rows])
    with pytest.raises(JepalibError, match="9 arms"):
        found_against_injected(many, {})


def test_shares_of_p_values_end_at_one_and_lie_on_the_diagonal_where_uniform():
    figure = p_value_shares({"0.1": np.linspace(0.005, 0.995, 100), "0.01": np.full(100, 0.5)})
    uniform, stuck = figure.axes[0].lines
    assert np.abs(uniform.get_xdata() - uniform.get_ydata()).max() < 0.02
    assert stuck.get_ydata()[-1] == 1
    with pytest.raises(JepalibError, match="9 cuts"):
        p_value_shares({str(i): np.ones(3) for i in range(9)})
