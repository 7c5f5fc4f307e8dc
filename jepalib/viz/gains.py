"""What a pre-training saves: accuracy and gain over training from scratch, by views and labels."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jepalib.errors import JepalibError
from jepalib.evaluation.differences import difference
from jepalib.viz.results import CURVES, MODE_CURVE
from jepalib.viz.style import PAGE, new_figure

SCRATCH = "from-scratch"
COLUMNS = {"labels", "mode", "seed", "jets_pretrained", "accuracy"}


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
    _check(table)
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
    """Accuracy against jets seen in pre-training, a panel for each number of labels; scratch as a band.

    Lines are means over seeds, bands one standard deviation.

    Args:
        table: as for `gains`.

    Raises:
        JepalibError: a column is missing.
    """
    _check(table)
    counts = sorted(table["labels"].unique())
    figure = new_figure(PAGE, 3.2)
    axes = figure.subplots(1, len(counts), sharex=True, sharey=True, squeeze=False)[0]
    for ax, labels in zip(axes, counts):
        own = table[table["labels"] == labels]
        for mode in [m for m in MODE_CURVE if m != SCRATCH and m in set(own["mode"])]:
            _curve(ax, own[own["mode"] == mode], mode)
        _level(ax, own[own["mode"] == SCRATCH].accuracy)
        ax.set_xscale("log")
        ax.set_title(f"{labels:,} labels")
        ax.set_xlabel("jets seen in pre-training")
    axes[0].set_ylabel("accuracy")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def _check(table: pd.DataFrame) -> None:
    if missing := COLUMNS - set(table.columns):
        raise JepalibError(f"gains: the table lacks {sorted(missing)}; it has {', '.join(table.columns)}")


def _curve(ax: Axes, rows: pd.DataFrame, mode: str) -> None:
    color, dash, marker = MODE_CURVE[mode]
    grouped = rows.groupby("jets_pretrained").accuracy
    mean, spread = grouped.mean(), grouped.std().fillna(0.0)
    ax.fill_between(mean.index, mean - spread, mean + spread, color=color, alpha=0.18, linewidth=0)
    ax.plot(mean.index, mean, color=color, linestyle=dash, marker=marker, label=mode)


def _level(ax: Axes, values: pd.Series) -> None:
    if values.empty:
        return
    color, dash, _ = MODE_CURVE[SCRATCH]
    spread = values.std() if len(values) > 1 else 0.0
    ax.axhspan(values.mean() - spread, values.mean() + spread, color=color, alpha=0.18, linewidth=0)
    ax.axhline(values.mean(), color=color, linestyle=dash, label=SCRATCH)


def gain_by_views(table: pd.DataFrame, mode: str = "fine-tuned") -> Figure:
    """Gain over from scratch against jets seen in pre-training, a line for each number of labels.

    Bars are 95 % intervals from the spread over seeds of both arms.

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
        ax.errorbar(
            beside, rows.gain, rows.reach.fillna(0.0), color=color, linestyle=dash, marker=marker, capsize=2,
            label=f"{labels:,} labels",
        )  # fmt: skip
    ax.set_xscale("log")
    ax.set_xlabel("jets seen in pre-training")
    ax.set_ylabel(f"accuracy, {mode} minus from scratch")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
