"""Attention drawn on a jet: of the class token, of one token to the others, and what heads look at."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from jepalib.errors import JepalibError
from jepalib.kinematics import particle_types
from jepalib.models.attention_maps import AttentionMap, JetAttention
from jepalib.viz.displays import draw_particles, frame, symbol_legend, title_of
from jepalib.viz.shading import DIVERGING, SEQUENTIAL
from jepalib.viz.style import COLUMN, PAGE, new_figure

NORM = LogNorm(0.002, 1, clip=True)  # of a share of attention
SCALE = ScalarMappable(NORM, SEQUENTIAL)
TITLE = "share of attention"
QUERY = {"marker": "o", "markersize": 11, "markerfacecolor": "none", "markeredgecolor": "#d55e00",
         "markeredgewidth": 1.6, "linestyle": ""}  # fmt: skip
UNDER = to_rgba("#d0d0d0")  # particles under patches
RATIO = LogNorm(0.25, 4, clip=True)
EVEN = ScalarMappable(RATIO, SEQUENTIAL)  # of a share relative to even attention; dark enough for markers
FOCUS = {  # columns of `attention_focus`
    "delta_r_ratio": r"$\Delta R$ of what it looks at",
    "pt_ratio": r"$p_T$ of what it looks at",
}


def attention_figure(seen: JetAttention, block: int = 0, head: int | None = None, query: int = 0) -> Figure:
    """The attention in one block, of one token or of the class token, to the tokens of a jet.

    Colour is the share of attention; of a token's attention the lines are as wide as the share
    is large, and a ring marks the token that asks.

    Args:
        block: place in `seen.maps`.
        head: from 0; None for the mean of all heads.
        query: the particle (or patch) whose attention is drawn; a class block has but one.

    Raises:
        JepalibError: there is no such block, head or token.
    """
    attention = _block(seen, block)
    _within("head", head or 0, len(attention.weights))
    weights, asks = _weights(attention, query)
    weights = weights.mean(0) if head is None else weights[head]
    figure = new_figure(1.3 * COLUMN, 4.5)
    ax = figure.subplots()
    draw_attention(ax, seen, weights, asks)
    which = "mean of heads" if head is None else f"head {head + 1}"
    who = "class token" if asks is None else f"{_token(seen)} {query + 1}"
    rest = _rest(attention, weights)
    ax.set_title(f"{title_of(seen.jet)}\n{attention.name}, {which}, {who}" + (f"; {rest}" if rest else ""))
    figure.colorbar(SCALE, ax=ax, pad=0.01, aspect=30).set_label(TITLE)
    _legend(figure, seen, asks)
    return figure


def class_attention_figure(seen: JetAttention) -> Figure:
    """The class token's attention to the tokens of one jet, a panel for each block and head.

    Colour is the share of attention relative to an even one, of all tokens and the class token alike.

    Raises:
        JepalibError: the model has no class attention.
    """
    blocks = [attention for attention in seen.maps if attention.kind == "class"]
    if not blocks:
        raise JepalibError("class_attention_figure: this model has no class token; see query_figure")
    panels = [(block, head) for block in blocks for head in range(len(block.weights))]
    columns = 4 if len(panels) <= 16 else 8
    rows = -(-len(panels) // columns)
    figure = new_figure(PAGE, 0.7 + rows * (0.97 * PAGE / columns + 0.1))
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for ax, (block, head) in zip(axes.flat, panels):
        weights = block.to_tokens[head, 0]
        draw_attention(ax, seen, weights * block.weights.shape[2], None, 1.6 / columns, EVEN)
        ax.set_title(f"{block.name}, head {head + 1}\n{_rest(block, weights)}", fontsize=7.5)
        ax.label_outer()
    for ax in list(axes.flat)[len(panels) :]:
        ax.remove()
    _ratio_bar(figure, list(axes.flat)[: len(panels)], EVEN)
    figure.suptitle(title_of(seen.jet), fontsize=9.5)
    _legend(figure, seen, None)
    return figure


def query_figure(seen: JetAttention, query: int = 0) -> Figure:
    """The attention of one token to the others, a row for each block and a column for each head.

    Raises:
        JepalibError: there is no such token.
    """
    blocks = [attention for attention in seen.maps if attention.kind == "particles"]
    heads = len(blocks[0].weights)
    size = (PAGE - 1.1) / heads
    figure = new_figure(PAGE, 0.9 + len(blocks) * size)
    axes = figure.subplots(len(blocks), heads, squeeze=False)
    for row, block in zip(axes, blocks, strict=True):
        weights, asks = _weights(block, query)
        for head, ax in enumerate(row):
            draw_attention(ax, seen, weights[head], asks, 0.25)
            ax.set(xlabel="", ylabel="", xticks=[], yticks=[])
            ax.minorticks_off()
        row[0].set_ylabel(block.name, fontsize=8)
    for head, ax in enumerate(axes[0], start=1):
        ax.set_title(f"head {head}", fontsize=8)
    figure.colorbar(SCALE, ax=list(axes.flat), pad=0.01, aspect=40).set_label(TITLE)
    figure.suptitle(f"{title_of(seen.jet)}; attention of {_token(seen)} {query + 1}", fontsize=9.5)
    _legend(figure, seen, asks)
    return figure


def draw_attention(
    ax: Axes,
    seen: JetAttention,
    weights: Float[Tensor, " tokens"],
    query: int | None,
    shrink: float = 1.0,
    scale: ScalarMappable = SCALE,
) -> None:
    """The tokens of one jet coloured by the attention that they get.

    Particles keep shape and size; patches are diamonds on their centres, over grey particles.

    Args:
        query: the token that asks, with lines to the others; None for the class token.
    """
    frame(ax, seen.jet)
    values, places = weights.double().numpy(), seen.places.double().numpy()
    colors = scale.to_rgba(values).reshape(-1, 4)
    if query is not None:
        order = np.argsort(values)
        ends = np.stack([np.broadcast_to(places[query], places.shape), places], 1)[order]
        widths = 4 * np.sqrt(shrink) * np.sqrt(values[order])
        ax.add_collection(LineCollection(ends, colors=colors[order], linewidths=widths, zorder=2))
        ring = QUERY | {"markersize": 11 * max(np.sqrt(shrink), 0.55)}
        ax.plot(*places[query], **ring, zorder=5)
    if seen.patches is None:
        draw_particles(ax, seen.jet, colors, shrink)
        return
    draw_particles(ax, seen.jet, np.tile(UNDER, (len(seen.jet.particles), 1)), 0.35 * shrink)
    ax.scatter(*places.T, s=60 * shrink, marker="D", c=colors, edgecolors="black", linewidths=0.6, zorder=4)


def focus_figure(tables: dict[str, pd.DataFrame]) -> Figure:
    """How near and how hard what each head looks at is, a row of two tables for each model.

    Args:
        tables: of `training.attention_focus` by the name of the model. A one is a head that
            attends to all tokens alike.
    """
    blocks = max(table["block"].nunique() for table in tables.values())
    figure = new_figure(PAGE, 0.75 + len(tables) * (0.45 + 0.22 * blocks))
    grid = figure.subplots(len(tables), 2, squeeze=False, sharex=True)
    for row, (name, table) in zip(grid, tables.items(), strict=True):
        for ax, (column, title) in zip(row, FOCUS.items(), strict=True):
            values = table.pivot(index="block", columns="head", values=column)
            values = values.loc[table["block"].unique()]
            ax.pcolormesh(values, norm=RATIO, cmap=DIVERGING, edgecolor="face", linewidth=0.1)
            for (y, x), value in np.ndenumerate(values.to_numpy()):
                if np.isnan(value):  # blocks of fewer heads
                    continue
                dark = abs(np.log(value)) > 0.75 * np.log(RATIO.vmax)
                color = "white" if dark else "black"
                ax.text(x + 0.5, y + 0.5, f"{value:.2f}", ha="center", va="center", fontsize=7, color=color)
            ax.set_xticks(np.arange(values.shape[1]) + 0.5, values.columns)
            ax.set_yticks(np.arange(len(values)) + 0.5, values.index, fontsize=7.5)
            ax.invert_yaxis()
            ax.tick_params(which="both", length=0)
            ax.minorticks_off()
            ax.set_title(f"{name}: {title}", fontsize=8.5)
        row[1].tick_params(labelleft=False)
    for ax in grid[-1]:
        ax.set_xlabel("head")
    _ratio_bar(figure, list(grid.flat), ScalarMappable(RATIO, DIVERGING))
    return figure


def _ratio_bar(figure: Figure, axes: list[Axes], scale: ScalarMappable) -> None:
    bar = figure.colorbar(scale, ax=axes, pad=0.01, aspect=30, extend="both")
    bar.set_label("relative to even attention")
    bar.set_ticks([0.25, 0.5, 1, 2, 4], labels=["1/4", "1/2", "1", "2", "4"])
    bar.minorticks_off()


def _block(seen: JetAttention, block: int) -> AttentionMap:
    _within("block", block, len(seen.maps))
    return seen.maps[block]


def _weights(attention: AttentionMap, query: int) -> tuple[Float[Tensor, "heads tokens"], int | None]:
    """The weights of one query, and which token it is; None for the class token."""
    if attention.kind == "class":
        return attention.to_tokens[:, 0], None
    _within("token", query, attention.to_tokens.shape[1])
    return attention.to_tokens[:, query], query


def _within(what: str, number: int, count: int) -> None:
    if not 0 <= number < count:
        raise JepalibError(f"attention: there is no {what} {number}; they are 0 to {count - 1}")


def _token(seen: JetAttention) -> str:
    return "particle" if seen.patches is None else "patch"


def _rest(attention: AttentionMap, weights: Float[Tensor, " tokens"]) -> str:
    """What goes to no token of the jet."""
    rest = max(1 - float(weights.sum()), 0.0)
    if attention.kind == "class":
        return f"{rest:.0%} on itself"
    return f"{rest:.0%} on registers" if attention.registers else ""


def _legend(figure: Figure, seen: JetAttention, query: int | None) -> None:
    extra = [Line2D([], [], **(QUERY | {"markersize": 8}), label=f"the {_token(seen)} that asks")]
    if seen.patches is not None:
        patch = {"linestyle": "", "marker": "D", "color": "#666666", "markeredgecolor": "black"}
        extra.append(Line2D([], [], **patch, label="centre of a patch"))
    symbol_legend(figure, particle_types(seen.jet).numpy(), extra if query is not None else extra[1:])
