"""Single jets in Δη and Δφ, drawn as in the JP-JEPA paper, with their sequence and masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.kinematics import particle_types
from jepalib.masking import Masks
from jepalib.schema import CLASS_TITLES, CLASSES, PARTICLE_TYPES
from jepalib.viz.shading import Shade, color_bar, shade
from jepalib.viz.style import COLUMN, CONTEXT, PAGE, TARGET, UNUSED, new_figure
from jepalib.viz.subjets import draw_subjets

# Marker, and how it is filled, by particle type: members, marker, open or filled, outline.
SYMBOLS = {
    "charged hadron": (("h-", "h+"), "o", "filled"),
    "neutral hadron": (("h0",), "o", "open"),
    "photon": (("photon",), "p", "open"),
    "electron": (("e-", "e+"), "^", "outlined"),
    "muon": (("mu-", "mu+"), "v", "outlined"),
    "unidentified": ((), "s", "filled"),
}
PALE = 0.6  # of white in the colour of a target that another panel is about
PATH = "#555555"
HIDDEN = "#e6e6e6"  # particles that the sequence has not reached


def one_jet(jets: Jets, row: int) -> Jets:
    """The jet of a row, on the CPU.

    Raises:
        JepalibError: there is no such row.
    """
    if not 0 <= row < len(jets):
        raise JepalibError(f"display: there is no jet {row}; rows are 0 to {len(jets) - 1}")
    return jets.take([row]).to("cpu")


def _pt(jet: Jets) -> np.ndarray:
    return torch.hypot(jet.column("px"), jet.column("py")).numpy()


def draw_particles(ax: Axes, jet: Jets, colors: np.ndarray, shrink: float) -> None:
    """The particles of one jet: shape by type, area by pT, one colour each (n x 4).

    Charged hadrons are filled circles, neutral ones open circles, photons open pentagons,
    electrons upward and muons downward triangles outlined in black.
    """
    types, pt = particle_types(jet).numpy(), _pt(jet)
    area = shrink * np.clip(9 * pt**0.7, 10, 700)
    deta, dphi = jet.column("deta").numpy(), jet.column("dphi").numpy()
    for members, marker, style in SYMBOLS.values():
        wanted = [PARTICLE_TYPES.index(m) for m in members] or [-1]
        chosen = np.isin(types, wanted)
        face = "none" if style == "open" else colors[chosen] * (1, 1, 1, 0.85)
        edge = "black" if style == "outlined" else colors[chosen]
        ax.scatter(
            deta[chosen], dphi[chosen], s=area[chosen], marker=marker, facecolors=face, edgecolors=edge,
            linewidths=1.1 if style != "filled" else 0, zorder=3,
        )  # fmt: skip


def frame(ax: Axes, jet: Jets) -> None:
    """Square axes around all particles of the jet, with a circle at ΔR = 0.8."""
    reach = max(0.3, 1.15 * float(jet.particles[:, 4:6].abs().max()))
    angle = np.linspace(0, 2 * np.pi, 200)
    ax.plot(0.8 * np.cos(angle), 0.8 * np.sin(angle), color="#cccccc", linewidth=0.8, zorder=0)
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    ax.set_xlabel(r"$\Delta\eta$")
    ax.set_ylabel(r"$\Delta\phi$ [rad]")


def symbol_legend(figure: Figure, types: np.ndarray, extra: Sequence[Artist] = ()) -> None:
    """A legend below the axes: the particle types that are there, then `extra` handles."""
    handles = []
    for name, (members, marker, style) in SYMBOLS.items():
        if np.isin(types, [PARTICLE_TYPES.index(m) for m in members] or [-1]).any():
            handles.append(
                Line2D(
                    [],
                    [],
                    linestyle="",
                    marker=marker,
                    markersize=6,
                    label=name,
                    markerfacecolor="white" if style == "open" else "#666666",
                    markeredgecolor="black" if style == "outlined" else "#666666",
                )
            )
    handles += extra
    columns = 3 if figure.get_figwidth() < 5 else 5
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, columnspacing=1.0, handletextpad=0.3
    )


def class_title(name: str) -> str:
    """A class as it is written in figures."""
    return CLASS_TITLES.get(name, name)


def title_of(jet: Jets, classes: Sequence[str] = CLASSES) -> str:
    """Class, pT and number of constituents of one jet."""
    label = int(jet.labels[0])
    name = class_title(classes[label]) if label >= 0 else "unlabelled jet"
    return f"{name},  $p_T$ = {float(jet.observable('pt')[0]):.0f} GeV,  {int(jet.counts[0])} constituents"


def jet_figure(
    jets: Jets, row: int = 0, color_by: str | Shade = "pt", subjets: int = 0, algorithm: str = "kt"
) -> Figure:
    """One jet, coloured by a quantity, with outlines around its subjets if they are asked for.

    Args:
        color_by: one of `shading.QUANTITIES` (pt, energy, charge, displacements), or any number of
            every particle of the batch as a `Shade`.
        subjets: how many exclusive subjets to outline, at most 4; 0 for none.
        algorithm: that finds them, "kt" or "ca".

    Raises:
        JepalibError: no such jet, quantity or algorithm; subjets without FastJet.
    """
    jet = one_jet(jets, row)
    shown = shade(jets, color_by).of_jet(jets, row)
    figure = new_figure(1.3 * COLUMN, 4.3)
    ax = figure.subplots()
    draw_jet(ax, jet, shown)
    outlines = draw_subjets(ax, jet, subjets, algorithm) if subjets else ()
    ax.set_title(title_of(jet))
    color_bar(figure, [ax], shown)
    symbol_legend(figure, particle_types(jet).numpy(), outlines)
    return figure


def jet_gallery(jets: Jets, color_by: str | Shade = "pt") -> Figure:
    """The first jet of each class, coloured as in `jet_figure`."""
    figure = new_figure(PAGE, 3.8)
    axes, types, shown = figure.subplots(2, 5, sharex=True, sharey=True), [], shade(jets, color_by)
    for ax, (label, name) in zip(axes.flat, enumerate(CLASSES)):
        rows = (jets.labels == label).nonzero()[:, 0]
        ax.set_title(CLASS_TITLES[name], pad=3)
        if len(rows):
            jet = one_jet(jets, int(rows[0]))
            draw_jet(ax, jet, shown.of_jet(jets, int(rows[0])), shrink=0.35)
            types.append(particle_types(jet).numpy())
        ax.set(xlim=(-0.85, 0.85), ylim=(-0.85, 0.85))
        ax.label_outer()
    color_bar(figure, list(axes.flat), shown)
    symbol_legend(figure, np.concatenate(types) if types else np.zeros(0, int))
    return figure


def draw_jet(ax: Axes, jet: Jets, shown: Shade, shrink: float = 1.0) -> None:
    """One jet in square axes, its particles coloured by `shown`."""
    frame(ax, jet)
    draw_particles(ax, jet, shown.colors(), shrink)


def mask_figure(jets: Jets, masks: Masks, row: int = 0, step: int | None = None) -> Figure:
    """One jet with its context (blue), target (vermilion) and unused particles (grey).

    One panel for each target block; other targets of the jet are pale there. The thin
    line is the greedy path, from the black ring on.

    Args:
        jets, masks: of the same batch.
        row: which jet of the batch.
        step: show only the first `step` particles of the sequence; None shows all.

    Raises:
        JepalibError: there is no such jet.
    """
    jet = one_jet(jets, row)
    one = masks.take(jets.offsets, [row]).to("cpu")
    shown = one.order if step is None else one.order[: max(step, 1)]
    hidden = torch.ones(len(one.order), dtype=torch.bool)
    hidden[shown] = False
    blocks = len(one.targets)
    figure = block_panels(blocks, lambda ax, block: _draw_masked(ax, jet, one, block, shown, hidden))
    figure.suptitle(title_of(jet), fontsize=9.5)
    symbol_legend(figure, particle_types(jet).numpy(), (*role_squares(blocks), *path_lines()))
    return figure


def block_panels(blocks: int, draw: Callable[[Axes, int], None]) -> Figure:
    """A figure with square axes for each target block, filled by `draw(axes, block)`."""
    columns = 1 if blocks == 1 else 2 if blocks <= 4 else 4
    rows, width = -(-blocks // columns), {1: 1.3 * COLUMN, 2: 0.85 * PAGE, 4: PAGE}[columns]
    figure = new_figure(width, 0.95 * rows * width / columns + 0.6)
    grid = figure.subplots(rows, columns, squeeze=False)
    for block, ax in enumerate(grid.flat):
        if block >= blocks:
            ax.remove()
            continue
        draw(ax, block)
        if blocks > 1:
            ax.set_title(f"target block {block + 1}")
            ax.label_outer()
    return figure


def pale(color: str) -> tuple[float, ...]:
    """The colour of a target that another panel is about."""
    return tuple(PALE + (1 - PALE) * c for c in to_rgb(color))


def role_squares(blocks: int) -> tuple[Line2D, ...]:
    """Legend handles of the colours of context, target and unused."""
    roles = [("context", CONTEXT), ("target", TARGET), ("unused", UNUSED)]
    if blocks > 1:
        roles.insert(2, ("other target", pale(TARGET)))
    return tuple(Line2D([], [], linestyle="", marker="s", color=color, label=name) for name, color in roles)


def path_lines(color: str = PATH, width: float = 0.6) -> tuple[Line2D, ...]:
    """Legend handles of what `draw_path` draws."""
    path = Line2D([], [], color=color, linewidth=width, label="greedy sequence")
    ring = {"marker": "o", "markerfacecolor": "none", "markeredgecolor": "black", "markersize": 8}
    return path, Line2D([], [], linestyle="", label="its start", **ring)


def draw_path(ax: Axes, path: np.ndarray, color: str = PATH, width: float = 0.6) -> None:
    """The greedy path through places (n x 2), with a ring around the first."""
    ax.plot(path[:, 0], path[:, 1], color=color, linewidth=width, zorder=2)
    ax.plot(*path[0], marker="o", markersize=9, markerfacecolor="none", markeredgecolor="black", zorder=4)


def role_colors(masks: Masks, block: int) -> np.ndarray:
    """RGBA of every token of one jet in the panel of a target block."""
    colors = np.tile(to_rgba(UNUSED), (len(masks.context), 1))
    colors[masks.context.numpy()] = to_rgba(CONTEXT)
    colors[masks.targets.any(0).numpy()] = to_rgba(pale(TARGET))
    colors[masks.targets[block].numpy()] = to_rgba(TARGET)
    return colors


def _draw_masked(
    ax: Axes, jet: Jets, masks: Masks, block: int, shown: torch.Tensor, hidden: torch.Tensor
) -> None:
    colors = role_colors(masks, block)
    colors[hidden.numpy()] = to_rgba(HIDDEN)
    frame(ax, jet)
    draw_path(ax, jet.particles[shown, 4:6].numpy())
    draw_particles(ax, jet, colors, 1.0 if len(masks.targets) <= 4 else 0.5)
