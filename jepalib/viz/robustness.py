"""Figures of robustness: accuracy by what is removed, scans of what is spoilt, attention to what is lost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jepalib.errors import JepalibError
from jepalib.evaluation.robustness import MEAN
from jepalib.schema import INPUT_GROUPS, INPUTS
from jepalib.viz.results import CURVES
from jepalib.viz.style import PAGE, new_figure

INPUT_TITLES = {
    "log_pt": r"$\ln p_T$", "log_energy": r"$\ln E$", "log_pt_rel": r"$\ln (p_T/p_T^{\mathrm{jet}})$",
    "log_energy_rel": r"$\ln (E/E^{\mathrm{jet}})$", "delta_r": r"$\Delta R$", "deta": r"$\Delta\eta$",
    "dphi": r"$\Delta\phi$", "charge": "charge", "isChargedHadron": "is charged hadron",
    "isNeutralHadron": "is neutral hadron", "isPhoton": "is photon", "isElectron": "is electron",
    "isMuon": "is muon", "tanh_d0": r"$\tanh d_0$", "d0err": r"$\sigma_{d_0}$",
    "tanh_dz": r"$\tanh d_z$", "dzerr": r"$\sigma_{d_z}$",
}  # fmt: skip
GROUP_TITLES = {"kin": "all kinematics", "pid": "all identification", "td": "all displacement"}
SCANS = {  # kind -> axis title
    "random": "fraction dropped at random",
    "softest": "fraction dropped, softest first",
    "dead": r"side of the dead square ($\eta$, rad)",
    "smearing": "relative energy smearing",
    "shift": r"shift of $d_0$ and $d_z$ [mm]",
}
SCAN_WORDS = {  # the same in a sentence, before the number
    "random": "dropped at random, fraction",
    "softest": "dropped softest first, fraction",
    "dead": "dead square of side",
    "smearing": "energies smeared, relative width",
    "shift": "tracks shifted, mm:",
}
ROWS = [("clean", ""), *(("input", n) for n in INPUTS), *(("group", g) for g in INPUT_GROUPS), ("mean", "")]
GREY = "#717581"


def condition_title(kind: str, what: str) -> str:
    """What is missing, for an axis."""
    if kind == "input":
        return INPUT_TITLES[what]
    return GROUP_TITLES[what] if kind == "group" else {"clean": "nothing", "mean": "mean over the 17"}[kind]


def removal_figure(table: pd.DataFrame, arms: Sequence[str], published: pd.DataFrame) -> Figure:
    """Accuracy when one input or group is removed, for a few arms, with published values beside.

    Bars are one standard error, of seeds and test jets in squares; lines show the clean level.
    Published values (open, grey) are of JetClass and of 100 M labelled jets.

    Args:
        table: of `evaluation.robustness.by_arm`.
        arms: at most three of it.
        published: model, setting ("clean", "mean of removals", or the name of an input or group), value.

    Raises:
        JepalibError: an arm is not there, or there are too many.
    """
    _known(table, arms, 3)
    figure = new_figure(0.9 * PAGE, 5.4)
    ax = figure.subplots()
    for number, arm in enumerate(arms):
        color, dash, marker = CURVES[number]
        mine = table[(table["arm"] == arm) & table["kind"].isin([kind for kind, _ in ROWS])]
        rows = mine.set_index(["kind", "what"]).rename(index={MEAN: ""}).loc[ROWS]
        places = np.array([_place(i) for i in range(len(ROWS))]) + 0.32 * (number - (len(arms) - 1) / 2)
        ax.errorbar(rows["accuracy"], places, xerr=standard_error(rows), color=color, marker=marker,
                    linestyle="", capsize=1.5, elinewidth=1, zorder=3, label=f"{arm}, ours")  # fmt: skip
        ax.axvline(rows["accuracy"].iloc[0], color=color, linestyle=dash, linewidth=1, zorder=1)
    for model, marker in zip(published["model"].unique(), "Ds"):
        chosen = published[published["model"] == model]
        places = [_place(_row_of(setting)) for setting in chosen["setting"]]
        ax.scatter(chosen["value"], places, marker=marker, s=28, facecolors="none", edgecolors=GREY,
                   linewidths=1.2, label=f"{model}, published", zorder=2)  # fmt: skip
    ax.set_yticks([_place(i) for i in range(len(ROWS))], [condition_title(*row) for row in ROWS])
    ax.tick_params(axis="y", which="both", length=0)
    ax.minorticks_off()
    ax.invert_yaxis()
    for line in (0.75, _place(8) - 0.5, _place(14) - 0.5, _place(18) - 0.75, _place(21) - 0.75):
        ax.axhline(line, color="#d5d5d5", linewidth=0.8, zorder=0)
    ax.set_xlim(0, 0.9)
    ax.set_xlabel("accuracy without it")
    ax.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2)
    return figure


def arms_figure(seeds: pd.DataFrame, table: pd.DataFrame) -> Figure:
    """All arms under four conditions: clean, the mean over removed inputs, without pid, without td.

    Points are seeds, bars their mean with one standard error of seeds and test jets.

    Args:
        seeds: of `evaluation.robustness.robustness_table`.
        table: of `evaluation.robustness.by_arm`.
    """
    arms = list(table["arm"].unique())
    panels = {("clean", ""): "clean", ("mean", None): "mean over 17 removals",
              ("group", "pid"): "no identification", ("group", "td"): "no displacement"}  # fmt: skip
    figure = new_figure(PAGE, 0.9 + 0.34 * len(arms))
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True)
    for ax, ((kind, what), title) in zip(axes, panels.items(), strict=True):
        for place, arm in enumerate(arms):
            color, _, marker = CURVES[place % len(CURVES)]
            points, mean = (_chosen(t[t["arm"] == arm], kind, what) for t in (seeds, table))
            ax.errorbar(mean["accuracy"], [place], xerr=standard_error(mean), color=color, marker="|",
                        markersize=13, markeredgewidth=2, capsize=2, elinewidth=1.2)  # fmt: skip
            ax.scatter(points["accuracy"], np.full(len(points), place), s=15, marker=marker, color=color,
                       edgecolors="black", linewidths=0.4, zorder=3)  # fmt: skip
        ax.set_title(title)
        ax.tick_params(axis="y", which="both", length=0)
        ax.minorticks_off()
        ax.margins(x=0.12)
    axes[0].set_yticks(range(len(arms)), arms)
    axes[0].set_ylim(len(arms) - 0.5, -0.5)
    figure.supxlabel("accuracy", fontsize=9.5)
    return figure


def scan_figure(table: pd.DataFrame, arms: Sequence[str]) -> Figure:
    """Accuracy against the size of each disturbance, from clean on.

    Bands are one standard deviation over seeds for the first two arms; the others have lines alone.
    Below the sides of dead squares stands the share of particles that they lose.

    Args:
        table: of `evaluation.robustness.by_arm`, with the column lost_particles.
        arms: names in it, in the order of their colours.

    Raises:
        JepalibError: an arm is not there, or there are too many.
    """
    _known(table, arms, len(CURVES))
    kinds = [kind for kind in SCANS if (table["kind"] == kind).any()]
    figure = new_figure(PAGE, 2.55 * -(-(len(kinds) + 1) // 3))
    axes = figure.subplots(-(-(len(kinds) + 1) // 3), 3, sharey=True, squeeze=False)
    for ax, kind in zip(axes.flat, kinds):
        for number, arm in enumerate(arms):
            rows = table[(table["arm"] == arm) & table["kind"].isin(["clean", kind])].sort_values("size")
            _scan(ax, rows, number)
        ax.set_xlabel(SCANS[kind])
        if kind == "shift":
            ax.set_xscale("symlog", linthresh=rows["size"][rows["size"] > 0].min())
            ax.set_xticks(rows["size"], [f"{s:g}" for s in rows["size"]])
        if kind == "dead":
            ax.set_xticks(rows["size"], [f"{r['size']:g}\n{_percent(r)}" for _, r in rows.iterrows()])
        ax.minorticks_off()
    for row in axes:
        row[0].set_ylabel("accuracy")
    for ax in list(axes.flat)[len(kinds) :]:
        ax.axis("off")
    list(axes.flat)[len(kinds)].legend(*axes[0, 0].get_legend_handles_labels(), loc="center")
    return figure


def attention_figure(table: pd.DataFrame) -> Figure:
    """How much of the class token's attention lay on what was lost, and what its loss did.

    Three panels by kind of loss: the share of attention, and that of pT, divided by the share of
    particles that are lost; at one it looked at all alike. The fourth: accuracy lost against the
    share of attention itself.

    Args:
        table: arm, kind, size, attention, lost_particles, lost_pt, loss, error; the shares of
            particles and pT are the same for all arms.

    Raises:
        JepalibError: a column is missing.
    """
    needed = {"arm", "kind", "size", "attention", "lost_particles", "lost_pt", "loss", "error"}
    if missing := needed - set(table.columns):
        raise JepalibError(f"attention_figure: the table has no column {sorted(missing)}")
    figure = new_figure(PAGE, 4.9)
    axes = figure.subplots(2, 2)
    arms, kinds = list(table["arm"].unique()), ("random", "softest", "dead")
    for ax, kind in zip(axes.flat, kinds):
        shares = table[(table["kind"] == kind) & (table["arm"] == arms[0])].sort_values("size")
        ax.axhline(1, color=GREY, linewidth=0.8, label="even")
        pt = shares["lost_pt"] / shares["lost_particles"]
        ax.plot(shares["size"], pt, color=GREY, linestyle=":", marker="x", label=r"$p_T$")
        for number, arm in enumerate(arms):
            rows = table[(table["kind"] == kind) & (table["arm"] == arm)].sort_values("size")
            color, dash, marker = CURVES[number]
            relative = rows["attention"] / rows["lost_particles"]
            ax.plot(rows["size"], relative, color=color, linestyle=dash, marker=marker,
                    label=f"attention, {arm}")  # fmt: skip
            axes[1, 1].errorbar(rows["attention"], rows["loss"], yerr=rows["error"], color=color,
                                linestyle=("-", "--", ":")[kinds.index(kind)], elinewidth=0.8,
                                marker="oD^"[kinds.index(kind)], linewidth=1)  # fmt: skip
        ax.set_xlabel(SCANS[kind])
        ax.set_xlim(left=0)
        ax.set_ylim(0, max(1.3, 1.1 * float(pt.max())))
        ax.set_ylabel("share lost, relative\nto that of particles")
    axes[1, 1].set_xlabel("share of attention on what is lost")
    axes[1, 1].set_ylabel("accuracy lost")
    looks = zip(kinds, ("at random", "softest first", "dead square"), ("-", "--", ":"), "oD^")
    handles = [Line2D([], [], color="black", linestyle=d, marker=m, label=t) for _, t, d, m in looks]
    axes[1, 1].legend(handles=handles, loc="best")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def standard_error(rows: pd.DataFrame) -> pd.Series:
    """Standard error of the accuracies of `by_arm`: of their seeds and of the test jets, in squares."""
    of_seeds = rows["spread"].fillna(0) ** 2 / rows["seeds"]
    return ((of_seeds + rows["jet_error"] ** 2) ** 0.5).astype(float)


def _scan(ax: Axes, rows: pd.DataFrame, number: int) -> None:
    """One arm of one scan."""
    color, dash, marker = CURVES[number]
    if number < 2 and rows["spread"].notna().all():
        low, high = rows["accuracy"] - rows["spread"], rows["accuracy"] + rows["spread"]
        ax.fill_between(rows["size"], low, high, color=color, alpha=0.18, linewidth=0)
    width = 1.5 if number < 2 else 1.0
    ax.plot(rows["size"], rows["accuracy"], color=color, linestyle=dash, marker=marker, linewidth=width,
            markersize=4 if number < 2 else 3, label=rows["arm"].iloc[0])  # fmt: skip


def _chosen(rows: pd.DataFrame, kind: str, what: str | None) -> pd.DataFrame:
    return rows[(rows["kind"] == kind) & ((rows["what"] == what) if what is not None else True)]


def _place(row: int) -> float:
    """Height of a row: the clean one, single inputs, groups and the mean stand a little apart."""
    return row + 0.5 * ((row > 0) + (row > len(INPUTS)) + (row > len(INPUTS) + len(INPUT_GROUPS)))


def _row_of(setting: str) -> int:
    """The row of a published setting."""
    known = {"clean": 0, MEAN: len(ROWS) - 1}
    return known[setting] if setting in known else [what for _, what in ROWS].index(setting)


def _percent(row: pd.Series) -> str:
    return f"{100 * row['lost_particles']:.0f} %"


def _known(table: pd.DataFrame, arms: Sequence[str], most: int) -> None:
    if missing := [arm for arm in arms if arm not in set(table["arm"])]:
        raise JepalibError(f"robustness figure: no arm {missing}; there are {list(table['arm'].unique())}")
    if not 0 < len(arms) <= most:
        raise JepalibError(f"robustness figure: {len(arms)} arms; 1 to {most} keep apart")
