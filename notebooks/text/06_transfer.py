# %% [markdown]
# # Another experiment's jets
#
# Does what was learnt on one data set help on another? Top tagging and quark–gluon tagging are the field's two
# reference tasks. Their jets come from other collisions, another detector or none, other energies and cone
# sizes, and with fewer inputs: no displaced tracks in either, no particle types in the first. An encoder that
# was trained on all inputs sees zeros where one is missing.

# %% tags=["parameters"]
run_dir: str = "runs/laptop"  # folder of this run, seen from the project's root
data_dir: str = ""  # JetClass for the supervised pre-training; empty: that of 01_explore
pretrained: str = ""  # folder of a HEP-JEPA pre-training; empty: that of 05_hep_jepa
top_dir: str = ""  # the public top-tagging files (train.h5, val.h5, test.h5) or a store; empty: simulated
quark_gluon_dir: str = ""  # the public quark–gluon files (QG_jets*.npz) or a store; empty: simulated
twin_train: int = 1000  # simulated jets of each class for training
twin_val: int = 200  # for choosing
twin_test: int = 1000  # for reporting
supervised_steps: int = 200  # steps of the supervised pre-training
batch_size: int = 256  # jets a step of it
processes: int = 0  # 0: one per GPU, or per core where there is none
transfer_steps: int = 50  # training steps with 500 labels; grows with the square root of the labels
transfer_seeds: int = 2  # repetitions of each arm
rates: list[float] = [0.001, 0.003]  # learning rates that are tried
encoder_scales: list[float] = [0.3, 1.0]  # rate of the encoder relative to that of the head, tried with each
choose_jets: int = 1000  # validation jets that settings and moments are chosen on
test_jets: int = 5000  # jets that the numbers are made from
seed: int = 0  # of everything random

# %%
import pandas as pd
from IPython.display import Markdown

from jepalib.evaluation.differences import difference
from jepalib.evaluation.published import published_table
from jepalib.evaluation.tagging import auc_ovo
from jepalib.methods.registry import find_method
from jepalib.training.adapt import adapt
from jepalib.training.few_shot import AdaptConfig
from jepalib.training.presets import pretrain_config
from jepalib.training.runs import Run
from jepalib.viz import results
from jepalib.viz.transfer import transfer_figure, two_classes
from jepalib.workbook import inputs, notebook
from jepalib.workbook.live import pretrain_live, pretrain_settings

stage = notebook.start("06_transfer", run_dir)
jetclass = inputs.earlier_store(stage, data_dir)
hep = Run.open(stage.depends(pretrained or stage.earlier("05_hep_jepa")["run"]))
hep.check_method("hep-jepa")
twins = {"train": twin_train, "val": twin_val, "test": twin_test}
stores = {
    "top": inputs.dataset_store(stage, "top", top_dir, twins, seed),
    "quark-gluon": inputs.dataset_store(stage, "quark-gluon", quark_gluon_dir, twins, seed),
}

# %% [markdown]
# ## The jets
#
# **Top tagging**: hadronic tops against QCD dijets, 14 TeV, R = 0.8, 550 to 650 GeV, four-vectors only. A top
# has three prongs, which N-subjettiness sees in τ3/τ2, and its mass. **Quark–gluon**: Z + quark against
# Z + gluon, R = 0.4, 500 to 550 GeV, no detector. A gluon has the larger colour charge, radiates more, and makes
# more and softer constituents: multiplicity alone is a good tagger.

# %%
jets = {name: inputs.some_jets(store, "test", test_jets, seed) for name, store in stores.items()}
for name, store in stores.items():
    fig = two_classes(jets[name], store.classes)
    stage.show(fig, f"{name}_jets", f"{name}: constituents, soft-drop mass and τ3/τ2 of both classes.")


# %%
def cut_auc(score, labels):
    """AUC of one number as a tagger, whichever way it points."""
    share = score.argsort().argsort() / max(len(score) - 1, 1)
    value = auc_ovo(pd.DataFrame({0: 1 - share, 1: share}).to_numpy(), labels)
    return max(value, 1 - value)


counts = {name: some.counts.numpy() for name, some in jets.items()}
labels = {name: some.labels.numpy() for name, some in jets.items()}
tau32 = (jets["top"].observable("tau3") / jets["top"].observable("tau2").clamp_min(1e-6)).numpy()
cuts = {
    "top, soft-drop mass": cut_auc(jets["top"].observable("sdmass").numpy(), labels["top"]),
    "top, τ3/τ2": cut_auc(tau32, labels["top"]),
    "quark-gluon, constituents": cut_auc(counts["quark-gluon"], labels["quark-gluon"]),
}
stage.finding("AUC of a single number: " + ", ".join(f"{name} {auc:.3f}" for name, auc in cuts.items()) + ".")

# %% [markdown]
# ## Two encoders to transfer
#
# HEP-JEPA's was trained without labels. Its rival, of the same architecture and inputs, is trained *with* the
# labels of the JetClass jets.

# %%
Markdown(find_method("supervised").about)

# %%
settings = pretrain_settings(supervised_steps, batch_size, seed)
settings |= {"encoder": "patches", "inputs": hep.config.inputs}
size = hep.config.size
config = pretrain_config("supervised", size, settings)
path = stage.depends(stage.keyed(f"supervised-{size}", config, jetclass.data_hash))
supervised = pretrain_live("supervised", size, jetclass.path, path, settings, results.training_curves, processes)
seen = {name: run.manifest["jets_seen"] for name, run in (("HEP-JEPA", hep), ("supervised", supervised))}
stage.finding("Jets seen in pre-training: " + ", ".join(f"{name} {n:,}" for name, n in seen.items()) + ".")
fig = results.training_curves(supervised.metrics())
stage.show(fig, "supervised", "Supervised pre-training on JetClass: loss and training accuracy over ten classes.")

# %% [markdown]
# ## Five ways to a tagger
#
# All labels of each data set are used, as in the paper. The same head (class attention) sits on each encoder;
# *frozen* trains the head alone, *fine-tuned* the encoder too. Every arm has the same steps and the same grid of
# rates, chosen on validation jets, as is the best moment of each training.

# %%
arms = {
    "from scratch": (hep, "from-scratch"),
    "supervised, frozen": (supervised, "frozen"),
    "supervised, fine-tuned": (supervised, "fine-tuned"),
    "HEP-JEPA, frozen": (hep, "frozen"),
    "HEP-JEPA, fine-tuned": (hep, "fine-tuned"),
}
choices = {
    "steps": transfer_steps,
    "rates": tuple(rates),
    "encoder_scales": tuple(encoder_scales),
    "val_jets": choose_jets,
    "test_jets": test_jets,
}

# %%
head, tables = find_method("hep-jepa").head, []
for name, store in stores.items():
    count = len(store.rows("train"))
    for run, modes in ((hep, ["frozen", "fine-tuned", "from-scratch"]), (supervised, ["frozen", "fine-tuned"])):
        out = stage.depends(stage.keyed(f"{name}-{run.config.method}", run.identity(), store.data_hash, choices))
        rows = adapt(run.path, store.path, out, [count], modes, transfer_seeds, [head], choices)
        rows = rows[rows.seed < transfer_seeds].assign(dataset=name, pretrained=run.config.method)
        tables.append(rows)
    times = AdaptConfig(steps=transfer_steps).passes(count)
    stage.finding(
        f"{name}: a training sees each of {count:,} labelled jets {times:.1f} times. Where these are few, the "
        "distance to training from scratch is one in speed as well."
    )
table = pd.concat(tables, ignore_index=True)
called = {(run.config.method, mode): arm for arm, (run, mode) in arms.items()}
table["arm"] = [called[key] for key in zip(table.pretrained, table["mode"])]
table = table.sort_values("arm", key=lambda names: names.map(list(arms).index), kind="stable")

# %%
metrics = ["accuracy", "auc_ovo", "rej_50", "rej_30"]
summary = table.groupby(["dataset", "arm"], sort=False)[metrics].agg(["mean", "std"])
summary.columns = [f"{name} {kind}" for name, kind in summary.columns]
stage.table(
    summary.reset_index(),
    "transfer",
    f"Ours: inputs {hep.config.inputs}, {transfer_seeds} seeds; "
    + ", ".join(f"{name} {len(store.rows('train'))} training jets" for name, store in stores.items())
    + "; background rejection 1/FPR at 50 % and 30 % signal efficiency "
    "(empty where too few background jets pass).",
)

# %% [markdown]
# ## Beside the paper's tables 2 and 3
#
# Peak validation accuracies after pre-training on 100 million jets and with all labels of the real data sets
# (1.2 million for top tagging). The differences between arms are what to compare, not the values. For
# quark–gluon tagging the table has no fine-tuned rows, though the text speaks of them.

# %%
theirs = pd.concat([published_table("2502.03933", number).assign(table=number) for number in (2, 3)])
theirs = theirs[theirs.model == "HEP-JEPA"].copy()
learnt = theirs.pretrained_on.map({"JetClass (labels)": "supervised, ", "JetClass (SSL)": "HEP-JEPA, "}).fillna("")
theirs["arm"] = [f"{how}{mode}".replace("from-scratch", "from scratch") for how, mode in zip(learnt, theirs["mode"])]
stage.table(theirs[["dataset", "arm", "value", "source"]], "published", "Accuracies of the paper's Tables 2 and 3.")
fig = transfer_figure(table, theirs)
stage.show(fig, "transfer", "Accuracy of five ways to a tagger: points are seeds, diamonds the paper's values.", main=True)


# %%
def arm(dataset, name):
    """Accuracies of one arm, a value per seed."""
    return table[(table.dataset == dataset) & (table.arm == name)].accuracy.to_numpy()


pairs = [(name, "from scratch") for name in list(arms)[1:]] + [("HEP-JEPA, fine-tuned", "supervised, fine-tuned")]
value = theirs.set_index(["dataset", "arm"])["value"]
for dataset in stores:
    for first, second in pairs:
        result = difference(arm(dataset, first), arm(dataset, second))
        text = f"{dataset}: {result.sentence(first, second)}"
        if {(dataset, first), (dataset, second)} <= set(value.index):
            gain = value[dataset, first] - value[dataset, second]
            text += f". The paper's {gain:+.3f} is {result.against(gain)}"
        stage.finding(f"{text}.", main=(first, second) == ("HEP-JEPA, fine-tuned", "from scratch"))

# %%
stage.finish(
    stores={name: str(store.path) for name, store in stores.items()},
    supervised=str(supervised.path),
    cuts=cuts,
    accuracy={f"{d}, {a}": float(v) for (d, a), v in table.groupby(["dataset", "arm"]).accuracy.mean().items()},
)
