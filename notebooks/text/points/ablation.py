# %% [markdown]
# # One point of the ablations
#
# What does one choice of HEP-JEPA's settings do to its representation? One encoder is pre-trained with these
# settings and this seed, then read by a linear support vector machine. `07_ablations` and `jepalib sweep` run
# this notebook once for every point; run by hand, it makes the point of its own parameters.

# %% tags=["parameters"]
run_dir: str = "runs/laptop"  # folder of the whole run, seen from the project's root
point: str = "07_ablations/points/by-hand"  # where the results of this point go, seen from run_dir
data_dir: str = ""  # a store or JetClass files of your own; empty: those of 01_explore
row: str = "baseline"  # what the point is called in the tables
settings: list[str] = []  # changes of HEP-JEPA's settings, as jepalib pretrain --set takes them
ablation_size: str = "nano"  # of the encoder: nano or mini
ablation_steps: int = 150  # optimiser steps; 0 leaves the encoder untrained
ablation_batch: int = 64  # jets a step
probe_jets: int = 5000  # training jets, and validation jets, of the support vector machine
seed: int = 0  # of weights, batches, masks, and the jets that the machine learns from

# %%
import numpy as np
import torch

from jepalib.evaluation.representation import effective_rank, svm_probe
from jepalib.methods.registry import find_method
from jepalib.training.classifiers import encode, untrained_encoder
from jepalib.training.presets import pretrain_config
from jepalib.training.pretrain import pretrain
from jepalib.workbook import inputs, notebook
from jepalib.workbook.parameters import split_settings

stage = notebook.start(point, run_dir)
store = inputs.earlier_store(stage, data_dir)

# %% [markdown]
# ## Pre-training
#
# A point that was stopped goes on from its last checkpoint. With no steps at all the encoder keeps its random
# weights: what the support vector machine then finds is not learnt, but in the inputs and the architecture.

# %%
own = {"steps": max(1, ablation_steps), "batch_size": ablation_batch, "seed": seed}
own |= {"log_every": max(1, ablation_steps // 10), "checkpoint_every": max(1, ablation_steps // 4)}
config = pretrain_config("hep-jepa", ablation_size, split_settings(settings) | own)
if ablation_steps:
    run = pretrain(config, store.path, stage.depends(stage.keyed("pretrain", config, store.data_hash)))
    encoder, last = run.encoder("student"), run.metrics().iloc[-1]
    trained = {"jets_seen": run.manifest["jets_seen"], "loss": float(last.loss)}
    trained["jets_per_second"] = run.manifest["jets_seen"] / run.manifest["seconds"]
else:
    architecture = find_method(config.method).architecture(config.size, config.inputs, config.objective)
    encoder = untrained_encoder(architecture, store, seed)
    trained = {"jets_seen": 0, "loss": None, "jets_per_second": None}

# %% [markdown]
# ## What a linear machine reads
#
# As in the paper, an embedding is the maximum and the mean over the outputs of the context encoder (the
# student), here of the whole jet. All points are judged on the same validation jets; the training jets of the
# machine change with the seed.

# %%
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
rows = [inputs.some_rows(store, "train", probe_jets, seed), inputs.some_rows(store, "val", probe_jets)]
train, val = (encode(encoder.to(device), store, chosen, device) for chosen in rows)
probe = svm_probe(train.pooled, train.labels, val.pooled, val.labels, seed)
print(f"{row}, seed {seed}: accuracy {probe.accuracy:.3f} on {len(val)} jets (C = {probe.setting})")

# %%
correct = stage.folder / "correct.npy"
np.save(correct, probe.predicted == val.labels.numpy())
stage.depends(correct)

# %%
stage.finish(
    row=row,
    seed=seed,
    steps=ablation_steps,
    **trained,
    accuracy=probe.accuracy,
    rank=effective_rank(val.pooled),
    train_jets=len(train),
    val_jets=len(val),
    regularisation=probe.setting,
    converged=probe.converged,
    correct=str(correct),
)
