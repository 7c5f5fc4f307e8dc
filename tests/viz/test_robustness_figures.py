"""Figures of robustness hold what the tables say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from jepalib.errors import JepalibError
from jepalib.evaluation.published import published
from jepalib.schema import INPUT_GROUPS, INPUTS
from jepalib.viz.robustness import (
    ROWS,
    arms_figure,
    attention_figure,
    removal_figure,
    scan_figure,
    standard_error,
)

ARMS = ("fine-tuned", "from scratch", "fine-tuned, + dropout")
SIZES = {
    "random": (0.3, 0.9),
    "softest": (0.3, 0.9),
    "dead": (0.2, 0.8),
    "smearing": (0.1,),
    "shift": (0.1, 1),
}


@pytest.fixture(scope="module")
def table():
    """As `by_arm` makes it, of accuracies that tell their arm and condition."""
    kinds = [
        ("clean", "", 0.0),
        *(("input", n, 0.0) for n in INPUTS),
        *(("group", g, 0.0) for g in INPUT_GROUPS),
    ]
    kinds += [(kind, "", size) for kind, sizes in SIZES.items() for size in sizes]
    kinds += [("mean", "mean of removals", 0.0)]
    rows = []
    for number, arm in enumerate(ARMS):
        for place, (kind, what, size) in enumerate(kinds):
            accuracy = 0.6 - 0.1 * number - 0.005 * place
            lost = {"lost_particles": size / 2, "lost_pt": size / 4}
            rows.append({"arm": arm, "kind": kind, "what": what, "size": size, "accuracy": accuracy, **lost})
    return pd.DataFrame(rows).assign(spread=0.03, jet_error=0.01, loss=0.1, error=0.02, seeds=3)


def test_errors_are_those_of_seeds_and_jets(table):
    assert standard_error(table).iloc[0] == pytest.approx((0.03**2 / 3 + 0.01**2) ** 0.5)
    one = table.assign(spread=np.nan, seeds=1)
    assert standard_error(one).iloc[0] == pytest.approx(0.01)


def test_removals_stand_in_their_rows_beside_published_ones(table):
    theirs = published("JetClass robustness", "accuracy")
    ax = removal_figure(table, ARMS[:2], theirs).axes[0]
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert len(labels) == len(ROWS) == 22
    assert (labels[0], labels[13], labels[-1]) == ("nothing", "is muon", "mean over the 17")
    drawn = ax.containers[1].lines[0].get_xdata()
    mine = table[table.arm == ARMS[1]].set_index("what").accuracy
    assert drawn[1:21] == pytest.approx(mine[[*INPUTS, *INPUT_GROUPS]].to_numpy())
    assert drawn[0] == pytest.approx(0.5)
    assert drawn[-1] == mine["mean of removals"]
    places = ax.get_yticks()
    parts = [c.get_offsets() for c in ax.collections if len(c.get_offsets())]
    points = {tuple(np.round(p, 4)) for offsets in parts for p in np.asarray(offsets)}
    assert (0.3187, round(places[13], 4)) in points  # ParT without the muon flag
    assert (0.7229, round(places[-1], 4)) in points
    with pytest.raises(JepalibError, match="no arm"):
        removal_figure(table, ["none"], theirs)
    with pytest.raises(JepalibError, match="0 arms"):
        removal_figure(table, [], theirs)


def test_scans_begin_clean_and_tell_what_is_lost(table):
    figure = scan_figure(table, ARMS)
    *panels, legend = figure.axes
    assert len(panels) == 5
    assert panels[0].lines[0].get_xydata()[:, 0].tolist() == [0, 0.3, 0.9]
    assert panels[0].lines[0].get_ydata()[0] == 0.6
    assert [text.get_text() for text in panels[2].get_xticklabels()][1] == "0.2\n10 %"
    assert panels[4].get_xlabel().endswith("[mm]")
    assert [text.get_text() for text in legend.get_legend().get_texts()] == list(ARMS)
    assert len(panels[0].collections) == 2  # bands of the first two arms


def test_all_arms_have_a_row(table):
    seeds = pd.concat([table.assign(seed=s, accuracy=table.accuracy + 0.01 * s) for s in range(2)])
    axes = arms_figure(seeds, table).axes
    assert [t.get_text() for t in axes[0].get_yticklabels()] == list(ARMS)
    points = np.asarray(axes[0].collections[-1].get_offsets())
    assert points[:, 0] == pytest.approx([0.4, 0.41])


def test_attention_is_drawn_beside_particles_and_pt(table):
    rows = table[table.kind.isin(["random", "softest", "dead"]) & table.arm.isin(ARMS[:2])]
    figure = attention_figure(rows.assign(attention=rows["size"] / 3))
    panel = figure.axes[0]
    particles = np.array([0.15, 0.45])
    assert panel.lines[0].get_ydata() == [1, 1]
    assert panel.lines[2].get_ydata() == pytest.approx(np.array([0.1, 0.3]) / particles)
    assert figure.axes[3].get_xlabel() == "share of attention on what is lost"
    with pytest.raises(JepalibError, match="no column \\['attention'\\]"):
        attention_figure(rows)
