# %% [markdown]
# # What does this jet look like to it?
#
# Tables say how often a tagger is right. They do not say what kind of jet it gets wrong, nor what it looks at.
# This notebook draws jets: as a physicist reads them, as the pre-training cuts them, beside what taggers say of
# them, and with the attention of the network on them. Pictures of single jets are there to get ideas from. What
# they suggest is counted over many jets before it is said.

# %% tags=["parameters"]
run_dir: str = "runs/laptop"  # folder of this run, seen from the project's root
data_dir: str = ""  # a store or JetClass files of your own; empty: those of 01_explore
pretrained: str = ""  # folder of a pre-training; empty: that of 03_pretrain
classifiers: str = ""  # folder of `jepalib adapt --out`, as in 10_uncertainty; empty: that of 04_few_shot
tagger_labels: int = 0  # labelled jets of the classifiers, as in 10_uncertainty; 0: the largest number there is
shown_class: str = "Tbqq"  # class of the jet that is drawn again and again
display_jets: int = 500  # jets that single ones are taken from, and that subjets are counted in
gallery_jets: int = 4  # jets in each gallery, at most 8
attention_jets: int = 50  # jets that attention is averaged over, for each network
seed: int = 0  # of the choice of jets and of the mask

# %%
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from jepalib.data.simulation.clustering import subjets
from jepalib.errors import JepalibError
from jepalib.evaluation import picks
from jepalib.evaluation.calibration import entropy
from jepalib.kinematics import four_vectors
from jepalib.masking import MaskConfig, draw_masks
from jepalib.models.attention_maps import class_attention, look
from jepalib.training.attention_focus import attention_focus
from jepalib.training.runs import Run
from jepalib.training.scored import Scored
from jepalib.training.taggers import ARMS, scores, taggers
from jepalib.viz import attention, displays
from jepalib.viz.attention_viewer import AttentionViewer
from jepalib.viz.galleries import gallery
from jepalib.viz.shading import Shade
from jepalib.workbook import inputs, notebook

# %%
stage = notebook.start("11_jet_displays", run_dir)
store = inputs.earlier_store(stage, data_dir)
run = Run.open(stage.depends(pretrained or stage.earlier("03_pretrain")["run"]))
found = taggers(stage.depends(classifiers or Path(stage.earlier("04_few_shot")["few_shot"]).parent), tagger_labels or None)
scored = Scored.load(stage.depends(stage.earlier("10_uncertainty")["scores"]))
same = scores(found, store, scored.rows[:32], torch.device("cpu"))
if same.shape[0] != len(scored.names) or not np.allclose(same, scored.probabilities[:, :32], atol=0.01):
    raise JepalibError("10_uncertainty has scored other classifiers: give both notebooks the same, and run it first")
labels, classes = scored.labels, store.classes
jets = inputs.some_jets(store, "test", max(attention_jets, display_jets), seed)

# %% [markdown]
# ## Reading a jet
#
# Each constituent is a marker at its direction, seen from the jet axis: charged hadrons are filled circles, neutral
# hadrons open ones, photons open pentagons, electrons triangles that point up, muons triangles that point down. The
# area grows with pT, the colour is free. A heavy particle that decays into quarks leaves as many *prongs*: the
# outlines are those of the exclusive kT subjets, which FastJet finds by undoing the last steps of its clustering.

# %%
shown = shown_class if shown_class in classes else classes[-1]
chosen = {name: int((jets.labels == classes.index(name)).nonzero()[0, 0]) for name in (classes[0], shown)}
for name, row in chosen.items():
    fig = displays.jet_figure(jets, row, "pt", subjets=3)
    stage.show(fig, f"subjets_{name}", f"One {name} jet with its three kT subjets; colour and area by pT.")

# %%
softest = {}
for name in chosen:
    shares = []
    for row in (jets.labels == classes.index(name)).nonzero()[:, 0].tolist():
        p4 = four_vectors(jets.take([row])).double().numpy()
        pt = np.hypot(p4[:, 0], p4[:, 1])
        shares.append(np.bincount(subjets(p4, 3), pt, minlength=3)[2] / pt.sum())
    softest[name] = float(np.mean(shares))
    stage.finding(
        f"The softest of three kT subjets carries {softest[name]:.1%} of the pT of a {name} jet (mean of {len(shares)} "
        f"jets, ± {np.std(shares) / len(shares) ** 0.5:.1%})."
    )

# %% [markdown]
# The same jet, coloured by how significantly each track misses the primary vertex. Bottom and charm hadrons fly
# some millimetres before they decay; their tracks are the dark ones. What is neutral has no track, and is pale.

# %%
fig = displays.jet_figure(jets, chosen[shown], "d0sig")
stage.show(fig, "displaced", f"The {shown} jet, coloured by the significance of the transverse impact parameter.")

# %% [markdown]
# And as JP-JEPA's pre-training cuts it: the greedy walk from constituent to constituent, what the student sees
# (context) and what it has to predict (target). `02_masks` is all about this, `05_hep_jepa` shows the patches.

# %%
jet = jets.take([chosen[shown]])
fig = displays.mask_figure(jet, draw_masks(jet, MaskConfig(), torch.Generator().manual_seed(seed)))
stage.show(fig, "masked", "The same jet with the greedy sequence, context, target and what is unused.")

# %% [markdown]
# ## Where two taggers disagree
#
# One tagger was fine-tuned from the pre-training, the other trained from scratch. How often do they put a jet into
# different classes? That means something only beside how often two taggers of *one* arm do: these have other seeds,
# which means other labelled jets, initial weights and batches. Taggers of the two arms with the same seed share the
# labelled jets.

# %%
arms, guesses = np.array(scored.arms), scored.probabilities
pairs = [(a, b) for a in range(len(arms)) for b in range(a + 1, len(arms))]
apart = pd.DataFrame(
    {
        "pair": (f"two {arms[a]}" if arms[a] == arms[b] else f"{arms[a]} and {arms[b]}")
        + (", same seed" if scored.seeds[a] == scored.seeds[b] else ", other seeds"),
        "disagree": float(picks.disagree(guesses[a], guesses[b]).mean()),
    }
    for a, b in pairs
)
apart = apart.groupby("pair").disagree.agg(["mean", "std", "count"]).reset_index()
stage.table(apart, "disagreement", f"Share of {len(labels)} test jets in different classes: mean and spread over pairs of taggers.")

# %%
for row in apart.itertuples():
    spread = f" ± {row.std:.1%} over {row.count} pairs" if row.count > 1 else ", one pair"
    stage.finding(f"{row.pair}: in {row.mean:.1%}{spread} of {len(labels)} test jets the taggers say different classes.")

# %%
one, other = (int(np.flatnonzero(arms == arm)[0]) for arm in ARMS)
models = {str(scored.names[n]): guesses[n] for n in (one, other)}
split = picks.disagree(*models.values())
right = {name: float((table.argmax(1) == labels)[split].mean()) for name, table in models.items()}
stage.finding(
    f"Where {' and '.join(models)} disagree ({int(split.sum())} of {len(labels)} jets), "
    + ", ".join(f"{name} is right in {share:.0%}" for name, share in right.items())
    + f", neither in {1 - sum(right.values()):.0%}.",
    main=True,
)

# %%
rows = picks.disagreements(*models.values(), gallery_jets)
fig = gallery(store.read(scored.rows[rows]), {name: table[rows] for name, table in models.items()}, classes, subjets=3)
stage.show(fig, "disagreements", f"The jets, of {len(labels)} test jets, on which both taggers are sure, and of different classes; outlines are three kT subjets.", main=True)

# %% [markdown]
# ## The surest mistakes
#
# What looks so much like another class that a tagger has no doubt? Often the jet *is* so: a lepton that is lost, a
# prong outside of the cone, a gluon that splits as a boson decays. No tagger can mend that. What it should do is to
# be less sure.

# %%
sure, name = guesses[one], str(scored.names[one])
wrong = sure.argmax(1) != labels
table = pd.DataFrame({"true": np.array(classes)[labels], "predicted": np.array(classes)[sure.argmax(1)], "confidence": sure.max(1)})
table = table[wrong].sort_values("confidence", ascending=False).head(max(int(wrong.sum()) // 10, 1))
common = table.value_counts(["true", "predicted"]).rename("jets").reset_index()
stage.table(common.head(10), "mistakes", f"The surest tenth of the mistakes of {name} ({len(table)} of {int(wrong.sum())}), by what was taken for what.")
stage.finding(
    f"Of the surest tenth of the mistakes of {name} ({len(table)} jets, confidence above {table.confidence.min():.2f}), "
    f"{common.jets[0] / len(table):.0%} are {common.true[0]} taken for {common.predicted[0]}.",
    main=True,
)

# %%
rows = picks.confident_errors(sure, labels, gallery_jets)
fig = gallery(store.read(scored.rows[rows]), {n: t[rows] for n, t in models.items()}, classes, "d0sig")
stage.show(fig, "mistakes", f"The surest mistakes of {name} in {len(labels)} test jets, and what the other tagger says of the same jets; colour by displacement.")

# %% [markdown]
# ## The most uncertain
#
# The jets whose scores have the largest entropy. Is the tagger uncertain where it should be?

# %%
rows = picks.most_uncertain(sure, gallery_jets)
fig = gallery(store.read(scored.rows[rows]), {n: t[rows] for n, t in models.items()}, classes, subjets=3)
stage.show(fig, "uncertain", f"The jets, of {len(labels)} test jets, that {name} knows least about; outlines are three kT subjets.")

# %%
doubtful = picks.most_uncertain(sure, max(len(labels) // 20, 1))
accuracy = {"all": float((~wrong).mean()), "most uncertain": float((~wrong)[doubtful].mean())}
counts = {"all": store.read(scored.rows).counts, "most uncertain": store.read(scored.rows[doubtful]).counts}
counts = {which: float(n.float().mean()) for which, n in counts.items()}
stage.finding(
    f"Of the most uncertain 5 % ({len(doubtful)} jets, entropy above {entropy(sure)[doubtful].min():.2f} nats) {name} gets "
    f"{accuracy['most uncertain']:.0%} right, of all {len(labels)} {accuracy['all']:.0%}; they have {counts['most uncertain']:.0f} "
    f"constituents on average, all jets {counts['all']:.0f}."
)

# %% [markdown]
# ## What the class token looks at
#
# In the last blocks of the network a *class token* gathers the jet: each of its heads gives every constituent (every
# patch, in HEP-JEPA) a share of its attention, and takes that much of what it carries. The colour compares with
# what all would get if the head made no difference between them. Attention is where information *may* flow. What a
# decision rests on is another question: `09_robustness` takes things away to find out.

# %%
tagger = found[one].classifier
seen = look(tagger, jets, chosen[shown])
fig = attention.class_attention_figure(seen)
stage.show(fig, "class_attention", f"Attention of the class token of {name} by block and head, relative to even attention.")

# %%
some = jets.take(range(min(attention_jets, len(jets))))
keys = some.counts[some.jet_of_particle] + 1  # all constituents, and the class token itself
relative = {t.name: class_attention(t.classifier, some) * keys for t in found}
even = relative[name].numpy()  # 1: as much as with even attention
fig = displays.jet_figure(some, int(some.counts.argmax()), Shade(even, "attention, relative to even"))
stage.show(fig, "class_token", f"The largest of {len(some)} jets, coloured by the attention of the class token of {name}, mean over heads.")

# %%
for arm in ARMS:
    spans = [np.quantile(relative[t.name].numpy(), [0.025, 0.975]) for t in found if t.arm == arm]
    low, high = np.array(spans).T
    stage.finding(
        f"{arm}: 95 % of {len(even)} constituents in {len(some)} jets get {low.mean():.2f} to {high.mean():.2f} times the even "
        f"share of the class token's attention (mean of {len(low)} seeds; {low.min():.2f} to {high.max():.2f} at their extremes)."
    )

# %% [markdown]
# ## What the constituents look at
#
# In the blocks before, every constituent attends to every other, with the pairwise physics as a bias. A row is a
# block, a column a head; the ring marks the hardest constituent, and lines lead to what it attends to.

# %%
fig = attention.query_figure(seen, int(seen.pt.argmax()))
stage.show(fig, "query_attention", f"Attention of the hardest constituent in every block and head of {name}.")

# %% [markdown]
# Jet, block, head and the constituent that asks, all at hand:

# %%
AttentionViewer(tagger, jets)

# %% [markdown]
# ## What heads look at, over many jets
#
# Two numbers for each head, both relative to even attention: the mean distance ΔR from who asks to what is attended
# to (for the class token, from the jet axis), and the mean pT of what is attended to. One is a head that makes no
# difference; below one in ΔR it looks around itself; above one in pT it looks at what is hard.

# %%
networks = {"pre-trained": run.encoder(), **{str(t.name): t.classifier for t in found}}
focus = {name: attention_focus(network, some) for name, network in networks.items()}
fig = attention.focus_figure({name: focus[name] for name in ("pre-trained", *models)})
stage.show(fig, "focus", f"How near and how hard what each head looks at is; mean over {len(some)} jets, one seed of each arm.")

# %%
summary = pd.concat(table.assign(network=name) for name, table in focus.items())
summary["arm"] = summary.network.str.split(",").str[0]
summary["spread"] = summary.pt_ratio.sub(1).abs()
means = summary.groupby(["arm", "kind", "network"])[["delta_r_ratio", "pt_ratio", "spread", "elsewhere"]].mean()
means = means.groupby(["arm", "kind"]).agg(["mean", "std", "count"])
means.columns = [f"{a} {b}".replace(" mean", "") for a, b in means.columns]
stage.table(means.reset_index(), "attention", f"Means over heads and blocks: relative ΔR and pT of what is attended to, mean distance of the latter from one; mean and spread over seeds, {len(some)} jets.")

# %%
for (arm, kind), row in means.iterrows():
    who = "the class token" if kind == "class" else "a constituent or patch"
    spread = f" ± {row['pt_ratio std']:.2f} over {row['pt_ratio count']:.0f} seeds" if row["pt_ratio count"] > 1 else " (one network)"
    stage.finding(
        f"{arm}: on average over heads {who} attends to what has {row.pt_ratio:.2f}{spread} times the pT and "
        f"{row.delta_r_ratio:.2f} times the distance that even attention would give ({len(some)} jets)."
    )

# %%
stage.finish(
    softest=softest,
    disagree=dict(zip(apart.pair, apart["mean"])),
    right=right,
    accuracy=accuracy,
    mistakes=len(table),
    even=[float(even.min()), float(even.max())],
    attention={f"{arm}, {kind}": {"pt": row.pt_ratio, "delta_r": row.delta_r_ratio} for (arm, kind), row in means.iterrows()},
)
