"""Maps of embeddings, coloured by what the jets are."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from jepalib.schema import CLASS_TITLES, CLASSES
from jepalib.viz.style import CLASS_LOOK, PAGE, new_figure


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
    for ax in axes:
        ax.set(xticks=[], yticks=[])
        ax.minorticks_off()
        ax.set_box_aspect(1)
    axes[0].set_xlabel("t-SNE 1 (no unit)")
    axes[0].set_ylabel("t-SNE 2 (no unit)")
    return figure
