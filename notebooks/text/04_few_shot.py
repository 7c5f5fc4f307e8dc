# %% [markdown]
# # How many labels does it save?
#
# Does pre-training help where labels are few? A tagger is trained on a few hundred or a few thousand labelled
# jets, once from the pre-trained encoder and once from random weights, and both are judged on the same test
# jets. The difference means something only against its spread: each point is repeated with other labelled
# jets, other initial weights and another order of batches.

# %% tags=["parameters"]
run_dir: str = "runs/laptop"  # folder of this run, seen from the project's root
data_dir: str = ""  # a store or JetClass files of your own; empty: those of 01_explore
method: str = "jp-jepa"  # jp-jepa, hep-jepa, p-jepa or jet-targets
pretrained: str = ""  # folder of a pre-training; empty: that of 03_pretrain
shipped: str = "data/models/jet-targets-nano"  # an encoder that comes with the workbook; empty: none
labels: list[int] = [500, 2000]  # numbers of labelled jets
seeds: int = 3  # repetitions of each point
adapt_steps: int = 200  # training steps with 500 labels; grows with the square root of the labels
rates: list[float] = [0.001, 0.003]  # learning rates that are tried
encoder_scales: list[float] = [0.3, 1.0]  # rate of the encoder relative to that of the head, tried with each
lengths: list[float] = [1.0]  # multiples of adapt_steps that are tried; above 2,000 labels try 3.0 too
few_passes: int = 10  # below so many passes over the labels a warning is given
test_jets: int = 5000  # jets that the numbers are made from
seed: int = 0  # of the bootstrap over seeds

# %%
import numpy as np
import pandas as pd

from jepalib.evaluation.differences import difference, plus_minus
from jepalib.evaluation.label_savings import catch_up, few_shot_table, labels_needed
from jepalib.evaluation.published import published
from jepalib.methods.registry import find_method
from jepalib.training.adapt import adapt
from jepalib.training.few_shot import AdaptConfig
from jepalib.training.runs import Run
from jepalib.training.start import jets_in_all
from jepalib.training.summary_trees import summary_trees
from jepalib.viz import gains, results
from jepalib.workbook import inputs, notebook

# %%
stage = notebook.start("04_few_shot", run_dir)
store = inputs.earlier_store(stage, data_dir)
run = Run.open(stage.depends(pretrained or stage.earlier("03_pretrain")["run"]))
run.check_method(method)
head = find_method(method).head
if shipped:  # what is missing is said now, not after the first trainings
    other = Run.open(stage.depends(shipped))
    grown = few_shot_table(stage.depends(other.path / "few_shot.csv"))
    stage.depends(other.path / "trees.csv")
settings = {
    "steps": adapt_steps,
    "rates": tuple(rates),
    "encoder_scales": tuple(encoder_scales),
    "lengths": tuple(lengths),
    "test_jets": test_jets,
}

# %% [markdown]
# ## Four ways to use labels
#
# - **linear probe**: the encoder stays as it is; a logistic regression reads its embeddings. What is there, simply arranged.
# - **frozen**: the encoder stays; a small network (the head of the method) reads its output.
# - **fine-tuned**: the encoder is trained along.
# - **from scratch**: the same network without pre-training, the one to beat.
#
# Fine-tuned and from scratch get the same tuning: the same grid of learning rates, chosen on validation jets
# with the first seed (a frozen encoder has no rate, so only the head's are tried). The best moment of each
# training is chosen on validation jets too, and test jets are looked at once, at the end. The linear probe
# chooses its regularisation on a fifth of its own labels.
#
# How long to train is part of the tuning, and where a comparison is easily unfair. Steps grow with the square
# root of the labels here, so that there are fewer passes over more of them. With 500 and 2,000 labels longer was no
# better from scratch; with 10,000 from scratch gained much by it, and the fine-tuned network nothing (LOG.md).
# Whoever asks for so many should let `lengths` try longer trainings too, for both arms.
#
# Validation jets have labels as well, often more of them than there are to train on. They are the same for every
# arm and are *not* counted below: "500 labels" means 500 to learn from. Who has 500 labels in all must tune with
# a part of them, and all arms lose by that.

# %%
modes = ["linear-probe", "frozen", "fine-tuned", "from-scratch"]
out = stage.depends(stage.keyed("few_shot", run.identity(), store.data_hash, settings, head))
table = adapt(run.path, store.path, out, labels, modes, seeds, [head], settings)
table = table[table["head"].isin([head, "logistic"]) & table.labels.isin(labels) & (table.seed < seeds)]
often = {count: AdaptConfig(steps=adapt_steps).passes(count, max(lengths)) for count in labels}
passes = ", ".join(f"{times:.0f} times with {count:,} labels" for count, times in often.items())
stage.finding(f"A training sees each of its labelled jets up to {passes}.")
if min(often.values()) < few_passes:
    stage.finding("So few passes favour what begins with an encoder: the gain is then one in speed as well.")
own = f"{run.config.method}, {jets_in_all(run):,} jets seen"
tables = {own: table}

# %% [markdown]
# ## An encoder with more behind it
#
# A pre-training of minutes may show no gain at all, which says little about pre-training. So the workbook
# brings an encoder that has seen more: `data/models/jet-targets-nano`, whose model card is beside it. From a
# jet with a part of its constituents hidden it was taught about a hundred numbers of the whole jet: masses,
# substructure, displaced tracks, subjets. All are computed from the jet itself, no label enters.
#
# It has three advantages that should be known before its curve is seen. Its jets came from the simulator that
# makes the jets here where no `data_dir` is given, so that it knows them better than it would
# know those of JetClass. They were of all ten classes in equal parts, where unlabelled jets of a collider are nearly
# all QCD. And what it was taught is known to tell the classes apart. Hence another bar beside
# training from scratch: **boosted trees that are simply given these numbers**, for the same labelled jets and
# tuned on the same validation jets. An encoder that does no better has learnt little that one could not have
# written down.
#
# It gets the same labelled jets, the same grid and the same number of trials as above. Training from scratch
# knows of no pre-training and is shared, unless the two encoders differ in architecture or in head: then the
# second has a training from scratch of its own.

# %%
if shipped:
    other_head = find_method(other.config.method).head
    same = (other.architecture, other_head) == (run.architecture, head)
    other_out = stage.depends(stage.keyed("shipped", other.identity(), store.data_hash, settings, other_head))
    own_modes = modes[:3] if same else modes
    found = adapt(other.path, store.path, other_out, labels, own_modes, seeds, [other_head], settings)
    found = found[found["mode"].isin(own_modes) & found.labels.isin(labels) & (found.seed < seeds)]
    trees = summary_trees(store, labels, seeds, test_jets)
    scratch = table[table["mode"] == modes[3]] if same else None
    theirs = f"{other.path.name}, {jets_in_all(other):,} jets seen"
    tables[theirs] = pd.concat([found, scratch, trees], ignore_index=True)

# %% [markdown]
# ## The curve

# %%
fig = results.few_shot_beside(tables) if shipped else results.few_shot(table)
judged = f"{int(table.test_jets.iloc[0]):,} test jets"
drawn = f"lines: mean of {seeds} seeds, bands: their standard deviation, small dots beside them: single seeds"
about = f"{drawn if seeds > 1 else 'one seed'}; head: {head}" + (f", of the second {other_head}" if shipped else "")
stage.show(fig, "few_shot", f"Accuracy on {judged} against labels, by pre-training; {about}.", main=True)

# %%
summary = (
    pd.concat([each.assign(encoder=name) for name, each in tables.items()])
    .groupby(["encoder", "mode", "labels"], sort=False)
    .agg(
        accuracy=("accuracy", "mean"),
        spread=("accuracy", "std"),
        auc=("auc_ovo", "mean"),
        seeds=("seed", "nunique"),
        seconds=("seconds", "sum"),
    )
    .reset_index()
)
stage.table(
    summary, "summary", f"Mean and standard deviation over seeds, {len(store.classes)} classes, {judged}."
)

# %% [markdown]
# ## What it says
#
# The difference between the two arms, with the spread of both over seeds. The sentence is made from the
# numbers: a difference within the 95 % interval that the spread over seeds allows is none, and one seed alone
# says nothing. The seeds differ in labelled jets, initial weights and batches; behind all of them stand *one*
# pre-training of each kind and one set of test jets, whose luck no interval here knows.

# %%
gained = {name: {} for name in tables}
for name, each in tables.items():
    for count in labels:
        arms = [
            each[(each.labels == count) & (each["mode"] == mode)].accuracy.to_numpy() for mode in modes[2:]
        ]
        result = difference(*arms)
        gained[name][count] = result.gain
        stage.finding(f"{name}; {count:,} labels: {result.sentence(*modes[2:])}.", main=count == min(labels))

# %%
over_trees = {}
if shipped:
    made_of = min(other.manifest[key] for key in ("training_jets", "jets_seen"))
    made_of = f"{made_of:,} different jets without labels, seed {other.config.seed}"
    among = (
        "the training jets of this run"
        if other.manifest["data_hash"] == store.data_hash
        else "another data set than that of this run"
    )
    stage.finding(f"{theirs}: pre-trained on {made_of}, {among}.")
    for count in labels:
        arms = (found[(found.labels == count) & (found["mode"] == modes[2])], trees[trees.labels == count])
        result = difference(*(arm.accuracy.to_numpy() for arm in arms))
        over_trees[str(count)] = result.gain
        stage.finding(f"{theirs}; {count:,} labels: {result.sentence(modes[2], trees['mode'].iloc[0])}.")

# %% [markdown]
# ## What more views buy
#
# A *view* is one look at a jet in pre-training: half a million jets seen six times are three million views.
#
# The table that lies beside the encoder was made where it was trained, with settings and test jets of its own
# (`benchmarks/gain_by_views.py`; the model card tells them). Stages on the way were adapted with the settings
# that were best at the end. They come from the middle of one training, whose rate was still high then: a
# training that had ended there might be better, and the last rise then less steep. Fine-tuned and from
# scratch are drawn with the head that was better on validation jets; trees on the numbers, where the table has them, are
# the bar again, the same at all views.

# %%
if shipped:
    points = grown.groupby(["mode", "labels", "jets_pretrained"]).seed.nunique()
    many = f"{points.min()} to {points.max()}" if points.min() < points.max() else f"{points.max()}"
    source = (
        f"{int(grown.test_jets.max()):,} test jets, {many} seeds a point; table: few_shot.csv of {shipped}"
    )
    used = grown.dropna(subset="head").groupby("mode")["head"].unique()
    used = "; ".join(f"{mode} with {' or '.join(names)}" for mode, names in used.items())
    said = f"bands: one standard deviation over seeds, of training from scratch too; {used}"
    stage.show(
        gains.by_views(grown), "by_views", f"Accuracy against jets seen in pre-training; {said}; {source}."
    )
    fig = gains.gain_by_views(grown)
    stage.show(
        fig, "gain_by_views", f"Gain of the fine-tuned encoder; bars and bands: 95 % intervals; {source}."
    )
    for count, rows in gains.gains(grown).groupby("labels"):
        steps = [
            f"{r.gain:+.3f}{plus_minus(r.reach)} after {int(r.views):,} views ({r.word})"
            for r in rows.itertuples()
        ]
        stage.finding(f"{count:,} labels, fine-tuned minus from scratch, 95 % intervals: {'; '.join(steps)}.")

# %% [markdown]
# ## The number to remember
#
# A gain in accuracy means different things at different heights. What a user saves is *labels*: how many would
# training from scratch need for the same accuracy? This is read off its curve, between measured points along a
# line in the logarithm of the labels; beyond the last measured point nothing is guessed. Where both curves meet,
# from scratch has caught up. The interval draws seeds with replacement, for each point apart.

# %%
if shipped:
    last = grown[~grown.jets_pretrained.between(1, grown.jets_pretrained.max() - 1)]
    generator = np.random.default_rng(seed)
    needed = labels_needed(last, modes[2], generator)
    meeting = {mode: str(catch_up(last, mode, generator)) for mode in modes[:3] if mode in set(last["mode"])}
    said = "arrows lead to where from scratch is as good, with the ratio of labels; bands: one standard deviation"
    fig = gains.labels_saved(last, needed)
    stage.show(fig, "labels_saved", f"Accuracy against labels; {said}; {source}.")
    for row in needed.itertuples():
        point = f"Fine-tuned with {row.labels:,} labels: accuracy {row.accuracy:.3f} ({row.seeds} seeds)"
        stage.finding(f"{point}; labels that from scratch needs for it: {row.needed}.")
    for mode, count in meeting.items():
        stage.finding(f"Labels at which from scratch catches up with {mode}: {count}.", main=mode == modes[2])

# %%
first, of_shipped = summary[summary.encoder == own], {}
if shipped:
    accuracy = summary[summary.encoder == theirs].itertuples()
    of_shipped = {
        "few_shot": str(other_out / "few_shot.csv"),
        "accuracy": {f"{r.mode}, {r.labels}": r.accuracy for r in accuracy},
        "gains": {str(count): gain for count, gain in gained[theirs].items()},
        "over_trees": over_trees,
        "needed": {str(row.labels): str(row.needed) for row in needed.itertuples()},
        "catch_up": meeting,
    }

# %% [markdown]
# ## What the encoder is not good for
#
# It is small, and trained on jets of a fast detector simulation: a start for trying things out, and a bar for a
# method of your own, no tagger for data. What it gained here need not hold on
# jets of another generator or detector. It was taught the mass of a jet among other things, so that its features
# shape mass spectra, to be watched in a bump hunt. And the numbers that it learnt were chosen by people who know
# which classes will be asked for: another question may need others.

# %% [markdown]
# ## The same question, published
#
# Figures of the papers for the real JetClass data, with millions of jets in pre-training and larger networks
# (the table names the source of each). They are *not* comparable point by point with ours: other jets, other
# scale. What to look at is the gap between the two arms, and where it closes. Labels are those that each paper
# prints (HEP-JEPA prints 5,000 beside "0.05 %" of a hundred million).

# %%
literature = published("JetClass", "accuracy")
ours = own if pretrained or data_dir or not shipped else f"{theirs}, table beside it"
fig = results.few_shot(table if ours == own else last, published=literature)
stage.show(
    fig, "published", f"Our points ({ours}) beside published ones (open markers): other jets, another scale."
)
stage.table(
    literature[["model", "mode", "inputs", "labels", "value", "source"]],
    "published",
    "Published accuracies on JetClass, with their sources.",
)

# %%
stage.finish(
    few_shot=str(out / "few_shot.csv"),
    accuracy={f"{r.mode}, {r.labels}": r.accuracy for r in first.itertuples()},
    gains={str(count): gain for count, gain in gained[own].items()},
    best=first.loc[first.accuracy.idxmax(), "mode"],
    shipped=of_shipped,
)
