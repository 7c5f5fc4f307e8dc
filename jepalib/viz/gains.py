"""What a pre-training saves: accuracy, gain over training from scratch and labels, by views and labels."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jepalib.errors import JepalibError
from jepalib.evaluation.differences import difference
from jepalib.evaluation.label_savings import SCRATCH, TREES, check_table
from jepalib.viz.results import CURVES, MODE_CURVE, label_axis
from jepalib.viz.style import PAGE, new_figure

VIEWS = "jets seen in pre-training"
LEVELS = (SCRATCH, TREES)  # arms without a pre-training


def gains(table: pd.DataFrame, mode: str = "fine-tuned") -> pd.DataFrame:
    """Accuracy of a mode minus that from scratch, for each number of labels and of views.

    Args:
        table: columns labels, mode, seed, jets_pretrained (views; of no meaning from scratch) and
            accuracy, as `adapt` makes them, of one or of several pre-trainings.
        mode: the arm that is compared with from scratch.

    Returns:
        columns labels, views, gain, error (standard, over seeds), reach (half the 95 % interval), word.

    Raises:
        JepalibError: a column is missing, or there is nothing to compare.
    """
    check_table(table, "gains")
    scratch = table[table["mode"] == SCRATCH].groupby("labels").accuracy
    rows = []
    for (labels, views), own in table[table["mode"] == mode].groupby(["labels", "jets_pretrained"]):
        if labels in scratch.groups:
            found = difference(own.accuracy.to_numpy(), scratch.get_group(labels).to_numpy())
            rows.append((labels, views, found.gain, found.error, found.reach, found.word))
    if not rows:
        raise JepalibError(f"gains: no labels with both {mode} and {SCRATCH}")
    return pd.DataFrame(rows, columns=["labels", "views", "gain", "error", "reach", "word"])


def by_views(table: pd.DataFrame) -> Figure:
    """Accuracy against jets seen in pre-training, a panel for each number of labels.

    Training from scratch, and boosted trees where the table has them, are levels. Lines are means over
    seeds, bands one standard deviation.

    Args:
        table: as for `gains`.

    Raises:
        JepalibError: a column is missing.
    """
    check_table(table, "by_views")
    counts, views = sorted(table["labels"].unique().tolist()), _views(table)
    figure = new_figure(PAGE, 3.4)
    axes = figure.subplots(1, len(counts), sharex=True, sharey=True, squeeze=False)[0]
    entries = {}
    for ax, labels in zip(axes, counts):
        own = table[table["labels"] == labels]
        for mode in [mode for mode in MODE_CURVE if mode in set(own["mode"])]:
            rows = own[own["mode"] == mode]
            if mode in LEVELS:
                _level(ax, rows.accuracy, mode)
            else:
                _curve(ax, rows, mode, "jets_pretrained")
        _views_axis(ax, views)
        ax.set_title(f"{labels:,} labels")
        entries |= dict(zip(*reversed(ax.get_legend_handles_labels())))
    axes[0].set_ylabel("accuracy")
    figure.supxlabel(VIEWS, fontsize=axes[0].yaxis.label.get_size())
    figure.legend(entries.values(), entries.keys(), loc="outside upper center", ncols=len(entries))
    return figure


def _views(table: pd.DataFrame) -> list[float]:
    return sorted(table[~table["mode"].isin(LEVELS)].jets_pretrained.unique().tolist())


def _views_axis(ax: Axes, views: Iterable[float]) -> None:
    """Logarithmic, with a tick at each number of views that was measured."""
    views = list(views)
    ax.set_xscale("log")
    ax.set_xticks(views, [_short(v) for v in views])
    ax.set_xticks([], minor=True)
    ax.set_xlim(min(views) / 1.4, max(views) * 1.4)


def _short(number: float) -> str:
    """230031 as "230 k", 2.9 million as "2.9 M"."""
    number = float(f"{number:.2g}")
    for size, name in ((1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:g}{name}"
    return f"{number:g}"


def _curve(ax: Axes, rows: pd.DataFrame, mode: str, along: str) -> None:
    color, dash, marker = MODE_CURVE[mode]
    grouped = rows.groupby(along).accuracy
    mean, spread = grouped.mean(), grouped.std().fillna(0.0)
    ax.fill_between(mean.index, mean - spread, mean + spread, color=color, alpha=0.18, linewidth=0)
    ax.plot(mean.index, mean, color=color, linestyle=dash, marker=marker, label=mode)


def _level(ax: Axes, values: pd.Series, mode: str) -> None:
    color, dash, _ = MODE_CURVE[mode]
    spread = values.std() if len(values) > 1 else 0.0
    ax.axhspan(values.mean() - spread, values.mean() + spread, color=color, alpha=0.18, linewidth=0)
    ax.axhline(values.mean(), color=color, linestyle=dash, label=mode)


def gain_by_views(table: pd.DataFrame, mode: str = "fine-tuned") -> Figure:
    """Gain over from scratch against jets seen in pre-training, a line for each number of labels.

    Bars and bands are 95 % intervals from the spread over seeds of both arms.

    Args:
        table: as for `gains`.

    Raises:
        JepalibError: as `gains`.
    """
    found = gains(table, mode)
    figure = new_figure(0.75 * PAGE, 3.4)
    ax = figure.subplots()
    ax.axhline(0, color="black", linewidth=0.8)
    for i, (labels, rows) in enumerate(found.groupby("labels")):
        color, dash, marker = CURVES[i % len(CURVES)]
        beside = rows.views * 1.03 ** (i - 1)  # so that bars do not cover each other
        reach = rows.reach.fillna(0.0)
        ax.fill_between(beside, rows.gain - reach, rows.gain + reach, color=color, alpha=0.15, linewidth=0)
        ax.errorbar(
            beside, rows.gain, reach, color=color, linestyle=dash, marker=marker, capsize=2,
            label=f"{labels:,} labels",
        )  # fmt: skip
    _views_axis(ax, sorted(found.views.unique().tolist()))
    ax.set_xlabel(VIEWS)
    ax.set_ylabel(f"accuracy, {mode} minus from scratch")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def labels_saved(table: pd.DataFrame, needed: pd.DataFrame, mode: str = "fine-tuned") -> Figure:
    """Accuracy against labels, and from each point of an arm an arrow to where from scratch gets as far.

    Boosted trees are drawn too where the table has them. Lines are means over seeds, bands one standard
    deviation. An arrow that ends beyond the last point says that training from scratch needs more labels than
    were measured.

    Args:
        table: as for `gains`, of one pre-training.
        needed: of `evaluation.label_savings.labels_needed` for this mode.
        mode: the arm that is compared with from scratch.

    Raises:
        JepalibError: a column is missing.
    """
    table = check_table(table, "labels_saved")
    table = table[table["mode"].isin([mode, *LEVELS])]
    figure = new_figure(0.75 * PAGE, 3.6)
    ax = figure.subplots()
    for name in [name for name in (mode, *LEVELS) if name in set(table["mode"])]:
        _curve(ax, table[table["mode"] == name], name, "labels")
    label_axis(ax, sorted(table["labels"].unique().tolist()))
    most = int(table[table["mode"] == SCRATCH].labels.max())
    ax.set_xlim(right=1.8 * most)
    for row in needed.itertuples():
        _saving(ax, row.labels, row.accuracy, row.needed.value, most)
    ax.set_ylabel("accuracy")
    ax.legend(loc="lower right")
    return figure


def _saving(ax: Axes, labels: int, accuracy: float, value: float, most: int) -> None:
    """One arrow with the ratio of both numbers of labels; none where nothing is known to be saved."""
    end = min(value, most)
    if end <= labels:
        return
    beyond = math.isinf(value)
    look = {"arrowstyle": "->", "color": "black", "linewidth": 1, "shrinkA": 4, "shrinkB": 0}
    ax.annotate("", (1.5 * end if beyond else end, accuracy), (labels, accuracy), arrowprops=look)
    times = f"{'> ' * beyond}× {float(f'{end / labels:.2g}'):g}"
    below = {"xytext": (0, -4), "textcoords": "offset points", "ha": "center", "va": "top", "fontsize": 8}
    clear = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}  # a curve may pass below
    ax.annotate(times, (math.sqrt(labels * end), accuracy), bbox=clear, **below)
