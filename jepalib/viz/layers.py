"""Figures of what lies inside an encoder: measures by layer and over training, likeness, physics."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jepalib.errors import JepalibError
from jepalib.schema import CLASSES
from jepalib.viz.observables import FLOOR, title
from jepalib.viz.results import CURVES
from jepalib.viz.style import PAGE, new_figure

MEASURES = {  # columns of `evaluation.representation.measures`, and their axes
    "rank": "effective rank",
    "spectrum_auc": "spectrum AUC",
    "ppe": "PPE of class centroids (%)",
    "knn": "accuracy of nearest neighbours",
    "linear": "accuracy of linear probe",
    "svm": "accuracy of linear SVM",
}


def measures_figure(
    table: pd.DataFrame,
    x: str,
    xlabel: str,
    logged: Mapping[str, pd.DataFrame] | None = None,
    classes: int = len(CLASSES),
) -> Figure:
    """Rank, spectrum AUC, PPE and the accuracies of three probes against layers or jets seen.

    Bars on accuracies are one standard error of the test jets. A dotted line is the accuracy of
    guessing.

    Args:
        table: rows of `evaluation.representation.measures` with a column `curve` (which line) and
            the column `x`: layers by name, in their order, or numbers.
        logged: what a training has logged, thin lines without markers, by measure: columns `x` and
            any number of curves.
        classes: how many there are to guess from.

    Raises:
        JepalibError: a column is missing, or there are more curves than keep apart.
    """
    missing = {"curve", x, "error", *MEASURES} - set(table.columns)
    if missing:
        raise JepalibError(f"measures_figure: the table has no column {sorted(missing)}")
    names = list(table["curve"].unique())
    _few_enough(names, "measures_figure")
    figure = new_figure(PAGE, 4.9)
    grid = figure.subplots(2, 3, sharex=True)
    for ax, (measure, label) in zip(grid.flat, MEASURES.items()):
        for i, name in enumerate(names):
            own = table[table["curve"] == name]
            _curve(ax, own[x], own[measure], own["error"] if label.startswith("acc") else None, i, name)
        for i, column in enumerate(
            (logged or {}).get(measure, pd.DataFrame()).columns.drop(x, errors="ignore")
        ):
            known = logged[measure][[x, column]].dropna()
            ax.plot(known[x], known[column], color=CURVES[i][0], linewidth=0.7, alpha=0.7)
        ax.set_ylabel(label)
    for ax in grid[1]:
        ax.axhline(1 / classes, color="#8a8a8a", linestyle=":", linewidth=1)
        _name_x(ax, table[x], xlabel)
    figure.legend(
        *grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=min(4, len(names))
    )
    return figure


def physics_by_layer(table: pd.DataFrame, reference: pd.DataFrame | None = None) -> Figure:
    """R² of each observable against the layer that a linear map reads it from, a panel each.

    Bars are one standard deviation (bootstrap over test jets). An R² below the figure is an open
    marker at its lower edge. The grey line, with its error as a band, is read from features that
    have no layers.

    Args:
        table: `evaluation.observables.compare`, its `features` named in a column `layer`, with a
            column `curve`.
        reference: the same of one set of features, with a column `curve` too.

    Raises:
        JepalibError: a column is missing, or there are more curves than keep apart.
    """
    missing = {"curve", "layer", "target", "r2", "r2_error"} - set(table.columns)
    if missing:
        raise JepalibError(f"physics_by_layer: the table has no column {sorted(missing)}")
    names, targets = list(table["curve"].unique()), list(table["target"].unique())
    _few_enough(names, "physics_by_layer")
    across = len(targets) // 2 + 1  # one more than is needed, for the legend
    figure = new_figure(PAGE, 4.9)
    grid = figure.subplots(2, across, sharex=True, sharey=True, squeeze=False)
    spare = 2 * across - len(targets)  # at the end of the upper row: every column has layers below it
    panels = [*grid[0, : across - spare], *grid[1]]
    for ax, target in zip(panels, targets, strict=True):
        for i, name in enumerate(names):
            own = table[(table["curve"] == name) & (table["target"] == target)]
            _curve(ax, own["layer"], own["r2"].clip(lower=FLOOR), own["r2_error"], i, name)
            low = own["r2"] < FLOOR
            ax.plot(own["layer"][low], [FLOOR] * low.sum(), "v", color=CURVES[i][0], markerfacecolor="white")
        for _, row in (
            reference[reference["target"] == target] if reference is not None else table[:0]
        ).iterrows():
            level, error = max(row["r2"], FLOOR), row["r2_error"]
            ax.axhspan(level - error, level + error, color="#8a8a8a", alpha=0.25, linewidth=0)
            ax.axhline(level, color="#606060", linestyle=":", linewidth=1.2, label=row["curve"])
        ax.set_title(title(target), fontsize=9)
        ax.set_ylim(FLOOR - 0.05, 1.02)
    for ax in grid[0, across - spare :]:
        ax.set_axis_off()
    for ax in grid[1]:
        _name_x(ax, table["layer"], "")
    for ax in grid[:, 0]:
        ax.set_ylabel("$R^2$ on the test jets")
    grid[0, -1].legend(*panels[0].get_legend_handles_labels(), loc="center")
    return figure


def likeness(tables: Mapping[str, pd.DataFrame], width: float = PAGE) -> Figure:
    """CKA tables side by side as heat maps, one colour scale, the value in each cell.

    Args:
        tables: `evaluation.cka.cka_table` by title, at most three beside each other.
    """
    figure = new_figure(width, 0.9 + width / len(tables) if len(tables) > 1 else 0.8 * width)
    axes = figure.subplots(1, len(tables), squeeze=False)[0]
    for ax, (name, table) in zip(axes, tables.items()):
        image = ax.imshow(table.to_numpy(), vmin=0, vmax=1, cmap="viridis", aspect="auto")
        for (i, j), value in np.ndenumerate(table.to_numpy()):
            shade = "black" if value > 0.6 else "white"
            ax.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color=shade)
        ax.set_xticks(range(table.shape[1]), list(table.columns), rotation=45, ha="right")
        ax.set_yticks(range(table.shape[0]), list(table.index))
        ax.minorticks_off()
        ax.tick_params(which="both", length=0)
        ax.set_title(name, fontsize=9)
    figure.colorbar(image, ax=list(axes), pad=0.01, fraction=0.04).set_label("CKA, debiased")
    return figure


def _curve(ax: Axes, x: pd.Series, y: pd.Series, error: pd.Series | None, place: int, name: str) -> None:
    color, dash, marker = CURVES[place]
    ax.errorbar(
        x, y, yerr=error, color=color, linestyle=dash, marker=marker, capsize=2, linewidth=1, label=name
    )


def _name_x(ax: Axes, x: pd.Series, label: str) -> None:
    if x.dtype.kind not in "iuf":
        ax.set_xticks(range(x.nunique()), list(x.unique()), rotation=45, ha="right")
        ax.xaxis.minorticks_off()
    ax.set_xlabel(label)


def _few_enough(names: list[str], figure: str) -> None:
    if len(names) > len(CURVES):
        raise JepalibError(f"{figure}: {len(names)} curves; at most {len(CURVES)} keep apart")
