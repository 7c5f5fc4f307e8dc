# %% [markdown]
# # What would more of it buy?
#
# More jets, a larger network, a longer training: each costs something, and before paying one would like to know
# what it brings. In other fields the answer is surprisingly regular. The loss falls as a *power law*,
# L(x) = L∞ + a / x^b, in the number of examples seen, in the size of the data set, in the number of
# parameters, and in the arithmetic spent ([Kaplan et al.](https://arxiv.org/abs/2001.08361),
# [Hoffmann et al.](https://arxiv.org/abs/2203.15556)): a straight line on doubly logarithmic paper until it
# bends to the floor L∞, what cannot be predicted. Is it so for jets? This notebook trains a family of
# networks, measures all of them alike, and fits.

# %% tags=["parameters"]
run_dir: str = "runs/laptop"  # folder of this run, seen from the project's root
data_dir: str = ""  # a store or JetClass files of your own; empty: those of 01_explore
method: str = "jet-targets"  # objective: jet-targets, whose loss compares between networks, or jp-jepa, hep-jepa, p-jepa
scaling_sizes: list[str] = ["atto", "femto", "pico", "nano"]  # encoders; with the last one jets and views are varied
scaling_jets: list[int] = [100, 300, 1000]  # numbers of different training jets, beside all of them
scaling_views: list[int] = [1000, 2000, 4000, 8000]  # jets seen at which networks are measured; the last ends a run
scaling_batch: int = 64  # jets a step
scaling_warmup: int = 128  # jets over which the learning rate rises, the same for all lengths
scaling_seeds: list[int] = [0, 1]  # of weights, batches and masks
scaling_probe_jets: int = 2000  # training and test jets of the probe, and validation jets of the loss
workers: int = 0  # points made at a time; 0: one per GPU, or per core where there is none

# %%
import pandas as pd
from IPython.display import Markdown

from jepalib.evaluation.scaling import FOR_FLOOR, FOR_LAW, fits_table, frontier
from jepalib.methods.registry import find_method
from jepalib.viz.scaling import compute_frontier, scaling_axes
from jepalib.workbook import inputs, notebook, scaling
from jepalib.workbook.sweeps import run_points

stage = notebook.start("13_scaling", run_dir)
store = inputs.earlier_store(stage, data_dir)
sizes, views, size = scaling_sizes, scaling_views, scaling_sizes[-1]
sweep = scaling.sweep(
    data_dir, method, sizes, scaling_jets, views, scaling_batch, scaling_warmup, scaling_seeds, scaling_probe_jets
)

# %% [markdown]
# ## Which loss may be compared?
#
# In a JEPA the teacher makes the targets, and each network has a teacher of its own. A network with half the loss
# of another may understand twice as much, or it may ask itself easier questions: a collapsed one, which says the
# same of every jet, has no loss at all. Losses of JEPAs are therefore no yardstick between networks, nor between
# two moments of one training. What compares is the accuracy of a probe, and a loss with *fixed* targets.
#
# The default here has such targets.

# %%
Markdown(find_method(method).about)

# %% [markdown]
# For every network and every moment the loss is that of the same validation jets with the same constituents
# hidden, in evaluation mode; the numbers to be predicted are standardised over these jets and not over what a
# network saw in training. With another `method` the figures of the loss are drawn too, but only those of the probe
# answer the question.
#
# ## One run, many lengths
#
# How good is a training of half the length? Not what a long one is at half its way: the learning rate usually
# falls to zero at the end, which is worth much, and half-way it has not fallen
# ([Hoffmann et al.](https://arxiv.org/abs/2203.15556) found the earlier laws wrong by this). Either every length
# is trained by itself, or the rate does not depend on the length. Here it stays constant after a warm-up
# of the same few jets for all, and so does the pace of a teacher: a snapshot *is* the training that ends there. The price is a
# somewhat higher loss than a falling rate would reach, for all alike.
#
# ## The sweep
#
# Three things are varied. *Jets seen*: snapshots on the way, with all training jets. *Different jets*: the last
# of the sizes sees as many jets, but again and again the same few. *Parameters*: all sizes, on all jets, to the
# same number of jets seen. Every size trains with the learning rate of its preset, about the inverse of its width; it is
# not tuned for each length. Points are kept and gone on with; on a cluster, `jepalib sweep 13_scaling` makes shares of them.

# %%
points = run_points(stage, sweep, workers)
table = scaling.measurements(points)
seeds = len(scaling_seeds)
stage.finding(
    f"{len(points)} trainings by {method}, {len(sizes)} sizes from {table.parameters.min():,} to "
    f"{table.parameters.max():,} parameters, seeds of each: {seeds}, up to {table.jets_seen.max():,} jets seen; "
    f"loss on {points.val_jets.max():,} validation jets, probe on {points.train_jets.max():,} training and "
    f"{points.test_jets.max():,} test jets."
)

# %%
grouped = table.groupby(["size", "parameters", "unique", "views"], sort=False)
means = grouped[["loss", "accuracy", "rank", "flops"]].mean()
means.insert(1, "spread of loss", grouped.loss.std())
means.insert(3, "spread of accuracy", grouped.accuracy.std())
means["seeds"] = grouped.seed.nunique()
stage.table(
    means.reset_index(), "points", "Every size, number of jets and length: means over seeds and their standard deviations."
)

# %% [markdown]
# ## What a jet costs
#
# The axis that a budget knows is arithmetic: floating-point operations, a multiplication and an addition counting
# two. They are counted for the constituents that there are, without padding. A rule of thumb says
# six operations for each parameter and token, two forward and four backward. It leaves out attention, which
# grows with the square of the constituents, and here above all the network of pairs, which looks at every
# two constituents of a jet.

# %%
first = points.drop_duplicates("size").set_index("size").loc[sizes]
costs = pd.DataFrame(first.encoder_flops.tolist(), index=first.index) / 1e6
costs.insert(0, "parameters", first.parameters)
costs["a training step"] = first.step_flops / 1e6
stage.table(
    costs.reset_index(), "costs",
    f"Operations of the encoder for a whole jet, by kind, and of a training step, in MFLOP a jet (mean of {points.cost_jets.max()} jets).",
)  # fmt: skip
shares = costs[["linear", "attention", "class attention", "pairs"]]
pairs = shares.pairs / shares.sum(axis=1)
stage.finding(
    f"The network of pairs takes {pairs[sizes[0]]:.0%} of the encoder's operations in {sizes[0]} and {pairs[size]:.0%} in {size}."
)

# %% [markdown]
# ## The loss
#
# Along each axis a power law is fitted to the means over seeds, with relative errors from the spread of the
# seeds pooled over the points, or from the residuals where these are larger. The interval of 95 % is that of a
# bootstrap. A floor is fitted only with points enough (`FOR_FLOOR`); without one the exponent is that of the
# range seen and no more: if there is a floor below, the curve will bend, and the exponent of the falling part is
# larger than the one given.

# %%
rows = {axis: scaling.axis_rows(table, axis, size) for axis in scaling.AXES}
loss_laws = scaling.laws(table, "loss", size)
title = "loss on validation jets"
fig = scaling_axes(rows, scaling.AXES, loss_laws, "loss", title)
caption = f"against jets seen and different jets ({size}), parameters, and operations (best runs); seeds: {seeds}; fit and 95 %."
stage.show(fig, "loss", f"{title.capitalize()} {caption}")

# %% [markdown]
# ## The probe
#
# What a physicist wants of the network is not the loss but what can be read off its embeddings. The error of a
# linear support vector machine has no such clean theory: it depends on the labels too, wider networks give it more
# numbers to read, and a limited number of labels gives it a floor of its own.

# %%
error_laws = scaling.laws(table, "error", size)
title = "error of the probe"
fig = scaling_axes(rows, scaling.AXES, error_laws, "error", title)
stage.show(fig, "probe", f"{title.capitalize()} (1 − accuracy) {caption}")

# %%
fits = pd.concat(
    [fits_table(laws).assign(measure=name) for name, laws in (("loss", loss_laws), ("probe error", error_laws))]
)
fits = fits[["measure", *fits.columns.drop("measure")]]
stage.table(
    fits, "fits", f"Exponents with 95 % intervals. At least {FOR_LAW} points make a fit, {FOR_FLOOR} one with a floor.", main=True
)

# %%
for name, laws in (("loss", loss_laws), ("error of the probe", error_laws)):
    told = "; ".join(f"in {axis} {law.told()} ({law.points} points)" for axis, law in laws.items())
    stage.finding(f"Exponents of the {name} (seeds: {seeds}): {told or 'none, too few points'}.", main=True)

# %% [markdown]
# ## Does it matter that jets are new?
#
# Data are what a simulation or an experiment pays for. All trainings of this comparison saw equally many jets;
# what differs is how often they saw the same one.

# %%
unique = rows["unique jets"].groupby("different")[["loss", "accuracy"]].agg(["mean", "std"])
few, whole = unique.iloc[0], unique.iloc[-1]
repeats = table.jets_seen.max() / unique.index
spread = unique.xs("std", axis=1, level=1).mean() if seeds > 1 else None
stage.finding(
    f"{size} on {unique.index[0]:,} different jets, each seen {repeats[0]:.0f} times: loss {few.loss['mean']:.3f}, "
    f"accuracy {few.accuracy['mean']:.3f}; on {unique.index[-1]:,}, each seen {repeats[-1]:.1f} times: "
    f"{whole.loss['mean']:.3f} and {whole.accuracy['mean']:.3f}. "
    + (f"Mean standard deviation over {seeds} seeds: {spread.loss:.3f} and {spread.accuracy:.3f}."
       if seeds > 1 else "One seed: its spread is unknown.")
)  # fmt: skip

# %% [markdown]
# ## The best for the money
#
# Given so many operations, should the network be large or the training long? Every measured moment of every
# size is a way to spend them; the *frontier* is made of those that no other beats with as few or fewer. The law
# along it is what a lab plans with. It is fitted to the winners, so that luck is among what it shows, and where
# the longest run of the largest network ends, the frontier ends with it, whatever lies beyond.

# %%
whole = table[table.unique == table.unique.max()].groupby(["size", "views"], sort=False)
runs = whole[["parameters", "flops", "loss"]].mean().assign(spread=whole.loss.std()).reset_index()
best = frontier(runs.flops.to_numpy(), runs.loss.to_numpy())
runs = runs.astype({"parameters": int})
fig = compute_frontier(runs, loss_laws.get("operations"), best.tolist(), "loss", "loss on validation jets")
stage.show(
    fig, "frontier",
    f"All trainings on all jets: mean loss (seeds: {seeds}) and its spread against the operations spent.", main=True,
)  # fmt: skip

# %%
winners = runs[best].sort_values("flops")
told = ", ".join(f"{name} up to {group.flops.max():.1e}" for name, group in winners.groupby("size", sort=False))
stage.finding(f"On the frontier, with operations in FLOP: {told}.")

# %% [markdown]
# ## What this does not say
#
# Decades matter: a law over one decade is an interpolation. The intervals take all points as independent, and
# snapshots of one run are not: they share its weights and its jets, so that the intervals along jets seen and
# operations are too narrow. The frontier is chosen by the loss, also for the error of the probe. Learning rates follow the width by a
# rule that was tried at one length; the batch is one for all, and large trainings want larger ones. Width, depth and heads
# change together. The exponents are those of these jets, this objective and this range, and the profile `paper`
# has a range for which they would mean something.

# %%
stage.finish(
    points=len(points),
    seeds=seeds,
    parameters=first.parameters.to_dict(),
    step_flops=first.step_flops.to_dict(),
    exponents={"loss": {a: law.exponent for a, law in loss_laws.items()},
               "error": {a: law.exponent for a, law in error_laws.items()}},
    determined={"loss": [a for a, law in loss_laws.items() if law.determined],
                "error": [a for a, law in error_laws.items() if law.determined]},
    loss={f"{s}, {v}": x for s, v, x in zip(runs["size"], runs.views, runs.loss)},
    frontier=[f"{s}, {v}" for s, v in zip(winners["size"], winners.views)],
    unique_loss={str(jets): mean for jets, mean in unique.loss["mean"].items()},
)  # fmt: skip
