"""Figures of a search: SIC curves, maximum SIC against the signal, spectra with fit and pulls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter
from scipy.stats import norm

from jepalib.errors import JepalibError
from jepalib.evaluation.bump_hunt import Selection
from jepalib.evaluation.sic import SicBand
from jepalib.evaluation.spectrum import Window
from jepalib.viz.results import CURVES
from jepalib.viz.style import PAGE, UNUSED, new_figure

GREY = "#717581"
LEAST = 3  # events that are expected to pass in a bin whose efficiency is drawn


def sic_curves(bands: Mapping[str, SicBand]) -> Figure:
    """SIC against the background efficiency, a curve for each classifier.

    Bands are one standard deviation of one more seed on other test events. Curves end where too
    little background passes; the dotted line is a random score, √FPR.

    Args:
        bands: `evaluation.sic.sic_band` by the name of the classifier, at most eight.

    Raises:
        JepalibError: no or too many classifiers.
    """
    if not 1 <= len(bands) <= len(CURVES):
        raise JepalibError(f"sic_curves: {len(bands)} classifiers; give 1 to {len(CURVES)}")
    figure = new_figure(0.8 * PAGE, 3.4)
    ax = figure.subplots()
    for (name, band), (color, dash, _) in zip(bands.items(), CURVES):
        low, high = np.maximum(band.mean - band.error, 0), band.mean + band.error
        ax.fill_between(band.fpr, low, high, color=color, alpha=0.16, linewidth=0)
        label = f"{name}, mean of {band.seeds} seed{'s' if band.seeds > 1 else ''}"
        ax.plot(band.fpr, band.mean, color=color, linestyle=dash, label=label)
    least = min(band.fpr[0] for band in bands.values())
    fpr = np.geomspace(least, 1, 200)
    ax.plot(fpr, np.sqrt(fpr), color=GREY, linestyle=":", linewidth=1, label="random")
    ax.set_xscale("log")
    ax.set_xlim(least, 1)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("background efficiency (FPR)")
    ax.set_ylabel(r"SIC = TPR / $\sqrt{\mathrm{FPR}}$")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def sic_against_signal(
    table: pd.DataFrame, metric: str = "max_sic", bounds: Mapping[str, float] | None = None
) -> Figure:
    """SIC against the number of signal events in B; the upper axis has S/√B before any cut.

    Small points are single seeds, lines their mean; bars add the standard deviation over seeds and
    the binomial error of the test events in squares. Classifiers stand a little beside one another.
    Where a seed has no value (too little background passes) there is no point.

    Args:
        table: `evaluation.scan.scan` of several classifiers with a column `arm`, all with one size of B.
        metric: max_sic, or sic_1e-2 ….
        bounds: horizontal lines by name, such as that of the supervised classifier.

    Raises:
        JepalibError: a column is missing, there is no value, too many classifiers, or B is not
            the same in all rows.
    """
    missing = {"arm", "signals", "significance", "seed", metric, f"{metric}_error"} - set(table.columns)
    if missing:
        raise JepalibError(f"sic_against_signal: the table has no column {sorted(missing)}")
    arms = list(table["arm"].unique())
    rows = table.dropna(subset=[metric])
    ratios = (rows["significance"] / rows["signals"])[rows["signals"] > 0]
    if not len(ratios) or len(arms) > len(CURVES) or not np.allclose(ratios, ratios.iloc[0]):
        raise JepalibError(
            f"sic_against_signal: give at least one value with signal, at most {len(CURVES)} classifiers "
            f"(these are {len(arms)}), and B of one size"
        )
    figure = new_figure(0.8 * PAGE, 3.6)
    ax = figure.subplots()
    for place, (arm, look) in enumerate(zip(arms, CURVES)):
        beside = 1.045 ** (place - (len(arms) - 1) / 2)
        own = rows[rows["arm"] == arm]
        _points(ax, own.assign(signals=own["signals"] * beside), metric, look, arm)
    for (name, value), dash in zip((bounds or {}).items(), ("-", "--", "-.")):
        ax.axhline(value, color="black", linestyle=dash, linewidth=0.8, label=name)
    ax.axhline(1, color="black", linestyle=":", linewidth=1, label="no cut")
    _signal_axes(ax, sorted(map(int, rows["signals"].unique())), float(ratios.iloc[0]))
    ax.set_ylim(bottom=0)
    rate = metric.removeprefix("sic_")
    ax.set_ylabel("maximum SIC" if metric == "max_sic" else f"SIC at FPR = {rate}")
    handles = [*ax.containers, *(line for line in ax.lines if not line.get_label().startswith("_"))]
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _points(ax: Axes, rows: pd.DataFrame, metric: str, look: tuple[str, str, str], label: str) -> None:
    color, dash, marker = look
    grouped = rows.groupby("signals")
    mean, spread = grouped[metric].mean(), grouped[metric].std().fillna(0.0)
    error = np.hypot(spread, grouped[f"{metric}_error"].mean())
    ax.errorbar(
        mean.index, mean, error, color=color, linestyle=dash, marker=marker, capsize=2, elinewidth=1,
        label=label,
    )  # fmt: skip
    ax.scatter(rows["signals"], rows[metric], s=5, color=color, edgecolors="black", linewidths=0.3, zorder=3)


def _signal_axes(ax: Axes, signals: Sequence[int], ratio: float) -> None:
    """Numbers of signal events below, significance above; 0 has its place left of the smallest."""
    least, above = min(count for count in signals if count > 0), ax.twiny()
    for axes in (ax, above):
        if signals[0] == 0:
            axes.set_xscale("symlog", linthresh=least, linscale=0.6)
            axes.set_xlim(-0.25 * least, 1.35 * signals[-1])
        else:
            axes.set_xscale("log")
            axes.set_xlim(least / 1.35, 1.35 * signals[-1])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.minorticks_off()
    ax.set_xticks(signals, [f"{count:,}" for count in signals])
    above.set_xticks(signals, [f"{count * ratio:.2g}" for count in signals])
    ax.tick_params(axis="x", which="both", top=False)
    above.tick_params(axis="x", which="both", bottom=False)
    ax.set_xlabel("signal events in sample B")
    above.set_xlabel(r"$S/\sqrt{B}$ of sample B before any cut")


def spectra(selections: Sequence[Selection], window: Window) -> Figure:
    """Mass spectra after cuts, with the sideband fit, its uncertainty and the pulls.

    A column for each selection. Points are counts with √n, the line is the fit to the sidebands
    (outside of the shaded signal region), dashed where it is not fitted. Pulls are (n - b)/√(b + σ²).

    Raises:
        JepalibError: no or more than four selections.
    """
    if not 1 <= len(selections) <= 4:
        raise JepalibError(f"spectra: {len(selections)} selections; give 1 to 4")
    figure = new_figure(PAGE, 3.9)
    grid = figure.subplots(2, len(selections), sharex=True, height_ratios=[3, 1], squeeze=False)
    for column, selection in enumerate(selections):
        _spectrum(grid[0, column], selection, window)
        _pulls(grid[1, column], selection, window)
    grid[0, 0].set_ylabel("events per bin")
    grid[1, 0].set_ylabel("pull")
    figure.supxlabel("mass [GeV]", fontsize=9.5)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)
    return figure


def _spectrum(ax: Axes, selection: Selection, window: Window) -> None:
    fit, color = selection.background, CURVES[0][0]
    ax.axvspan(window.low, window.high, color=UNUSED, alpha=0.2, linewidth=0, label="signal region")
    low, high = np.maximum(fit.expected - fit.errors, 1e-3), fit.expected + fit.errors
    ax.fill_between(window.centres, low, high, color=color, alpha=0.3, linewidth=0, label="its uncertainty")
    ax.plot(window.centres, fit.expected, color=color, label="fit to the sidebands")
    there = selection.counts > 0
    ax.errorbar(
        window.centres[there], selection.counts[there], np.sqrt(selection.counts[there]),
        color="black", marker="o", markersize=2.5, linestyle="none", elinewidth=0.8, label="events",
    )  # fmt: skip
    ax.set_yscale("log")
    ax.set_ylim(0.5 * max(fit.expected.min(), 0.2), 2.2 * max(selection.counts.max(), fit.expected.max()))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    found = selection.excess
    cut = "no cut" if selection.efficiency == 1 else f"{100 * selection.efficiency:g} % of the background"
    ax.set_title(
        f"{cut}\n{found.observed} events, {found.expected:.0f} ± {found.error:.0f} expected", fontsize=8
    )
    ax.text(
        0.96, 0.95, f"$Z$ = {found.z:.1f}\nlocal $p$ = {_short(found.p)}",
        transform=ax.transAxes, ha="right", va="top", fontsize=8,
    )  # fmt: skip


def _short(p: float) -> str:
    """0.31, 0.0042, $3\\times 10^{-7}$."""
    if p >= 1e-3:
        return f"{p:.2g}"
    mantissa, power = f"{p:.0e}".split("e")
    return rf"${mantissa}\times 10^{{{int(power)}}}$"


def _pulls(ax: Axes, selection: Selection, window: Window) -> None:
    fit = selection.background
    pulls = (selection.counts - fit.expected) / np.sqrt(fit.expected + fit.errors**2)
    ax.axvspan(window.low, window.high, color=UNUSED, alpha=0.2, linewidth=0)
    ax.stairs(pulls, window.edges, color=CURVES[0][0], fill=True, alpha=0.6)
    ax.axhline(0, color="black", linewidth=0.8)
    reach = max(3.5, 1.1 * np.abs(pulls).max())
    ax.set_ylim(-reach, reach)
    ax.set_xlim(window.edges[0], window.edges[-1])


def significances(
    observed: Mapping[str, Mapping[float, float]],
    expected: Mapping[str, tuple[float, float, float]] | None = None,
) -> Figure:
    """Observed significance against the background efficiency of the cut, and what toys expect.

    The right axis has the local p-value of the same Z.

    Args:
        observed: Z by efficiency of the cut, by the name of the experiment or classifier.
        expected: (median, low, high) of toys by the label of the cut, as ``f"{efficiency:g}"``.

    Raises:
        JepalibError: no or too many experiments.
    """
    if not 1 <= len(observed) <= len(CURVES):
        raise JepalibError(f"significances: {len(observed)} experiments; give 1 to {len(CURVES)}")
    figure = new_figure(0.75 * PAGE, 3.3)
    ax = figure.subplots()
    if expected:
        cuts = sorted(expected, key=float)
        median, low, high = np.array([expected[cut] for cut in cuts]).T
        x = [float(cut) for cut in cuts]
        ax.fill_between(x, low, high, color=UNUSED, alpha=0.35, linewidth=0, label="expected, 68 % of toys")
        ax.plot(x, median, color=GREY, linestyle="--", label="expected, median")
    for (name, by_cut), (color, dash, marker) in zip(observed.items(), CURVES):
        x, z = zip(*sorted(by_cut.items()))
        ax.plot(x, z, color=color, linestyle=dash, marker=marker, label=name)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_xscale("log")
    ax.set_xlabel("background efficiency of the cut")
    ax.set_ylabel("local significance $Z$")
    ax.tick_params(axis="y", which="both", right=False)
    low, high = ax.get_ylim()
    right = ax.secondary_yaxis("right")
    ticks = [z for z in range(-2, 12) if low <= z <= high]
    ticks = ticks[:: max(1, -(-len(ticks) // 7))]
    right.set_yticks(ticks, [_short(float(norm.sf(z))) for z in ticks])
    right.minorticks_off()
    right.set_ylabel("local $p$-value")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


def mass_shapes(
    mass: Float[np.ndarray, " events"],
    passed: Mapping[str, Bool[np.ndarray, " events"]],
    window: Window,
) -> Figure:
    """Does the cut shape the mass? Efficiency of each mass bin over that of all, with binomial errors.

    Flat at 1 where it does not. Give background, of a simulation, or data in the sidebands. Bins
    where less than `LEAST` events are expected to pass are left out.

    Args:
        passed: which events each of up to eight cuts keeps.

    Raises:
        JepalibError: no or too many cuts, or a cut that keeps nothing.
    """
    if not 1 <= len(passed) <= len(CURVES) or not all(keep.any() for keep in passed.values()):
        raise JepalibError(f"mass_shapes: {len(passed)} cuts; give 1 to {len(CURVES)} that keep events")
    figure = new_figure(0.75 * PAGE, 3.0)
    ax = figure.subplots()
    ax.axvspan(window.low, window.high, color=UNUSED, alpha=0.2, linewidth=0, label="signal region")
    total = np.histogram(mass, window.edges)[0]
    for i, ((name, keep), (color, _, marker)) in enumerate(zip(passed.items(), CURVES)):
        there = total * keep.mean() >= LEAST
        share = np.histogram(mass[keep], window.edges)[0][there] / total[there]
        smooth = (share * total[there] + 0.5) / (total[there] + 1)
        error = np.sqrt(smooth * (1 - smooth) / total[there])
        beside = (i - (len(passed) - 1) / 2) * 0.2 * np.diff(window.edges)[there]
        ax.errorbar(
            window.centres[there] + beside, share / keep.mean(), error / keep.mean(), color=color,
            marker=marker, markersize=3, linestyle="none", elinewidth=0.8, label=name,
        )  # fmt: skip
    ax.axhline(1, color="black", linewidth=0.8)
    ax.set_xlim(window.edges[0], window.edges[-1])
    ax.set_ylim(bottom=0)
    ax.set_xlabel("mass [GeV]")
    ax.set_ylabel("efficiency over its mean")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return figure
