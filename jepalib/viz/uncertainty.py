"""Figures of what makes scores trustworthy, and of background rejections with their errors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator, StrMethodFormatter

from jepalib.errors import JepalibError
from jepalib.evaluation.ensembles import METRICS
from jepalib.schema import CLASS_TITLES
from jepalib.viz.results import CURVES, METRIC_TITLES
from jepalib.viz.style import PAGE, new_figure

GREY = "#717581"
TITLES = METRIC_TITLES | {"ece": "expected calibration error"}


def ways_figure(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Accuracy, log loss and calibration error of each way of making scores, for each arm.

    Filled markers are means over seeds with the standard deviation over them; open ones are single
    numbers (ensembles, or one seed) with the bootstrap's error. Grey strokes are the calibration error
    that so many jets show with perfect calibration.

    Args:
        tables: `evaluation.ensembles.compare` of each arm, the same ways in each.

    Raises:
        JepalibError: no arms, more than three, or arms of other ways.
    """
    names = [tuple(table["way"]) for table in tables.values()]
    if not 1 <= len(names) <= 3 or len(set(names)) > 1:
        raise JepalibError(f"ways_figure: give one to three arms with the same ways, not {names}")
    figure = new_figure(PAGE, 1.3 + 0.33 * len(names[0]))
    axes = figure.subplots(1, len(METRICS), sharey=True)
    for number, (table, (color, _, marker)) in enumerate(zip(tables.values(), CURVES)):
        places = np.arange(len(table)) + 0.22 * (number - (len(tables) - 1) / 2)
        for ax, metric in zip(axes, METRICS, strict=True):
            _dots(ax, table, metric, places, color, marker)
        axes[-1].plot(table["ece_floor"], places, linestyle="", marker="|", color=GREY, markersize=7)
    for ax, metric in zip(axes, METRICS, strict=True):
        ax.set_xlabel(TITLES[metric])
        ax.yaxis.set_minor_locator(NullLocator())
    axes[-1].set_xlim(left=0)
    axes[0].set_yticks(range(len(names[0])), names[0])
    axes[0].set_ylim(len(names[0]) - 0.5, -0.5)
    handles = [
        Line2D([], [], color=color, marker=marker, linestyle="", label=name)
        for name, (color, _, marker) in zip(tables, CURVES)
    ]
    open_one = Line2D(
        [], [], color=GREY, marker="o", markerfacecolor="white", linestyle="", label="one number"
    )
    floor = Line2D([], [], color=GREY, marker="|", linestyle="", label="calibrated, as few jets")
    figure.legend(handles=[*handles, open_one, floor], loc="outside upper center", ncols=5)
    return figure


def _dots(ax: Axes, table: pd.DataFrame, metric: str, places: np.ndarray, color: str, marker: str) -> None:
    """One arm in one panel: the spread over seeds where there is one, else the bootstrap's error."""
    several = table[f"{metric}_spread"].notna().to_numpy()
    for chosen, error, face in ((several, "spread", color), (~several, "error", "white")):
        ax.errorbar(
            table[metric][chosen], places[chosen], xerr=table[f"{metric}_{error}"][chosen], color=color,
            marker=marker, markerfacecolor=face, linestyle="", capsize=2, elinewidth=1,
        )  # fmt: skip


def rejection_points(
    tables: Mapping[str, pd.DataFrame], published: Mapping[str, Mapping[str, float]]
) -> Figure:
    """QCD rejection of each signal class with its error, and published ones of another data set.

    Arrows are limits: no background jet passes. Classes of which nothing can be said have no marker.

    Args:
        tables: `evaluation.rejection.rejection_table` of each arm, at most three.
        published: rejection by class, by the name of the model; at most four.

    Raises:
        JepalibError: no or too many arms, or too many published models.
    """
    if not 1 <= len(tables) <= 3 or len(published) > 4:
        raise JepalibError(
            f"rejection_points: {len(tables)} arms, {len(published)} published; give 1 to 3, 0 to 4"
        )
    figure = new_figure(PAGE, 3.4)
    ax = figure.subplots()
    for number, ((name, table), (color, _, marker)) in enumerate(zip(tables.items(), CURVES)):
        places = np.arange(len(table)) + 0.2 * (number - (len(tables) - 1) / 2)
        known = table["rejection"].notna().to_numpy()
        value, low, high = (table.loc[known, column] for column in ("rejection", "low", "high"))
        look = {"color": color, "marker": marker, "linestyle": "", "capsize": 2, "label": name}
        ax.errorbar(places[known], value, yerr=[value - low, high - value], **look)
        limit = ~known & table["low"].notna().to_numpy()
        bottom = table.loc[limit, "low"]
        ax.errorbar(places[limit], bottom, yerr=0.5 * bottom, lolims=True, color=color, linestyle="")
    for (name, values), marker in zip(published.items(), "D^vP"):
        known = [place for place, signal in enumerate(table["signal"]) if signal in values]
        heights = [values[table["signal"].iloc[place]] for place in known]
        ax.plot(known, heights, linestyle="", marker=marker, color=GREY, markerfacecolor="white", label=name)
    labels = [
        f"{CLASS_TITLES[signal]}\n{100 * efficiency:g} %"
        for signal, efficiency in zip(table["signal"], table["efficiency"], strict=True)
    ]
    ax.set_xticks(range(len(labels)), labels)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlim(-0.5, len(labels) - 0.5)
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.set_xlabel("signal class and its efficiency (TPR)")
    ax.set_ylabel("QCD rejection (1/FPR)")
    figure.legend(loc="outside upper center", ncols=2)
    return figure
