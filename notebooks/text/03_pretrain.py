# %% [markdown]
# # Pre-training without labels
#
# Does JP-JEPA learn on these jets, and does its representation stay alive? The easiest way to predict the
# teacher is for both networks to say the same of every jet: loss zero, nothing learnt. This *collapse* is what
# joint-embedding methods are always close to, so that the loss alone proves nothing. The *rank* of the
# embeddings does: over how many directions do they spread?

# %% tags=["parameters"]
run_dir: str = "runs/laptop"  # folder of this run, seen from the project's root
data_dir: str = ""  # a store or JetClass files of your own; empty: those of 01_explore
size: str = "nano"  # of the encoder: nano, mini, tiny, small, base, large, huge
pretrain_steps: int = 300  # optimiser steps
batch_size: int = 256  # jets a step
processes: int = 0  # 0: one per GPU, or per core where there is none
seed: int = 0  # of everything random

# %%
from jepalib.training.presets import pretrain_config
from jepalib.viz import results
from jepalib.workbook import inputs, notebook
from jepalib.workbook.live import pretrain_live

stage = notebook.start("03_pretrain", run_dir)
store = inputs.earlier_store(stage, data_dir)
settings = {
    "steps": pretrain_steps,
    "batch_size": batch_size,
    "log_every": max(1, pretrain_steps // 60),
    "checkpoint_every": max(1, pretrain_steps // 10),
    "seed": seed,
}
config = pretrain_config("jp-jepa", size, settings)

# %% [markdown]
# ## What is trained
#
# The **encoder** is a Particle Transformer: attention between all constituents of a jet, with a bias for each
# pair from its physics (distance, kT, momentum sharing, mass). It gives one vector per constituent and one,
# [CLS], for the jet. The student is trained by gradient; the teacher follows as a moving average of it. The loss
# compares predicted with actual target vectors, for constituents and for [CLS]; a regulariser (KoLeo) pushes
# the jets of a batch apart. *Probes* are small classifiers on the side: they read particle type and
# displacement from the embeddings but send no gradient back, so that they only tell what is in there.

# %%
path = stage.depends(stage.keyed(f"jp-jepa-{size}", config, store.data_hash))
run = pretrain_live("jp-jepa", size, store.path, path, settings, results.training_curves, processes)
metrics = run.metrics()
print(f"{run.manifest['jets_seen']} jets seen in {run.manifest['seconds']:.0f} s")

# %% [markdown]
# ## The curves
#
# The target moves: the teacher's vectors become richer while the student learns to predict them, so that a loss
# part may rise for a while without anything being wrong.
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
# ## Is it alive?

# %%
last = metrics.iloc[-1]
alarms = int(metrics.alarm.notna().sum()) if "alarm" in metrics else 0
stage.finding(
    f"The effective rank of [CLS] went from {metrics.rank_cls.iloc[0]:.1f} to {last.rank_cls:.1f}, that of the "
    f"mean constituent vector from {metrics.rank_particles.iloc[0]:.1f} to {last.rank_particles:.1f}; "
    + (f"{alarms} of {len(metrics)} lines carry a collapse alarm." if alarms else "no collapse was seen.")
)

# %% [markdown]
# ## What is in there?
#
# The probe for the particle type has eight classes. It sees hidden constituents only through what the predictor
# says of them.

# %%
stage.finding(
    f"The loss of the constituents went from {metrics.loss_particle.iloc[0]:.3f} to {last.loss_particle:.3f}; the "
    f"particle-type probe reached an accuracy of {last.pid_accuracy:.2f}."
)
stage.finding(
    f"{last.jets_seen:.0f} jets in {last.seconds / 60:.1f} minutes: {metrics.jets_per_second.median():.0f} jets/s."
)

# %%
stage.finish(
    run=str(run.path),
    store=str(store.path),
    steps=int(last.step),
    jets_seen=int(last.jets_seen),
    loss_first=float(metrics.loss_particle.iloc[0]),
    loss_last=float(last.loss_particle),
    rank_cls=float(last.rank_cls),
    rank_particles=float(last.rank_particles),
    pid_accuracy=float(last.pid_accuracy),
    alarms=alarms,
)
