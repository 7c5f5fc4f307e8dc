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
background_events: int = 10000  # background events, chosen of the file or simulated
signal_events: int = 300  # signal events that injections are drawn from
injections: list[int] = [0, 50, 100]  # signal events among the background; the last is shown in detail
hunt_seeds: int = 3  # draws of the injected events and of the folds, for each number
hunt_folds: int = 3  # parts; each is judged by a classifier trained on the others
hunt_toys: int = 200  # pseudo-experiments
efficiencies: list[float] = [0.2, 0.1, 0.05, 0.02, 0.01]  # shares of the background that cuts keep
announced_cut: float = 0.02  # the one of them that is chosen before looking
trees: int = 3  # boosted classifiers that are averaged, for the physicist's features
mass_window: list[float] = [2700.0, 5100.0]  # GeV, sidebands and signal region
bin_width: float = 100.0  # GeV
signal_region: list[float] = [3300.0, 3700.0]  # GeV, on the edges of bins
jet_pt: float = 750.0  # GeV, what every jet is scaled to; the encoder has seen 500 to 1,000
seed: int = 0  # of everything random

# %%
from functools import partial

import numpy as np
import pandas as pd
from scipy.stats import kstest, norm

from jepalib.augment import scaled_to
from jepalib.evaluation import bump_hunt, spectrum
from jepalib.evaluation.decorrelation import decorrelated
from jepalib.evaluation.differences import difference
from jepalib.evaluation.search import fit_trees
from jepalib.jets import concatenate
from jepalib.training.classifiers import untrained_encoder
from jepalib.training.embed import jet_vectors
from jepalib.training.runs import Run
from jepalib.viz.bump_hunt import found_against_injected, p_value_shares
from jepalib.viz.search import mass_shapes, significances, spectra
from jepalib.viz.transfer import two_classes
from jepalib.workbook import inputs, notebook

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
events = inputs.dijet_events(stage, lhco_file, background_events, signal_events, seed)
edges = np.arange(mass_window[0], mass_window[1] + bin_width / 2, bin_width)
window = spectrum.Window(edges, *signal_region)
mjj, truth = events.mjj.double().numpy(), events.signal.numpy()
there = np.flatnonzero((mjj >= edges[0]) & (mjj < edges[-1]))
source = "the public file" if lhco_file else "the simulated twin"
mjj, truth, masses = mjj[there], truth[there], events.masses.double().numpy()[there]
leading, other = events.leading.take(there), events.subleading.take(there)
pool, background = np.flatnonzero(truth), np.flatnonzero(~truth)
inside = window.regions(mjj)
sizes = f"{len(background)} background events from {edges[0]:.0f} to {edges[-1]:.0f} GeV of {source}"

# %%
fig = two_classes(concatenate([leading, other]), ("background", "signal"))
stage.show(fig, "jets", f"Both jets of each event: constituents, soft-drop mass, τ3/τ2; {sizes}, {len(pool)} signal events.")
shares = {kind: float(inside[rows].mean()) for kind, rows in (("signal", pool), ("background", background))}
stage.finding(
    f"{sizes}; in the signal region of {window.low:.0f} to {window.high:.0f} GeV lie {shares['signal']:.0%} of the signal "
    f"and {shares['background']:.0%} of the background. Median dijet mass of the signal {np.median(mjj[pool]):.0f} GeV, "
    "median masses of its jets {:.0f} and {:.0f} GeV.".format(*np.median(np.sort(masses[pool], axis=1), axis=0))
)

# %% [markdown]
# ## What the classifier sees
#
# - **pre-trained**: the vector that the frozen encoder makes of each jet. It has learned from jets of R = 0.8 and 500 to
#   1,000 GeV, with identities and tracks. These have neither, and where an input is missing it sees zeros, as in
#   `06_transfer`. The jets are also twice as hard; so all momenta in a jet are multiplied by one number that brings
#   its pT to what the encoder knows. That leaves its shape and takes away its scale, and with it the simplest way to tell mjj.
# - **untrained**: the same network with random weights.
# - **physicist's four**: mass of the lighter jet, difference of the masses, τ2/τ1 of both, unscaled.
#
# The lighter jet comes first. Learned vectors go to a linear discriminant: with a hundred features and some dozen signal
# events trees see only noise. The four go to boosted trees, which they suit.

# %%
networks = {"pre-trained": run.encoder(), "untrained": untrained_encoder(run.architecture, store, run.config.seed)}
raw = jet_vectors(networks["pre-trained"], leading), jet_vectors(networks["pre-trained"], other)
scaled = [scaled_to(jets, jet_pt) for jets in (leading, other)]
features = {
    name: bump_hunt.by_mass(masses, *(jet_vectors(network, jets).astype(float) for jets in scaled))
    for name, network in networks.items()
}
tau21 = np.column_stack([jets.observable("tau2") / jets.observable("tau1").clamp_min(1e-9) for jets in (leading, other)])
features["physicist's four"] = bump_hunt.dijet_features(masses, tau21.astype(float))
fits = {name: bump_hunt.fit_discriminant for name in networks} | {"physicist's four": partial(fit_trees, members=trees)}
widths = ", ".join(f"{name} {x.shape[1]}" for name, x in features.items())
print(f"{run.config.method}, {run.manifest['jets_seen']} jets seen; features of an event: {widths}")

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
free = spectrum.fit_sidebands(np.histogram(mjj[background], edges)[0], window)
hunts, rows = {}, []
for count in injections:
    for draw in range(hunt_seeds):
        injected = np.random.default_rng([seed, draw]).permutation(pool)[:count]
        mixed = np.concatenate([background, injected])
        for name, x in features.items():
            scores, fold = bump_hunt.fold_scores(x[mixed], inside[mixed], fits[name], hunt_folds, seed + draw, mjj[mixed])
            found = bump_hunt.hunt(mjj[mixed], scores, fold, window, [1.0, *efficiencies], seed=draw)
            hunts[name, count, draw] = found
            for one in found:
                passing, b = (one.passed & truth[mixed] & inside[mixed]).sum(), one.efficiency * free.total
                asimov = spectrum.significance(b + passing, b, free.error * one.efficiency**0.5)
                row = {"arm": name, "signals": count, "seed": draw, "cut": one.efficiency, "z": one.excess.z, "p": one.excess.p}
                rows.append(row | {"expected": asimov, "kept": passing / max(inside[injected].sum(), 1)})
table = pd.DataFrame(rows)
most, times = injections[-1], f"{hunt_seeds} draw{'s' * (hunt_seeds > 1)}"
in_region = {n: np.mean([inside[np.random.default_rng([seed, d]).permutation(pool)[:n]].sum() for d in range(hunt_seeds)]) for n in injections}
roots = {n: s / inside[background].sum() ** 0.5 for n, s in in_region.items()}

# %%
shown = [1.0, announced_cut] if announced_cut == min(efficiencies) else [1.0, announced_cut, min(efficiencies)]
first = [one for one in hunts["pre-trained", most, 0] if one.efficiency in shown]
fig = spectra(first, window)
stage.show(fig, "spectra", f"Dijet mass with {most} injected events (first of {times}), before and after cuts on the pre-trained features; {sizes}.", main=True)

# %% [markdown]
# ### Expected
#
# What should come out? Toys: the background as fitted without signal, times the efficiency of the cut, plus the signal that
# passes it on average over the draws, Poisson counts, and a fit to the sidebands of each.

# %%
expected = {}
for name in features:
    for number, cut in enumerate([1.0, *efficiencies]):
        kept = []
        for draw in range(hunt_seeds):
            injected = np.random.default_rng([seed, draw]).permutation(pool)[:most]
            signal = hunts[name, most, draw][number].passed[len(background):]
            kept.append(np.histogram(mjj[injected[signal]], edges)[0])
        found = spectrum.toys(cut * free.expected + np.mean(kept, axis=0), window, hunt_toys, seed)
        expected[name, cut] = spectrum.expected_range(found)
observed = {f"{name}, observed": hunts[name, most, 0][1:] for name in features}
band = {f"{cut:g}": expected["pre-trained", cut] for cut in efficiencies}
fig = significances(observed, band)
stage.show(fig, "significances", f"Significance by cut, {most} injected events, first of {times}; expected: {hunt_toys} toys for the pre-trained features; {sizes}.")

# %%
announced = table[table.cut == announced_cut]
fig = found_against_injected(announced, roots)
stage.show(fig, "found", f"Significance after the announced cut of {100 * announced_cut:g} % by injected events, {times} each; {sizes}.", main=True)
summary = table.groupby(["arm", "signals", "cut"], sort=False)[["z", "expected", "kept"]].agg(["mean", "std"])
summary.columns = [f"{name} {kind}" for name, kind in summary.columns]
stage.table(summary.reset_index(), "hunts", f"z: local significance; expected: what the signal that passes gives on the background as fitted without it; kept: share of the signal in the signal region that passes; {times} of signal and folds, {sizes}.")

# %%
for name in features:
    z = announced[(announced.arm == name) & (announced.signals == most)].z
    spread = f" ± {z.std():.1f}" if len(z) > 1 else ""
    middle, low, high = expected[name, announced_cut]
    verdict = "found" if z.mean() >= 3 else "not found"
    stage.finding(
        f"{name}: {most} events injected (S/√B = {roots[most]:.1f} in the signal region) are {verdict} at Z = {z.mean():.1f}{spread} "
        f"({times}) after the announced cut of {100 * announced_cut:g} %; expected {middle:.1f} ({low:.1f} to {high:.1f} in 68 % of toys). Three is the measure.",
        main=name == "pre-trained",
    )

# %% [markdown]
# ## No bump without a signal
#
# A p-value is right if it is uniform where there is nothing. So the whole hunt, with training, cut and fit, is
# repeated on toys: the same events with masses drawn anew from the fitted spectrum, so that nothing in them knows the mass.
# What is learned in one part from another is learned in the other from the one, too: the parts are not independent, and Z can
# scatter by more than 1 where a cut is loose. The toys tell.
#
# They also settle how several cuts on the same events are to be read (the *look-elsewhere effect*). Where the smallest of several
# p-values is quoted, it is compared with the smallest of each toy. The announced cut needs no such correction. Each set of features
# is a search of its own: who takes the best of three multiplies its p-value by three.

# %%
mixed = np.concatenate([background, np.random.default_rng([seed, 0]).permutation(pool)[:most]])
fitted = spectrum.fit_sidebands(np.histogram(mjj[mixed], edges)[0], window)
null = bump_hunt.null_p_values(features["pre-trained"][mixed], fitted, window, efficiencies, hunt_toys, folds=hunt_folds, seed=seed, quiet=False)
uniform = {f"{cut:g}": float(kstest(null[:, i], "uniform").pvalue) for i, cut in enumerate(efficiencies)}
fig = p_value_shares({f"{100 * cut:g} % kept": null[:, i] for i, cut in enumerate(efficiencies)})
stage.show(fig, "p_values", f"p-values of {hunt_toys} hunts without a bump, {len(mixed)} events each, pre-trained features, {hunt_folds} folds.")
centre, scatter = norm.isf(null).mean(axis=0), norm.isf(null).std(axis=0)
below = (null < 0.05).mean(axis=0)
each = [f"{100 * cut:g} %: {p:.2g}, {c:+.2f} ± {s:.2f}, {b:.1%}" for cut, p, c, s, b in zip(efficiencies, uniform.values(), centre, scatter, below)]
stage.finding(
    f"{hunt_toys} hunts without a bump; for each cut the Kolmogorov–Smirnov p-value against uniform, mean and spread of Z (0 and 1 are right), "
    f"and the share of p-values below 0.05. {'; '.join(each)}."
)

# %%
one = table[(table.arm == "pre-trained") & (table.signals == most) & (table.seed == 0) & (table.cut < 1)].set_index("cut")
whole, beyond = bump_hunt.global_p(one.p.to_numpy(), null)
place = efficiencies.index(announced_cut)
mended = (one.z[announced_cut] - centre[place]) / scatter[place]
stage.finding(
    f"First draw, {most} injected, announced cut: Z = {one.z[announced_cut]:.1f}, and {mended:.1f} in units of what the toys show at this cut. "
    f"Of {len(efficiencies)} cuts the smallest local p-value is {one.p.min():.1g} (at {100 * one.p.idxmin():g} %); {beyond} of {hunt_toys} toys have one as small: "
    + (f"global p = {whole:.2g}, Z = {norm.isf(whole):.1f}." if beyond else f"global p < {whole:.2g}, Z > {norm.isf(whole):.1f}, all that so many toys can say.")
)
nothing = announced[announced.signals == 0].groupby("arm", sort=False).z
if len(nothing):
    stage.finding(
        "The background as it is, none injected, announced cut: "
        + ", ".join(f"{name} Z = {z.mean():+.1f} ({z.min():+.1f} to {z.max():+.1f})" for name, z in nothing)
        + f" over {times} of the folds, all on the same {len(background)} events, so that this is one experiment and not several."
    )

# %% [markdown]
# ## Did pre-training help?
#
# Observed significances hold the fluctuation of the one background that there is, in all draws the same and
# for each set of features another. The *expected* ones do not: they take the signal that passes a cut, and the
# background as fitted without signal, times the efficiency. So these are compared. The spread is over draws of the
# signal and the folds; one pre-training and one untrained network stand behind all of them.

# %%
for count in [n for n in injections if n]:
    z = {name: announced[(announced.arm == name) & (announced.signals == count)].expected.to_numpy() for name in features}
    for name in ("untrained", "physicist's four"):
        found = difference(z["pre-trained"], z[name]).sentence("pre-trained", name)
        stage.finding(f"Expected Z at {count} injected events, announced cut: {found} ({times}).", main=(count, name) == (most, "untrained"))

# %%
stage.finish(
    events={"background": len(background), "signal": len(pool)},
    shares=shares,
    trap={row.treatment: {"shaped": row.shaped, "z": row.z} for row in trap[trap.cut == wide].itertuples()},
    observed={f"{arm}, {n}": float(z) for (arm, n), z in announced.groupby(["arm", "signals"], sort=False).z.mean().items()},
    expected={name: expected[name, announced_cut] for name in features},
    asimov={f"{arm}, {n}": float(z) for (arm, n), z in announced.groupby(["arm", "signals"], sort=False).expected.mean().items()},
    uniform=uniform,
    null_share={f"{cut:g}": float(share) for cut, share in zip(efficiencies, below)},
    scatter={f"{cut:g}": float(s) for cut, s in zip(efficiencies, scatter)},
    global_p=whole,
    table=str(stage.folder / "hunts.csv"),
)
