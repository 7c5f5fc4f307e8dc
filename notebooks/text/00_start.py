# %% [markdown]
# # Start here: from jets to a few-shot curve
#
# Can a network learn what a jet is without being told which particle made it? This notebook walks the
# whole chain once on the small sample that comes with the project, in about a minute. The numbers at the
# end are far too small to mean anything; the notebooks that follow take each step seriously.
#
# At the LHC, quarks, gluons and heavy particles show up as *jets*: sprays of some tens of particles that
# hit the detector close together. When a Higgs boson, a W, a Z or a top quark is fast enough, all of its
# decay products merge into one wide jet, and the pattern of particles inside is all there is to tell
# H → bb from an ordinary quark or gluon. Labels for such jets come from simulation only. Real data have
# none, but there are billions of real jets. *Self-supervised* learning uses those: hide a part of a jet,
# predict it from the rest, and keep the encoder that learnt to do so.

# %% tags=["parameters"]
run_dir: str = "runs/laptop"  # folder of this run, seen from the project's root
sample_dir: str = "data/sample"  # JetClass files: 100 simulated jets of each of ten classes
start_steps: int = 20  # pre-training steps
start_labels: int = 300  # labelled jets in the comparison
start_adapt_steps: int = 30  # training steps of each classifier
seed: int = 0  # of everything random

# %%
import torch

from jepalib.masking import MaskConfig, draw_masks
from jepalib.schema import CLASSES
from jepalib.training.adapt import adapt
from jepalib.training.presets import pretrain_config
from jepalib.training.pretrain import pretrain
from jepalib.viz import displays, results
from jepalib.workbook import inputs, notebook

stage = notebook.start("00_start", run_dir)

# %% [markdown]
# ## Jets on disk
#
# The sample is in the format of the public JetClass data set: ROOT files with one entry per jet and
# variable-length lists of its *constituents*. A **store** is the same data once converted: flat arrays
# that can be read at memory speed, with a manifest that says what went in and what was dropped.

# %%
store = inputs.own_store(stage, sample_dir)
jets = inputs.some_jets(store, "train", 200, seed)
print(
    f"{len(store)} jets; those of this notebook have {jets.counts.float().mean():.0f} constituents on average"
)

# %% [markdown]
# ## One jet
#
# A jet as the network receives it: each constituent at its distance from the jet axis, in pseudorapidity
# (Δη) and azimuth (Δφ). The marker tells the kind of particle, its size the transverse momentum pT.
# This one comes from a top quark that decayed to a b quark and a W, and the W to two quarks.

# %%
top = int((jets.labels == CLASSES.index("Tbqq")).nonzero()[0])
fig = displays.jet_figure(jets, top)
stage.show(fig, "one_jet", "A simulated top-quark jet: constituents around the jet axis.")

# %% [markdown]
# ## Hide and predict
#
# The JP-JEPA recipe orders the constituents into a walk from neighbour to neighbour, and cuts two stretches
# out of it. The **context** is what the *student* network sees. The **target** is hidden from it. A second
# network, the *teacher*, sees the whole jet and describes the target particles in its own words: vectors.
# A *predictor* has to guess these vectors from the student's view. Nothing is reconstructed and no label is used.

# %%
generator = torch.Generator().manual_seed(seed)
masks = draw_masks(jets, MaskConfig(), generator)
fig = displays.mask_figure(jets, masks, top)
stage.show(
    fig,
    "masks",
    "The same jet: context in one colour, target in the other, unused constituents in grey.",
    main=True,
)

# %% [markdown]
# ## A few steps of pre-training
#
# Everything of a run goes to one folder: configuration, metrics, weights. Run this cell again and it says
# that it is done.

# %%
config = pretrain_config(
    "jp-jepa",
    "nano",
    {"steps": start_steps, "batch_size": 64, "log_every": 2, "precision": "float32", "seed": seed},
)
run = pretrain(config, store.path, stage.keyed("pretrain", config, store.data_hash))
stage.depends(run.path)
metrics = run.metrics()
fig = results.training_curves(metrics)
stage.show(fig, "loss", "The first steps: loss and its parts, spread of the embeddings, probes.")

# %% [markdown]
# ## Does it help?
#
# The question of every foundation model: with only a few labels, does the pre-trained encoder beat one that
# starts from random weights? Here both get the same small training.

# %%
table = adapt(
    run.path,
    store.path,
    stage.keyed("few_shot", run.identity(), start_adapt_steps, start_labels),
    labels=[start_labels],
    modes=["linear-probe", "fine-tuned", "from-scratch"],
    seeds=1,
    overrides={"steps": start_adapt_steps, "rates": (1e-3,), "encoder_scales": (1.0,)},
)
shown = table[["mode", "labels", "accuracy", "auc_ovo", "seconds"]]
stage.table(
    shown, "few_shot", f"Ten-class accuracy on {int(table.test_jets.iloc[0])} test jets (guessing: 0.10)."
)

# %%
accuracy = table.set_index("mode").accuracy
difference = accuracy["fine-tuned"] - accuracy["from-scratch"]
arms = accuracy[["fine-tuned", "from-scratch"]]
error = float((arms * (1 - arms) / table.test_jets.iloc[0]).sum() ** 0.5)
stage.finding(
    f"After {start_steps} steps of pre-training, fine-tuning differs from training from scratch by "
    f"{difference:+.3f} in accuracy, with a statistical error of {error:.3f} from the test jets alone (one seed)."
)

# %% [markdown]
# ## What next
#
# - `01_explore`: more jets, and what is in them. It simulates them, or reads your own JetClass files.
# - `02_masks`: how context and target are drawn, and why in stretches.
# - `03_pretrain`: JP-JEPA for real, and how to see that it has not collapsed.
# - `04_few_shot`: the curve of accuracy against number of labels, with its spread.
#
# Each runs here in JupyterLab, or all of them with `make workbook`.

# %%
stage.finish(
    jets=len(store),
    loss_first=float(metrics.loss.iloc[0]),
    loss_last=float(metrics.loss.iloc[-1]),
    accuracy=accuracy.to_dict(),
)
