# %% [markdown]
# # Patches of a jet
#
# Can a jet be understood by predicting some of its regions from others? HEP-JEPA (arXiv:2502.03933) was the
# first to ask this of jets. Its tokens are not constituents but *patches*: neighbourhoods that hold a subjet, a
# soft halo, a displaced decay. This notebook cuts the patches, trains the method without labels, and then asks
# three things of the frozen result: how many labels it saves, where it places the classes, and which observables
# can be read from it.

# %% tags=["parameters"]
run_dir: str = "runs/laptop"  # folder of this run, seen from the project's root
data_dir: str = ""  # a store or JetClass files of your own; empty: those of 01_explore
patch_size: str = "nano"  # of the encoder: nano or mini (the paper's 2.5 M parameters)
patch_steps: int = 200  # optimiser steps of the pre-training
batch_size: int = 256  # jets a step
processes: int = 0  # 0: one per GPU, or per core where there is none
percent: list[float] = [0.05, 0.5, 2.0, 10.0, 100.0]  # of the training set, as labels
table_seeds: int = 2  # repetitions of each entry of the few-shot table
table_steps: int = 40  # training steps with 500 labels; grows with the square root of the labels
rates: list[float] = [0.001, 0.003]  # learning rates that are tried
encoder_scales: list[float] = [0.3, 1.0]  # rate of the encoder relative to that of the head, tried with each
choose_jets: int = 1000  # validation jets that settings and moments are chosen on
test_jets: int = 5000  # jets that the numbers are made from
map_jets: int = 3000  # jets on the t-SNE map
seed: int = 0  # of everything random

# %%
import numpy as np
import torch
from IPython.display import Markdown

from jepalib.evaluation import observables
from jepalib.evaluation.differences import difference
from jepalib.evaluation.maps import JetMap, same_class_neighbours
from jepalib.evaluation.published import published_table
from jepalib.masking import draw_token_masks
from jepalib.methods.registry import find_method
from jepalib.models.patches import make_patches, seen_of_targets, uncovered
from jepalib.training.adapt import adapt, share_of_labels
from jepalib.training.classifiers import encode, untrained_encoder
from jepalib.training.few_shot import AdaptConfig
from jepalib.training.presets import pretrain_config
from jepalib.viz import results
from jepalib.viz.maps import class_map
from jepalib.viz.observables import predicted_against_true, r2_by_observable
from jepalib.viz.patch_displays import patch_figure
from jepalib.viz.widgets import MaskInspector
from jepalib.workbook import inputs, notebook
from jepalib.workbook.live import pretrain_live, pretrain_settings

# %%
stage = notebook.start("05_hep_jepa", run_dir)
store = inputs.earlier_store(stage, data_dir)
settings = pretrain_settings(patch_steps, batch_size, seed)
config = pretrain_config("hep-jepa", patch_size, settings)

# %% [markdown]
# ## From constituents to patches
#
# **Farthest-point sampling** chooses the centres: begin next to the jet axis, then take again and again the
# constituent that is farthest from all centres so far. The centres cover the jet evenly in (Δη, Δφ), whatever
# its momentum is concentrated in. Each centre is joined by its nearest neighbours. Patches may share
# constituents, and dense cores may keep some that are in none.

# %%
jets = inputs.some_jets(store, "train", map_jets, seed)
patches = make_patches(jets.column("deta"), jets.column("dphi"), jets.offsets, config.objective.patches)
busiest = int(jets.counts.argmax())
fig = patch_figure(jets, busiest, patches)
stage.show(fig, "patches", "One jet cut into patches: centres, their nearest constituents, and what is in none.")

# %% [markdown]
# Every control of the tokeniser and of the masks over patches, on any of these jets:

# %%
MaskInspector(jets, {"hep-jepa": config.objective}, seed)

# %%
alone = float(uncovered(patches, len(jets.particles)).float().mean())
stage.finding(
    f"A jet has {patches.counts.float().mean():.1f} patches on average (of {jets.counts.float().mean():.1f} "
    f"constituents); {alone:.1%} of the constituents are in no patch."
)

# %% [markdown]
# Masks will keep *patches* apart: no target patch is shown to the student. But patches share constituents, so that
# some of what a target patch is made of is seen in its neighbours. How much, depends on the masks:

# %%
deta, dphi = (jets.column(name)[patches.centres] for name in ("deta", "dphi"))
masks = draw_token_masks(deta, dphi, patches.offsets, config.objective.masks, torch.Generator().manual_seed(seed))
seen = seen_of_targets(patches, masks.context, masks.targets[0], len(jets.particles))
stage.finding(f"{seen:.0%} of the constituents of a target patch are also in a patch of the context.")

# %% [markdown]
# ## What is trained

# %%
Markdown(find_method("hep-jepa").about)

# %%
path = stage.depends(stage.keyed(f"hep-jepa-{patch_size}", config, store.data_hash))
run = pretrain_live("hep-jepa", patch_size, store.path, path, settings, results.training_curves, processes)
metrics = run.metrics()
fig = results.training_curves(metrics)
stage.show(fig, "curves", "Loss, effective rank and spectrum of the teacher's patches during pre-training.")

# %%
first, last = metrics.iloc[0], metrics.iloc[-1]
stage.finding(
    f"{last.jets_seen:.0f} jets in {last.seconds:.0f} s ({metrics.jets_per_second.median():.0f} jets/s): the loss "
    f"went from {first.loss:.4f} to {last.loss:.4f}, the effective rank of a jet's mean patch from "
    f"{first.rank_patches:.1f} to {last.rank_patches:.1f}."
)

# %% [markdown]
# ## How many labels does it save?
#
# The paper's table: a share of the labels, a network from random weights, and the pre-trained one, fine-tuned
# or frozen, all with the same head (class attention over the patches), each arm with the same grid of learning
# rates, chosen on validation jets with the first seed. Percentages are of the training set, ours of this one, so
# that equal rows do not mean equal numbers of labels. (The paper's own numbers do not agree with each other:
# 0.05 % is printed with 5K labels and 100 % with 100M.)

# %%
whole = len(store.rows("train"))
counts = {share_of_labels(share, store): share for share in sorted(percent, reverse=True)}
modes, head = ["frozen", "fine-tuned", "from-scratch"], find_method("hep-jepa").head
choices = {
    "steps": table_steps,
    "rates": tuple(rates),
    "encoder_scales": tuple(encoder_scales),
    "val_jets": choose_jets,
    "test_jets": test_jets,
}
out = stage.depends(stage.keyed("few_shot", run.identity(), store.data_hash, choices))
table = adapt(run.path, store.path, out, sorted(counts), modes, table_seeds, [head], choices)
table = table[table.labels.isin(list(counts)) & (table.seed < table_seeds)]
often = {count: AdaptConfig(steps=table_steps).passes(count) for count in sorted(counts)}
stage.finding(
    "A training sees each labelled jet "
    + ", ".join(f"{times:.1f} times with {count:,} labels" for count, times in often.items())
    + ". Where these are few, the distance to training from scratch is one in speed as well."
)

# %%
theirs = published_table("2502.03933", 1)
theirs["percent"] = theirs.setting.str.extract(r"([\d.]+) %")[0].astype(float)
known = theirs.pivot(index="percent", columns="mode", values="value").add_suffix(", published")
ours = table.groupby(["labels", "mode"]).accuracy.agg(["mean", "std"]).unstack("mode")
ours.columns = [mode if kind == "mean" else f"± {mode}" for kind, mode in ours.columns]
ours.insert(0, "percent", [counts[n] for n in ours.index])
ours = ours.reset_index().merge(known, on="percent", how="left")
stage.table(
    ours,
    "few_shot",
    f"As the paper's Table 1. Ours: accuracy over ten classes, inputs {config.inputs}, {table_seeds} seeds, "
    f"{int(table.test_jets.iloc[0])} test jets, {int(last.jets_seen)} jets seen in pre-training, {whole} training "
    "jets. Published: JetClass, 100 million jets.",
)

# %%
fig = results.few_shot(table, published=theirs)
stage.show(fig, "few_shot", "Accuracy against labels, ours beside the published figures (open markers: other data, other scale).", main=True)

# %%
for count in sorted(counts):
    arms = [table[(table.labels == count) & (table["mode"] == mode)].accuracy.to_numpy() for mode in modes[1:]]
    result = difference(*arms)
    text = f"{count} labels ({counts[count]:g} %): {result.sentence(modes[1], modes[2])}"
    if counts[count] in known.index:
        gain = known.loc[counts[count], "fine-tuned, published"] - known.loc[counts[count], "from-scratch, published"]
        text += f". The paper's gain at this share, {gain:+.3f}, is {result.against(gain)}"
    stage.finding(f"{text}.", main=count in (min(counts), max(counts)))

# %% [markdown]
# ## Where are the classes?
#
# The frozen encoder gives one vector per jet, maximum and mean over its patches. t-SNE lays these out on a
# plane so that neighbours stay neighbours. The encoder has never seen a label: what separates here, separates
# by itself. Distances between far groups mean nothing.

# %%
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
rows = np.sort(np.asarray(inputs.some_rows(store, "test", map_jets, seed)))
encoded = encode(run.encoder().to(device), store, rows, device)
places = JetMap.fit(encoded.pooled.numpy(), seed).places
fig = class_map(places, encoded.labels.numpy())
stage.show(fig, "map", f"t-SNE of the frozen embeddings of {len(rows)} test jets, never trained with labels.")

# %%
labels = encoded.labels.numpy()
agree = same_class_neighbours(places, labels)
stage.finding(
    f"On the map {agree:.0%} of a jet's ten nearest neighbours are of its class, among the embeddings themselves "
    f"{same_class_neighbours(encoded.pooled.numpy(), labels):.0%}; chance is {1 / len(store.classes):.0%}."
)

# %% [markdown]
# ## What can be read from it?
#
# Energy-flow polynomials, N-subjettiness, soft-drop mass and multiplicity are what physicists compute by hand.
# A linear map (ridge regression) reads each of them from the frozen embedding. To know what that is worth, it
# reads the same from an *untrained* encoder (random features of the same network are not nothing) and from a
# few hand-made features. None of these is a target, but jet mass and girth come close to the lowest
# energy-flow polynomials and to τ1: there they are an upper end, not a rival.

# %%
train_rows = np.sort(np.asarray(inputs.some_rows(store, "train", 2 * map_jets, seed)))
networks = {"pre-trained": run.encoder(), "untrained": untrained_encoder(run.architecture, store, seed)}
samples = {"train": train_rows, "test": rows}
read = {name: store.read(chosen) for name, chosen in samples.items()}
features = {
    part: {name: encode(net.to(device), store, chosen, device).pooled.numpy() for name, net in networks.items()}
    | {"hand-made": observables.hand_made(read[part])}
    for part, chosen in samples.items()
}
targets = {part: observables.observables(some) for part, some in read.items()}
scores = observables.compare(features["train"], targets["train"], features["test"], targets["test"], seed)
fig = r2_by_observable(scores)
stage.show(fig, "observables", f"How well a linear map reads each observable ({len(train_rows)} training, {len(rows)} test jets).")
stage.table(scores, "observables", "R² with its bootstrap error, residual quantiles in the unit of each observable.")

# %%
guess = observables.predict_observables(features["train"]["pre-trained"], targets["train"], features["test"]["pre-trained"])
fig = predicted_against_true(targets["test"], guess, "sdmass")
stage.show(fig, "sdmass", "Soft-drop mass read from the frozen embedding against the true one, and the residuals.")

# %%
r2 = scores.pivot(index="target", columns="features", values="r2")
error = scores.pivot(index="target", columns="features", values="r2_error")
kinds = r2.index.str.extract(r"^(efp|tau)")[0].fillna("mass and multiplicity").to_numpy()
stage.table(r2.groupby(kinds).mean().reset_index(names="observables"), "r2", "Mean R² by kind of observable.")
gain = r2["pre-trained"] - r2["untrained"]
clear = gain.abs() > 2 * np.hypot(error["pre-trained"], error["untrained"])
stage.finding(
    "Mean R² over all observables: " + ", ".join(f"{name} {r2[name].mean():.2f}" for name in r2)
    + f". Against the untrained encoder, pre-training is better on {int((clear & (gain > 0)).sum())} of {len(r2)}, "
    f"worse on {int((clear & (gain < 0)).sum())}, the rest is within twice the errors (one network each).",
    main=True,
)

# %%
stage.finish(
    run=str(run.path),
    store=str(store.path),
    jets_seen=int(last.jets_seen),
    loss_first=float(first.loss),
    loss_last=float(last.loss),
    rank=float(last.rank_patches),
    uncovered=alone,
    seen_of_targets=seen,
    few_shot=str(out / "few_shot.csv"),
    neighbours=agree,
    r2={name: float(r2[name].mean()) for name in r2},
)
