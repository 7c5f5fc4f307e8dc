"""Figures that compare searches for several signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from jepalib.errors import JepalibError
from jepalib.schema import CLASS_TITLES
from jepalib.viz.results import CURVES
from jepalib.viz.style import PAGE, new_figure


def sic_by_signal(
    table: pd.DataFrame, groups: Mapping[str, Sequence[str]], metric: str = "max_sic"
) -> Figure:
    """SIC of each classifier for each signal, a panel for each group of signals.

    Large markers are means over seeds, small ones single seeds; bars add the standard deviation
    over seeds and the binomial error of the test events in squares.

    Args:
        table: `evaluation.scan.scan` with one number of signal events for each signal.
        groups: signals, from top to bottom, by the title of their panel.
        metric: max_sic, or sic_1e-2 ….

    Raises:
        JepalibError: a column or a signal is missing, or there are too many classifiers.
    """
    needed = {"signal", "arm", "seed", "signals", metric, f"{metric}_error"}
    if missing := needed - set(table.columns):
        raise JepalibError(f"sic_by_signal: the table has no column {sorted(missing)}")
    arms = list(table["arm"].unique())
    asked = [signal for names in groups.values() for signal in names]
    if lacking := [signal for signal in asked if signal not in set(table["signal"])]:
        raise JepalibError(f"sic_by_signal: the table has no {', '.join(lacking)}")
    if not asked or not 1 <= len(arms) <= len(CURVES):
        raise JepalibError(
            f"sic_by_signal: {len(arms)} classifiers, {len(asked)} signals; give 1 to {len(CURVES)} and 1"
        )
    figure = new_figure(PAGE, 1.0 + (0.12 + 0.085 * len(arms)) * max(map(len, groups.values())))
    axes = figure.subplots(1, len(groups), sharex=True, squeeze=False)[0]
    for ax, (title, signals) in zip(axes, groups.items(), strict=True):
        for arm, look in zip(arms, CURVES):
            _dots(ax, table[table["arm"] == arm], signals, metric, (arms.index(arm), len(arms)), look, arm)
        for place in range(1, len(signals)):
            ax.axhline(place - 0.5, color="#e3e3e3", linewidth=0.8, zorder=0)
        ax.axvline(1, color="black", linestyle=":", linewidth=1)
        ax.set_yticks(range(len(signals)), [CLASS_TITLES.get(signal, signal) for signal in signals])
        ax.set_ylim(len(signals) - 0.5, -0.5)
        ax.tick_params(axis="y", which="both", length=0)
        ax.minorticks_off()
        ax.set_title(title)
        ax.set_xlabel("maximum SIC" if metric == "max_sic" else f"SIC at FPR = {metric.removeprefix('sic_')}")
    axes[0].set_xlim(left=0)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(3, len(arms)))
    return figure


def _dots(ax, rows: pd.DataFrame, signals, metric: str, place: tuple[int, int], look, label: str) -> None:
    color, _, marker = look
    offset = 0.8 * ((place[0] + 0.5) / place[1] - 0.5)  # arms below one another within a row
    for row, signal in enumerate(signals):
        own = rows[rows["signal"] == signal].dropna(subset=[metric])
        if own.empty:
            continue
        values = own[metric].to_numpy()
        spread = values.std(ddof=1) if len(values) > 1 else 0.0
        error = float(np.hypot(spread, own[f"{metric}_error"].mean()))
        ax.errorbar(
            values.mean(), row + offset, xerr=error, color=color, marker=marker, markersize=4, capsize=0,
            elinewidth=1, linestyle="none", label=label if row == 0 else None,
        )  # fmt: skip
        ax.scatter(
            values, np.full(len(values), row + offset), s=4, color=color, edgecolors="black", linewidths=0.2,
            zorder=3,
        )  # fmt: skip
