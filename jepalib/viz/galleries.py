"""Jets beside what models say of them: a row for each jet, with the bars of its class probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator

from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.kinematics import particle_types
from jepalib.schema import CLASSES
from jepalib.viz.displays import class_title, draw_jet, one_jet, symbol_legend, title_of
from jepalib.viz.shading import Shade, shade
from jepalib.viz.style import CONTEXT, TARGET, new_figure
from jepalib.viz.subjets import draw_subjets

REST = "#c4c4c4"  # bars of classes that are neither predicted nor true
MOST_JETS, MOST_MODELS = 8, 3
BARS = (  # legend handles of what `draw_scores` draws
    Patch(facecolor=CONTEXT, label="predicted, right"),
    Patch(facecolor=TARGET, hatch="/////", edgecolor="white", linewidth=0, label="predicted, wrong"),
    Patch(fill=False, edgecolor="black", linewidth=1.1, label="true class"),
)


def draw_scores(
    ax: Axes, scores: Float[np.ndarray, " classes"], label: int, classes: Sequence[str] = CLASSES
) -> None:
    """Class probabilities of one jet: the predicted class blue if right, else vermilion and hatched.

    The true class is outlined in black and its name is bold.

    Args:
        label: of the true class, -1 where it is not known; the prediction is dark grey then.
    """
    guess = int(np.argmax(scores))
    places = np.arange(len(classes))
    bars = ax.barh(places, scores, color=REST, height=0.72)
    if label < 0:
        bars[guess].set_facecolor("#5a5a5a")
    elif guess == label:
        bars[guess].set_facecolor(CONTEXT)
    else:
        bars[guess].set(facecolor=TARGET, hatch="/////", edgecolor="white", linewidth=0)
    if label >= 0:
        outline = ax.barh([label], [scores[label]], height=0.72, fill=False, edgecolor="black", linewidth=1.1)
        outline[0].set_zorder(4)
    place = scores[guess] + 0.02 if scores[guess] < 0.8 else scores[guess] - 0.02
    side, color = ("left", "black") if scores[guess] < 0.8 else ("right", "white")
    box = {"facecolor": bars[guess].get_facecolor(), "edgecolor": "none", "pad": 0.6}  # over the hatch
    ax.text(place, guess, f"{scores[guess]:.2f}", va="center", ha=side, color=color, fontsize=7,
            bbox=box if side == "right" else None)  # fmt: skip
    ax.set_yticks(places, [class_title(name) for name in classes], fontsize=7)
    for number, text in enumerate(ax.get_yticklabels()):
        text.set_fontweight("bold" if number == label else "normal")
    ax.set(xlim=(0, 1), ylim=(len(classes) - 0.4, -0.6))
    ax.tick_params(axis="y", which="both", length=0)
    ax.set_xticks([0, 0.5, 1], minor=False)
    ax.xaxis.set_minor_locator(NullLocator())


def gallery(
    jets: Jets,
    models: Mapping[str, Float[np.ndarray, "jets classes"]],
    classes: Sequence[str] = CLASSES,
    color_by: str | Shade = "pt",
    subjets: int = 0,
) -> Figure:
    """All jets of a batch, each in a row with the class probabilities of every model.

    Args:
        jets: at most eight.
        models: probabilities of these jets by the name of the model, one to three.
        classes: names of the scores.
        color_by, subjets: as in `displays.jet_figure`.

    Raises:
        JepalibError: no or too many jets or models, or scores that do not fit them.
    """
    _check(jets, models, classes)
    shown, wide = shade(jets, color_by), 2.1 * len(models)
    figure = new_figure(2.7 + wide, 1.1 + 1.95 * len(jets))
    grid = figure.subplots(len(jets), 1 + len(models), squeeze=False, width_ratios=[1.1] + [1] * len(models))
    types = []
    for row, (first, *others) in enumerate(grid):
        jet = one_jet(jets, row)
        draw_jet(first, jet, shown.of_jet(jets, row), 0.45)
        if subjets:
            draw_subjets(first, jet, subjets)
        first.set_title(title_of(jet, classes).replace(",", "\n", 1), fontsize=8)
        types.append(particle_types(jet).numpy())
        for ax, (name, probabilities) in zip(others, models.items(), strict=True):
            draw_scores(ax, probabilities[row], int(jet.labels[0]), classes)
            ax.set_title(name, fontsize=8)
            ax.tick_params(labelleft=ax is others[0])
    for ax in grid[:-1, 0]:
        ax.set_xlabel("")
    for ax in grid[-1, 1:]:
        ax.set_xlabel("probability")
    figure.colorbar(shown.scale(), ax=list(grid[:, 0]), location="bottom", aspect=18, pad=0.01).set_label(
        shown.title
    )
    known = bool((jets.labels >= 0).any())
    symbol_legend(figure, np.concatenate(types), BARS if known else ())
    return figure


def _check(jets: Jets, models: Mapping[str, np.ndarray], classes: Sequence[str]) -> None:
    if not 1 <= len(jets) <= MOST_JETS or not 1 <= len(models) <= MOST_MODELS:
        raise JepalibError(
            f"gallery: {len(jets)} jets, {len(models)} models; give 1 to {MOST_JETS} and 1 to {MOST_MODELS}"
        )
    for name, probabilities in models.items():
        if probabilities.shape != (len(jets), len(classes)):
            raise JepalibError(
                f"gallery: scores of {name!r} have shape {probabilities.shape} for {len(jets)} jets and "
                f"{len(classes)} classes"
            )
