"""Figures of jets: constituents, masses, substructure, images, model inputs, mask ratios."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from jepalib.jets import Jets
from jepalib.kinematics import model_inputs, particle_types
from jepalib.masking import MaskConfig, Masks
from jepalib.schema import CLASS_TITLES, CLASSES, INPUTS, PARTICLE_TYPES
from jepalib.viz.style import CLASS_LOOK, CONTEXT, DASH_DOT_DOT, PAGE, TARGET, UNUSED, new_figure

HIGGS = ("QCD", "Hbb", "Hcc", "Hgg", "H4q", "Hqql")
OTHERS = ("QCD", "Zqq", "Wqq", "Tbqq", "Tbl")

# Groups of `schema.PARTICLE_TYPES` that spectra tell apart: title, members, colour, dash.
TYPE_GROUPS = {
    "charged hadrons": (("h-", "h+"), "#bd1f01", "-"),
    "neutral hadrons": (("h0",), "#717581", "--"),
    "photons": (("photon",), "#ffa90e", "-."),
    "electrons": (("e-", "e+"), "#3f90da", ":"),
    "muons": (("mu-", "mu+"), "#832db6", DASH_DOT_DOT),
}

INPUT_TITLES = {  # transformed quantity; what it was before, with its unit, where it differs
    "log_pt": (r"$0.7\,(\ln p_T - 1.7)$", r"$p_T$ [GeV]"),
    "log_energy": (r"$0.7\,(\ln E - 2.0)$", r"$E$ [GeV]"),
    "log_pt_rel": (r"$0.7\,(\ln p_T/p_T^\mathrm{jet} + 4.7)$", r"$p_T/p_T^\mathrm{jet}$"),
    "log_energy_rel": (r"$0.7\,(\ln E/E^\mathrm{jet} + 4.7)$", r"$E/E^\mathrm{jet}$"),
    "delta_r": (r"$4\,(\Delta R - 0.2)$", r"$\Delta R$"),
    "deta": (r"$\Delta\eta$", ""),
    "dphi": (r"$\Delta\phi$ [rad]", ""),
    "charge": ("charge", ""),
    "isChargedHadron": ("is charged hadron", ""),
    "isNeutralHadron": ("is neutral hadron", ""),
    "isPhoton": ("is photon", ""),
    "isElectron": ("is electron", ""),
    "isMuon": ("is muon", ""),
    "tanh_d0": (r"$\tanh d_0$", r"$d_0$ [mm]"),
    "d0err": (r"$\sigma(d_0)$, clipped", r"$\sigma(d_0)$ [mm]"),
    "tanh_dz": (r"$\tanh d_z$", r"$d_z$ [mm]"),
    "dzerr": (r"$\sigma(d_z)$, clipped", r"$\sigma(d_z)$ [mm]"),
}


def by_class(
    axes: Sequence[Axes],
    values: Float[np.ndarray, " jets"],
    labels: Int[np.ndarray, " jets"],
    bins: np.ndarray,
) -> None:
    """Histograms of `values`, Higgs decays in the first axes and the rest in the second.

    Bins show the fraction of *all* jets of a class, so that what lies outside the bins is
    missing from the sum. QCD is filled in both axes.
    """
    for ax, names in zip(axes, (HIGGS, OTHERS)):
        for name in names:
            chosen = values[labels == CLASSES.index(name)]
            heights = np.histogram(chosen, bins)[0] / max(len(chosen), 1)
            look, filled = CLASS_LOOK[name], name == "QCD"
            ax.stairs(
                heights, bins, label=CLASS_TITLES[name], color=look.color, linestyle=look.linestyle,
                fill=filled, alpha=0.35 if filled else 1.0, linewidth=1.4,
            )  # fmt: skip
        ax.set_xlim(bins[0], bins[-1])


def legend_above(ax: Axes, columns: int = 3) -> None:
    """A legend over the axes, where it can hide no data."""
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, columnspacing=1.2)


def _jet_figure(rows: Sequence[tuple[np.ndarray, np.ndarray, str]], labels: np.ndarray) -> Figure:
    """One row of two panels for each (values, bins, axis label)."""
    figure = new_figure(PAGE, 0.5 + 2.5 * len(rows))
    grid = figure.subplots(len(rows), 2, sharey="row", squeeze=False)
    for axes, (values, bins, title) in zip(grid, rows):
        by_class(list(axes), values, labels, bins)
        axes[0].set_ylabel("fraction of jets per bin")
        for ax in axes:
            ax.set_xlabel(title)
        axes[0].set_ylim(bottom=0)
    for ax in grid[0]:
        legend_above(ax)
    return figure


def _edges(high: float, cells: int, labels: np.ndarray) -> np.ndarray:
    """Equal bins from 0 to `high`: `cells` of them, half as many below 1,000 jets a class."""
    return np.linspace(0, high, (cells if len(labels) >= 10_000 else cells // 2) + 1)


def multiplicity(jets: Jets) -> Figure:
    """Number of constituents per jet, by class."""
    counts, labels = jets.counts.numpy().astype(np.float64), jets.labels.numpy()
    return _jet_figure([(counts, _edges(128.0, 32, labels), "constituents per jet")], labels)


def jet_mass(jets: Jets) -> Figure:
    """Soft-drop mass in GeV, by class."""
    mass, labels = jets.observable("sdmass").numpy().astype(np.float64), jets.labels.numpy()
    return _jet_figure([(mass, _edges(250.0, 50, labels), "soft-drop mass [GeV]")], labels)


def substructure(jets: Jets) -> Figure:
    """N-subjettiness ratios τ2/τ1 and τ3/τ2, by class; 0 where the denominator vanishes."""
    tau1, tau2, tau3 = (jets.observable(f"tau{i}").numpy().astype(np.float64) for i in (1, 2, 3))
    labels = jets.labels.numpy()
    bins = _edges(1.0, 40, labels)

    def ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.divide(a, b, out=np.zeros_like(a), where=b > 0)

    rows = [
        (ratio(tau2, tau1), bins, r"$\tau_{21} = \tau_2/\tau_1$"),
        (ratio(tau3, tau2), bins, r"$\tau_{32} = \tau_3/\tau_2$"),
    ]
    return _jet_figure(rows, labels)


def particle_spectra(jets: Jets) -> Figure:
    """Spectra of pT in GeV, of ΔR to the jet axis, and of |d0| in mm, by particle type."""
    types = particle_types(jets).numpy()
    pt = torch.hypot(jets.column("px"), jets.column("py")).numpy()
    delta_r = torch.hypot(jets.column("deta"), jets.column("dphi")).numpy()
    d0 = jets.column("d0val").abs().numpy()
    panels = [
        (pt, np.geomspace(0.3, 1000, 41), r"constituent $p_T$ [GeV]"),
        (delta_r, np.linspace(0, 0.8, 41), r"$\Delta R$ to the jet axis"),
        (d0, np.geomspace(1e-3, 1e2, 41), r"$|d_0|$ [mm], charged"),
    ]
    figure = new_figure(PAGE, 2.9)
    axes = figure.subplots(1, 3)
    for ax, (values, bins, title) in zip(axes, panels):
        for name, (members, color, dash) in TYPE_GROUPS.items():
            chosen = np.isin(types, [PARTICLE_TYPES.index(m) for m in members])
            if "d_0" in title:
                chosen &= jets.column("charge").numpy() != 0
            if chosen.any():
                heights = np.histogram(values[chosen], bins)[0] / len(jets)
                ax.stairs(heights, bins, color=color, linestyle=dash, label=name, linewidth=1.4)
        ax.set_xscale("linear" if "Delta R" in title else "log")
        ax.set_yscale("log")
        ax.set_xlim(bins[0], bins[-1])
        ax.set_xlabel(title)
    axes[0].set_ylabel("constituents per jet and bin")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return figure


def jet_images(jets: Jets, reach: float = 0.8, cells: int = 40) -> Figure:
    """Mean energy flow by class: share of the jet's energy per cell of Δη and Δφ."""
    edges = np.linspace(-reach, reach, cells + 1)
    share = jets.column("energy") / jets.observable("energy").clamp_min(1e-8)[jets.jet_of_particle]
    deta, dphi, share = (x.numpy() for x in (jets.column("deta"), jets.column("dphi"), share))
    label_of_particle = jets.labels[jets.jet_of_particle].numpy()
    figure = new_figure(PAGE, 3.3)
    axes = figure.subplots(2, 5, sharex=True, sharey=True)
    for label, (ax, name) in enumerate(zip(axes.flat, CLASSES)):
        chosen = label_of_particle == label
        number = max(int((jets.labels == label).sum()), 1)
        image = np.histogram2d(deta[chosen], dphi[chosen], edges, weights=share[chosen])[0] / number
        mesh = ax.pcolormesh(edges, edges, np.maximum(image.T, 1e-6), norm=LogNorm(1e-5, 0.1), cmap="magma")
        mesh.set_rasterized(True)
        ax.set_aspect("equal")
        ax.set_title(CLASS_TITLES[name], pad=3)
    for ax in axes[1]:
        ax.set_xlabel(r"$\Delta\eta$")
    for ax in axes[:, 0]:
        ax.set_ylabel(r"$\Delta\phi$ [rad]")
    bar = figure.colorbar(mesh, ax=axes, pad=0.01, aspect=30)
    bar.set_label("mean share of jet energy per cell")
    return figure


def inputs_before_after(jets: Jets) -> Figure:
    """The 17 model inputs, a panel each: as they enter the model, and before the transform.

    Grey and the lower axis: after. Blue and the upper axis: before, in GeV or mm, where
    the transform changes the input.
    """
    after, before = model_inputs(jets).numpy(), _raw_inputs(jets)
    figure = new_figure(PAGE, 7.0)
    grid = figure.subplots(4, 5)
    for ax, name, values in zip(grid.flat, INPUTS, after.T):
        flag = name.startswith("is") or name == "charge"
        bins = np.arange(-1.25, 1.5, 0.5) if flag else np.linspace(values.min(), values.max() + 1e-6, 41)
        heights = np.histogram(values, bins)[0] / max(len(values), 1)
        ax.stairs(heights, bins, fill=True, color=UNUSED, label="as the model sees it (lower axis)")
        ax.set_yscale("linear" if flag else "log")
        if flag:
            ax.set(xlim=(-1.7, 1.7), ylim=(0, 1.2), xticks=(-1, 0, 1), yticks=(0, 0.5, 1))
            for value, height in zip((-1, 0, 1), heights[::2]):
                ax.text(
                    value, height + 0.04, f"{100 * height:.2g} %" if height else "", ha="center", fontsize=6.5
                )
        title, raw_title = INPUT_TITLES[name]
        ax.set_xlabel(title, fontsize=8)
        if raw_title:
            _draw_raw(ax.twiny(), before[name], raw_title)
        ax.tick_params(labelsize=7)
    for ax in grid[:, 0]:
        ax.set_ylabel("fraction of constituents", fontsize=7.5)
    for ax in grid.flat[len(INPUTS) :]:
        ax.set_axis_off()
    handles = [grid[0, 0].patches[0], figure.axes[20].patches[0]]
    legend = grid[3, 3].legend(handles=handles, loc="center", title="each panel is one of the 17 inputs")
    legend.set_in_layout(False)  # it may reach into the empty panels beside it
    return figure


def _raw_inputs(jets: Jets) -> dict[str, np.ndarray]:
    pt, jet = torch.hypot(jets.column("px"), jets.column("py")), jets.jet_of_particle
    raw = {
        "log_pt": pt,
        "log_energy": jets.column("energy"),
        "log_pt_rel": pt / jets.observable("pt")[jet],
        "log_energy_rel": jets.column("energy") / jets.observable("energy")[jet],
        "delta_r": torch.hypot(jets.column("deta"), jets.column("dphi")),
        "tanh_d0": jets.column("d0val"),
        "d0err": jets.column("d0err"),
        "tanh_dz": jets.column("dzval"),
        "dzerr": jets.column("dzerr"),
    }
    return {name: values.numpy() for name, values in raw.items()}


def _draw_raw(ax: Axes, values: np.ndarray, title: str) -> None:
    """Histogram of one quantity before its transform, up to its 99.9th percentile."""
    low, high = np.quantile(values, [0.001, 0.999])
    bins = np.linspace(low, max(high, low + 1e-6), 41)
    ax.stairs(
        np.histogram(values, bins)[0] / max(len(values), 1), bins, color=CONTEXT, linewidth=1.2,
        label="before the transform (upper axis)",
    )  # fmt: skip
    ax.set_xlabel(title, color=CONTEXT, fontsize=8)
    ax.tick_params(axis="x", colors=CONTEXT, labelsize=7)


def mask_ratios(masks: Masks, offsets: Int[torch.Tensor, " edges"], config: MaskConfig) -> Figure:
    """Share of each jet's constituents in targets and in the context, beside what was asked.

    A context lies below its range where targets were taken out of it.
    """
    counts = offsets.diff().double()
    jet = torch.arange(len(counts)).repeat_interleave(offsets.diff())

    def share(mask: torch.Tensor) -> np.ndarray:
        return (
            torch.zeros(len(counts), dtype=torch.float64).index_add_(0, jet, mask.double()) / counts
        ).numpy()

    targets = np.concatenate([share(target) for target in masks.targets])
    panels = [
        (targets, config.target_ratio, TARGET, "target block"),
        (share(masks.context), config.context_ratio, CONTEXT, "context without targets"),
    ]
    bins = np.linspace(0, 1, 51)
    figure = new_figure(PAGE, 2.6)
    for ax, (values, asked, color, title) in zip(figure.subplots(1, 2), panels):
        ax.stairs(
            np.histogram(values, bins)[0] / max(len(values), 1), bins, fill=True, color=color, alpha=0.75
        )
        ax.axvline(values.mean() if len(values) else math.nan, color="black", linestyle="--", label="mean")
        if asked is not None:
            ax.axvspan(
                *asked, color="#d9d9d9", zorder=0, label=f"asked: {asked[0]:g} to {asked[1]:g} of the jet"
            )
        ax.set_xlim(0, 1)
        ax.set_xlabel(f"constituents in the {title} / all")
        legend_above(ax, 2)
    figure.axes[0].set_ylabel("fraction of blocks per bin")
    figure.axes[1].set_ylabel("fraction of jets per bin")
    return figure
