# %% [markdown]
# # Is there a bump, and can features learned without labels find it?
#
# A new heavy particle that decays to two jets makes a bump in the dijet mass: a few dozen events more near
# one mass, on a spectrum that falls smoothly. Too few to be seen. But the jets of such events may be unlike
# those of QCD, even if nobody knows in what way. So one trains a classifier to tell the events near that mass,
# the *signal region*, from those beside it, the *sidebands*. Background looks the same in both. If the
# classifier learns anything, it is what the signal has; and after a cut on its score the bump stands out.
# No label enters, no model of the signal, and the background is measured in the data
# (CWoLa hunting, [arXiv:1805.02664](https://arxiv.org/abs/1805.02664)).
#
# What should the classifier look at? Physicists give it a few numbers that they believe in. Here it gets what an
# encoder makes of both jets that was pre-trained on *other* jets, without labels.

# %% tags=["parameters"]
run_dir: str = "runs/laptop"  # folder of this run, seen from the project's root
data_dir: str = ""  # JetClass, for the untrained encoder's normalisation; empty: that of 01_explore
pretrained: str = ""  # folder of a pre-training, of any method; empty: that of 03_pretrain
lhco_file: str = ""  # the public events_anomalydetection.h5; empty: a simulated twin
background_events: int = 10000  # background events of the twin (0: lhco_file must be given)
signal_events: int = 300  # signal events of the twin that injections are drawn from
file_events: list[int] = [10000, 300]  # background and signal, chosen of lhco_file
injections: list[int] = [0, 50, 100]  # signal events among the background; the most are shown in detail
hunt_seeds: int = 3  # draws of the injected events and of the folds, for each number
hunt_folds: int = 3  # parts; each is judged by a classifier trained on the others
hunt_toys: int = 200  # pseudo-experiments of a discriminant
tree_toys: int = 20  # and of the boosted trees, which take forty times as long
efficiencies: list[float] = [0.2, 0.1, 0.05, 0.02, 0.01]  # shares of the background that cuts keep
least_toys: int = 100  # toys without which Z of an arm is not calibrated, and gets no verdict
announced_cut: float = 0.02  # the one of them that is chosen before looking
trees: int = 3  # boosted classifiers that are averaged, for the physicist's features
mass_window: list[float] = [2700.0, 5100.0]  # GeV, sidebands and signal region
bin_width: float = 100.0  # GeV
signal_region: list[float] = [3300.0, 3700.0]  # GeV, on the edges of bins
jet_pt: float = 750.0  # GeV, what every jet is scaled to; the encoder has seen 500 to 1,000
seed: int = 0  # of everything random

# %%
import os
from functools import partial

import numpy as np
import pandas as pd
from scipy.stats import norm

from jepalib.augment import scaled_to
from jepalib.evaluation import bump_hunt, null_hunts, spectrum
from jepalib.evaluation.contrasts import CONFIDENCE
from jepalib.evaluation.decorrelation import decorrelated
from jepalib.evaluation.differences import difference, plus_minus
from jepalib.evaluation.observables import physics
from jepalib.evaluation.search import fit_trees
from jepalib.jets import concatenate
from jepalib.training.classifiers import untrained_encoder
from jepalib.training.embed import jet_vectors
from jepalib.training.runs import Run
from jepalib.training.start import jets_in_all
from jepalib.viz.bump_hunt import found_against_injected, p_value_shares
from jepalib.viz.search import mass_shapes, significances, spectra
from jepalib.viz.transfer import two_classes
from jepalib.workbook import inputs, notebook

# %%
bump_hunt.check_plan(injections, hunt_seeds, efficiencies, announced_cut)
stage = notebook.start("14_bump_hunt", run_dir)
store = inputs.earlier_store(stage, data_dir)
run = Run.open(stage.depends(pretrained or stage.earlier("03_pretrain")["run"]))

# %% [markdown]
# ## The events
#
# The R&D data of the [LHC Olympics](https://arxiv.org/abs/2101.08320): 13 TeV, one jet of R = 1.0 with more than
# 1.2 TeV; signal W′ → X Y with masses of 3.5 TeV, 500 and 100 GeV, where X and Y are so fast that each becomes one
# jet of two prongs. Particles have three numbers, pT, η, φ: no charge, no identity, no track. Without the
# file a twin is simulated in its layout. The truth is known, which a search has not; it serves to choose how much
# signal is put in, and to check in the end.

# %%
events = inputs.dijet_events(stage, lhco_file, *(file_events if lhco_file else (background_events, signal_events)), seed)
edges = np.arange(mass_window[0], mass_window[1] + bin_width / 2, bin_width)
window = spectrum.Window(edges, *signal_region)
mjj, truth = events.mjj.double().numpy(), events.signal.numpy()
there = np.flatnonzero((mjj >= edges[0]) & (mjj < edges[-1]))
source = "the public file" if lhco_file else "the simulated twin"
mjj, truth, masses = mjj[there], truth[there], events.masses.double().numpy()[there]
leading, other = events.leading.take(there), events.subleading.take(there)
pool, background = np.flatnonzero(truth), np.flatnonzero(~truth)
inside = window.regions(mjj)
drawn = {(n, draw): bump_hunt.draw_signals(pool, n, seed, draw) for n in injections for draw in range(hunt_seeds)}
sizes = f"{len(background)} background events from {edges[0]:.0f} to {edges[-1]:.0f} GeV of {source}"

# %%
fig = two_classes(concatenate([leading, other]), ("background", "signal"))
stage.show(fig, "jets", f"Both jets of each event: constituents, soft-drop mass, τ3/τ2; {sizes}, {len(pool)} signal events.")
located = {kind: float(inside[rows].mean()) for kind, rows in (("signal", pool), ("background", background))}
stage.finding(
    f"{sizes}; in the signal region of {window.low:.0f} to {window.high:.0f} GeV lie {located['signal']:.0%} of the signal "
    f"and {located['background']:.0%} of the background. Median dijet mass of the signal {np.median(mjj[pool]):.0f} GeV, "
    "median masses of its jets {:.0f} and {:.0f} GeV.".format(*np.median(np.sort(masses[pool], axis=1), axis=0))
)

# %% [markdown]
# ## What the classifier sees
#
# - **pre-trained**: the vector that the frozen encoder makes of each jet. It has learned from jets of R = 0.8 and 500 to
#   1,000 GeV, with identities and tracks. These have neither, and where an input is missing it sees zeros, as in
#   `06_transfer`. The jets are also twice as hard; so all momenta in a jet are multiplied by one number that brings
#   its pT to what the encoder knows. The scale of a jet is the simplest way to tell mjj, and is gone with that; what is left of
#   mjj in its shape, the next section measures.
# - **untrained**: the same network with random weights.
# - **physicist's four**: mass of the lighter jet, difference of the masses, τ2/τ1 of both (0 where τ1 is), unscaled.
#
# The lighter jet comes first. All go to the same linear discriminant, so that features are compared and nothing else. The four
# go to boosted trees as well, a second arm: what does their user gain from a classifier that is not linear?

# %%
networks = {"pre-trained": run.encoder(), "untrained": untrained_encoder(run.architecture, store, run.config.seed)}
raw = jet_vectors(networks["pre-trained"], leading), jet_vectors(networks["pre-trained"], other)
scaled = [scaled_to(jets, jet_pt) for jets in (leading, other)]
features = {
    name: bump_hunt.by_mass(masses, *(jet_vectors(network, jets).astype(float) for jets in scaled))
    for name, network in networks.items()
}
four = bump_hunt.dijet_features(masses, np.column_stack([physics(jets).tau21.fillna(0) for jets in (leading, other)]))
features |= {"physicist's four, discriminant": four, "physicist's four, trees": four}
hunters = {name: (bump_hunt.fit_discriminant, hunt_folds) for name in features}
hunters["physicist's four, trees"] = partial(fit_trees, members=trees), hunt_folds
widths = ", ".join(f"{name} {x.shape[1]}" for name, x in features.items())
print(f"{run.config.method}, {jets_in_all(run)} jets seen; features of an event: {widths}")
if run.config.inputs != "kin" and not getattr(run.config.objective, "pid_dropout", 0.0):
    stage.finding(
        f"The encoder ({run.config.method}, inputs {run.config.inputs}) never learned from jets without identities: the "
        "zeros that stand for them here are new to it, and what follows tells less of it than of one that met them."
    )

# %% [markdown]
# ## The trap
#
# Heavier dijets have harder jets, and harder jets look different. A classifier whose features know the mass
# tells signal region from sidebands without any signal, and its cut carves the spectrum, sometimes into a bump.
# So before any significance: background *alone*, as the truth has it. Are the events that pass a cut
# distributed in mass as all events are? Four treatments of the pre-trained features:
#
# 1. **as they are**;
# 2. **scaled** jets;
# 3. scaled, and **one regression**: mean and spread of each feature as a function of the mass, fitted to all sideband events,
#    are taken away;
# 4. scaled, and **a regression for each part**: the events that a classifier learns from and those that it judges have
#    their own. A regression has errors, and a classifier with a hundred features finds a direction in which they
#    add up; if the judged events share them, it finds them again.
#
# A regression takes away the mean and the spread, not all that may follow the mass. None of the four has to be a cure: the
# table says what each leaves here.

# %%
m, region, wide = mjj[background], inside[background], max(efficiencies)
plain = bump_hunt.by_mass(masses, *(vectors.astype(float) for vectors in raw))[background]
learned = features["pre-trained"][background]
treatments = {
    "as they are": (plain, None),
    "scaled": (learned, None),
    "one regression": (decorrelated(learned, m, region), None),
    "regression for each part": (learned, m),
}
rows, passed = [], {}
for name, (x, mass) in treatments.items():
    scores, fold = bump_hunt.fold_scores(x, region, bump_hunt.fit_discriminant, hunt_folds, seed, mass)
    for found in bump_hunt.hunt(m, scores, fold, window, efficiencies, seed=seed):
        shaped = bump_hunt.sculpting(m, found.passed)
        rows.append({"treatment": name, "cut": found.efficiency, "shaped": shaped, "z": found.excess.z, "goodness": found.goodness})
        if found.efficiency == wide:
            passed[name] = found.passed
trap = pd.DataFrame(rows)

# %%
about = f"{len(background)} background events, no signal, one draw of {hunt_folds} folds"
fig = mass_shapes(m, passed, window)
stage.show(fig, "sculpting", f"Efficiency of a cut that keeps {100 * wide:g} % of the sidebands, by mass: {about}.")
stage.table(trap, "trap", f"shaped: p-value that the cut ignores the mass; z: excess that it leaves; goodness: p-value of the fit. {about}.")
widest = trap[trap.cut == wide].set_index("treatment")
stage.finding(
    f"Pure background, {100 * wide:g} % kept. p-value of an unshaped mass spectrum: "
    + ", ".join(f"{name} {row.shaped:.1g} (Z = {row.z:+.1f})" for name, row in widest.iterrows())
    + f" ({about})."
)

# %% [markdown]
# From here on every hunt has a regression for each part, the physicist's features too.
#
# ## Hunts
#
# Signal events are drawn from the pool and mixed in, several times and in several numbers; the background stays the same,
# folds are drawn anew. A smooth function, p0 (1 − x)^p1 / x^p2 with x = m/√s, is fitted to the sidebands after each cut; Z compares
# the events in the signal region with it, its error included. The cut of interest was announced beforehand, in the
# parameters.

# %%
cuts, most, times = [1.0, *efficiencies], max(injections), f"{hunt_seeds} draw{'s' * (hunt_seeds > 1)}"
hunts = {}
for (count, draw), injected in drawn.items():
    mixed = np.concatenate([background, injected])
    for name, x in features.items():
        scores, fold = bump_hunt.fold_scores(x[mixed], inside[mixed], *hunters[name], seed + draw, mjj[mixed])
        hunts[name, count, draw] = bump_hunt.hunt(mjj[mixed], scores, fold, window, cuts, seed=draw)
in_region = {n: np.mean([inside[drawn[n, draw]].sum() for draw in range(hunt_seeds)]) for n in injections}
roots = {n: s / inside[background].sum() ** 0.5 for n, s in in_region.items()}

# %%
first = [one for one in hunts["pre-trained", most, 0] if one.efficiency in (1.0, announced_cut, min(efficiencies))]
fig = spectra(first, window)
stage.show(fig, "spectra", f"Dijet mass with {most} injected events (first of {times}), before and after cuts on the pre-trained features, Z not yet calibrated; {sizes}.", main=True)

# %% [markdown]
# ## No bump without a signal
#
# A p-value is right if it is uniform where there is nothing. So the whole hunt, with training, cut and fit, is
# repeated on toys, for each arm: the same events with masses drawn anew from the fitted spectrum, so that nothing in them knows
# the mass. What is learned in one part from another is learned in the other from the one, too: the parts are not
# independent, and Z can scatter by more than 1 where a cut is loose.
#
# The toys tell centre and scatter for each arm and cut, and *calibrate* Z: (Z − centre)/scatter. To see whether that
# makes p-values uniform, each half of the toys is calibrated by the other half. Few toys know a spread badly, and what is
# divided by it is as wrong: an arm with fewer toys than the parameters ask for stays uncalibrated and gets no verdict. What the features themselves know
# of the mass is not in these toys; for that there is the trap above, and the hunts with nothing injected.

# %%
mixed = np.concatenate([background, drawn[most, 0]])
fitted = spectrum.fit_sidebands(np.histogram(mjj[mixed], edges)[0], window)
workers, toys = len(os.sched_getaffinity(0)), {name: hunt_toys for name in features} | {"physicist's four, trees": tree_toys}
null = {
    name: null_hunts.null_z(x[mixed], fitted, window, cuts, toys[name], hunters[name], seed, workers)
    for name, x in features.items()
}
uniform = pd.concat([null_hunts.uniformity(z, cuts)[1:].assign(arm=name, toys=toys[name]) for name, z in null.items()])
judged = [name for name in features if toys[name] >= least_toys]
spreads = {name: z.std(axis=0, ddof=1) if name in judged else np.ones(len(cuts)) for name, z in null.items()}
crossed = {name: null_hunts.cross_calibrated(z)[:, 1:] for name, z in null.items()}

# %%
shares = {f"{100 * cut:g} % kept": norm.sf(crossed["pre-trained"][:, i]) for i, cut in enumerate(efficiencies)}
fig = p_value_shares(shares)
stage.show(fig, "p_values", f"Cross-calibrated p-values of {hunt_toys} hunts without a bump, {len(mixed)} events each, pre-trained features, {hunt_folds} folds.")
stage.table(uniform[["arm", "toys", *uniform.columns[:-2]]], "uniform", f"Hunts without a bump: centre and scatter of Z (0 and 1 are right); Kolmogorov–Smirnov p-value against uniform, raw and calibrated by the other half of the toys; share of p-values below {null_hunts.TAIL:g}; verdict on the calibrated ones (not uniform: below {null_hunts.UNLIKELY:g}).")
for name, rows in uniform.groupby("arm", sort=False):
    each = [f"{100 * row.cut:g} %: {row.centre:+.2f} ± {row.scatter:.2f}, {row.raw:.2g}, {row.calibrated:.2g}, {row.verdict}" for row in rows.itertuples()]
    stage.finding(
        f"{name}, {toys[name]} hunts without a bump. For each cut mean and spread of raw Z, Kolmogorov–Smirnov p-value against uniform, "
        f"raw and cross-calibrated, verdict on the latter. {'; '.join(each)}. So many toys know a spread to {(2 * toys[name] - 2) ** -0.5:.0%}."
    )

# %% [markdown]
# ## Calibrated significances
#
# From here on Z is calibrated, where an arm has the toys for it. Beside it stands what is *expected*: the signal that passes, on the background as fitted
# without signal times the efficiency of the cut, divided by the scatter. That presumes that the cut keeps the same
# share of the background in the signal region as in the sidebands. The truth is known here, so it is looked up:
# **kept over fitted** is the true background that passes in the signal region over the fitted one. The expected Z holds where this
# is 1; where it is more, a part of the observed Z is background.

# %%
free = spectrum.fit_sidebands(np.histogram(mjj[background], edges)[0], window)
rows = []
for (name, count, draw), found in hunts.items():
    region, scatter, z = inside[drawn[count, draw]], spreads[name], norm.isf([one.excess.p for one in found])
    z = null_hunts.calibrated(z, null[name]) if name in judged else z
    for i, one in enumerate(found):
        signal, b = (one.passed[len(background):] & region).sum(), one.efficiency * free.total
        asimov = spectrum.significance(b + signal, b, free.error * one.efficiency**0.5) / scatter[i]
        true = (one.passed[:len(background)] & inside[background]).sum()
        row = {"arm": name, "signals": count, "seed": draw, "cut": one.efficiency, "raw": one.excess.z, "z": z[i]}
        row |= {"expected": asimov, "uncalibrated": asimov * scatter[i], "kept": signal / max(region.sum(), 1), "background": true / one.excess.expected}
        rows.append(row | {"error": true**0.5 / one.excess.expected})
table = pd.DataFrame(rows)
announced = table[table.cut == announced_cut]

# %%
summary = table.groupby(["arm", "signals", "cut"], sort=False)[["raw", "z", "expected", "uncalibrated", "kept", "background"]].agg(["mean", "std"])
summary.columns = [f"{name} {kind}" for name, kind in summary.columns]
stage.table(summary.reset_index(), "hunts", f"raw: local significance as fitted; z: calibrated, where an arm has the toys; expected: what the signal that passes gives on the background as fitted without it, in the same units; uncalibrated: the same before it is divided by the scatter; kept: share of the signal in the signal region that passes; background: true over fitted background in the signal region; {times} of signal and folds, {sizes}.")
balance = announced[announced.signals == min(injections)].groupby("arm", sort=False)[["background", "error"]].mean()
stage.finding(
    f"True over fitted background in the signal region, announced cut of {100 * announced_cut:g} %, {min(injections)} injected: "
    + ", ".join(f"{name} {row.background:.2f} ± {row.error:.2f}" for name, row in balance.iterrows())
    + f" (counting error of the one background; mean of {times}). The expected Z holds where this is 1."
)

# %%
expected = {}
for name in features:
    for i, cut in enumerate(cuts):
        kept = [
            np.histogram(mjj[drawn[most, draw][hunts[name, most, draw][i].passed[len(background):]]], edges)[0]
            for draw in range(hunt_seeds)
        ]
        found = spectrum.toys(cut * free.expected + np.mean(kept, axis=0), window, toys[name], seed)
        middle, low, high = spectrum.expected_range(found)
        moved = middle / spreads[name][i] - middle  # counts and training together scatter by 1 after calibration
        expected[name, cut] = middle + moved, low + moved, high + moved
one = table[(table.signals == most) & (table.seed == 0) & (table.cut < 1)]
observed = {f"{name}, observed": dict(zip(rows.cut, rows.z)) for name, rows in one.groupby("arm", sort=False)}
fig = significances(observed, {f"{cut:g}": expected["pre-trained", cut] for cut in efficiencies})
stage.show(fig, "significances", f"Significance by cut, calibrated for {', '.join(judged)}; {most} injected events, first of {times}; expected: {hunt_toys} toys for the pre-trained features; {sizes}.")

# %%
fig = found_against_injected(announced, roots)
stage.show(fig, "found", f"Significance, calibrated for {', '.join(judged)}, after the announced cut of {100 * announced_cut:g} % by injected events, {times} each; {sizes}.", main=True)
least = min(injections)
for name, rows in announced.groupby("arm", sort=False):
    z, nothing = rows[rows.signals == most].z, rows[rows.signals == least].z
    middle, low, high = expected[name, announced_cut]
    verdict = ("are found" if z.mean() >= null_hunts.EVIDENCE else "are not found") + " at calibrated Z ="
    verdict, end = (verdict, f"calibrated by {toys[name]} toys") if name in judged else ("come out at Z =", f"not calibrated, with {toys[name]} toys, so this is no verdict")
    stage.finding(
        f"{name}: {most} events injected (S/√B = {roots[most]:.1f} in the signal region) {verdict} "
        f"{z.mean():.1f}{plus_minus(z.std(), 1)} ({times}) after the announced cut of {100 * announced_cut:g} %; with {least} injected Z = {nothing.mean():+.1f} "
        f"({nothing.min():+.1f} to {nothing.max():+.1f}), the one background's own; expected {middle:.1f} ({low:.1f} to {high:.1f} in 68 % of toys). "
        f"{null_hunts.EVIDENCE:g} is the measure; {end}.",
        main=name == "pre-trained",
    )

# %% [markdown]
# All draws share their background: what it does by chance is in each of them, and the draws' spread does not show it. The hunts with
# nothing injected do.
#
# Several cuts on the same events are read with the *look-elsewhere effect*: the largest of several Z is compared with the
# largest of each toy. The announced cut needs no such correction. Each arm is a search of its own: who takes the
# best of several multiplies its p-value by their number.

# %%
first = one[one.arm == "pre-trained"]
whole, beyond = null_hunts.global_p(first.z.to_numpy(), crossed["pre-trained"])
stage.finding(
    f"pre-trained, first draw, {most} injected: of {len(efficiencies)} cuts the largest calibrated Z is {first.z.max():.1f} (at {100 * first.cut[first.z.idxmax()]:g} %); "
    f"{beyond} of {hunt_toys} toys have one as large: global p = {whole:.2g}, Z = {norm.isf(whole):.1f}"
    + (", the most that so many toys can say." if beyond == 0 else ".")
)

# %% [markdown]
# ## Did pre-training help?
#
# Observed significances hold the fluctuation of the one background that there is, in all draws the same and
# for each set of features another. The *expected* ones do not, where true over fitted background is 1. So these are compared,
# with the untrained network and with the better of the physicist's arms, at the same injections. The spread is over draws of
# the signal and the folds; one pre-training and one untrained network stand behind all of them, and the
# toys of each arm behind its calibration.

# %%
known = {name: (2 * toys[name] - 2) ** -0.5 for name in features}  # relative error of a spread
for count in sorted(n for n in injections if n):
    here = announced[announced.signals == count].groupby("arm", sort=False)
    z, before = {name: rows.expected.to_numpy() for name, rows in here}, here.uncalibrated.mean()
    physicist = max((name for name in z if name not in networks), key=lambda name: z[name].mean())
    for name in ("untrained", physicist):
        found = difference(z["pre-trained"], z[name]).sentence("pre-trained", name)
        stage.finding(
            f"Expected Z at {count} injected events, announced cut: {found} ({times}). Before calibration {before['pre-trained']:.1f} and "
            f"{before[name]:.1f}; their toys know the spread of Z to {known['pre-trained']:.0%} and {known[name]:.0%}, which the errors leave out"
            + ("." if name in judged else f"; {name} is not calibrated."),
            main=count == most,
        )

# %%
ranked = sorted(z, key=lambda name: -z[name].mean())
error = {name: np.hypot(z[name].std(ddof=hunt_seeds > 1) / hunt_seeds**0.5, known[name] * z[name].mean()) for name in z}
reach = {name: norm.isf((1 - CONFIDENCE) / 2) * np.hypot(error[ranked[0]], error[name]) for name in ranked[1:]}
near = [name for name in reach if z[ranked[0]].mean() - z[name].mean() < reach[name]]
stage.finding(
    f"Best arm by expected Z at {most} injected events, announced cut: {ranked[0]}, "
    + (f"not told apart from {' and '.join(near)}" if near else "told apart from all others")
    + ". In order " + "; ".join(f"{name} {z[name].mean():.1f} ± {error[name]:.1f} ({before[name]:.1f} before calibration)" for name in ranked)
    + f". Errors of {times}, and of so many toys' knowledge of the spread.",
    main=True,
)

# %%
stage.finish(
    events={"background": len(background), "signal": len(pool)},
    shares=located,
    trap={row.treatment: {"shaped": row.shaped, "z": row.z} for row in trap[trap.cut == wide].itertuples()},
    observed={f"{arm}, {n}": float(z) for (arm, n), z in announced.groupby(["arm", "signals"], sort=False).z.mean().items()},
    expected={name: expected[name, announced_cut] for name in features},
    asimov={f"{arm}, {n}": float(z) for (arm, n), z in announced.groupby(["arm", "signals"], sort=False).expected.mean().items()},
    balance={name: float(row.background) for name, row in balance.iterrows()},
    uniform={name: dict(zip(map("{:g}".format, rows.cut), rows.calibrated)) for name, rows in uniform.groupby("arm", sort=False)},
    scatter={name: dict(zip(map("{:g}".format, rows.cut), rows.scatter)) for name, rows in uniform.groupby("arm", sort=False)},
    best=ranked[0],
    global_p=whole,
    table=str(stage.folder / "hunts.csv"),
)
