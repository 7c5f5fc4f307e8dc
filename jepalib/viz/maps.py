"""Maps of embeddings, coloured by what the jets are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jepalib.errors import JepalibError
from jepalib.schema import CLASS_TITLES, CLASSES
from jepalib.viz.displays import class_title
from jepalib.viz.style import CLASS_LOOK, CONTEXT, PAGE, PALETTE, TARGET, new_figure

QUANTITIES = {  # column of `property_maps`: the title of its colour bar, and whether it is logarithmic
    "energy": ("jet energy [GeV]", True),
    "pt": ("jet $p_T$ [GeV]", False),
    "sdmass": ("soft-drop mass [GeV]", False),
    "multiplicity": ("constituents", False),
}


def class_map(places: Float[np.ndarray, "jets 2"], labels: Int[np.ndarray, " jets"]) -> Figure:
    """A t-SNE map with the ten classes, and the same once for each class before all others in grey.

    Ten colours on top of each other tell little: the small panels show where a class lies.
    """
    figure = new_figure(PAGE, 3.5)
    grid = figure.add_gridspec(1, 2, width_ratios=(1.0, 1.4), wspace=0.05)
    axes = [figure.add_subplot(grid[0])]
    small = grid[1].subgridspec(3, 4, wspace=0.05, hspace=0.1)
    order = np.random.default_rng(0).permutation(len(places))  # no class drawn on top of the others
    colors = np.array([CLASS_LOOK[name].color for name in CLASSES])
    axes[0].scatter(*places[order].T, s=3, c=colors[labels[order]], linewidths=0, rasterized=True)
    axes[0].set_title("all classes", fontsize=9)
    for number, name in enumerate(CLASSES):
        ax = figure.add_subplot(small[number // 4, number % 4])
        own = labels == number
        ax.scatter(*places[~own].T, s=1, c="#d9d9d9", linewidths=0, rasterized=True)
        ax.scatter(*places[own].T, s=2.5, c=CLASS_LOOK[name].color, linewidths=0, rasterized=True)
        ax.set_title(CLASS_TITLES[name], fontsize=8, pad=2)
        axes.append(ax)
    _bare(axes)
    axes[0].set_xlabel("t-SNE 1 (no unit)")
    axes[0].set_ylabel("t-SNE 2 (no unit)")
    return figure


def property_maps(
    places: Float[np.ndarray, "jets 2"],
    labels: Int[np.ndarray, " jets"],
    table: pd.DataFrame,
    classes: Sequence[str] = CLASSES,
) -> Figure:
    """The same map again and again: coloured by class, and by each column of a table.

    Args:
        table: columns of `QUANTITIES`, a row per jet. The colours span the central 98 % of the
            values; jets without one are light grey.
        classes: names, in the order of the labels; at most ten.

    Raises:
        JepalibError: a column that `QUANTITIES` does not know, or rows that do not fit.
    """
    if unknown := set(table.columns) - set(QUANTITIES):
        raise JepalibError(f"property_maps: unknown {sorted(unknown)}; known: {', '.join(QUANTITIES)}")
    if len(places) != len(table):
        raise JepalibError(f"property_maps: {len(table)} rows in the table for {len(places)} places")
    panels = len(table.columns) + 1
    rows = -(-(panels + 1) // 3)  # and the legend in the last
    figure = new_figure(PAGE, 2.75 * rows)
    axes = list(figure.subplots(rows, 3).flat)
    order = np.random.default_rng(0).permutation(len(places))  # no class drawn on top of the others
    colors = np.array(PALETTE[: len(classes)])
    axes[0].scatter(*places[order].T, s=3, c=colors[labels[order]], linewidths=0, rasterized=True)
    axes[0].set_title("class", fontsize=9)
    for ax, name in zip(axes[1:], table):
        _colored(ax, places[order], table[name].to_numpy(float)[order], name)
    for ax in axes[panels:]:
        ax.set_axis_off()
    spots = [Line2D([], [], linestyle="", marker="o", markersize=4, color=color) for color in colors]
    axes[-1].legend(spots, [class_title(name) for name in classes], loc="center", title="class", ncols=2)
    _bare(axes[:panels])
    axes[0].set_xlabel("t-SNE 1 (no unit)")
    axes[0].set_ylabel("t-SNE 2 (no unit)")
    return figure


def _colored(ax: Axes, places: np.ndarray, values: np.ndarray, name: str) -> None:
    title, logarithmic = QUANTITIES[name]
    there = np.isfinite(values)
    ax.scatter(*places[~there].T, s=3, c="#d9d9d9", linewidths=0, rasterized=True)
    low, high = np.quantile(values[there], [0.01, 0.99]) if there.any() else (0.0, 1.0)
    logarithmic &= low > 0
    scale = (LogNorm if logarithmic else Normalize)(low, high if high > low else low + 1)
    drawn = ax.scatter(*places[there].T, s=3, c=values[there], cmap="viridis", norm=scale, linewidths=0)
    drawn.set_rasterized(True)
    bar = ax.figure.colorbar(drawn, ax=ax, location="bottom", pad=0.02, aspect=25, shrink=0.9)
    bar.set_label(title)
    if logarithmic:
        ticks = [tick for tick in (10, 20, 50, 100, 200, 500, 700, 1000, 1500, 2000) if low <= tick <= high]
        bar.set_ticks(ticks, labels=[str(tick) for tick in ticks])
        bar.minorticks_off()


def placed_map(
    places: Float[np.ndarray, "jets 2"],
    labels: Int[np.ndarray, " jets"],
    new: Float[np.ndarray, "more 2"],
    new_labels: Int[np.ndarray, " more"],
    shown: Sequence[str],
    classes: Sequence[str] = CLASSES,
) -> Figure:
    """New jets (crosses) on a map, class by class, beside the map's own jets of the class (dots).

    Args:
        shown: some of the classes, a panel each.
        classes: names, in the order of the labels.
    """
    across = min(4, len(shown))
    down = -(-len(shown) // across)
    figure = new_figure(PAGE, 0.5 + down * PAGE / across)
    axes = list(figure.subplots(down, across, squeeze=False).flat)
    for ax, name in zip(axes, shown):
        own, arrived = (which == classes.index(name) for which in (labels, new_labels))
        ax.scatter(*places[~own].T, s=1, c="#dddddd", linewidths=0, rasterized=True)
        ax.scatter(*places[own].T, s=4, c=CONTEXT, linewidths=0, rasterized=True)
        ax.scatter(*new[arrived].T, s=11, c=TARGET, marker="x", linewidths=0.9, rasterized=True)
        ax.set_title(class_title(name), fontsize=9, pad=2)
    for ax in axes[len(shown) :]:
        ax.remove()
    _bare(axes[: len(shown)])
    axes[0].set_xlabel("t-SNE 1 (no unit)")
    axes[0].set_ylabel("t-SNE 2 (no unit)")
    return figure


def _bare(axes: list[Axes]) -> None:
    """Square panels without ticks: the axes of such a map mean nothing."""
    for ax in axes:
        ax.set(xticks=[], yticks=[])
        ax.minorticks_off()
        ax.set_box_aspect(1)
