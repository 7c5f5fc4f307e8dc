"""Figures of scaling: loss or error along four axes with power laws, and the frontier in operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, NullFormatter, NullLocator, ScalarFormatter

from jepalib.errors import JepalibError
from jepalib.evaluation.scaling import CONFIDENCE, PowerLaw
from jepalib.viz.results import CURVES
from jepalib.viz.style import PAGE, new_figure

X_TITLES = {
    "views": "jets seen",
    "unique jets": "different training jets",
    "parameters": "parameters of the encoder",
    "operations": "operations of the training [FLOP]",
}


def scaling_axes(
    rows: Mapping[str, pd.DataFrame],
    columns: Mapping[str, str],
    laws: Mapping[str, PowerLaw],
    what: str,
    title: str,
) -> Figure:
    """A panel for each axis, both scales logarithmic: seeds, their mean, and the power law with its band.

    Args:
        rows: measurements by axis, a name in `X_TITLES`: the axis' column, `seed`, `size` and `what`.
        columns: the column of each axis.
        laws: power laws by axis; an axis without one shows its points alone.
        what: the column of the measurements that is drawn.
        title: of the vertical axes.

    Raises:
        JepalibError: an unknown axis, a column is missing, or there is no row.
    """
    figure = new_figure(PAGE, 2.75 * -(-len(rows) // 2) + 0.1)
    grid = figure.subplots(-(-len(rows) // 2), 2, squeeze=False, sharey=True)
    drawn = pd.concat([table[what] for table in rows.values() if what in table] or [pd.Series(dtype=float)])
    for ax, (axis, table) in zip(grid.flat, rows.items()):
        column = _checked(axis, table, columns, what)
        color, _, marker = CURVES[0]
        means = table.groupby(["size", "unique", "views"]).agg(x=(column, "mean"), y=(what, "mean"))
        if law := laws.get(axis):
            _law(ax, law, means.x.to_numpy(), CURVES[1][0])
        ax.scatter(table[column], table[what], s=8, color="black", label="seeds", zorder=3)
        ax.plot(
            means.x, means.y, color=color, marker=marker, markerfacecolor="white",
            linestyle="", markersize=6, label="mean",
        )  # fmt: skip
        _logarithmic(ax, table[column], drawn)
        ax.set_xlabel(X_TITLES[axis])
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1, handlelength=1.4)
    for ax in grid[:, 0]:
        ax.set_ylabel(title)
    for ax in grid.flat[len(rows) :]:
        ax.remove()
    return figure


def compute_frontier(
    table: pd.DataFrame, law: PowerLaw | None, best: Sequence[bool], what: str, title: str
) -> Figure:
    """All runs against the operations of their training, a line a size, and the frontier of the best.

    Args:
        table: means over seeds: `size`, `parameters`, `flops`, `what` and `spread`, its standard
            deviation (NaN for one seed).
        law: through the frontier.
        best: which rows are on the frontier.
        what, title: column and title of the vertical axis.

    Raises:
        JepalibError: a column is missing, or there is no row.
    """
    missing = [name for name in ("size", "parameters", "flops", what, "spread") if name not in table]
    if missing or table.empty:
        raise JepalibError(f"compute_frontier: {f'no column {missing}' if missing else 'no rows'}")
    figure = new_figure(0.8 * PAGE, 3.5)
    ax = figure.subplots()
    for number, (size, rows) in enumerate(table.groupby("size", sort=False)):
        color, dash, marker = CURVES[number % len(CURVES)]
        rows = rows.sort_values("flops")
        label = f"{size}, {rows.parameters.iloc[0]:,} parameters"
        ax.errorbar(
            rows.flops, rows[what], rows.spread.fillna(0.0), color=color, linestyle=dash, marker=marker,
            capsize=2, linewidth=1, label=label,
        )  # fmt: skip
    chosen = table[np.asarray(best)]
    ax.scatter(
        chosen.flops, chosen[what], s=70, facecolors="none", edgecolors="black", linewidths=0.9, zorder=3,
        label="beaten by no other",
    )  # fmt: skip
    if law is not None:
        _law(ax, law, chosen.flops.to_numpy(), "black")
    _logarithmic(ax, table.flops, table[what])
    ax.set_xlabel(X_TITLES["operations"])
    ax.set_ylabel(title)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _law(ax: Axes, law: PowerLaw, x: np.ndarray, color: str) -> None:
    """The fitted curve over the range of the points, its band, and its exponent in the legend."""
    fine = np.geomspace(x.min() / 1.15, x.max() * 1.15, 100)
    low, high = law.band(fine)
    ax.fill_between(fine, low, high, color=color, alpha=0.15, linewidth=0, label=f"{100 * CONFIDENCE:.0f} %")
    error = f" ± {law.error:.2f}" if law.determined else ", not determined"
    floor = ", with floor" if law.with_floor else ""
    ax.plot(fine, law(fine), color=color, linewidth=1, label=f"b = {law.exponent:.2f}{error}{floor}")


def _logarithmic(ax: Axes, x: pd.Series, y: pd.Series) -> None:
    """Both scales logarithmic and as long as the points, which a band may leave; numbers within a decade."""
    ax.set_xscale("log")
    ax.set_yscale("log")
    for axis, limits, values in ((ax.xaxis, ax.set_xlim, x), (ax.yaxis, ax.set_ylim, y)):
        low, high = float(values.min()), float(values.max())
        beyond = max((high / low) ** 0.15, 1.04)
        limits(low / beyond, high * beyond)
        axis.set_major_locator(LogLocator(subs=_steps(high / low), numticks=30))
        axis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter(
        LogFormatterSciNotation(labelOnlyBase=False, minor_thresholds=(np.inf, np.inf))
    )
    ax.yaxis.set_major_formatter(ScalarFormatter())
    ax.yaxis.set_minor_locator(NullLocator())


def _steps(ratio: float) -> tuple[float | int, ...]:
    """Where numbers stand within a decade, for an axis whose ends have this ratio: some four in all."""
    if ratio > 50:
        return (1,)
    if ratio > 6:
        return (1, 2, 5)
    if ratio > 1.7:
        return (1, 1.5, 2, 3, 4, 5, 7)
    return (1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.7, 2, 2.2, 2.5, 2.8, 3, 3.3, 3.6, 4, 4.5, 5, 5.5, 6, 7, 8, 9)


def _checked(axis: str, table: pd.DataFrame, columns: Mapping[str, str], what: str) -> str:
    if axis not in X_TITLES:
        raise JepalibError(f"scaling_axes: no axis '{axis}'; there are: {', '.join(X_TITLES)}")
    missing = [name for name in (columns[axis], what, "size", "unique", "views") if name not in table]
    if missing or table.empty:
        raise JepalibError(f"scaling_axes: {axis}: {f'no column {missing}' if missing else 'no rows'}")
    return columns[axis]
