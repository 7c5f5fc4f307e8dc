"""Figures of what an embedding knows: R² by observable and feature set, predicted against true."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Bool
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from jepalib.errors import JepalibError
from jepalib.evaluation.observables import EFP_GRAPHS
from jepalib.viz.results import CURVES
from jepalib.viz.style import PAGE, new_figure

# (axis title, unit) of the targets; logarithms are of numbers without a unit.
TITLES = {name: (f"ln EFP {name.split('_')[2]}, $d$ = {name.split('_')[1]}", "") for name in EFP_GRAPHS}
TITLES |= {f"tau{n}": (rf"ln $\tau_{n}$", "") for n in range(1, 5)}
TITLES |= {f"tau{n + 1}{n}": (rf"$\tau_{{{n + 1}{n}}}$", "") for n in range(1, 4)}
TITLES |= {"leptons": ("leptons", ""), "displaced": ("displaced tracks", "")}
TITLES |= {"sdmass": ("soft-drop mass", "GeV"), "multiplicity": ("constituents", "")}
FLOOR = -0.1  # R² is drawn no lower; what lies below is marked


def title(name: str, prefix: str = "") -> str:
    """The name of an observable for an axis, with its unit."""
    words, unit = TITLES.get(name, (name.replace("_", " "), ""))
    return f"{prefix}{words}" + (f" [{unit}]" if unit else "")


def r2_by_observable(table: pd.DataFrame) -> Figure:
    """R² of every observable, a row each, for several feature sets side by side.

    Bars are one standard deviation, as the column `r2_error` has it. An R² below
    `FLOOR` is drawn there as an open arrow to the left; an observable that could not be
    scored has no marker.

    Args:
        table: `evaluation.observables.compare`: columns features, target, r2, r2_error.

    Raises:
        JepalibError: a column is missing, a pair of features and target is there twice, or
            there are more feature sets than curves that keep apart.
    """
    missing = {"features", "target", "r2", "r2_error"} - set(table.columns)
    if missing:
        raise JepalibError(f"r2_by_observable: the table has no column {sorted(missing)}")
    if table.duplicated(["features", "target"]).any():
        raise JepalibError("r2_by_observable: several rows for one feature set and target; choose one seed")
    sets, targets = list(table["features"].unique()), list(table["target"].unique())
    if len(sets) > len(CURVES):
        raise JepalibError(f"r2_by_observable: {len(sets)} feature sets; at most {len(CURVES)} keep apart")
    figure = new_figure(0.85 * PAGE, 1.0 + 0.27 * len(targets))
    ax = figure.subplots()
    for i, name in enumerate(sets):
        rows = table[table["features"] == name].set_index("target").reindex(targets)
        beside = 0.5 * ((i + 0.5) / len(sets) - 0.5)  # so that markers of one row do not hide each other
        _markers(ax, rows, np.arange(len(targets)) + beside, i, name)
    ax.set_yticks(range(len(targets)), [title(name) for name in targets])
    ax.yaxis.set_tick_params(which="both", length=0)
    ax.yaxis.minorticks_off()
    ax.set_ylim(len(targets) - 0.5, -0.5)
    ax.set_xlim(FLOOR - 0.04, 1.03)
    for edge in np.arange(0.5, len(targets) - 1):
        ax.axhline(edge, color="#dddddd", linewidth=0.6, zorder=0)
    ax.set_xlabel("$R^2$ on the test jets")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(3, len(sets)))
    return figure


def _markers(ax: Axes, rows: pd.DataFrame, height: np.ndarray, position: int, label: str) -> None:
    color, _, marker = CURVES[position]
    low = (rows["r2"] < FLOOR).to_numpy()
    ax.errorbar(
        rows["r2"].where(~low), height, xerr=rows["r2_error"], color=color, marker=marker,
        linestyle="none", capsize=2, linewidth=1, label=label,
    )  # fmt: skip
    ax.plot(np.full(low.sum(), FLOOR), height[low], "<", color=color, markerfacecolor="white")


def predicted_against_true(truth: pd.DataFrame, predicted: pd.DataFrame, name: str) -> Figure:
    """One observable: predicted against true as a density, and the distribution of residuals.

    The second panel has the residual predicted - true, and its median and central 68 %.
    Jets without the observable are left out and counted in the title.

    Args:
        truth: `evaluation.observables.observables` of the test jets.
        predicted: `evaluation.observables.predict_observables`, same rows.

    Raises:
        JepalibError: the observable is in neither table, the rows do not fit, or fewer
            than two jets have it.
    """
    for table in (truth, predicted):
        if name not in table:
            raise JepalibError(
                f"predicted_against_true: no observable {name!r}; there are: {', '.join(table)}"
            )
    if len(truth) != len(predicted):
        raise JepalibError(f"predicted_against_true: {len(truth)} true rows, {len(predicted)} predicted")
    x, y = truth[name].to_numpy(float), predicted[name].to_numpy(float)
    there: Bool[np.ndarray, " jets"] = np.isfinite(x) & np.isfinite(y)
    if there.sum() < 2:
        raise JepalibError(f"predicted_against_true: only {there.sum()} jets have {name}")
    x, y = x[there], y[there]
    figure = new_figure(PAGE, 3.0)
    density, spread = figure.subplots(1, 2)
    _density(density, x, y, name)
    _residuals(spread, y - x, name)
    figure.suptitle(f"{len(x):,} jets, {len(there) - len(x):,} without this observable", fontsize=8.5)
    return figure


def _density(ax: Axes, x: np.ndarray, y: np.ndarray, name: str) -> None:
    low, high = np.quantile(np.concatenate([x, y]), [0.002, 0.998])
    span = [low, high if high > low else low + 1]
    *_, image = ax.hist2d(x, y, bins=50, range=[span, span], cmap="viridis", norm=LogNorm(), cmin=1)
    ax.plot(span, span, color="#bd1f01", linestyle="--", linewidth=1)
    ax.set_xlabel(title(name, "true "))
    ax.set_ylabel(title(name, "predicted "))
    ax.set_box_aspect(1)
    ax.figure.colorbar(image, ax=ax, pad=0.02).set_label("jets")


def _residuals(ax: Axes, residual: np.ndarray, name: str) -> None:
    low, middle, high = np.quantile(residual, [0.16, 0.5, 0.84])
    edge = max(4 * max(middle - low, high - middle), 1e-9)
    color = CURVES[0][0]
    inside = np.clip(residual, middle - edge, middle + edge)  # the outermost bins hold the rest
    ax.hist(inside, bins=60, histtype="step", color=color)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.axvline(middle, color=color, linestyle="--", label=f"median {middle:+.3g}")
    ax.axvspan(low, high, color=color, alpha=0.15, linewidth=0, label=f"68 %: {low:+.3g} to {high:+.3g}")
    ax.set_xlabel(title(name, "predicted − true "))
    ax.set_ylabel("jets")
    ax.set_ylim(0, 1.3 * ax.get_ylim()[1])
    ax.legend(loc="upper left")
