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
method: str = "jp-jepa"  # jp-jepa, hep-jepa or p-jepa
pretrained: str = ""  # folder of a pre-training; empty: that of 03_pretrain
labels: list[int] = [500, 2000]  # numbers of labelled jets
seeds: int = 3  # repetitions of each point
adapt_steps: int = 200  # training steps with 500 labels; grows with the square root of the labels
rates: list[float] = [0.001]  # learning rates that are tried
encoder_scales: list[float] = [0.3, 1.0]  # rate of the encoder relative to that of the head, tried with each
test_jets: int = 5000  # jets that the numbers are made from

# %%
from jepalib.evaluation.differences import difference
from jepalib.evaluation.published import published
from jepalib.methods.registry import find_method
from jepalib.training.adapt import adapt
from jepalib.training.runs import Run
from jepalib.viz import results
from jepalib.workbook import inputs, notebook

stage = notebook.start("04_few_shot", run_dir)
store = inputs.earlier_store(stage, data_dir)
run = Run.open(stage.depends(pretrained or stage.earlier("03_pretrain")["run"]))
run.check_method(method)
head = find_method(method).head
settings = {
    "steps": adapt_steps,
    "rates": tuple(rates),
    "encoder_scales": tuple(encoder_scales),
    "test_jets": test_jets,
}

# %% [markdown]
# ## Four ways to use labels
#
# - **linear probe**: the encoder stays as it is; a logistic regression reads its embeddings. What is there, simply arranged.
# - **frozen**: the encoder stays; a small network, the one of the method's paper, reads its output.
# - **fine-tuned**: the encoder is trained along.
# - **from scratch**: the same network without pre-training, the one to beat.
#
# Fine-tuned and from scratch get the same tuning: the same grid of learning rates, chosen on validation jets
# with the first seed (a frozen encoder has no rate, so only the head's are tried). The best moment of each
# training is chosen on validation jets too, and test jets are looked at once, at the end. The linear probe
# chooses its regularisation on a fifth of its own labels.

# %%
modes = ["linear-probe", "frozen", "fine-tuned", "from-scratch"]
out = stage.depends(stage.keyed("few_shot", run.identity(), store.data_hash, settings, head))
table = adapt(run.path, store.path, out, labels, modes, seeds, [head], settings)
table = table[table["head"].isin([head, "logistic"]) & table.labels.isin(labels) & (table.seed < seeds)]

# %% [markdown]
# ## The curve

# %%
fig = results.few_shot(table)
stage.show(
    fig, "few_shot", f"Accuracy on test jets against labels; band: standard deviation over {seeds} seeds."
)

# %%
summary = (
    table.groupby(["mode", "labels"])
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
    summary,
    "summary",
    f"Mean and standard deviation over seeds, ten classes, {int(table.test_jets.iloc[0])} test jets.",
)

# %% [markdown]
# ## What it says
#
# The difference between the two arms, with the spread of both over seeds. The sentence is made from the
# numbers: a difference within the 95 % interval that the spread over seeds allows is none, and one seed alone
# says nothing.

# %%
gains = {}
for count in labels:
    arms = [table[(table.labels == count) & (table["mode"] == mode)].accuracy.to_numpy() for mode in modes[2:]]
    result = difference(*arms)
    gains[count] = result.gain
    stage.finding(f"{count} labels: {result.sentence(*modes[2:])}.")

# %% [markdown]
# ## The same question, published
#
# Figures of the papers for the real JetClass data, with millions of jets in pre-training and larger networks
# (the table names the source of each). They are *not* comparable point by point with ours: other jets, other
# scale. What to look at is the gap between the two arms, and where it closes.

# %%
theirs = published("JetClass", "accuracy")
fig = results.few_shot(table, published=theirs)
stage.show(
    fig, "published", "Our points beside published ones (open markers): another data set size, another scale."
)
stage.table(
    theirs[["model", "mode", "inputs", "labels", "value", "source"]],
    "published",
    "Published accuracies on JetClass, with their sources.",
)

# %%
stage.finish(
    few_shot=str(out / "few_shot.csv"),
    accuracy={f"{r.mode}, {r.labels}": r.accuracy for r in summary.itertuples()},
    gains={str(count): gain for count, gain in gains.items()},
    best=summary.loc[summary.accuracy.idxmax(), "mode"],
)
