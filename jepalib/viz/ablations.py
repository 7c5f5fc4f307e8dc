"""The figure of an ablation: every table's rows, ours on the left, the published ones on the right."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from jepalib.errors import JepalibError
from jepalib.viz.results import CURVES
from jepalib.viz.style import PAGE, new_figure

NEEDED = ("table", "setting", "row", "accuracy", "spread", "published")
ROW_HEIGHT, HEAD_HEIGHT = 0.25, 0.42  # inches


def ablations(table: pd.DataFrame, seeds: pd.DataFrame, untrained: tuple[float, float] | None) -> Figure:
    """Accuracy of every row, a panel for each table; both sides have axes of the same length.

    Small points are single seeds, large ones their mean, bars one standard deviation over
    seeds; the dotted line and its band are an untrained encoder. Published rows have no spread.

    Args:
        table: rows in their order, with `table`, `setting`, `row`, `accuracy`, `spread` (NaN
            for a single seed) and `published`.
        seeds: `row` and `accuracy` of every single training.
        untrained: mean and spread of the accuracy without pre-training.

    Raises:
        JepalibError: a column is missing, or there is no row.
    """
    missing = [name for name in NEEDED if name not in table]
    if missing or table.empty:
        raise JepalibError(f"ablations: {f'no column {missing}' if missing else 'no rows'}")
    groups = [rows.iloc[::-1] for _, rows in table.groupby("table")]
    heights = [len(rows) * ROW_HEIGHT + HEAD_HEIGHT for rows in groups]
    figure = new_figure(PAGE, sum(heights) + 0.9)
    options = {"height_ratios": heights, "width_ratios": [3, 2]}
    grid = figure.subplots(len(groups), 2, squeeze=False, sharex="col", gridspec_kw=options)
    for (left, right), rows in zip(grid, groups):
        _ours(left, rows, seeds, untrained)
        _theirs(right, rows)
        for ax in (left, right):
            ax.set_yticks(range(len(rows)), list(rows.setting) if ax is left else [""] * len(rows))
            ax.yaxis.set_minor_locator(NullLocator())
            ax.tick_params(axis="y", length=0)
            ax.set_ylim(-0.6, len(rows) - 0.4)
        left.set_title(f"Table {rows.table.iloc[0]}", loc="left")
    grid[-1, 0].set_xlabel("accuracy here")
    grid[-1, 1].set_xlabel("accuracy published, on JetClass")
    _same_length(grid[-1, 0], grid[-1, 1])
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def _ours(ax: Axes, rows: pd.DataFrame, seeds: pd.DataFrame, untrained: tuple[float, float] | None) -> None:
    color, _, marker = CURVES[0]
    if untrained is not None:
        mean, spread = untrained[0], np.nan_to_num(untrained[1])
        ax.axvline(mean, color=CURVES[4][0], linestyle=":", label="untrained")
        ax.axvspan(mean - spread, mean + spread, color=CURVES[4][0], alpha=0.18, linewidth=0)
    places = np.arange(len(rows))
    ax.errorbar(
        rows.accuracy, places, xerr=rows.spread.fillna(0.0), linestyle="", color=color, marker=marker,
        capsize=2, label="mean over seeds",
    )  # fmt: skip
    single = [(value, at) for at, row in enumerate(rows.row) for value in seeds[seeds.row == row].accuracy]
    values, at = np.array(single).T
    ax.scatter(
        values, at - 0.22, s=9, color=color, edgecolors="black", linewidths=0.4, label="seeds", zorder=3
    )


def _theirs(ax: Axes, rows: pd.DataFrame) -> None:
    color, _, marker = CURVES[4]
    ax.plot(
        rows.published, np.arange(len(rows)), linestyle="", color=color, marker=marker, markerfacecolor="w"
    )


def _same_length(left: Axes, right: Axes) -> None:
    """The same accuracy per inch on both sides, so that differences can be compared by eye."""
    scale = max(np.ptp(left.get_xlim()) / 3, np.ptp(right.get_xlim()) / 2)
    for ax, width in ((left, 3), (right, 2)):
        middle = np.mean(ax.get_xlim())
        ax.set_xlim(middle - scale * width / 2, middle + scale * width / 2)
