"""Figures of transfer: several ways to a tagger on another data set, ours beside published ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.viz.results import CURVES
from jepalib.viz.style import PAGE, new_figure


def two_classes(jets: Jets, classes: Sequence[str]) -> Figure:
    """Constituents, soft-drop mass and τ3/τ2 of a data set of two classes.

    Bins reach to the 99.5th percentile; heights are fractions of all jets of a class.
    """
    figure = new_figure(PAGE, 2.7)
    tau2 = jets.observable("tau2").numpy()
    ratio = np.divide(jets.observable("tau3").numpy(), tau2, out=np.zeros_like(tau2), where=tau2 > 0)
    panels = (
        (jets.counts.numpy().astype(float), "constituents per jet"),
        (jets.observable("sdmass").numpy(), "soft-drop mass [GeV]"),
        (ratio, r"$\tau_{32} = \tau_3/\tau_2$"),
    )
    labels = jets.labels.numpy()
    axes = figure.subplots(1, len(panels))
    for ax, (values, title) in zip(axes, panels, strict=True):
        bins = np.linspace(0, float(np.quantile(values, 0.995)) or 1.0, 31 if len(jets) >= 2000 else 16)
        for label, name in enumerate(classes):
            chosen = values[labels == label]
            color, dash, _ = CURVES[1 - label]
            heights = np.histogram(chosen, bins)[0] / max(len(chosen), 1)
            ax.stairs(heights, bins, label=name, color=color, linestyle=dash, linewidth=1.5,
                      fill=label == 0, alpha=0.4 if label == 0 else 1.0)  # fmt: skip
        ax.set_xlabel(title)
        ax.set_xlim(bins[0], bins[-1])
    axes[0].set_ylabel("fraction of jets per bin")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def transfer_figure(ours: pd.DataFrame, theirs: pd.DataFrame) -> Figure:
    """Accuracy of each arm on each data set: points are seeds, the bar their mean, diamonds the paper's.

    Args:
        ours: columns dataset, arm, accuracy, a row per seed.
        theirs: columns dataset, arm, value; only arms of `ours` are drawn.

    Raises:
        JepalibError: a column is missing.
    """
    for table, needed in ((ours, {"dataset", "arm", "accuracy"}), (theirs, {"dataset", "arm", "value"})):
        if missing := needed - set(table.columns):
            raise JepalibError(f"transfer_figure: the table has no column {sorted(missing)}")
    datasets, arms = list(ours["dataset"].unique()), list(ours["arm"].unique())
    figure = new_figure(PAGE, 0.9 + 0.32 * len(arms))
    axes = figure.subplots(1, len(datasets), sharey=True, squeeze=False)[0]
    for ax, dataset in zip(axes, datasets, strict=True):
        for place, arm in enumerate(arms):
            values = ours[(ours["dataset"] == dataset) & (ours["arm"] == arm)]["accuracy"].to_numpy()
            known = theirs[(theirs["dataset"] == dataset) & (theirs["arm"] == arm)]["value"].to_numpy()
            label = place == 0
            ax.scatter(values, np.full(len(values), place), s=14, color=CURVES[0][0], edgecolors="black",
                       linewidths=0.4, zorder=3, label="ours, one seed" if label else None)  # fmt: skip
            if len(values):
                ax.plot([values.mean()] * 2, [place - 0.28, place + 0.28], color=CURVES[0][0], linewidth=2,
                        label="ours, mean" if label else None)  # fmt: skip
            ax.scatter(known, np.full(len(known), place), marker="D", s=26, facecolors="none",
                       edgecolors=CURVES[1][0], label="published" if label else None)  # fmt: skip
        ax.set_title(dataset)
        ax.set_xlabel("accuracy")
        ax.set_ylim(len(arms) - 0.5, -0.5)
        ax.grid(axis="y", color="#e3e3e3", linewidth=0.6)
    axes[0].set_yticks(range(len(arms)), arms)
    axes[0].yaxis.set_tick_params(which="both", length=0)
    axes[0].yaxis.minorticks_off()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
