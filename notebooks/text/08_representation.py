# %% [markdown]
# # What has the encoder learned?
#
# A pre-trained encoder turns a jet into a list of numbers, and a JEPA is not told which. Before one trusts them, one
# wants to know: are all of these numbers used, or do they say the same thing many times over? At which depth
# appears what a physicist would ask for, and when in training? Do networks that were trained in different ways
# see jets alike? No fine-tuning answers this. Here the frozen encoder itself is looked at, layer by layer, always
# beside the same network with *random* weights: a transformer reads four-vectors through a physics bias, so that
# much is in its output before it has learned anything.

# %% tags=["parameters"]
run_dir: str = "runs/laptop"  # folder of this run, seen from the project's root
data_dir: str = ""  # a store or JetClass files of your own; empty: those of 01_explore
pretrained: str = ""  # folder of a pre-training; empty: that of 03_pretrain
compared: str = ""  # folder of a second pre-training; empty: HEP-JEPA of 05_hep_jepa, where it has run
classifiers: str = ""  # folder of trained classifiers (`jepalib adapt --out`); empty: that of 04_few_shot
layer_jets: int = 2000  # training jets, and as many test jets, of the numbers of each layer
map_jets: int = 3000  # test jets on the t-SNE map
new_jets: int = 500  # validation jets that are placed on the finished map
placed_classes: list[str] = ["QCD", "Hbb", "Tbqq", "Tbl"]  # of them, in pictures; the first four if there are no such
seed: int = 0  # of everything random

# %%
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from IPython.display import display

from jepalib.evaluation import cka, observables
from jepalib.evaluation.maps import JetMap, follows, same_class_neighbours
from jepalib.evaluation.representation import measures, measures_by_layer
from jepalib.training.classifiers import encode, untrained_encoder
from jepalib.training.layers import encode_layers
from jepalib.training.runs import Run
from jepalib.training.start import started_from
from jepalib.training.taggers import scores, taggers
from jepalib.viz import layers as figures
from jepalib.viz.explorer import EmbeddingExplorer, StoreRows
from jepalib.viz.maps import placed_map, property_maps
from jepalib.workbook import inputs, notebook

# %%
stage = notebook.start("08_representation", run_dir)
store = inputs.earlier_store(stage, data_dir)
run = Run.open(stage.depends(pretrained or stage.earlier("03_pretrain")["run"]))
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
seen = run.manifest["jets_seen"]

# %% [markdown]
# ## Layer by layer
#
# A jet is described after the embedding (each constituent or patch by itself), after every block, where they look
# at each other, and, in an encoder that has them, after the class blocks, where a class token gathers the jet. Up
# to there a jet is the mean over its tokens. Of these vectors:
#
# - **effective rank**: over how many directions they spread, exp of the entropy of the normalised singular values;
# - **spectrum AUC**: near 0.5 when all directions have the same variance, 1 when one has all;
# - **PPE**: how far the directions of the class centroids are from being orthogonal, in percent of the bound on
#   the nuclear norm; 0 is best. (The measure comes from methods with several views of a jet, whose mean is a
#   centroid; with one view each, the class takes the place of the jet. The table has every jet as its own too.)
# - what three **probes** read: 20 nearest neighbours, logistic regression and a linear support vector machine. These
#   use labels; the encoder did not.

# %%
networks = {"pre-trained": run.encoder(), "untrained": untrained_encoder(run.architecture, store, run.config.seed)}
samples = {part: np.sort(np.asarray(inputs.some_rows(store, part, layer_jets, seed))) for part in ("train", "test")}
labels = {part: np.asarray(store.labels[rows], np.int64) for part, rows in samples.items()}
vectors = {
    name: {part: encode_layers(network, store, rows, device) for part, rows in samples.items()}
    for name, network in networks.items()
}
sizes = f"{len(samples['train'])} training and {len(samples['test'])} test jets, one network each"

# %%
tables = {
    name: measures_by_layer(found["train"], labels["train"], found["test"], labels["test"], seed)
    for name, found in vectors.items()
}
by_layer = pd.concat(tables, names=["curve"]).reset_index(level=0).reset_index(drop=True)
fig = figures.measures_figure(by_layer, "layer", "", classes=len(store.classes))
stage.show(fig, "by_layer", f"Rank, spectrum, PPE and probes by layer, {run.config.method} after {seen} jets ({sizes}).", main=True)
stage.table(by_layer, "by_layer", f"The same as numbers; error: standard error of an accuracy ({sizes}).")

# %%
layer_names = list(vectors["pre-trained"]["test"])
last = {name: table.iloc[-1] for name, table in tables.items()}
best = tables["pre-trained"].loc[tables["pre-trained"].linear.idxmax()]
gain, spread = last["pre-trained"].linear - last["untrained"].linear, np.hypot(*(t.error for t in last.values()))
stage.finding(
    f"At {layer_names[-1]} a linear probe reaches {last['pre-trained'].linear:.3f} on the pre-trained and "
    f"{last['untrained'].linear:.3f} on the untrained encoder: {gain:+.3f} ± {spread:.3f} (test jets only; {sizes}). "
    f"The best layer of the pre-trained one is {best.layer} with {best.linear:.3f}.",
    main=True,
)
stage.finding(
    "Effective rank at the same layer: "
    + ", ".join(f"{name} {row['rank']:.1f}" for name, row in last.items())
    + f" of {last['pre-trained'].dims:.0f}; PPE of the class centroids: "
    + ", ".join(f"{name} {row.ppe:.0f} %" for name, row in last.items()) + "."
)

# %% [markdown]
# ## While it was trained
#
# A pre-training keeps snapshots of itself, each a run folder. The same numbers of each, for the layers that are
# handed on. At zero jets stands the untrained network of above: it is drawn with the run's own seed, so that it has
# the weights that the run began with, unless that was another encoder (`--start`). Thin lines are what the run has logged of its own batches: a rank grows with
# the number of jets it is computed from.

# %%
ends = layer_names[-2:] if run.encoder().has_cls else layer_names[-1:]
moments = [(0, vectors["untrained"])]
for snapshot in run.snapshots:
    found = {part: encode_layers(snapshot.encoder(), store, rows, device) for part, rows in samples.items()}
    moments.append((snapshot.manifest["jets_seen"], found))
moments.append((seen, vectors["pre-trained"]))
training = pd.DataFrame(
    {"jets": jets, "curve": end}
    | measures(found["train"][end], labels["train"], found["test"][end], labels["test"], seed)
    for end in ends
    for jets, found in moments
)

# %%
metrics = run.metrics()
kinds = {"rank": "rank_", "spectrum_auc": "spectrum_auc_"}
logged = {
    name: metrics.filter(regex=f"^{prefix}(particles|patches|cls)$").assign(jets=metrics.jets_seen)
    for name, prefix in kinds.items()
}
fig = figures.measures_figure(training, "jets", "jets seen", logged, len(store.classes))
stage.show(fig, "training", f"The same against the jets seen in pre-training, {len(run.snapshots)} snapshots; thin: as logged ({sizes}).")
stage.table(training, "training", f"The same as numbers ({sizes}).")

# %%
way = training[training.curve == ends[-1]].sort_values("jets")
top = way.loc[way.linear.idxmax()]
stage.finding(
    (f"{len(run.snapshots)} snapshots. " if run.snapshots else "This run has no snapshots: two moments only. ")
    + f"The linear probe of {ends[-1]} goes from {way.linear.iloc[0]:.3f} to {way.linear.iloc[-1]:.3f} ± "
    f"{way.error.iloc[-1]:.3f}, highest after {top.jets:.0f} jets ({top.linear:.3f}); the effective rank from "
    f"{way['rank'].iloc[0]:.1f} to {way['rank'].iloc[-1]:.1f}, lowest {way['rank'].min():.1f}."
)

# %% [markdown]
# ## Do layers, and networks, see jets alike?
#
# Linear CKA compares two sets of vectors of the same jets: 1 if one is a rotation of the other, 0 if they have
# nothing in common, whatever their widths. Its plain form is too large on few jets; here its unbiased form is
# used, and jets paired with *other* jets say what is left to chance. First the layers of one encoder, and those of
# the same network untrained and fine-tuned with labels:

# %%
folder = stage.depends(classifiers or Path(stage.earlier("04_few_shot")["few_shot"]).parent)
trained = taggers(folder)
tuned = encode_layers(trained[0].classifier.encoder, store, samples["test"], device)
own = vectors["pre-trained"]["test"]
others = {"itself": own, "untrained": vectors["untrained"]["test"], f"{trained[0].arm}, {trained[0].labels} labels": tuned}
alike = {name: cka.cka_table(own, other) for name, other in others.items()}
fig = figures.likeness(alike)
stage.show(fig, "cka_layers", f"CKA of the pre-trained encoder's layers (rows) with its own and those of others (columns), {len(labels['test'])} test jets.")

# %% [markdown]
# Then whole encoders by what they hand on, several seeds of each where there are some. `untrained` is where the
# pre-trained one began, and a short training stays close to its beginning. Two networks that differ
# in nothing but the seed are the yardstick: more alike than these, different trainings cannot be expected to be.

# %%
neighbour = notebook.under_root(run_dir) / "05_hep_jepa" / notebook.RESULT
second = compared or (stage.earlier("05_hep_jepa")["run"] if neighbour.is_file() else "")
encoders = networks | {"untrained, other seed": untrained_encoder(run.architecture, store, run.config.seed + 1)}
if second:
    rival = Run.open(stage.depends(second))
    encoders[rival.config.method] = rival.encoder()
encoders |= {tagger.name: tagger.classifier.encoder for tagger in trained}
handed = {n: encode(net.to(device), store, samples["test"], device).encoded.cls.numpy() for n, net in encoders.items()}
between = cka.cka_table(handed, handed)
chance = np.abs(cka.chance(handed["pre-trained"], handed["untrained"], 20, seed)).max()
fig = figures.likeness({f"{trained[0].labels} labels where there are any": between}, 5.4)
stage.show(fig, "cka_methods", f"CKA between encoders, by the vector that a head reads of a jet, {len(labels['test'])} test jets.")
stage.table(between.reset_index(names="encoder"), "cka_methods", "The same as numbers.")

# %%
near = between["pre-trained"].drop("pre-trained").sort_values(ascending=False)
stage.finding(
    f"Most alike to the pre-trained encoder is {near.index[0]} (CKA {near.iloc[0]:.2f}), least {near.index[-1]} "
    f"({near.iloc[-1]:.2f}); with the untrained one it has {near['untrained']:.2f}, two untrained ones have "
    f"{between.loc['untrained', 'untrained, other seed']:.2f} and chance at most {chance:.3f} "
    f"(20 permutations of {len(labels['test'])} jets)."
)
arms, seeds = ([getattr(tagger, what) for tagger in trained] for what in ("arm", "seed"))
pairs = between.loc[[t.name for t in trained], [t.name for t in trained]].to_numpy()
same, unlike = np.equal.outer(arms, arms), np.not_equal.outer(seeds, seeds)
if unlike.any():
    stage.finding(
        f"With {trained[0].labels} labels two seeds of one arm have a CKA of {pairs[same & unlike].mean():.2f}, two of "
        f"different arms (fine-tuned and from scratch, {len(set(seeds))} seeds each) {pairs[~same & unlike].mean():.2f}."
    )

# %% [markdown]
# ## The map
#
# t-SNE lays the frozen embeddings out on a plane so that neighbours stay neighbours. The same map is coloured by
# class and by what a detector measures: is it ordered by classes, or by energy and mass? The map is kept, with all
# that is needed to open it again and to place more jets on it.

# %%
rows = np.sort(np.asarray(inputs.some_rows(store, "test", map_jets, seed)))
jets, network = store.read(rows), networks["pre-trained"].to(device)
embedding = encode(network, store, rows, device).pooled.numpy()
kept = stage.keyed("map", run.identity(), store.data_hash, map_jets, seed)
chart = JetMap.fit(embedding, seed)
chart.save(kept / "tsne.npz")
properties = pd.DataFrame({name: jets.observable(name).numpy() for name in ("energy", "pt", "sdmass")}, dtype=float)
properties["sdmass"] = properties.sdmass.where(properties.sdmass > 0)
properties["multiplicity"] = jets.counts.numpy().astype(float)
np.savez(kept / "embedding.npz", embedding=embedding, rows=rows, labels=jets.labels.numpy())
fig = property_maps(chart.places, jets.labels.numpy(), properties, store.classes)
stage.show(fig, "map", f"t-SNE of the frozen embeddings of {len(rows)} test jets: class, energy, pT, mass, multiplicity.")

# %%
ordered = follows(chart.places, properties)
together = same_class_neighbours(chart.places, jets.labels.numpy())
stage.finding(
    "How well a jet's ten neighbours on the map tell it (R² of ranks): "
    + ", ".join(f"{name} {value:.2f}" for name, value in ordered.items())
    + f". {together:.0%} of the neighbours are of its class (chance {1 / len(store.classes):.0%}; {len(rows)} test "
    "jets, one map).",
    main=True,
)

# %% [markdown]
# New jets are placed on the finished map, each by itself: jets that the map has never seen. If the map shows more
# than chance, they land among their own kind more often than chance. Less often than the map's own jets, as a
# rule: those were moved about together until all lay beside their neighbours, and a new one finds the places taken.

# %%
arrivals = np.sort(np.asarray(inputs.some_rows(store, "val", new_jets, seed)))
fresh = encode(network, store, arrivals, device).pooled.numpy()
arrived = JetMap.load(kept / "tsne.npz").place(fresh)
kind = np.asarray(store.labels[arrivals], np.int64)
some = [name for name in placed_classes if name in store.classes] or store.classes[:4]
fig = placed_map(chart.places, jets.labels.numpy(), arrived, kind, some, store.classes)
stage.show(fig, "new_jets", f"{len(arrivals)} validation jets (crosses) placed on the map of {len(rows)} test jets, by class.")
landed = same_class_neighbours(chart.places, jets.labels.numpy(), others=(arrived, kind))
unplaced = same_class_neighbours(embedding, jets.labels.numpy(), others=(fresh, kind))
stage.finding(
    f"Of the ten neighbours of a new jet {landed:.0%} are of its class ({len(arrivals)} validation jets on the saved "
    f"map), of a jet of the map {together:.0%}; among the embeddings themselves {unplaced:.0%} and "
    f"{same_class_neighbours(embedding, jets.labels.numpy()):.0%}."
)

# %% [markdown]
# ## What physics is linearly readable?
#
# Ridge regression reads from each layer what a physicist would ask for: soft-drop mass, ratios of N-subjettiness,
# the numbers of constituents, of leptons, and of displaced tracks (charged constituents whose transverse impact
# parameter is more than three times its error). The grey line is the same from sixteen hand-made features, none
# of them a target; impact parameters are in none of them.

# %%
read = {part: store.read(chosen) for part, chosen in samples.items()}
wanted = {part: observables.physics(some) for part, some in read.items()}
readable = {
    name: observables.compare(found["train"], wanted["train"], found["test"], wanted["test"], seed)
    for name, found in vectors.items()
}
physics = pd.concat(readable, names=["curve"]).reset_index(level=0).reset_index(drop=True)
physics = physics.rename(columns={"features": "layer"})
hand = [observables.hand_made(some) for some in read.values()]
by_hand = observables.regress(hand[0], wanted["train"], hand[1], wanted["test"], seed).assign(curve="hand-made")
fig = figures.physics_by_layer(physics, by_hand)
stage.show(fig, "physics", f"R² of a linear map from each layer to jet observables ({sizes}).")
stage.table(pd.concat([physics, by_hand]).dropna(axis=1, how="all"), "physics", "R², its bootstrap error, and quantiles of the residuals.")

# %%
end = physics[physics.layer == layer_names[-1]].pivot(index="target", columns="curve", values=["r2", "r2_error"])
more = end["r2"]["pre-trained"] - end["r2"]["untrained"]
error = np.hypot(end["r2_error"]["pre-trained"], end["r2_error"]["untrained"])
clear = more.abs() > 2 * error
stage.finding(
    f"Of {len(end)} observables a linear map reads {int((clear & (more > 0)).sum())} better from {layer_names[-1]} "
    f"of the pre-trained than of the untrained encoder, {int((clear & (more < 0)).sum())} worse, the rest within "
    f"twice the errors; mean R² {end['r2']['pre-trained'].mean():.2f} and {end['r2']['untrained'].mean():.2f}, from "
    f"hand-made features {by_hand.r2.mean():.2f} ({sizes}).",
    main=True,
)
taught = {run.config.method, (started_from(run) or {"method": ""})["method"]}
if "jet-targets" in taught:
    stage.finding(
        "This encoder was *taught* numbers of jets, and all of these observables or near relations are among them "
        "(`jepalib/summary.py`): that they can be read is what it was asked for, and no discovery.",
        main=True,
    )

# %%
peak = readable["pre-trained"].dropna(subset=["r2"]).sort_values("r2").groupby("target").last()
peak = peak.reindex(list(observables.PHYSICS))
for target in observables.PHYSICS:
    r2 = end["r2"].loc[target]
    stage.finding(
        f"{target}: R² {r2['pre-trained']:.2f} at {layer_names[-1]} and at best {peak.r2[target]:.2f} "
        f"({peak.features[target]}); untrained {r2['untrained']:.2f} ({more[target]:+.2f} ± {error[target]:.2f} at "
        f"{layer_names[-1]}, test jets only), hand-made {by_hand.set_index('target').r2[target]:.2f}."
    )

# %% [markdown]
# ## Look for yourself
#
# Every dot is a jet: hover or click to see it, with what the fine-tuned tagger says of it; draw a line around some
# with the lasso, and they are `explorer.selected()`. After a restart of the kernel nothing has to be made again:
# `EmbeddingExplorer.open` with the folder that is printed here brings back map and selection, `JetMap.load` the map
# that new jets are placed on.

# %%
probabilities = scores(trained[:1], store, rows, device)[0]
names = pd.Series(store.classes)[jets.labels.numpy()].to_numpy()
explorer = EmbeddingExplorer(
    chart.places, properties.assign(**{"class": names})[["class", *properties]], StoreRows(store, rows), probabilities, store.classes
)
explorer.save(kept / "explorer")
print(f"EmbeddingExplorer.open({str(kept / 'explorer')!r})\nJetMap.load({str(kept / 'tsne.npz')!r})")
display(explorer)

# %%
stage.finish(
    jets_seen=seen,
    snapshots=len(run.snapshots),
    linear={name: table.set_index("layer").linear.to_dict() for name, table in tables.items()},
    rank={name: table.set_index("layer")["rank"].to_dict() for name, table in tables.items()},
    ppe={name: table.set_index("layer").ppe.to_dict() for name, table in tables.items()},
    training=way.set_index("jets").linear.to_dict(),
    cka=between["pre-trained"].to_dict(),
    chance=chance,
    map=str(kept),
    follows=ordered,
    neighbours=together,
    landed=landed,
    physics={name: end["r2"][name].to_dict() for name in vectors} | {"hand-made": by_hand.set_index("target").r2.to_dict()},
)
