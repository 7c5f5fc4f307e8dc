"""The patches of single jets in Δη and Δφ, with their masks."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import ListedColormap, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from scipy.spatial import ConvexHull, QhullError

from jepalib.jets import Jets
from jepalib.kinematics import particle_types, wrap_phi
from jepalib.masking import Masks
from jepalib.models.patches import Patches, uncovered
from jepalib.viz.displays import (
    block_panels,
    draw_particles,
    draw_path,
    frame,
    one_jet,
    path_lines,
    role_colors,
    role_squares,
    symbol_legend,
    title_of,
)
from jepalib.viz.style import COLUMN, new_figure

GROUPED, ALONE = "#5a5a5a", "#cc79a7"  # particles in a group and in none (reddish purple of Okabe and Ito)
PATH = ("black", 1.3)  # among spokes it has to be heavier than among particles
SAMPLING = ListedColormap(colormaps["viridis"](np.linspace(0, 0.9, 256)))  # its end is too pale for lines


def patch_figure(
    jets: Jets, row: int, patches: Patches, masks: Masks | None = None, step: int | None = None
) -> Figure:
    """One jet cut into patches: a diamond on each centre, spokes to its members, their hull.

    Without masks the colour is the order in which the centres were sampled. With masks over
    the patches it is their role, context (blue), target (vermilion) or unused (grey), in one
    panel for each target block, and the line is the greedy path over the centres, from the
    black ring on. Particles in no group are purple.

    Args:
        jets, patches: of the same batch.
        row: which jet of the batch.
        masks: of the same batch, over its patches.
        step: show only the first `step` patches of the walk, or of the sampling; None shows all.

    Raises:
        JepalibError: there is no such jet.
    """
    jet = one_jet(jets, row)
    one = patches.to("cpu").take(jets.offsets.cpu(), [row])
    diamond = {"marker": "D", "color": "white", "markeredgecolor": "black"}
    extra = [Line2D([], [], linestyle="", label="centre", **diamond)]
    alone = int(uncovered(one, len(jet.particles)).sum())
    if alone:
        extra.append(Line2D([], [], linestyle="", marker="s", color=ALONE, label="in no patch"))
    if masks is None:
        figure = _sampling_figure(jet, one, step)
    else:
        figure = _mask_figure(jet, one, masks.take(patches.offsets, [row]).to("cpu"), step)
        extra += [*role_squares(len(masks.targets)), *path_lines(*PATH)]
    title = f"{title_of(jet)}\npatches: {len(one)},  constituents in none: {alone}"
    figure.suptitle(title, fontsize=9.5)
    symbol_legend(figure, particle_types(jet).numpy(), tuple(extra))
    return figure


def _sampling_figure(jet: Jets, patches: Patches, step: int | None) -> Figure:
    """Patches coloured by the order in which their centres were sampled."""
    figure = new_figure(1.3 * COLUMN, 4.7)
    ax = figure.subplots()
    frame(ax, jet)
    number, norm = np.arange(len(patches)), Normalize(1, max(len(patches), 2))
    _draw_patches(ax, jet, patches, SAMPLING(norm(number + 1)), number[:step])
    bar = figure.colorbar(ScalarMappable(norm, SAMPLING), ax=ax, pad=0.01, aspect=30)
    bar.set_label("order of sampling")
    bar.locator = MaxNLocator(integer=True)
    bar.minorticks_off()
    return figure


def _mask_figure(jet: Jets, patches: Patches, masks: Masks, step: int | None) -> Figure:
    """Patches coloured by role, one panel for each target block."""
    path = jet.particles[patches.centres[masks.order[:step]], 4:6].numpy()
    reached = masks.order[:step].numpy()

    def draw(ax: Axes, block: int) -> None:
        frame(ax, jet)
        importance = 2 * masks.targets[block].int() + masks.context.int() + masks.targets.any(0).int()
        on_top = np.argsort(importance.numpy())
        _draw_patches(ax, jet, patches, role_colors(masks, block), on_top[np.isin(on_top, reached)])
        draw_path(ax, path, *PATH)  # last, over the spokes

    return block_panels(len(masks.targets), draw)


def _draw_patches(ax: Axes, jet: Jets, patches: Patches, colors: np.ndarray, order: np.ndarray) -> None:
    """Particles and groups of one jet, the groups of one colour each (n x 4), the last of `order` on top."""
    alone = uncovered(patches, len(jet.particles)).numpy()
    draw_particles(ax, jet, np.where(alone[:, None], to_rgba(ALONE), to_rgba(GROUPED)), 0.35)
    outlines = [_outline(jet, patches, patch) for patch in order.tolist()]
    spokes = [[place[0], member] for place, _ in outlines for member in place[1:]]
    lengths = [len(place) - 1 for place, _ in outlines]
    ax.add_collection(LineCollection(spokes, colors=np.repeat(colors[order], lengths, 0), linewidths=0.7))
    hulls = PolyCollection(
        [hull for _, hull in outlines],
        facecolors=colors[order] * (1, 1, 1, 0.13),
        edgecolors=colors[order] * (1, 1, 1, 0.55),
        linewidths=0.8,
        zorder=1,
    )
    ax.add_collection(hulls)
    centres = jet.particles[patches.centres, 4:6].numpy()[order]
    ax.scatter(*centres.T, s=34, marker="D", c=colors[order], edgecolors="black", linewidths=0.8, zorder=5)


def _outline(jet: Jets, patches: Patches, patch: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the members as seen from their centre, which comes first, and the corners of their hull."""
    first, last = patches.member_offsets[patch : patch + 2].tolist()
    places = jet.particles[patches.members[first:last], 4:6]
    away = places - places[0]
    away[:, 1] = wrap_phi(away[:, 1])
    places = (places[0] + away).numpy().astype(np.float64)
    try:
        return places, places[ConvexHull(places).vertices]
    except (QhullError, ValueError):  # fewer than three points, or all on a line: the spokes are enough
        return places, places[:1]
