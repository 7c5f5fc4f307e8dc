# %% [markdown]
# # One point of the scaling laws
#
# How good does a network of this size become on this many jets? It is pre-trained at a constant learning rate,
# so that a snapshot on the way is what a run that ended there would be. At each snapshot its objective is
# evaluated on jets it has not seen, and a linear support vector machine reads its embeddings. `13_scaling` and
# `jepalib sweep` run this notebook once for every point; run by hand, it makes the point of its own parameters.

# %% tags=["parameters"]
run_dir: str = "runs/laptop"  # folder of the whole run, seen from the project's root
point: str = "13_scaling/points/by-hand"  # where the results of this point go, seen from run_dir
data_dir: str = ""  # a store or JetClass files of your own; empty: those of 01_explore
method: str = "jet-targets"  # jet-targets, jp-jepa, hep-jepa or p-jepa
size: str = "nano"  # of the encoder
unique_jets: int = 0  # different training jets; 0: all
views: list[int] = [1000, 2000, 4000]  # jets seen at which the network is measured; the last ends the run
scaling_batch: int = 64  # jets a step
scaling_warmup: int = 128  # jets over which the learning rate rises
scaling_probe_jets: int = 2000  # training jets, and test jets, of the support vector machine; validation jets of the loss
cost_jets: int = 500  # jets that the operations are counted on
seed: int = 0  # of weights, batches, masks, and the jets that the machine learns from

# %%
import torch

from jepalib.evaluation.representation import effective_rank, svm_probe
from jepalib.methods.registry import find_method
from jepalib.models.flops import encoder_flops, step_flops
from jepalib.training.classifiers import encode
from jepalib.training.held_out import held_out_loss
from jepalib.training.pretrain import pretrain
from jepalib.workbook import inputs, notebook
from jepalib.workbook.scaling import point_config

stage = notebook.start(point, run_dir)
store = inputs.earlier_store(stage, data_dir)
config = point_config(store, method, size, unique_jets, views, scaling_batch, scaling_warmup, seed)

# %% [markdown]
# ## What a step costs
#
# Operations are counted on real jets with the masks of the method: student forward and backward on the context,
# a teacher forward on the whole jet where there is one, predictor and heads.

# %%
some = inputs.some_jets(store, "train", cost_jets)
fresh = find_method(method).module(size, config.objective, config.inputs, config.micro_batch)
step_cost = step_flops(fresh, some, torch.Generator().manual_seed(0))
encoder_cost = encoder_flops(fresh.encoder.eval(), some)
parameters = sum(weights.numel() for weights in fresh.student.parameters())
print(f"{size}: {parameters} parameters of the encoder, {sum(step_cost.values()) / 1e6:.1f} MFLOP a jet of a step")

# %% [markdown]
# ## Pre-training
#
# A point that was stopped goes on from its last checkpoint.

# %%
run = pretrain(config, store.path, stage.depends(stage.keyed("pretrain", config, store.data_hash)))

# %% [markdown]
# ## Measured on the way
#
# The loss is that of validation jets in evaluation mode, with the same masks for every point. The machine learns
# from the embeddings of training jets and is judged on test jets, on which nothing is chosen. Both look at the
# student: a teacher, an average over past steps, would lag behind at the first snapshots.

# %%
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
number = scaling_probe_jets
val = inputs.some_rows(store, "val", number)
rows = [inputs.some_rows(store, "train", number, seed), inputs.some_rows(store, "test", number)]
measured = []
for jets_seen, snapshot in zip(views, [*run.snapshots, run], strict=True):
    loss = held_out_loss(snapshot, store, val, device)
    train, test = (encode(snapshot.encoder("student").to(device), store, chosen, device) for chosen in rows)
    probe = svm_probe(train.pooled, train.labels, test.pooled, test.labels, seed)
    found = {"views": jets_seen, "jets_seen": snapshot.manifest["jets_seen"], "loss": loss.loss}
    found |= {"accuracy": probe.accuracy, "rank": effective_rank(test.pooled), "converged": probe.converged}
    measured.append(found)
    print(f"{found['jets_seen']} jets seen: loss {loss.loss:.4f}, accuracy {probe.accuracy:.3f}")

# %%
stage.finish(
    method=method,
    size=size,
    seed=seed,
    parameters=parameters,
    unique=run.manifest["training_jets"],
    cost_jets=len(some),
    step_flops=sum(step_cost.values()),
    encoder_flops=encoder_cost,
    seconds=run.manifest["seconds"],
    val_jets=loss.jets,
    train_jets=len(train),
    test_jets=len(test),
    measured=measured,
)
