"""Confusion matrices: of one tagger, and of two arms with their difference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from jepalib.evaluation.tagging import checked, confusion_matrix
from jepalib.schema import CLASS_TITLES, CLASSES
from jepalib.viz.results import CURVES
from jepalib.viz.style import PAGE, new_figure

Percent = Float[np.ndarray, "classes classes"]
Labels = Int[np.ndarray, " jets"]


def percent_of_true(probabilities: Float[np.ndarray, "jets classes"], labels: Labels) -> Percent:
    """Percent of each true class (row) that is taken for each class; rows of absent classes are 0."""
    counts = confusion_matrix(*checked(probabilities, labels))
    return 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)


def confusion(probabilities: Float[np.ndarray, "jets classes"], labels: Labels) -> Figure:
    """Confusion matrix: percent of each true class (row) that is taken for each class."""
    figure = new_figure(0.75 * PAGE, 4.6)
    ax = figure.subplots()
    image = _matrix(ax, percent_of_true(probabilities, labels), 7.5)
    figure.colorbar(image, pad=0.02).set_label("percent of the true class")
    return figure


def confusion_pair(
    first: Float[np.ndarray, "first jets classes"],
    second: Float[np.ndarray, "second jets classes"],
    labels: Labels,
    names: Sequence[str],
) -> Figure:
    """Both arms' confusion matrices, their difference, and the diagonals with their spread.

    Matrices are means over the members (seeds) of an arm, percent of the true class. The difference
    is first minus second in percentage points: on the diagonal orange is good for the first arm, off
    it purple is. Bars of the last panel are standard deviations over members; none with one member.

    Args:
        first, second: probabilities of the same jets by the members of each arm.
        names: of the two arms.
    """
    each = [np.stack([percent_of_true(member, labels) for member in arm]) for arm in (first, second)]
    means = [arm.mean(0) for arm in each]
    figure = new_figure(PAGE, 7.0)
    axes = figure.subplots(2, 2)
    for ax, mean, name in zip(axes[0], means, names, strict=True):
        image = _matrix(ax, mean, 6.5)
        ax.set_title(name)
    axes[0, 1].set_ylabel("")
    figure.colorbar(image, ax=axes[0, 1], pad=0.02).set_label("percent of the true class")
    difference = means[0] - means[1]
    reach = max(1.0, float(np.abs(difference).max()))
    image = _matrix(axes[1, 0], difference, 6.5, cmap="PuOr_r", vmin=-reach, vmax=reach)
    axes[1, 0].set_title(f"{names[0]} minus {names[1]}")
    figure.colorbar(image, ax=axes[1, 0], pad=0.02).set_label("percentage points")
    _diagonals(axes[1, 1], each, names)
    return figure


def _matrix(ax: Axes, values: Percent, size: float, **look: object) -> ScalarMappable:
    """The values as colours and as numbers of the given size in points."""
    signed = bool(look)
    image = ax.imshow(values, **(look or {"cmap": "Blues", "vmin": 0, "vmax": 100}))
    half = 0.6 * image.norm.vmax
    for (row, column), value in np.ndenumerate(values):
        text = f"{value:.0f}"
        if signed:
            text = "0" if text in ("0", "-0") else f"{value:+.0f}".replace("-", "\N{MINUS SIGN}")
        dark = abs(value) > half
        ax.text(
            column, row, text, ha="center", va="center", fontsize=size, color="white" if dark else "black"
        )
    titles = [CLASS_TITLES[name] for name in CLASSES]
    ax.set_xticks(range(len(CLASSES)), titles, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(CLASSES)), titles)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_locator(NullLocator())
    ax.tick_params(length=0)
    ax.set_xlabel("most probable class")
    ax.set_ylabel("true class")
    return image


def _diagonals(ax: Axes, each: Sequence[Float[np.ndarray, "..."]], names: Sequence[str]) -> None:
    """Percent of each class that is found, a row for each class in the order of the matrices."""
    for arm, name, shift, (color, _, marker) in zip(each, names, (-0.14, 0.14), CURVES):
        found = np.diagonal(arm, axis1=1, axis2=2)
        spread = found.std(0, ddof=1) if len(found) > 1 else None
        places = np.arange(len(CLASSES)) + shift
        ax.errorbar(
            found.mean(0),
            places,
            xerr=spread,
            linestyle="",
            marker=marker,
            color=color,
            capsize=2,
            label=name,
        )
    ax.set_yticks(range(len(CLASSES)), [CLASS_TITLES[name] for name in CLASSES])
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_ylim(len(CLASSES) - 0.5, -0.5)
    ax.set_xlim(0, 100)
    ax.set_xlabel("percent of the true class that is found")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
