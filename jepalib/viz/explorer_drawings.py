"""What the embedding explorer draws: colours by any column, a jet with its class probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from jepalib.jets import Jets
from jepalib.kinematics import particle_types
from jepalib.schema import CLASSES
from jepalib.viz.displays import class_title, draw_jet, symbol_legend, title_of
from jepalib.viz.galleries import BARS, draw_scores
from jepalib.viz.shading import shade
from jepalib.viz.style import CLASS_LOOK, COLUMN, PALETTE, UNUSED, new_figure

MISSING, OTHER = "no value", "other"


@dataclass(frozen=True)
class Coloring:
    """How a column of a table is drawn: as categories with a colour each, or on a scale.

    Attributes:
        values: the column, as categories in the order of `colors` or as finite numbers.
        colors: by category; empty for numbers.
        norm: of numbers, from the 1st to the 99th percentile; None for categories.
        missing: how many numbers there were not; they are drawn as the lowest.
    """

    values: pd.Series
    colors: dict[str, str]
    norm: Normalize | None
    missing: int = 0

    @classmethod
    def of(cls, column: pd.Series) -> Coloring:
        """Classes have their own colours; of other categories the ten most frequent have one."""
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
            numbers = column.to_numpy(np.float64, na_value=np.nan)
            good = np.isfinite(numbers)
            low, high = np.percentile(numbers[good], [1, 99]) if good.any() else (0.0, 1.0)
            norm = Normalize(low, high if high > low else low + 1, clip=True)
            filled = pd.Series(np.where(good, numbers, low), column.index, name=column.name)
            return cls(filled, {}, norm, int((~good).sum()))
        words = column.astype(object).where(column.notna(), MISSING).astype(str)
        names = [name for name in words.value_counts().index if name != MISSING]
        if set(names) <= set(CLASSES):
            colors = {name: CLASS_LOOK[name].color for name in CLASSES if name in names}
        else:
            colors = dict(zip(sorted(names[: len(PALETTE)]), PALETTE))
            words = words.where(words.isin([*colors, MISSING]), OTHER)
        colors |= {name: UNUSED for name in (OTHER, MISSING) if (words == name).any()}
        return cls(words.astype(pd.CategoricalDtype(list(colors))), colors, None)


def draw_map(
    figure: Figure | SubFigure,
    places: Float[np.ndarray, "jets 2"],
    column: pd.Series,
    marked: Sequence[int] = (),
) -> None:
    """A map coloured by a column, with numbers from 1 on at the marked rows."""
    ax = figure.add_axes((0.08, 0.24, 0.84, 0.68))
    order = np.random.default_rng(0).permutation(len(places))  # no category drawn on top of the others
    coloring, size = Coloring.of(column), float(np.clip(2e4 / len(places), 0.3, 8))
    spots = {"s": size, "linewidths": 0, "rasterized": True}
    if coloring.norm is None:
        colors = coloring.values.map(coloring.colors).to_numpy(str)[order]
        ax.scatter(*places[order].T, c=colors, **spots)
        round_spot = {"linestyle": "", "marker": "o", "markersize": 5}
        handles = [
            Line2D([], [], color=c, label=class_title(n), **round_spot) for n, c in coloring.colors.items()
        ]
        ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=4, fontsize=7,
                  columnspacing=0.8, handletextpad=0.1)  # fmt: skip
    else:
        ax.scatter(
            *places[order].T, c=coloring.values.to_numpy()[order], norm=coloring.norm, cmap="viridis", **spots
        )
        bar = figure.add_axes((0.15, 0.17, 0.7, 0.025))
        figure.colorbar(ScalarMappable(coloring.norm, "viridis"), cax=bar, orientation="horizontal")
    for number, row in enumerate(marked, 1):
        box = {"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": "black", "linewidth": 0.8}
        ax.annotate(str(number), places[row], (9, 9), textcoords="offset points", fontsize=8, bbox=box,
                    ha="center", va="center", arrowprops={"arrowstyle": "-", "linewidth": 0.8})  # fmt: skip
    ax.set(xticks=[], yticks=[], title=f"{len(places)} jets by {column.name}")
    ax.minorticks_off()
    ax.set_box_aspect(1)


def verdict(scores: Float[np.ndarray, " classes"], label: int, classes: Sequence[str]) -> str:
    """What a classifier says of one jet, and whether it is right."""
    guess = int(np.argmax(scores))
    said = f"predicted {classes[guess]} ({scores[guess]:.2f})"
    if label < 0:
        return said
    return f"{said}, {'right' if guess == label else f'wrong: it is {classes[label]} ({scores[label]:.2f})'}"


def draw_scored_jet(
    figure: Figure | SubFigure,
    jet: Jets,
    scores: Float[np.ndarray, " classes"] | None,
    classes: Sequence[str],
    shrink: float = 1.0,
) -> None:
    """One jet, coloured by pT, and beside it its class probabilities where there are any.

    The places are fixed, not found by a layout engine: a panel waits for this picture.
    """
    shown = shade(jet, "pt")
    right = 0.95 if scores is None else 0.57
    ax, bar = (
        figure.add_axes((0.14, 0.37, right - 0.14, 0.54)),
        figure.add_axes((0.14, 0.25, right - 0.14, 0.02)),
    )
    draw_jet(ax, jet, shown, shrink)
    figure.colorbar(shown.scale(), cax=bar, orientation="horizontal").set_label(shown.title, labelpad=1)
    for quick in (ax, bar):
        quick.minorticks_off()  # half of the time goes into them
    if scores is not None:
        ax = figure.add_axes((0.74, 0.37, 0.24, 0.54))
        draw_scores(ax, scores, int(jet.labels[0]), classes)
        ax.set_xlabel("probability")


def explored_jet_figure(
    jet: Jets, scores: Float[np.ndarray, " classes"] | None, classes: Sequence[str]
) -> Figure:
    """One jet with its class probabilities, as large as a panel shows it."""
    figure = new_figure(COLUMN if scores is None else 1.7 * COLUMN, 5.1)
    figure.set_layout_engine("none")
    draw_scored_jet(figure, jet, scores, classes)
    figure.suptitle(title_of(jet, classes), fontsize=9.5)
    draw_legend(figure, [jet], scores is not None)
    return figure


def draw_legend(figure: Figure, jets: Sequence[Jets], scored: bool) -> None:
    """What the shapes of particles are and, where jets with a label have bars, what the bars are."""
    known = scored and any(int(jet.labels[0]) >= 0 for jet in jets)
    types = np.concatenate([particle_types(jet).numpy() for jet in jets])
    symbol_legend(figure, types, BARS if known else ())
