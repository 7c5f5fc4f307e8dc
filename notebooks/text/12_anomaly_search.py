# %% [markdown]
# # Does it find what nobody named?
#
# A search for a known signal trains a classifier on simulations of that signal. A search for whatever there may be
# cannot: nobody knows what to simulate. What a pre-trained encoder brings is a description of jets that was made
# without any signal in mind. Does it make such a search more sensitive: more than the handful of observables that a
# physicist would take, more than the same network with random weights, more than a network trained from nothing on
# the search's own data?

# %% tags=["parameters"]
run_dir: str = "runs/laptop"  # folder of this run, seen from the project's root
data_dir: str = ""  # a store or JetClass files of your own; empty: simulated jets, and for pre-training those of 01_explore
method: str = "jp-jepa"  # of the pre-training: jp-jepa, hep-jepa, p-jepa or another one
pretrained: str = ""  # folder of a pre-training; empty: that of 03_pretrain
main_signal: str = "Tbqq"  # the signal that is looked at closely
search_signals: list[str] = []  # signals that are searched for; empty: all nine classes that are not QCD
sample_jets: int = 1000  # background jets in sample A, and as many in sample B
search_jets: int = 10000  # background jets to judge on
signal_jets: int = 200  # signal jets to judge on
told_jets: int = 50  # signal jets that only the supervised bounds see
signal_counts: list[int] = [10, 30, 100, 200]  # signal jets in sample B
class_count: int = 100  # signal jets in sample B where all signals are compared
search_seeds: int = 3  # repetitions: other samples A and B, other trainings
tree_members: int = 2  # boosted classifiers that are averaged, each stopped on another half of the samples
tuned_counts: list[int] = [200]  # signal jets in sample B for the networks that are trained on it
tuned_seeds: int = 2  # repetitions of these
tuned_steps: int = 30  # their training steps at 500 jets; grows with the square root of the jets
tuned_rate: float = 1e-3  # their peak learning rate
tuned_scale: float = 1.0  # the encoder's rate as a share of it
unseen_steps: int = 40  # steps of each pre-training with and without some classes
unseen_seeds: int = 1  # pre-trainings of each kind
seed: int = 0  # of simulation, pools and pre-trainings

# %%
import os
from functools import partial

import numpy as np
import pandas as pd
import torch

from jepalib.evaluation.scan import METRICS, NOT_QUOTED, bands, plan, scan, upper_bounds, verdict
from jepalib.evaluation.search import OnFeatures, Sizes, Supervised, fit_linear, fit_trees, high_level
from jepalib.evaluation.tagging import MIN_PASSING
from jepalib.evaluation.unseen import gap_in_words, gaps
from jepalib.methods.registry import find_method
from jepalib.schema import CLASSES
from jepalib.training.anomaly import tuned_on_samples
from jepalib.training.classifiers import encode, untrained_encoder
from jepalib.training.few_shot import AdaptConfig
from jepalib.training.presets import changes, pretrain_config
from jepalib.training.runs import Run
from jepalib.viz import results
from jepalib.viz.search import sic_against_signal, sic_curves
from jepalib.viz.signals import sic_by_signal
from jepalib.workbook import inputs, notebook
from jepalib.workbook.live import pretrain_settings, pretrain_several
from jepalib.workbook.pools import by_class, class_rows, search_store, signals_of

# %%
repeats = {"search_seeds": [search_seeds], "tuned_seeds": [tuned_seeds], "unseen_seeds": [unseen_seeds]}
signals = signals_of(search_signals, main_signal, signal_counts=signal_counts, tuned_counts=tuned_counts, **repeats)
stage = notebook.start("12_anomaly_search", run_dir)
run = Run.open(stage.depends(pretrained or stage.earlier("03_pretrain")["run"]))
run.check_method(method)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
workers = len(os.sched_getaffinity(0))
sizes = Sizes(sample_jets, sample_jets, search_jets, signal_jets, told_jets)

# %% [markdown]
# ## The idea
#
# **Classification without labels** (CWoLa). Take two samples of jets. *A* is background. *B* is background, too, but
# with some signal in it: in a real search A comes from beside a peak and B from under it. Train a classifier to tell A
# from B. It is never told what signal is, and most of B is background that cannot be told from A. But wherever jets are more
# frequent in B than in A, the best guess is B, and this is where the signal lies. The likelihood ratio of B to A
# grows with that of signal to background, so that the best classifier for the one task is the best for the other. The less
# signal, the smaller the difference it has to learn from, and the more it learns of the noise.
#
# **Idealised**: here the background of A and of B is drawn from the same jets (QCD), so that the signal is the *only*
# difference. In a real search the two differ a little by themselves, and a classifier finds that too. What is seen here
# is the best that can be hoped for; `14_bump_hunt` does it with a peak.
#
# **What is measured.** Keep the jets with the highest scores: a share TPR of the signal, a share FPR of the
# background. A significance S/√B becomes TPR/√FPR times as large: the *significance improvement* SIC. One is as if there
# were no cut at all, a random score reaches √FPR. All SIC are computed from pure background and signal jets that no training
# saw. Where only a handful of background jets pass, √FPR is uncertain and the largest of many such values is mostly luck:
# no SIC is quoted there (the limit stands with the first figures).

# %% [markdown]
# ## The jets
#
# Jets that no pre-training has seen. Each signal has its own pool; A, B and the jets to judge on share none. The latter are the
# same for all seeds: what differs between seeds are A, B and the training. The pools that a seed draws from are larger than what
# it takes, but not by much: **two seeds share a part of their jets** (the table says how many), and the spread over seeds is
# therefore somewhat smaller than that of entirely new jets would be.

# %%
extra = {name: max(class_count, *signal_counts, *tuned_counts) if name == main_signal else class_count for name in signals}
largest = max(tuned_counts)
wanted = {"QCD": 4 * sample_jets + search_jets}
wanted |= {name: count + 2 * told_jets + signal_jets for name, count in extra.items()}
store = search_store(stage, data_dir, wanted, seed)
training_store = inputs.earlier_store(stage, data_dir)
pools = {name: class_rows(store, name, number, seed) for name, number in wanted.items()}
stage.table(
    pd.DataFrame({"class": list(pools), "jets": [len(rows) for rows in pools.values()]}),
    "pools",
    f"Jets of each pool. {search_jets} QCD and {signal_jets} jets of each signal judge, the same for all seeds. Of the others two "
    f"seeds share on average: of A and B together ({sample_jets} QCD jets each) {(sizes.a + sizes.b) / (wanted['QCD'] - search_jets):.0%}; of {largest} "
    f"{main_signal} jets in B {largest / (wanted[main_signal] - signal_jets):.0%}, of these and the {told_jets} told ones together "
    f"{(largest + told_jets) / (wanted[main_signal] - signal_jets):.0%}.",
)

# %% [markdown]
# ## What the classifiers see
#
# - **embedding**: the jet as the frozen pre-trained encoder describes it;
# - **untrained**: the same from the same network with random weights;
# - **observables**: five numbers that a physicist would take: soft-drop mass, τ21, τ32, τ43 and the number of constituents.
#
# On these, boosted trees, and on the embeddings also a linear head, which has less freedom to learn noise. Trees read the
# one vector of a jet that the encoder hands on (the class token where it has one); linear heads also the mean and the maximum
# over the constituents: a tree has to try every number at every branching, and a linear head is cheap.
#
# The **supervised** classifiers are told which jets are signal, those of B and some more. For each kind of features both trees
# and a linear head are told; the one with the larger mean is the **bound** of these features. Trees and lines are not the best
# classifiers that there can be: whether a search gets past a bound is counted below.

# %%
rows = np.concatenate(list(pools.values()))
encoders = {
    "embedding": run.encoder(),
    "untrained": untrained_encoder(run.architecture, training_store, run.config.seed),
}
features = {}
for name, encoder in encoders.items():
    encoded = encode(encoder.to(device), store, rows, device)
    features[name, "linear"] = by_class(encoded.pooled.numpy(), pools)
    features[name, "trees"] = by_class(encoded.encoded.cls.numpy(), pools)
features["observables", "trees"] = by_class(high_level(store.read(rows).observables.numpy()), pools)

# %%
fits = {"trees": partial(fit_trees, members=tree_members), "linear": fit_linear}
sources = ("observables", "embedding", "untrained")
bounds = {f"{source}, supervised": [f"{source}, supervised {fit}" for fit in fits] for source in sources}
told_features = features | {("observables", "linear"): features["observables", "trees"]}
arms, told = {}, {}
for signal in signals:
    for (source, fit), own in features.items():
        arms[signal, f"{source}, {fit}"] = OnFeatures(own["QCD"], own[signal], fits[fit])
    for (source, fit), own in told_features.items():
        told[signal, f"{source}, supervised {fit}"] = Supervised(own["QCD"], own[signal], fits[fit])

# %% [markdown]
# The other way to use a pre-training is to go on with it: the whole **network** learns to tell A from B, once from the
# pre-trained weights (*fine-tuned*) and once from random ones (*from scratch*). Nobody can tune their rates in such a
# search, for want of truth; a quarter of A and B is held out to choose the best moment of each training.

# %%
settings = AdaptConfig(
    steps=tuned_steps, rates=(tuned_rate,), encoder_scales=(tuned_scale,), micro_batch=run.config.micro_batch
)
head = find_method(method).head
networks = {
    (main_signal, name): tuned_on_samples(run.path, store, pools["QCD"], pools[main_signal], settings, head, scratch)
    for name, scratch in (("fine-tuned", False), ("from scratch", True))
}

# %% [markdown]
# ## One signal, closely
#
# Every classifier with every number of signal jets and several seeds. Each is a training of its own, on jets drawn
# anew from the pools; all classifiers see the same draws.

# %%
key = (run.identity(), store.data_hash, training_store.data_hash, sizes, wanted, settings, tree_members, seed)
kept = stage.depends(stage.keyed("scores", *key))
counts, seeds = sorted({*signal_counts, *tuned_counts}), range(search_seeds)
close = {name: arm for name, arm in arms.items() if name[0] == main_signal}
bound = {name: arm for name, arm in told.items() if name[0] == main_signal}
experiments = plan(close, counts, seeds) + plan(bound, [largest], seeds)
table, curves = scan({**close, **bound}, experiments, sizes, kept, workers)
tuned, tuned_curves = scan(
    networks, plan(networks, tuned_counts, range(tuned_seeds)), sizes, kept, 1 if device.type == "cuda" else workers
)
table, curves = pd.concat([table, tuned], ignore_index=True), curves | tuned_curves
sample = f"{main_signal} in QCD, A and B {sample_jets} QCD jets each, judged on {search_jets} QCD and {signal_jets} signal jets"

# %%
is_told = table.arm.str.contains("supervised")
searched, upper = table[~is_told], upper_bounds(table[is_told], bounds)
best = upper.groupby("arm").max_sic.mean()
drawn = bands(curves, main_signal, largest)
highest = upper[upper.arm == best.idxmax()].classifier.iloc[0]
fig = sic_curves({name: drawn[name] for name in [*searched.arm.unique(), highest]})
stage.show(
    fig,
    "sic_curves",
    f"SIC against the background efficiency, {largest} signal jets in B ({sample}). Bands: one standard deviation of "
    f"one more seed on other test jets. Curves end where fewer than {MIN_PASSING} background jets pass. The highest of the "
    f"bounds told the truth: {highest}.",
)

# %%
fig = sic_against_signal(searched, bounds=best.to_dict())
stage.show(
    fig,
    "max_sic",
    f"Maximum SIC against the signal in B ({sample}); {search_seeds} seeds (some jets are in the samples of two), networks "
    f"{tuned_seeds}. Bars: spread over seeds and finite test samples. Black: told the truth with {largest} + {told_jets} signal jets, "
    "the better of trees and linear head for each kind of features.",
    main=True,
)

# %% [markdown]
# The maximum is taken over all cuts on the jets that judge, so that it is a little too large for everyone. A cut that is
# fixed beforehand has no such luck: the same at given background efficiencies, where enough background passes. The maximum is
# never below one, a fixed cut may be: a random score has a SIC of 0.1 at a background efficiency of 1 %.

# %%
quoted = ["max_sic", "sic_1e-2", "sic_1e-3", "sic_1e-4"]
for metric in quoted[1:]:
    rate = metric.removeprefix("sic_")
    there = f"quoted for {table[metric].notna().sum()} of {len(table)} trainings ({search_jets * float(rate):g} of {search_jets} pass)"
    stage.finding(
        f"{main_signal}, SIC at a background efficiency of {rate}: {there}. Asked for are {MIN_PASSING} background jets that pass, "
        f"which leave {0.5 / MIN_PASSING**0.5:.0%} of uncertainty on √FPR: {MIN_PASSING / float(rate):,.0f} background jets to judge on."
    )
    if searched[metric].notna().any():
        fig = sic_against_signal(searched, metric)
        stage.show(fig, metric, f"SIC at a background efficiency of {rate} ({sample}).")

# %%
grouped = table.groupby(["arm", "signals", "significance"])
summary = grouped[quoted].mean().join(grouped[quoted].std().add_suffix(" spread"))
summary = summary.join(grouped.max_sic_error.mean().rename("max_sic test error")).join(grouped.seed.nunique().rename("seeds"))
stage.table(
    summary.reset_index(),
    "summary",
    f"SIC by classifier and signal ({sample}): mean and spread over seeds, binomial error of the test jets. Empty: fewer "
    f"than {MIN_PASSING} background jets pass, or one seed.",
)

# %% [markdown]
# ## Does pre-training help?
#
# Three questions, each answered at the same number of signal jets: against random weights, against observables, and with the
# network trained further. Each has two verdicts, at the best cut, which the truth chose, and at a cut fixed beforehand. A verdict
# takes the spread over seeds of both arms (Student's t, 95 %). It knows nothing of another pre-training or of other test
# jets; the latter are common to all arms. How short the networks are trained stands with their numbers.

# %%
questions = [
    ("embedding, trees", "untrained, trees"), ("embedding, linear", "untrained, linear"),
    ("embedding, trees", "observables, trees"), ("embedding, linear", "observables, trees"),
    ("fine-tuned", "from scratch"), ("fine-tuned", "observables, trees"),
]  # fmt: skip
verdicts, at_most = {}, table[table.signals == largest]
have = at_most.groupby("arm").seed.nunique()
steps, epochs = networks[main_signal, "fine-tuned"].length(sizes, largest)
for pair in questions:
    verdicts[" / ".join(pair)], sentence = verdict(at_most, *pair)
    network = ""
    if pair[0] in tuned.arm.unique():
        network = f"; networks trained for {steps} steps of {settings.batch_size} jets, {epochs:.1f} epochs"
    stage.finding(
        f"{main_signal}, {largest} signal jets (S/√B = {largest / sample_jets**0.5:.1f}; {sample_jets} QCD jets in A and in B), {sentence} "
        f"({have[pair[0]]} and {have[pair[1]]} seeds{network}).",
        main=pair[1] == "observables, trees" and pair[0] != "fine-tuned",
    )

# %% [markdown]
# What a search lacks has two parts: what the features do not tell even who knows the truth, and what is lost by not knowing
# it. The first is the distance between the bounds, the second that of a search to the bound of its features. A network that is
# trained whole has no fixed features, and no bound here.

# %%
_, sentence = verdict(upper, "embedding, supervised", "observables, supervised")
by = upper.groupby("arm").classifier.first().to_dict()
stage.finding(
    f"{main_signal}, told the truth of {2 * sample_jets} QCD and {largest + told_jets} signal jets, {sentence} ({search_seeds} seeds; "
    f"chosen of trees and linear head: {', '.join(by.values())})."
)
beyond = {}
for name in close:
    both = pd.concat([at_most, upper])
    beyond[name[1]], _ = verdict(both, name[1], f"{name[1].split(', ')[0]}, supervised")
past = {metric: [arm for arm, words in beyond.items() if words[metric] == "a gain"] for metric in METRICS}
unknown = {metric: [words[metric] for words in beyond.values()].count(NOT_QUOTED) for metric in METRICS}
counted = [f"{metric}: {', '.join(past[metric]) or 'none'} ({unknown[metric]} {NOT_QUOTED})" for metric in METRICS]
stage.finding(
    f"{main_signal}, {largest} signal jets: of {len(beyond)} searches, beyond the bound of their own features by more than the "
    f"spread over {search_seeds} seeds: {'; '.join(counted)}."
)

# %% [markdown]
# ## Every signal
#
# Each of the classes is searched for in turn, with one number of signal jets. Told the truth is here the one of trees and linear
# head that makes the bound of the signal above.

# %%
chosen = ("embedding, linear", "untrained, linear", "observables, trees")
chosen_bounds = {name: [by[name]] for name in ("observables, supervised", "embedding, supervised")}
short = {name: arm for name, arm in arms.items() if name[1] in chosen}
short |= {name: arm for name, arm in told.items() if [name[1]] in chosen_bounds.values()}
by_signal, _ = scan(short, plan(short, [class_count], seeds), sizes, kept, workers)
scanned = len(by_signal)
by_signal = pd.concat([by_signal[by_signal.arm.isin(chosen)], upper_bounds(by_signal, chosen_bounds)], ignore_index=True)
fig = sic_by_signal(by_signal, {"": signals})
stage.show(
    fig,
    "by_signal",
    f"Maximum SIC for each signal, {class_count} jets of it in B (S/√B = {class_count / sample_jets**0.5:.1f}; A and B {sample_jets} QCD jets each, "
    f"{search_jets} QCD and {signal_jets} signal jets to judge on, {search_seeds} seeds). Dotted: no cut. Supervised: told the truth "
    f"of {class_count} + {told_jets} signal jets, by what is better for {main_signal}: {', '.join(by[name] for name in chosen_bounds)}.",
    main=True,
)

# %%
means = by_signal.pivot_table(index="signal", columns="arm", values="max_sic")[[*chosen, *chosen_bounds]].loc[signals]
spread = by_signal.pivot_table(index="signal", columns="arm", values="max_sic", aggfunc="std").add_suffix(", spread")
stage.table(means.join(spread).reset_index(), "by_signal", f"The same as numbers: mean and spread over {search_seeds} seeds.")
pairs = [(chosen[0], other) for other in chosen[1:]] + [tuple(chosen_bounds)[::-1]]
pairs += [(arm, f"{arm.split(', ')[0]}, supervised") for arm in (chosen[0], chosen[2])]
ahead = {}
for pair in pairs:
    each = pd.DataFrame([verdict(group, *pair)[0] for _, group in by_signal.groupby("signal")])
    ahead[" / ".join(pair)] = tally = {metric: each[metric].value_counts().to_dict() for metric in METRICS}
    told_of = "; ".join(f"{metric}: {', '.join(f'{w} {n}' for w, n in tally[metric].items())}" for metric in METRICS)
    stage.finding(
        f"Over {len(signals)} signals ({class_count} jets of each in B, {search_seeds} seeds), {pair[0]} against {pair[1]}: {told_of}."
    )

# %% [markdown]
# ## Signals that the pre-training has not seen
#
# No label entered the pre-training, but jets of the signal did: among unlabelled jets of all ten classes there were those that
# are searched for now. New physics would not have been there. So two short pre-trainings, alike in everything, steps and
# number of different jets included: one on **ten classes**, one on **six** (QCD and the five Higgs decays), which has never seen a
# jet of a top, a W or a Z. Does the search for these four suffer? The Higgs decays, which both have seen, tell what the
# change of classes does otherwise: of them the six-class encoder has seen more.

# %%
known = [name for name in CLASSES if name == "QCD" or name.startswith("H")]
train = np.asarray(training_store.rows("train"))
few = int(np.isin(training_store.labels[train], [CLASSES.index(name) for name in known]).sum())
shared = {**changes(run.config), **pretrain_settings(unseen_steps, run.config.batch_size, seed), "snapshots": ()}
parts = {"six classes": {"classes": tuple(known), "max_jets": 0}, "ten classes": {"classes": (), "max_jets": few}}
names = [(name, repeat) for name in parts for repeat in range(unseen_seeds)]
configs = {}
for name, repeat in names:
    config = pretrain_config(run.config.method, run.config.size, {**shared, **parts[name], "seed": seed + repeat})
    configs[stage.depends(stage.keyed(name.replace(" ", "-"), config, training_store.data_hash))] = config
made = pretrain_several(training_store.path, configs, results.training_curves)
pretrainings = dict(zip(names, made, strict=True))
for (name, repeat), one in pretrainings.items():
    print(f"{name}, {repeat}: {one.manifest['jets_seen']} views of {one.manifest['training_jets']} jets")

# %%
unseen_arms = {}
for (name, repeat), pretraining in pretrainings.items():
    pooled = encode(pretraining.encoder().to(device), store, rows, device).pooled.numpy()
    own = by_class(pooled, pools)
    unseen_arms |= {(signal, f"{name}, {repeat}"): OnFeatures(own["QCD"], own[signal], fit_linear) for signal in signals}
identity = [pretraining.identity() for pretraining in pretrainings.values()]
kept_unseen = stage.depends(stage.keyed("unseen", *key, identity))
unseen, _ = scan(unseen_arms, plan(unseen_arms, [class_count], seeds), sizes, kept_unseen, workers)
unseen[["arm", "pretraining"]] = unseen.arm.str.rsplit(", ", n=1, expand=True)
both = pd.concat([unseen, by_signal[by_signal.arm == "untrained, linear"]])

# %%
groups = {"new to the six-class encoder": [name for name in CLASSES if name not in known], "seen by both": known}
groups = {title: [name for name in names if name in signals] for title, names in groups.items()}
groups = {title: names for title, names in groups.items() if names}
views = made[0].manifest["jets_seen"]
fig = sic_by_signal(both, groups)
stage.show(
    fig,
    "unseen",
    f"Maximum SIC of a linear head on encoders pre-trained on six and on ten classes ({views} views of {few} jets each, "
    f"pre-trainings of each kind: {unseen_seeds}), {class_count} signal jets in B, {search_seeds} seeds of the search. Bars hold the "
    "spread of the points and the finite test samples, not the luck of a single pre-training.",
)

# %% [markdown]
# Six classes less ten, for the signals that are new to the six-class encoder; the same for those that both have seen; and the
# first less the second, which is what being new costs beyond what the change of classes does to every signal.

# %%
gap = {metric: gaps(unseen, tuple(parts), groups, metric) for metric in METRICS}
lost = {metric: frame.mean().dropna().to_dict() for metric, frame in gap.items()}
luck = "one pre-training of each kind, whose own luck is in none of these spreads" if unseen_seeds == 1 else ""
luck = luck or f"{unseen_seeds} pre-trainings of each kind"
members = "; ".join(f"{title}: {', '.join(names)}" for title, names in groups.items())
for metric, frame in gap.items():
    stage.finding(
        f"SIC ({metric}) with a pre-training on six classes less that with ten, mean over signals ({members}; {class_count} jets of "
        f"each in B, {search_jets} QCD and {signal_jets} signal jets to judge on): "
        + "; ".join(f"{title} {gap_in_words(frame[title])}" for title in frame)
        + f". Behind it: {luck}.",
        main=metric == METRICS[0],
    )

# %% [markdown]
# That says something about unseen signals only if so short a pre-training has taught the encoder anything that the search
# can use, which the untrained network tells.

# %%
each = both.groupby(["arm", "seed"])[list(METRICS)].mean().reset_index()
learned, sentence = verdict(each, "ten classes", "untrained, linear")
stage.finding(
    f"Mean over all {len(signals)} signals after {views} views, of these very encoders ({search_seeds} seeds of the search), {sentence}."
    + ("" if learned["max_sic"] == "a gain" else " That is too short a pre-training to tell what unseen classes cost."),
    main=True,
)

# %%
stage.finish(
    jets={name: len(pool) for name, pool in pools.items()},
    max_sic={f"{arm}, {count}": value for (arm, count), value in table.groupby(["arm", "signals"]).max_sic.mean().items()},
    trainings=len(table) + scanned + len(unseen),
    quoted={metric: int(table[metric].notna().sum()) for metric in quoted},
    verdicts=verdicts,
    by_signal={arm: means[arm].to_dict() for arm in means},
    ahead=ahead,
    bounds=best.to_dict(),
    beyond=beyond,
    network={"steps": steps, "epochs": epochs},
    unseen={name: one.manifest["classes"] for (name, _), one in pretrainings.items()},
    unseen_jets={name: one.manifest["training_jets"] for (name, _), one in pretrainings.items()},
    unseen_pretrainings=len(pretrainings),
    lost=lost,
    learned=learned,
    table=str(stage.folder / "summary.csv"),
)
