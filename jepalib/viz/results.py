"""Figures of results: training curves, few-shot curves, background rejection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from jepalib.errors import JepalibError
from jepalib.evaluation.tagging import (
    MIN_PASSING,
    SIGNAL_EFFICIENCY,
    checked,
    discriminant,
    rejections,
)
from jepalib.schema import CLASS_TITLES, CLASSES
from jepalib.viz.style import CLASS_LOOK, PAGE, new_figure

# (colour, dash, marker) by position, for curves that are no classes.
CURVES = (
    ("#3f90da", "-", "o"), ("#bd1f01", "--", "s"), ("#832db6", "-.", "D"), ("#ffa90e", ":", "^"),
    ("#717581", "-", "v"), ("#a96b59", "--", "P"), ("#5cc4c9", "-.", "X"), ("#000000", ":", "*"),
)  # fmt: skip
MODE_CURVE = {
    "linear-probe": CURVES[3], "frozen": CURVES[2], "fine-tuned": CURVES[0], "from-scratch": CURVES[1],
    "trees on the numbers": CURVES[7],
}  # fmt: skip
METRIC_TITLES = {"accuracy": "accuracy", "auc_ovo": "macro AUC, one-vs-one", "log_loss": "log loss"}


def _columns(metrics: pd.DataFrame, *parts: str) -> list[str]:
    """Numeric columns with one of `parts` in their name and at least one value."""
    numeric = metrics.select_dtypes("number").dropna(axis=1, how="all")
    return [c for c in numeric.columns if any(part in c for part in parts)]


def _lines(ax: Axes, metrics: pd.DataFrame, columns: Sequence[str], prefix: str = "") -> None:
    for i, column in enumerate(columns):
        color, dash, _ = CURVES[i % len(CURVES)]
        known = metrics[["step", column]].dropna()
        label = column.removeprefix(prefix).replace("_", " ") or "total"
        ax.plot(known.step, known[column], color=color, linestyle=dash, label=label)


def training_curves(metrics: pd.DataFrame) -> Figure:
    """Loss and its parts, effective rank, spectrum AUC, and accuracy (of probes, of training) by step.

    Args:
        metrics: one row a step of ``metrics.jsonl``: `step`, `loss`, `loss_*`, and where
            they were logged `rank_*`, `spectrum_auc_*` and `*accuracy*`.

    Raises:
        JepalibError: there is no step or no loss in the table.
    """
    if not {"step", "loss"} <= set(metrics.columns) or metrics.empty:
        raise JepalibError(f"training_curves: no steps with a loss; the columns are {list(metrics.columns)}")
    panels = [
        ("loss", ["loss", *[c for c in _columns(metrics, "loss_") if c != "loss"]], "loss_"),
        ("effective rank", _columns(metrics, "rank"), "rank_"),
        ("AUC of the variance spectrum", _columns(metrics, "spectrum_auc"), "spectrum_auc_"),
        ("accuracy", _columns(metrics, "accuracy"), ""),
    ]
    panels = [panel for panel in panels if panel[1]]
    figure = new_figure(PAGE, 2.9 if len(panels) < 3 else 5.4)
    grid = figure.subplots(-(-len(panels) // 2), min(2, len(panels)), squeeze=False)
    for ax, (title, columns, prefix) in zip(grid.flat, panels):
        _lines(ax, metrics, columns, prefix)
        if title == "loss":
            ax.lines[0].set_label("total")
            ax.lines[0].set(color="black", linestyle="-", linewidth=2)
        ax.set_xlabel("step")
        ax.set_ylabel(title)
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(3, len(columns)), columnspacing=1)
    for ax in list(grid.flat)[len(panels) :]:
        ax.remove()
    return figure


def few_shot(table: pd.DataFrame, published: pd.DataFrame | None = None, metric: str = "accuracy") -> Figure:
    """A metric against the number of labelled jets, by mode: single runs, mean, and spread.

    Small points, set a little to the right, are single seeds, lines their mean, bands one
    standard deviation over seeds. Published numbers are grey with open markers: other
    data, other sizes, other budgets.

    Args:
        table: columns labels, mode, seed and the metric.
        published: rows of `evaluation.published.published` for the same metric; models
            with a single number of labels make no curve and are left to the table.

    Raises:
        JepalibError: a column is missing, a mode unknown, or a point there twice (a table
            of several heads: choose one).
    """
    _check_few_shot(table, metric)
    figure = new_figure(PAGE, 3.8)
    ax = figure.subplots()
    for mode in _modes(table):
        rows = table[table["mode"] == mode]
        seeds = int(rows.groupby("labels")[metric].count().min())
        _band(ax, rows, metric, mode, f"{mode}, mean of {seeds} seed{'s' if seeds > 1 else ''}")
    if published is None:
        label_axis(ax, sorted(table["labels"].unique().tolist()))
    else:
        _published(ax, published)
        ax.set_xscale("log")
        ax.set_xlabel("labelled jets")
    ax.set_ylabel(_title(metric))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def few_shot_beside(tables: Mapping[str, pd.DataFrame], metric: str = "accuracy") -> Figure:
    """A metric against the number of labelled jets, a panel for each table, on one axis.

    Points, lines and bands as in `few_shot`.

    Args:
        tables: by title, each as for `few_shot`.
        metric: a column that all have.

    Raises:
        JepalibError: as `few_shot`.
    """
    for table in tables.values():
        _check_few_shot(table, metric)
    counts = sorted({int(count) for table in tables.values() for count in table["labels"]})
    figure = new_figure(PAGE, 3.9)
    panels = figure.subplots(1, len(tables), sharex=True, sharey=True, squeeze=False)[0]
    entries = {}
    for ax, (title, table) in zip(panels, tables.items()):
        for mode in _modes(table):
            _band(ax, table[table["mode"] == mode], metric, mode, mode)
        entries |= dict(zip(*reversed(ax.get_legend_handles_labels())))
        ax.set_title(title)
        label_axis(ax, counts)
    panels[0].set_ylabel(_title(metric))
    figure.legend(entries.values(), entries.keys(), loc="outside upper center", ncols=len(entries))
    return figure


def label_axis(ax: Axes, counts: Sequence[int]) -> None:
    """A logarithmic axis of labelled jets with a tick at each number that was measured."""
    ax.set_xscale("log")
    ax.set_xticks(counts, [f"{count:,}" for count in counts])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("labelled jets")


def _check_few_shot(table: pd.DataFrame, metric: str) -> None:
    missing = {"labels", "mode", "seed", metric} - set(table.columns)
    if missing:
        raise JepalibError(
            f"few_shot: the table has no column {sorted(missing)}; it has {list(table.columns)}"
        )
    unknown = set(table["mode"]) - set(MODE_CURVE)
    if unknown:
        raise JepalibError(f"few_shot: unknown modes {sorted(unknown)}; known are {', '.join(MODE_CURVE)}")
    if table.duplicated(["labels", "mode", "seed"]).any():
        raise JepalibError("few_shot: several rows for one mode, labels and seed; choose one head first")


def _modes(table: pd.DataFrame) -> list[str]:
    return [mode for mode in MODE_CURVE if mode in set(table["mode"])]


def _title(metric: str) -> str:
    return METRIC_TITLES.get(metric, metric.replace("_", " "))


def _band(ax: Axes, rows: pd.DataFrame, metric: str, mode: str, label: str) -> None:
    color, dash, marker = MODE_CURVE[mode]
    grouped = rows.groupby("labels")[metric]
    mean, spread = grouped.mean(), grouped.std().fillna(0.0)
    ax.fill_between(mean.index, mean - spread, mean + spread, color=color, alpha=0.18, linewidth=0)
    ax.plot(mean.index, mean, color=color, linestyle=dash, marker=marker, label=label)
    beside = 1.07 * rows["labels"]  # where the mean's marker does not cover them
    ax.scatter(beside, rows[metric], s=10, color=color, edgecolors="black", linewidths=0.4, zorder=3)


def _published(ax: Axes, published: pd.DataFrame) -> None:
    ax.plot([], [], " ", label="\npublished, on JetClass itself:")
    kinds = published.groupby(["model", "mode", "pretrained_on", "inputs"], dropna=False)
    curves = [(model, mode, rows) for (model, mode, *_), rows in kinds if rows["labels"].nunique() > 1]
    for i, (model, mode, rows) in enumerate(curves):
        rows = rows.sort_values("labels")
        ax.plot(
            rows["labels"].astype(float), rows["value"], color="#8a8a8a", linewidth=1,
            linestyle="--" if mode == "from-scratch" else "-", marker="osD^vP<>"[i % 8],
            markerfacecolor="white", label=f"{model}, {mode}",
        )  # fmt: skip


def roc(probabilities: Float[np.ndarray, "jets classes"], labels: Int[np.ndarray, " jets"]) -> Figure:
    """QCD rejection 1/FPR against signal efficiency for each signal class.

    The score is p_s/(p_s + p_QCD). Curves end where fewer than `MIN_PASSING` background
    jets pass; markers show the quoted working points that statistics allow.
    """
    probabilities, labels = checked(probabilities, labels)
    points = rejections(probabilities, labels)
    figure = new_figure(0.75 * PAGE, 3.6)
    ax = figure.subplots()
    for name, look in list(CLASS_LOOK.items())[1:]:
        score = discriminant(probabilities, name)
        signal = np.sort(score[labels == CLASSES.index(name)])
        background = np.sort(score[labels == 0])
        if not len(signal) or not len(background):
            continue
        efficiency = np.linspace(1, 1 / len(signal), min(len(signal), 400))
        threshold = signal[len(signal) - np.rint(efficiency * len(signal)).astype(int)]
        passing = len(background) - np.searchsorted(background, threshold)
        enough = passing >= MIN_PASSING
        rejection = len(background) / passing[enough]
        ax.plot(
            efficiency[enough],
            rejection,
            color=look.color,
            linestyle=look.linestyle,
            label=CLASS_TITLES[name],
        )
        ax.errorbar(
            SIGNAL_EFFICIENCY[name], points[name].value, points[name].uncertainty,
            color=look.color, marker=look.marker, markersize=4, capsize=2, zorder=3,
        )  # fmt: skip
    ax.set_yscale("log")
    ax.set_xlim(0, 1.02)
    ax.set_xlabel("signal efficiency (TPR)")
    ax.set_ylabel("QCD rejection (1/FPR)")
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
