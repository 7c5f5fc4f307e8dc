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
told_jets: int = 100  # signal jets that only the supervised bound sees
signal_counts: list[int] = [10, 30, 100, 200]  # signal jets in sample B
class_count: int = 100  # signal jets in sample B where all signals are compared
search_seeds: int = 3  # repetitions: other samples A and B, other trainings
tree_members: int = 2  # boosted classifiers that are averaged, each stopped on another half of the samples
tuned_counts: list[int] = [200]  # signal jets in sample B for the networks that are trained on it
tuned_seeds: int = 2  # repetitions of these
tuned_steps: int = 30  # their training steps at 500 jets; grows with the square root of the jets
unseen_steps: int = 40  # steps of each pre-training with and without some classes
seed: int = 0  # of simulation, pools and pre-trainings

# %%
import os
from functools import partial

import numpy as np
import pandas as pd
import torch

from jepalib.evaluation.differences import difference
from jepalib.evaluation.scan import bands, plan, scan
from jepalib.evaluation.search import OnFeatures, Sizes, Supervised, fit_linear, fit_trees, high_level
from jepalib.evaluation.tagging import MIN_PASSING
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
from jepalib.workbook.pools import by_class, class_rows, search_store

# %%
stage = notebook.start("12_anomaly_search", run_dir)
run = Run.open(stage.depends(pretrained or stage.earlier("03_pretrain")["run"]))
run.check_method(method)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
workers = len(os.sched_getaffinity(0))
signals = search_signals or [name for name in CLASSES if name != "QCD"]
sizes = Sizes(sample_jets, sample_jets, search_jets, signal_jets)

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
# is the best that can be hoped for; the next notebooks do it with a peak.
#
# **What is measured.** Keep the jets with the highest scores: a share TPR of the signal, a share FPR of the
# background. A significance S/√B becomes TPR/√FPR times as large: the *significance improvement* SIC. One is as if there
# were no cut at all, a random score reaches √FPR. All SIC are computed from pure background and signal jets that no training
# saw. Where fewer than ten background jets pass, √FPR is uncertain by 16 % or more and the largest of many such values
# is mostly luck: no SIC is quoted there.

# %% [markdown]
# ## The jets
#
# Jets that no pre-training has seen. Each signal has its own pool; A, B and the jets to judge on share none. The latter are the
# same for all seeds: what differs between seeds are A, B and the training.

# %%
extra = {name: max(class_count, *signal_counts, *tuned_counts) if name == main_signal else class_count for name in signals}
wanted = {"QCD": 2 * sample_jets + search_jets}
wanted |= {name: count + signal_jets + told_jets for name, count in extra.items()}
store = search_store(stage, data_dir, wanted, seed)
training_store = inputs.earlier_store(stage, data_dir)
pools = {name: class_rows(store, name, number, seed) for name, number in wanted.items()}
stage.table(
    pd.DataFrame({"class": list(pools), "jets": [len(rows) for rows in pools.values()]}),
    "pools",
    f"Jets of each pool. Samples A and B take {sample_jets} QCD jets each, {search_jets} QCD and {signal_jets} signal jets judge.",
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
# over the constituents: a tree has to try every number at every branching, and a linear head is cheap. The
# **supervised** bound is told which jets are signal: on average no search does better with the same features and as many jets.

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
bounds = {"observables, supervised": "trees", "embedding, supervised": "linear"}
arms, told = {}, {}
for signal in signals:
    for (source, fit), own in features.items():
        arms[signal, f"{source}, {fit}"] = OnFeatures(own["QCD"], own[signal], fits[fit])
    for name, fit in bounds.items():
        own = features[name.split(", ")[0], fit]
        told[signal, name] = Supervised(own["QCD"], own[signal], fits[fit])

# %% [markdown]
# The other way to use a pre-training is to go on with it: the whole **network** learns to tell A from B, once from the
# pre-trained weights (*fine-tuned*) and once from random ones (*from scratch*). Nobody can tune their rates in such a
# search, for want of truth; a quarter of A and B is held out to choose the best moment of each training.

# %%
settings = AdaptConfig(steps=tuned_steps, rates=(1e-3,), encoder_scales=(1.0,), micro_batch=run.config.micro_batch)
head = find_method(method).head
networks = {
    (main_signal, name): tuned_on_samples(run.path, store, pools["QCD"], pools[main_signal], settings, head, scratch)
    for name, scratch in (("fine-tuned", False), ("from scratch", True))
}

# %% [markdown]
# ## One signal, closely
#
# Every classifier with every number of signal jets and several seeds. Each is a training of its own, on jets drawn
# anew; all classifiers see the same draws.

# %%
key = (run.identity(), store.data_hash, training_store.data_hash, sizes, wanted, settings, tree_members, seed)
kept = stage.depends(stage.keyed("scores", *key))
counts, seeds = sorted({*signal_counts, *tuned_counts}), range(search_seeds)
close = {name: arm for name, arm in arms.items() if name[0] == main_signal}
bound = {name: arm for name, arm in told.items() if name[0] == main_signal}
experiments = plan(close, counts, seeds) + plan(bound, counts[-1:], seeds)
table, curves = scan({**close, **bound}, experiments, sizes, kept, workers)
tuned, tuned_curves = scan(
    networks, plan(networks, tuned_counts, range(tuned_seeds)), sizes, kept, 1 if device.type == "cuda" else workers
)
table, curves = pd.concat([table, tuned], ignore_index=True), curves | tuned_curves
sample = f"{main_signal} in QCD, A and B {sample_jets} QCD jets each, judged on {search_jets} QCD and {signal_jets} signal jets"

# %%
largest = tuned_counts[-1]
searched = table[~table.arm.isin(bounds)]
drawn = bands(curves, main_signal, largest)
fig = sic_curves({name: drawn[name] for name in [*searched.arm.unique(), "observables, supervised"]})
stage.show(
    fig,
    "sic_curves",
    f"SIC against the background efficiency, {largest} signal jets in B ({sample}). Bands: one standard deviation of "
    f"one more seed on other test jets. Curves end where fewer than {MIN_PASSING} background jets pass.",
)

# %%
best = table[table.arm.isin(bounds)].groupby("arm").max_sic.mean()
fig = sic_against_signal(searched, bounds=best.to_dict())
stage.show(
    fig,
    "max_sic",
    f"Maximum SIC against the signal in B ({sample}); {search_seeds} seeds, networks {tuned_seeds}. Bars: spread over seeds "
    "and finite test samples. Grey: told the truth.",
    main=True,
)

# %% [markdown]
# The maximum is taken over all cuts on the jets that judge, so that it is a little too large for everyone. A cut that is
# fixed beforehand has no such luck: the same at given background efficiencies, where enough background passes.

# %%
quoted = ["max_sic", "sic_1e-2", "sic_1e-3", "sic_1e-4"]
for metric in quoted[1:]:
    rate = metric.removeprefix("sic_")
    if searched[metric].isna().all():
        print(f"no SIC at a background efficiency of {rate}: {search_jets} jets leave fewer than {MIN_PASSING}")
        continue
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
# Three questions, each answered at the same number of signal jets. The verdict takes the spread over seeds of both arms
# (Student's t, 95 %). It knows nothing of another pre-training or of other test jets; the latter are common to all arms.

# %%
questions = [
    ("embedding, trees", "untrained, trees"), ("embedding, linear", "untrained, linear"),
    ("embedding, trees", "observables, trees"), ("embedding, linear", "observables, trees"),
    ("fine-tuned", "from scratch"), ("fine-tuned", "observables, trees"),
]  # fmt: skip
verdicts, at_most = {}, table[table.signals == largest]
by_arm = {arm: group.max_sic.to_numpy() for arm, group in at_most.groupby("arm")}
for pair in questions:
    result = difference(*(by_arm[arm] for arm in pair))
    verdicts[" / ".join(pair)] = result.word
    stage.finding(
        f"{main_signal}, {largest} signal jets (S/√B = {largest / sample_jets**0.5:.1f}), maximum SIC: {result.sentence(*pair)} "
        f"({', '.join(str(len(by_arm[arm])) for arm in pair)} seeds).",
        main=pair[1] == "observables, trees" and pair[0] != "fine-tuned",
    )

# %%
stage.finding(
    "Told the truth, the embedding reaches "
    f"{best['embedding, supervised']:.2f} (linear) and the observables {best['observables, supervised']:.2f} (trees): what is missing "
    "from the first number is not in the embedding, or not simply arranged there; what a search lacks beyond is the search's."
)

# %% [markdown]
# ## Every signal
#
# Each of the other classes is searched for in turn, with one number of signal jets.

# %%
chosen = ("embedding, linear", "untrained, linear", "observables, trees")
short = {name: arm for name, arm in arms.items() if name[1] in chosen} | told
by_signal, _ = scan(short, plan(short, [class_count], seeds), sizes, kept, workers)
fig = sic_by_signal(by_signal, {"": signals})
stage.show(
    fig,
    "by_signal",
    f"Maximum SIC for each signal, {class_count} jets of it in B (S/√B = {class_count / sample_jets**0.5:.1f}; A and B {sample_jets} QCD jets each, "
    f"{search_jets} QCD and {signal_jets} signal jets to judge on, {search_seeds} seeds). Dotted: no cut.",
    main=True,
)

# %%
means = by_signal.pivot_table(index="signal", columns="arm", values="max_sic")[[*chosen, *bounds]].loc[signals]
spread = by_signal.pivot_table(index="signal", columns="arm", values="max_sic", aggfunc="std").add_suffix(", spread")
stage.table(means.join(spread).reset_index(), "by_signal", f"The same as numbers: mean and spread over {search_seeds} seeds.")
ahead = {}
for other in chosen[1:]:
    words = [
        difference(*(by_signal[(by_signal.signal == s) & (by_signal.arm == arm)].max_sic for arm in (chosen[0], other))).word
        for s in signals
    ]
    ahead[other] = {word: words.count(word) for word in sorted(set(words))}
    told_of = ", ".join(f"{word}: {number}" for word, number in ahead[other].items())
    stage.finding(f"Over {len(signals)} signals, the pre-trained embedding (linear) against {other}: {told_of}.")

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
configs = {}
for name, part in parts.items():
    config = pretrain_config(run.config.method, run.config.size, {**shared, **part})
    configs[stage.depends(stage.keyed(name.replace(" ", "-"), config, training_store.data_hash))] = config
made = pretrain_several(training_store.path, configs, results.training_curves)
pretrainings = dict(zip(parts, made, strict=True))
for name, one in pretrainings.items():
    print(f"{name}: {one.manifest['jets_seen']} views of {one.manifest['training_jets']} jets")

# %%
unseen_arms = {}
for name, pretraining in pretrainings.items():
    pooled = encode(pretraining.encoder().to(device), store, rows, device).pooled.numpy()
    own = by_class(pooled, pools)
    unseen_arms |= {(signal, name): OnFeatures(own["QCD"], own[signal], fit_linear) for signal in signals}
identity = [pretraining.identity() for pretraining in pretrainings.values()]
kept_unseen = stage.depends(stage.keyed("unseen", *key, identity))
unseen, _ = scan(unseen_arms, plan(unseen_arms, [class_count], seeds), sizes, kept_unseen, workers)
both = pd.concat([unseen, by_signal[by_signal.arm == "untrained, linear"]])

# %%
groups = {"seen by both": known, "new to the six-class encoder": [name for name in CLASSES if name not in known]}
groups = {title: [name for name in names if name in signals] for title, names in groups.items()}
groups = {title: names for title, names in groups.items() if names}
views = pretrainings["six classes"].manifest["jets_seen"]
fig = sic_by_signal(both, groups)
stage.show(
    fig,
    "unseen",
    f"Maximum SIC of a linear head on encoders pre-trained on six and on ten classes ({views} views of {few} jets each, one "
    f"pre-training each), {class_count} signal jets in B, {search_seeds} seeds.",
)

# %%
lost = {}
for title, names in groups.items():
    mean = unseen[unseen.signal.isin(names)].groupby(["arm", "seed"]).max_sic.mean()
    result = difference(mean["six classes"].to_numpy(), mean["ten classes"].to_numpy())
    lost[title] = result.gain
    single = unseen[unseen.signal.isin(names)].groupby(["signal", "arm"]).max_sic
    words = [difference(*(single.get_group((s, arm)) for arm in pretrainings)).word for s in names]
    told_of = ", ".join(f"{word}: {words.count(word)}" for word in sorted(set(words)))
    stage.finding(
        f"Signals {title} ({', '.join(names)}), mean of their maximum SIC: {result.sentence('six classes', 'ten classes')} "
        f"({search_seeds} seeds of the search, one pre-training each). Signal by signal: {told_of}.",
        main=title.startswith("new"),
    )

# %% [markdown]
# That says something about unseen signals only if so short a pre-training has taught the encoder anything that the search
# can use, which the untrained network tells.

# %%
learned = both.groupby(["arm", "seed"]).max_sic.mean()
result = difference(learned["ten classes"].to_numpy(), learned["untrained, linear"].to_numpy())
stage.finding(
    f"Mean over all {len(signals)} signals after {views} views: {result.sentence('ten classes', 'untrained')}"
    + ("." if result.word == "a gain" else ": too short a pre-training to tell what unseen classes cost."),
    main=True,
)

# %%
stage.finish(
    jets={name: len(pool) for name, pool in pools.items()},
    max_sic={f"{arm}, {count}": value for (arm, count), value in table.groupby(["arm", "signals"]).max_sic.mean().items()},
    trainings=len(table) + len(by_signal) + len(unseen),
    quoted={metric: int(table[metric].notna().sum()) for metric in quoted},
    verdicts=verdicts,
    by_signal={arm: means[arm].to_dict() for arm in means},
    ahead=ahead,
    unseen={name: one.manifest["classes"] for name, one in pretrainings.items()},
    unseen_jets={name: one.manifest["training_jets"] for name, one in pretrainings.items()},
    lost=lost,
    learned=result.word,
    table=str(stage.folder / "summary.csv"),
)
