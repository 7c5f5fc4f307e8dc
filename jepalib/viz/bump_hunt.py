"""Figures of repeated hunts: significance against the injected signal, and p-values without one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure

from jepalib.errors import JepalibError
from jepalib.viz.results import CURVES
from jepalib.viz.style import COLUMN, PAGE, UNUSED, new_figure


def found_against_injected(table: pd.DataFrame, roots: Mapping[int, float]) -> Figure:
    """Significance after the cut against the number of injected events: points are seeds, lines their mean.

    Args:
        table: columns arm, signals, seed, z.
        roots: S/√B in the signal region before the cut, by number of injected events, for the upper axis.

    Raises:
        JepalibError: no or too many arms.
    """
    arms = list(dict.fromkeys(table.arm))
    if not 1 <= len(arms) <= len(CURVES):
        raise JepalibError(f"found_against_injected: {len(arms)} arms; give 1 to {len(CURVES)}")
    counts = sorted(map(int, table.signals.unique()))
    figure = new_figure(0.75 * PAGE, 3.2)
    ax = figure.subplots()
    reach = max(counts[-1], 1)
    for number, (arm, (color, dash, marker)) in enumerate(zip(arms, CURVES)):
        rows = table[table.arm == arm]
        mean = rows.groupby("signals").z.mean()
        shift = 0.015 * reach * (number - (len(arms) - 1) / 2)  # beside each other where they agree
        ax.plot(mean.index + shift, mean, color=color, linestyle=dash, label=arm)
        ax.plot(rows.signals + shift, rows.z, color=color, marker=marker, linestyle="none", markersize=4)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_xlim(-0.06 * reach, 1.06 * reach)
    ax.set_xticks(counts, [f"{count:,}" for count in counts])
    ax.minorticks_off()
    ax.tick_params(axis="x", which="both", top=False)
    ax.set_xlabel("injected signal events")
    ax.set_ylabel("local significance $Z$")
    above = ax.secondary_xaxis("top")
    above.set_xticks(counts, [f"{roots[count]:.1f}" for count in counts])
    above.minorticks_off()
    above.set_xlabel(r"$S/\sqrt{B}$ in the signal region before the cut")
    ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def p_value_shares(null: Mapping[str, Float[np.ndarray, " toys"]]) -> Figure:
    """Share of hunts without a bump whose p-value is below each value; the diagonal where they are right.

    The band holds 95 % of uniform samples of this size at each value.

    Args:
        null: p-values of the toys by name of the cut.

    Raises:
        JepalibError: no or too many cuts.
    """
    if not 1 <= len(null) <= len(CURVES):
        raise JepalibError(f"p_value_shares: {len(null)} cuts; give 1 to {len(CURVES)}")
    figure = new_figure(1.35 * COLUMN, 2.9)
    ax = figure.subplots()
    number = min(len(p) for p in null.values())
    p = np.linspace(0, 1, 201)
    error = 1.96 * np.sqrt(p * (1 - p) / number)
    ax.fill_between(p, p - error, p + error, color=UNUSED, alpha=0.35, linewidth=0, label="uniform, 95 %")
    for (name, values), (color, dash, _) in zip(null.items(), CURVES):
        ax.step(np.sort(values), np.arange(1, len(values) + 1) / len(values), where="post",
                color=color, linestyle=dash, label=name)  # fmt: skip
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    ax.set_xlabel("local $p$-value")
    ax.set_ylabel("share of toys below")
    ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure
