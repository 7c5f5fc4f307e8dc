"""Figures of trust: reliability, entropies, accuracy against rejected jets and against observables."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jepalib.errors import JepalibError
from jepalib.evaluation.calibration import (
    accuracy_against_rejection,
    entropy,
    expected_calibration_error,
    reliability,
)
from jepalib.viz.results import CURVES
from jepalib.viz.style import COLUMN, PAGE, new_figure

Models = Mapping[str, Float[np.ndarray, "jets classes"]]  # probabilities by the name of the model
Labels = Int[np.ndarray, " jets"]

# (column of `metrics_by`, columns of its interval or none, title)
PANELS = (
    ("accuracy", ("accuracy_low", "accuracy_high"), "accuracy"),
    ("auc_ovo", (), "macro AUC, one-vs-one"),
    ("ece", (), "expected calibration error"),
)
ENTROPY_BINS = 40


def reliability_diagram(models: Models, labels: Labels) -> Figure:
    """Accuracy against confidence with its binomial error, and below how many jets each bin has.

    Points stand at the mean confidence of their bin; below the diagonal a model is too sure of
    itself. The legend gives the ECE over the same 15 bins.

    Args:
        models: probabilities of the same jets by model; at most eight.

    Raises:
        JepalibError: no or too many models, or what `tagging.checked` refuses.
    """
    _few("reliability_diagram", models)
    figure = new_figure(0.62 * PAGE, 4.6)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    top.plot([0, 1], [0, 1], color="#8a8a8a", linewidth=1, label="perfect calibration")
    for (name, probabilities), (color, dash, marker) in zip(models.items(), CURVES):
        table = reliability(probabilities, labels)
        ece = expected_calibration_error(probabilities, labels)
        _with_errors(top, table["confidence"], table, ("accuracy", "accuracy_low", "accuracy_high"),
                     color=color, linestyle=dash, marker=marker, label=f"{name}, ECE {ece:.3f}")  # fmt: skip
        edges = np.append(table["low"], 1.0)
        bottom.stairs(table["jets"], edges, color=color, linestyle=dash, linewidth=1.2)
    top.set_ylabel("accuracy")
    top.set_ylim(0, 1.02)
    top.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(2, len(models) + 1))
    bottom.set_xlim(0, 1)
    bottom.set_yscale("symlog", linthresh=1)  # a bin without jets is drawn, at zero
    bottom.set_ylim(0, 2 * len(labels))
    bottom.set_xlabel("confidence (largest probability)")
    bottom.set_ylabel("jets per bin")
    return figure


def entropy_distributions(models: Models, labels: Labels) -> Figure:
    """Entropy of the scores of rightly and of wrongly tagged jets, a panel for each model.

    Heights are fractions of all jets of the panel per bin; both histograms together make one.

    Args:
        models: probabilities of the same jets by model; at most eight.

    Raises:
        JepalibError: no or too many models.
    """
    _few("entropy_distributions", models)
    columns = min(len(models), 4)
    rows = -(-len(models) // columns)
    figure = new_figure(PAGE if columns > 1 else COLUMN, 0.6 + 2.2 * rows)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax, (name, probabilities) in zip(axes.flat, models.items()):
        bins = np.linspace(0, np.log(probabilities.shape[1]), ENTROPY_BINS + 1)
        values = np.clip(entropy(probabilities), 0, bins[-1])  # rounding may leave the range
        right = probabilities.argmax(1) == labels
        for chosen, label, (color, dash, _), fill in (
            (right, "right", CURVES[0], True),
            (~right, "wrong", CURVES[1], False),
        ):
            heights = np.histogram(values[chosen], bins)[0] / len(values)
            ax.stairs(heights, bins, color=color, linestyle=dash, fill=fill, alpha=0.45 if fill else 1.0,
                      linewidth=1.5, label=label)  # fmt: skip
        ax.set_title(f"{name}, mean {values.mean():.3f}")
        ax.set_xlim(0, bins[-1])
    for ax in list(axes.flat)[len(models) :]:
        ax.remove()
    figure.supxlabel("entropy of the scores (nats)", fontsize=9.5)
    axes[0, 0].set_ylabel("fraction of jets per bin")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def rejection_curves(
    models: Models, labels: Labels, uncertainties: Mapping[str, Float[np.ndarray, " jets"]] | None = None
) -> Figure:
    """Accuracy of what remains against the fraction of jets rejected, the most uncertain first.

    Bands are one binomial standard deviation. A useful uncertainty makes the curve rise.

    Args:
        models: probabilities of the same jets by model; at most eight.
        uncertainties: of each jet, for some of the models; the others reject by entropy.

    Raises:
        JepalibError: no or too many models, an uncertainty of a model that is not there, or what
            `accuracy_against_rejection` refuses.
    """
    _few("rejection_curves", models)
    uncertainties = uncertainties or {}
    if unknown := set(uncertainties) - set(models):
        raise JepalibError(f"rejection_curves: uncertainties of {sorted(unknown)}, which are no models here")
    figure = new_figure(0.75 * PAGE, 3.2)
    ax = figure.subplots()
    for (name, probabilities), look in zip(models.items(), CURVES):
        _rejection(ax, accuracy_against_rejection(probabilities, labels, uncertainties.get(name)), name, look)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(3, len(models)))
    return figure


def rejection_by_measure(
    models: Models, labels: Labels, measures: Mapping[str, Mapping[str, Float[np.ndarray, " jets"]]]
) -> Figure:
    """Accuracy against rejected jets, a panel for each model and a curve for each measure of uncertainty.

    All curves of a panel judge the same scores: they differ only in which jets are rejected first.

    Args:
        models: probabilities of the same jets by model, at most three.
        measures: uncertainty of each jet by model, then by the name of the measure.

    Raises:
        JepalibError: a model without measures or too many of them, or what
            `accuracy_against_rejection` refuses.
    """
    if not 1 <= len(models) <= 3 or set(models) != set(measures):
        raise JepalibError(f"rejection_by_measure: measures of {sorted(measures)} for {sorted(models)}")
    figure = new_figure(PAGE, 3.2)
    axes = figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
    for ax, (name, probabilities) in zip(axes, models.items(), strict=True):
        _few(f"rejection_by_measure, {name}", measures[name])
        for (measure, uncertainty), look in zip(measures[name].items(), CURVES):
            _rejection(ax, accuracy_against_rejection(probabilities, labels, uncertainty), measure, look)
        ax.set_title(name)
    for ax in axes[1:]:
        ax.set_ylabel("")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def _rejection(ax: Axes, table: pd.DataFrame, name: str, look: tuple[str, str, str]) -> None:
    """A curve of `accuracy_against_rejection` with its band."""
    color, dash, marker = look
    ax.fill_between(table["rejected"], table["accuracy_low"], table["accuracy_high"], color=color,
                    alpha=0.18, linewidth=0)  # fmt: skip
    ax.plot(table["rejected"], table["accuracy"], color=color, linestyle=dash, marker=marker,
            markevery=4, label=name)  # fmt: skip
    ax.set_xlim(0, 1)
    ax.set_xlabel("fraction of jets rejected, most uncertain first")
    ax.set_ylabel("accuracy of the rest")


def against_observable(tables: Mapping[str, pd.DataFrame], title: str) -> Figure:
    """Accuracy, AUC and calibration error in bins of one observable.

    Points stand at the median of their bin, horizontal bars span it, vertical ones (of the
    accuracy) are one binomial standard deviation. Dotted steps under the calibration error are
    what so few jets would show with perfect calibration.

    Args:
        tables: `evaluation.calibration.metrics_by` of each model, at most eight.
        title: the observable with its unit, for the axis.

    Raises:
        JepalibError: no or too many models, or a column is missing.
    """
    _few("against_observable", tables)
    needed = {"low", "high", "centre", "ece_floor"} | {c for column, ci, _ in PANELS for c in (column, *ci)}
    for name, table in tables.items():
        if missing := needed - set(table.columns):
            raise JepalibError(f"against_observable: the table of {name} has no column {sorted(missing)}")
    figure = new_figure(PAGE, 2.7)
    axes = figure.subplots(1, len(PANELS))
    for (name, table), (color, dash, marker) in zip(tables.items(), CURVES):
        for ax, (column, interval, _) in zip(axes, PANELS, strict=True):
            width = [table["centre"] - table["low"], table["high"] - table["centre"]]
            look = {"color": color, "linestyle": dash, "marker": marker, "label": name, "xerr": width}
            _with_errors(ax, table["centre"], table, (column, *interval), **look)
        edges = np.append(table["low"], table["high"].iloc[-1])
        axes[-1].stairs(table["ece_floor"], edges, color=color, linestyle=":", linewidth=1, baseline=None)
    for ax, (_, _, label) in zip(axes, PANELS, strict=True):
        ax.set_xlabel(title)
        ax.set_ylabel(label)
    highest = max(table[["ece", "ece_floor"]].max().max() for table in tables.values())
    axes[-1].set_ylim(0, 1.1 * highest)
    floor = Line2D([], [], color="#717581", linestyle=":", label="calibrated, as few jets")
    figure.legend(handles=[*axes[-1].containers, floor], loc="outside upper center", ncols=4)
    return figure


def _few(where: str, models: Mapping) -> None:
    if not 1 <= len(models) <= len(CURVES):
        raise JepalibError(f"{where}: {len(models)} models; give 1 to {len(CURVES)}, which keep apart")


def _with_errors(
    ax: Axes, x: pd.Series, table: pd.DataFrame, columns: tuple[str, ...], **look: object
) -> None:
    """Points of columns[0] with the interval of columns[1:] if there is one; NaN are left out."""
    known = table[columns[0]].notna()
    y = table.loc[known, columns[0]]
    if len(columns) > 1:
        # An interval of Wilson need not hold the value itself to the last bit of rounding.
        low, high = (table.loc[known, c] for c in columns[1:])
        look["yerr"] = [(y - low).clip(lower=0), (high - y).clip(lower=0)]
    if "xerr" in look:
        look["xerr"] = [side[known] for side in look["xerr"]]
    ax.errorbar(x[known], y, capsize=1.5, elinewidth=1, **look)
