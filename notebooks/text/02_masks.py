# %% [markdown]
# # What is hidden, and from whom?
#
# How should one cut a jet into what is shown and what must be predicted? If single constituents are hidden at
# random, each has neighbours on show from the same branch of the shower, and guessing it is easy. If a whole
# region is hidden, the network must know how jets are built. JP-JEPA hides stretches of a walk through the jet.

# %% tags=["parameters"]
run_dir: str = "runs/laptop"  # folder of this run, seen from the project's root
data_dir: str = ""  # a store or JetClass files of your own; empty: those of 01_explore
explore_jets: int = 10000  # jets that the figures are drawn from
seed: int = 0  # of everything random

# %%
import numpy as np
import pandas as pd
import torch

from jepalib.masking import MaskConfig, draw_masks
from jepalib.schema import CLASSES
from jepalib.training.presets import pretrain_config
from jepalib.viz import displays, plots, widgets
from jepalib.workbook import inputs, notebook

stage = notebook.start("02_masks", run_dir)
store = inputs.earlier_store(stage, data_dir)
inputs.need_jetclass(store)
jets = inputs.some_jets(store, "train", explore_jets, seed)


def drawn(config: MaskConfig):
    """Masks of all jets, the same at every call."""
    return draw_masks(jets, config, torch.Generator().manual_seed(seed))


# %% [markdown]
# ## The walk
#
# Constituents have no order of their own. The *sequencer* gives them one: it starts at the corner of the jet
# (smallest Δη + Δφ) and always goes on to the nearest constituent that it has not visited. Neighbours in the
# walk are, mostly, neighbours in space, so that a stretch of the walk is a region of the jet.

# %%
rows = {name: int((jets.labels == CLASSES.index(name)).nonzero()[0]) for name in ("QCD", "Hbb", "Tbqq")}
masks = drawn(MaskConfig())
for name, row in rows.items():
    fig = displays.mask_figure(jets, masks, row)
    stage.show(fig, f"walk_{name}", f"The walk (thin line) with its context and target, in a jet of class {name}.")

# %% [markdown]
# ## How much is hidden
#
# The shares are drawn anew for each jet, evenly between two limits. The context gives up whatever the target
# took; the rest is seen by the teacher only.

# %%
config = MaskConfig()
print(f"limits: target {config.target_ratio}, context {config.context_ratio} of a jet's constituents")
fig = plots.mask_ratios(masks, jets.offsets, config)
stage.show(fig, "ratios", "Share of constituents in target and context, jet by jet.")


# %%
def shares(masks):
    """Mean share of a jet's constituents in target and context."""
    jet = jets.jet_of_particle
    return [
        float((torch.zeros(len(jets)).index_add_(0, jet, part.float()) / jets.counts).mean())
        for part in (masks.targets.any(0), masks.context)
    ]


target_share, context_share = shares(masks)
stage.finding(f"On average {target_share:.1%} of a jet is target and {context_share:.1%} is context.")


# %% [markdown]
# ## Why stretches
#
# A measure of how hard the task is: how far is a hidden constituent from the nearest one on show? The farther,
# the less can be copied from a neighbour. The same shares are used for stretches and for single constituents
# at random.

# %%
def distance_to_context(masks, sample=300):
    """Mean distance ΔR from a target constituent to the nearest context constituent, per jet."""
    place = jets.particles[:, 4:6]
    means = []
    for first, last in zip(jets.offsets[:sample], jets.offsets[1 : sample + 1]):
        hidden, shown = masks.targets[:, first:last].any(0), masks.context[first:last]
        apart = torch.cdist(place[first:last][hidden], place[first:last][shown])
        means.append(float(apart.min(dim=1).values.mean()))
    return np.array(means)


# %%
kinds = {
    "stretches": MaskConfig(),
    "random constituents": MaskConfig(target_kind="random", context_kind="random"),
    "four stretches, context all the rest": MaskConfig(
        targets=4, target_ratio=(0.15, 0.2), context_ratio=None
    ),
}
record = []
for name, config in kinds.items():
    made = drawn(config)
    hidden, shown = shares(made)
    apart = distance_to_context(made)
    record.append({"masks": name, "target share": hidden, "context share": shown, "distance": apart.mean()})
table = pd.DataFrame(record)
stage.table(table, "kinds", "Distance ΔR from a hidden constituent to the nearest one on show.")

# %%
distance = table.set_index("masks").distance
factor = distance["stretches"] / distance["random constituents"]
stage.finding(
    f"With stretches a hidden constituent is {factor:.1f} times as far from what is shown as with random masks "
    f"(ΔR {distance['stretches']:.3f} against {distance['random constituents']:.3f})."
)

# %% [markdown]
# ## Try it
#
# Live in JupyterLab the controls below change the jet, the shares and the kind of block, and play the sequence
# step by step. The masks are those of three methods: JP-JEPA hides stretches of constituents, HEP-JEPA stretches
# of *patches* (neighbourhoods that `05_hep_jepa` explains), P-JEPA constituents at random. In an executed notebook
# the figure of the first stands still.

# %%
methods = {name: pretrain_config(name, "nano").objective for name in ("jp-jepa", "hep-jepa", "p-jepa")}
widgets.MaskInspector(jets.take(list(rows.values())), methods, seed)

# %%
stage.finish(
    target_share=target_share,
    context_share=context_share,
    distance=distance.to_dict(),
    disjoint=not bool((masks.context & masks.targets.any(0)).any()),
)
