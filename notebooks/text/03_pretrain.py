# %% [markdown]
# # Pre-training without labels
#
# Does a joint-embedding method learn on these jets, and does its representation stay alive? The easiest way to
# predict the teacher is for both networks to say the same of every jet: loss zero, nothing learnt. This
# *collapse* is what such methods are always close to, so that the loss alone proves nothing. The *rank* of the
# embeddings does: over how many directions do they spread?

# %% tags=["parameters"]
run_dir: str = "runs/laptop"  # folder of this run, seen from the project's root
data_dir: str = ""  # a store or JetClass files of your own; empty: those of 01_explore
method: str = "jp-jepa"  # jp-jepa, hep-jepa, p-jepa or jet-targets
size: str = "nano"  # of the encoder: nano, mini, and for JP-JEPA tiny, small, base, large, huge
pretrain_steps: int = 300  # optimiser steps
batch_size: int = 256  # jets a step
snapshots: int = 5  # kept on the way, after 1/2, 1/4, 1/8 … of the jets; 08_representation looks at them
processes: int = 0  # 0: one per GPU, or per core where there is none
seed: int = 0  # of everything random

# %%
from IPython.display import Markdown

from jepalib.methods.registry import find_method
from jepalib.training.presets import pretrain_config
from jepalib.viz import results
from jepalib.viz.monitor import TrainingMonitor
from jepalib.viz.widgets import is_live
from jepalib.workbook import inputs, notebook
from jepalib.workbook.live import doublings, pretrain_live, pretrain_settings

stage = notebook.start("03_pretrain", run_dir)
store = inputs.earlier_store(stage, data_dir)
settings = pretrain_settings(pretrain_steps, batch_size, seed)
settings["snapshots"] = doublings(pretrain_steps * batch_size, snapshots)
config = pretrain_config(method, size, settings)

# %% [markdown]
# ## What is trained

# %%
Markdown(find_method(method).about)

# %%
path = stage.depends(stage.keyed(f"{method}-{size}", config, store.data_hash))
run = pretrain_live(method, size, store.path, path, settings, results.training_curves, processes)
metrics = run.metrics()
print(f"{run.manifest['jets_seen']} jets seen in {run.manifest['seconds']:.0f} s")

# %% [markdown]
# ## The curves
#
# The target moves: the teacher's vectors become richer while the student learns to predict them, so that a loss
# part may rise for a while without anything being wrong.
#
# The black line, *total*, is what is minimised. The others are its parts before their weights: the hidden
# constituents or patches, the vector of the whole jet (*cls*), and what keeps the vectors of different jets apart
# (*koleo* or another regulariser). JP-JEPA's probes (*pid* identity, *td* displacement of tracks, *lmv* kinematics)
# only read what the predictor says and send no gradient back, so that they are not in the total; P-JEPA learns from
# its *pid* and from *aggregated*, all hidden constituents in one vector.
#
# The *effective rank* is the exponential of the entropy of the normalised singular values of a batch of
# embeddings: 1 when all jets lie on a line, the width of the network when they fill it evenly. The
# *spectrum AUC* sums how fast the variances along the principal axes fall off: near 0.5 when all directions
# count alike, 1 when one direction holds everything. In a collapsing run the rank falls towards 1, the AUC
# rises towards 1, and the training loop writes an alarm.

# %%
fig = results.training_curves(metrics)
stage.show(fig, "curves", "Loss and its parts, effective rank, spectrum AUC and probe accuracy during pre-training.")

# %% [markdown]
# A pre-training that runs elsewhere, as a batch job or from another notebook, writes such a folder too. Where someone
# watches, this panel follows the runs of this notebook, or any folders it is given, until they have ended. It reads
# their files and nothing else, so that stopping it stops no training.

# %%
TrainingMonitor([path, stage.folder]) if is_live() else None

# %% [markdown]
# ## Is it alive?

# %%
first, last = metrics.iloc[0], metrics.iloc[-1]
ranks = [name for name in metrics if name.startswith("rank_")]
alarms = int(metrics.alarm.notna().sum()) if "alarm" in metrics else 0
moved = [f"{name.removeprefix('rank_')} {first[name]:.1f} to {last[name]:.1f}" for name in ranks]
stage.finding(
    f"Effective rank of the embeddings, first to last: {'; '.join(moved)}; "
    + (f"{alarms} of {len(metrics)} lines carry a collapse alarm." if alarms else "no collapse was seen.")
)

# %% [markdown]
# ## What is in there?
#
# The loss of the tokens says how well hidden places are predicted. Probes, where the method has them, see hidden
# constituents only through what the predictor says of them.

# %%
losses = [name for name in metrics if name.startswith("loss_")]
probes = [name for name in metrics if name.endswith("_accuracy")]
stage.finding(
    f"The loss '{losses[0].removeprefix('loss_')}' went from {first[losses[0]]:.4f} to {last[losses[0]]:.4f}."
)
for name in probes:
    stage.finding(f"The {name.removesuffix('_accuracy')} probe reached an accuracy of {last[name]:.2f}.")
stage.finding(
    f"{last.jets_seen:.0f} jets in {last.seconds / 60:.1f} minutes: {metrics.jets_per_second.median():.0f} jets/s."
)

# %%
stage.finish(
    run=str(run.path),
    method=method,
    store=str(store.path),
    steps=int(last.step),
    jets_seen=int(last.jets_seen),
    loss_first=float(first[losses[0]]),
    loss_last=float(last[losses[0]]),
    ranks={name: float(last[name]) for name in ranks},
    probes={name: float(last[name]) for name in probes},
    alarms=alarms,
)
