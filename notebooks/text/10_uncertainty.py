# %% [markdown]
# # Can I trust its scores?
#
# A tagger gives ten numbers that add up to one and look like probabilities. Are they? Of all jets that get 0.8,
# do 80 % belong to the class? An analysis that cuts on a score, weighs jets with it, or sends doubtful jets to a
# second look relies on the answer. Here the scores of `04_few_shot`'s classifiers are held against what they
# promise, mended where they can be, and the jets are looked for where they should not be believed.

# %% tags=["parameters"]
run_dir: str = "runs/laptop"  # folder of this run, seen from the project's root
data_dir: str = ""  # a store or JetClass files of your own; empty: those of 01_explore
classifiers: str = ""  # folder of `jepalib adapt --out`; empty: that of 04_few_shot
tagger_labels: int = 0  # labelled jets of the classifiers; 0: the largest number there is
choose_jets: int = 1000  # validation jets that temperatures are fitted on
test_jets: int = 5000  # jets that the numbers are made from
mc_passes: int = 30  # of Monte-Carlo dropout; 0: none
seed: int = 0  # of the choice of jets, of what is dropped and of the bootstrap

# %%
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from jepalib.errors import JepalibError
from jepalib.evaluation import calibration, ensembles
from jepalib.evaluation.differences import difference, plus_minus
from jepalib.evaluation.published import published
from jepalib.evaluation.rejection import rejection_table
from jepalib.schema import CLASSES
from jepalib.training.scored import Scored, score
from jepalib.training.taggers import ARMS, taggers
from jepalib.viz import calibration as figures
from jepalib.viz.confusion import confusion_pair, percent_of_true
from jepalib.viz.uncertainty import rejection_points, ways_figure
from jepalib.workbook import inputs, notebook

stage = notebook.start("10_uncertainty", run_dir)
store = inputs.earlier_store(stage, data_dir)
if store.classes != CLASSES:
    raise JepalibError(f"{store.path} holds {store.dataset} jets; 10_uncertainty is about the ten classes of JetClass")
folder = stage.depends(classifiers or Path(stage.earlier("04_few_shot")["few_shot"]).parent)

# %% [markdown]
# ## The scores
#
# Two arms, *fine-tuned* from the pre-training and *from scratch*, each with all seeds there are: other labelled
# jets, other initial weights, another order of batches. All of them judge the same test jets, once; the scores are
# kept, for this notebook and the next. Temperatures are fitted on validation jets. (`04_few_shot` has chosen the
# best moment of each training on validation jets too, so that these are a little easier than new ones.)

# %%
found = taggers(folder, tagger_labels or None)
sizes = {"test": test_jets, "val": choose_jets}
identity = ([tagger.identity for tagger in found], store.data_hash, sizes, mc_passes, seed)
file = stage.depends(stage.keyed("scores", *identity) / "scores.npz")
if not file.is_file():
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = [np.sort(np.asarray(inputs.some_rows(store, split, n, seed))) for split, n in sizes.items()]
    score(found, store, *rows, device, mc_passes, seed).save(file)
scored = Scored.load(file)

# %%
labels, arms = scored.labels, {arm: scored.of_arm(arm) for arm in ARMS}
seeds = min(len(own.seeds) for own in arms.values())
times = f"{seeds} seed{'s' * (seeds > 1)}"
about = f"{len(labels)} test jets, {times} an arm, each trained with {found[0].labels} labelled jets"
print(about)
if not len(scored.dropout):
    print("No Monte-Carlo dropout: nothing drops in these heads, or no passes were asked for.")

# %% [markdown]
# ## Does 0.8 mean 80 %?
#
# The *confidence* is the largest of the ten scores. Jets are put into 15 bins of it; the accuracy in each should be
# the mean confidence there. Below the diagonal a tagger is too sure of itself, above it too modest. The *expected
# calibration error* (ECE) is the mean distance from the diagonal, weighted by the jets of each bin. It is never zero:
# chance alone moves the accuracy of a bin, so that each ECE has a *floor*, what these confidences would show with
# perfect calibration and as few jets.

# %%
fig = figures.reliability_diagram({own.names[0]: own.probabilities[0] for own in arms.values()}, labels)
stage.show(fig, "reliability", f"Accuracy against confidence, one seed of each arm, {len(labels)} test jets; bars: binomial.")

# %% [markdown]
# The ECE does not say whether scores are useful: whoever answers 10 % for every class, where each is as frequent, is
# perfectly calibrated. The *log loss*, the mean of −ln p of the true class, asks for both. The *entropy* −Σ p ln p
# tells how undecided a tagger is; ln 10 = 2.30 is knowing nothing.

# %%
fig = figures.entropy_distributions({own.names[0]: own.probabilities[0] for own in arms.values()}, labels)
stage.show(fig, "entropy", f"Entropy of the scores of rightly and wrongly tagged jets, one seed of each arm, {len(labels)} test jets.")

# %% [markdown]
# ## What can be done about it?
#
# - **Temperature**: all logits are divided by one number T, fitted on validation jets by their log loss. T > 1 makes
#   scores softer, T < 1 sharper; the most probable class stays what it is.
# - **MC dropout**: dropout stays on while the jets are judged, many times; the scores are averaged.
# - **Ensemble**: the scores of all seeds are averaged. It costs as many trainings as it has members.
# - **Ensemble, temperature**: one temperature for the averaged scores.
#
# Where each seed gives a number, the error is their standard deviation. An ensemble is one number; its error is a
# bootstrap over jets. Changes against the single models are *paired*: both judge the same resampled jets.

# %%
ways, compared = {}, {}
for arm, own in arms.items():
    ways[arm] = ensembles.ways(own.val_probabilities, own.val_labels, own.probabilities, own.dropout)
    compared[arm] = ensembles.compare(ways[arm], labels, seed)
fig = ways_figure(compared)
stage.show(fig, "ways", f"Ways of making scores: {about}; {len(scored.val_labels)} validation jets, {mc_passes} passes of dropout.", main=True)

# %%
both = pd.concat(table.assign(arm=arm) for arm, table in compared.items())
columns = ["arm", "way", "models", "temperature", "ece_floor", "entropy"]
for metric in ensembles.METRICS:
    columns += [metric, f"{metric}_spread", f"{metric}_error", f"{metric}_change", f"{metric}_change_error"]
stage.table(both[columns], "ways", f"{about}. Spread: over seeds; error: bootstrap over jets; change: against the single models, paired.")
theirs = pd.concat(published("JetClass", metric) for metric in ("ece", "log_loss", "entropy"))
stage.table(
    theirs[["metric", "model", "mode", "labels", "value", "source"]],
    "published",
    "Published, on JetClass, with larger networks and the number of labelled jets in the table.",
)

# %%
for arm, table in compared.items():
    own = table.iloc[0]
    surplus = float(arms[arm].probabilities.max(2).mean()) - own.accuracy
    stage.finding(
        f"{arm}, {about}: ECE {own.ece:.3f}{plus_minus(own.ece_spread)} (floor {own.ece_floor:.3f}), on average "
        f"{'too sure' if surplus > 0 else 'too modest'} by {abs(surplus):.3f}; log loss {own.log_loss:.3f}{plus_minus(own.log_loss_spread)}{'; ± over seeds' if seeds > 1 else ''}."
    )
    best, clean = table.loc[table.log_loss.idxmin()], table.loc[(table.ece - table.ece_floor).idxmin()]
    stage.finding(
        f"{arm}: the way with the smallest log loss is “{best.way}” ({best.log_loss_change:+.3f} ± {best.log_loss_change_error:.3f}; accuracy "
        f"{best.accuracy_change:+.3f} ± {best.accuracy_change_error:.3f}); nearest to its floor is “{clean.way}”, ECE {clean.ece:.3f}."
    )

# %% [markdown]
# Averages are less certain than what is averaged: where the members disagree, the mean is softer than each of them.
# That helps members that are too sure of themselves, and spoils the calibration of members that are not. A temperature
# below one then takes it back, and what stays is that the ensemble knows more.

# %%
fig = figures.reliability_diagram({way.name: way.members[0] for way in ways[ARMS[0]]}, labels)
stage.show(fig, "reliability_ways", f"{ARMS[0]}: each way (the first seed where each has its own), {len(labels)} test jets.")
for arm, table in compared.items():
    averages = table[table.way.isin(["MC dropout", "ensemble"])]
    changes = [
        f"{way.way} changes the ECE by {way.ece_change:+.3f} ± {way.ece_change_error:.3f}, the mean entropy by "
        f"{way.entropy - table.entropy.iloc[0]:+.2f}" for way in averages.itertuples()
    ]
    if changes:
        stage.finding(f"{arm}, averages without a temperature: {'; '.join(changes)}.")

# %% [markdown]
# ## Does pre-training make scores more trustworthy?
#
# In the paper JP-JEPA has a slightly larger ECE than ParT from scratch (0.0092 and 0.0058) and a slightly larger
# log loss: its scores are to be praised for their order, not as probabilities. Ours, with the spread over seeds for
# single models, and with the paired bootstrap for ensembles, of which there is one an arm:

# %%
each = [ensembles.by_member(ways[arm][0], labels) for arm in ARMS]
gains = {metric: difference(*(table[metric].to_numpy() for table in each)) for metric in ensembles.METRICS}
names = {"gain": "larger value", "loss": "smaller value"}
said = []
for metric, gain in gains.items():
    verdict = " ".join(names.get(word, word) for word in gain.word.split())
    said.append(f"{metric.replace('_', ' ').replace('ece', 'ECE')} {gain.gain:+.3f}{plus_minus(gain.error)} ({verdict})")
stage.finding(f"Single models, {ARMS[0]} minus {ARMS[1]}, errors from {times} an arm: {'; '.join(said)}.", main=True)
last = [ways[arm][-1] for arm in ARMS]
apart = ensembles.paired_difference(*last, labels, seed)
stage.finding(
    f"“{last[0].name}”, {ARMS[0]} minus {ARMS[1]}: "
    + ", ".join(f"{metric.replace('_', ' ').replace('ece', 'ECE')} {value:+.3f} ± {error:.3f}" for metric, (value, error) in apart.items())
    + " (paired bootstrap over jets)."
)

# %% [markdown]
# ## What is taken for what?
#
# Rows are true classes, columns what the tagger takes them for. Physics sets the blocks: W and Z differ by 11 GeV
# of mass and by Z → bb̄, H → 4q looks like H → gg, and what tells b from c are displaced tracks.

# %%
pair = [arms[arm].probabilities for arm in ARMS]
fig = confusion_pair(*pair, labels, ARMS)
stage.show(fig, "confusion", f"Confusion, percent of the true class, mean over seeds, and the difference of the arms: {about}.")

# %%
percent = [np.stack([percent_of_true(member, labels) for member in some]) for some in pair]
wrong = percent[0].mean(0) - np.diag(np.full(len(CLASSES), 100.0))
true, taken = np.unravel_index(wrong.argmax(), wrong.shape)
shift = percent[0].mean(0) - percent[1].mean(0)
row, column = np.unravel_index(np.abs(shift).argmax(), shift.shape)
change = difference(*(some[:, row, column] for some in percent))
stage.finding(
    f"{ARMS[0]}: most often {CLASSES[true]} is taken for {CLASSES[taken]}, {wrong[true, taken]:.0f} % of these jets. "
    f"Largest difference of the arms: {CLASSES[row]} taken for {CLASSES[column]}, {change.gain:+.1f}{plus_minus(change.error, 1)} percentage "
    f"points, {change.word.replace('a gain', 'more').replace('a loss', 'less')} (the largest of 100: expect some by chance)."
)

# %% [markdown]
# ## How much QCD gets through?
#
# At the signal efficiencies of ParT's table, 1/FPR says how many QCD jets are rejected for each that passes. With few
# QCD jets only a handful of them pass. The intervals are binomial, of one standard deviation; where none passes, the limit has
# a confidence of 95 %. The noise of the threshold, set by few signal jets, comes on top.

# %%
tables = {arm: rejection_table(own.probabilities, labels) for arm, own in arms.items()}
theirs = {}
for model in ("ParT", "JP-JEPA Small"):
    known = {name: published("JetClass", f"rej_{name}", model) for name in CLASSES[1:]}
    theirs[model] = {name: float(table[table.labels == 100_000_000].value.iloc[0]) for name, table in known.items()}
fig = rejection_points(tables, {f"{model}, published (JetClass, 100 million jets)": some for model, some in theirs.items()})
stage.show(fig, "rejection", f"QCD rejection, mean rate over seeds: {about}. Open grey: published, JetClass, 100 million labelled jets.")

# %%
shown = tables[ARMS[0]][["signal", "efficiency", "signal_jets", "background_jets"]].copy()
for arm, table in tables.items():
    shown[f"{arm}, passing"], shown[f"{arm}, spread"] = table.passing, table.passing_spread
    shown[arm] = table.text
for model, values in theirs.items():
    shown[f"{model}, published"] = shown.signal.map(values)
stage.table(shown, "rejection", f"QCD rejection 1/FPR at the efficiency of each class. Passing: QCD jets, mean and spread over seeds. {about}.", main=True)
clear = [r.signal for r, s in zip(*(t.itertuples() for t in tables.values())) if r.low > s.high or s.low > r.high]
stage.finding(
    f"With {shown.background_jets.iloc[0]} QCD jets, rejections of the two arms lie outside each other's interval for "
    f"{', '.join(clear) or 'no class'}; {sum(table.passing.lt(10).sum() for table in tables.values())} of {2 * len(shown)} rest on fewer than 10 passing jets."
)

# %% [markdown]
# ## Where is it worse?
#
# Bins of the number of constituents, the energy and the transverse momentum of the jet, each with as many jets. The
# mixture of classes changes along with them, so that these curves tell how good the scores are *there*, not what the
# observable does by itself.

# %%
jets = store.read(scored.rows)
observables = {
    "multiplicity": (jets.counts, "constituents of the jet"),
    "energy": (jets.observable("energy"), "jet energy [GeV]"),
    "pt": (jets.observable("pt"), "jet $p_T$ [GeV]"),
}
binned = {}
for name, (values, title) in observables.items():
    values = values.numpy().astype(float)
    edges = calibration.quantile_edges(values)
    for arm, own in arms.items():
        each = pd.concat(calibration.metrics_by(scores, labels, values, edges) for scores in own.probabilities)
        binned[name, arm] = each.groupby("low", as_index=False).mean()
    fig = figures.against_observable({arm: binned[name, arm] for arm in ARMS}, title)
    stage.show(fig, f"against_{name}", f"Accuracy, AUC (macro, one-vs-one) and ECE against {title.replace('$', '')}, means over seeds: {about}.")

# %%
every = pd.concat(table.assign(observable=name, arm=arm) for (name, arm), table in binned.items())
columns = ["observable", "arm", "low", "high", "jets", "accuracy", "accuracy_low", "accuracy_high", "auc_ovo", "ece", "ece_floor"]
stage.table(every[columns], "against", f"In bins of each observable, means over seeds; interval: binomial. {about}.")
for name, (_, title) in observables.items():
    said = []
    for arm in ARMS:
        table = binned[name, arm]
        worst, best = table.loc[table.accuracy.idxmin()], table.loc[table.accuracy.idxmax()]
        said.append(
            f"{arm} accuracy {worst.accuracy:.3f} ({worst.low:.0f} to {worst.high:.0f}) to {best.accuracy:.3f} ({best.low:.0f} "
            f"to {best.high:.0f}), ECE above its floor by {(table.ece - table.ece_floor).max():.3f} at most"
        )
    stage.finding(f"Against {title.replace('$', '')}, bins of {table.jets.min():.0f} to {table.jets.max():.0f} jets: {'; '.join(said)}.")

# %% [markdown]
# ## Does it know when it does not know?
#
# If uncertainty means anything, the accuracy rises when the most uncertain jets are set aside. Four measures, all on
# the same scores (the mean of the seeds'): the *entropy* of these scores; the *disagreement* of the seeds (mutual
# information of class and member: what more members would settle, not what the jet itself leaves open); and both of
# them with the passes of dropout in the place of the seeds. A measure whose curve does not rise is none, whatever
# it is called: a pass that loses half of its units may move most where the scores are largest, right or wrong.

# %%
decided, measures = {}, {}
for arm, own in arms.items():
    decided[arm] = calibration.average(own.probabilities)
    measures[arm] = {"entropy": calibration.entropy(decided[arm])}
    if len(own.seeds) > 1:
        measures[arm]["disagreement of seeds"] = calibration.disagreement(own.probabilities)
    if len(own.dropout):
        measures[arm]["MC dropout, entropy"] = calibration.entropy(own.dropout.mean(0))
        measures[arm]["MC dropout, disagreement"] = own.dropout_disagreement.mean(0)
fig = figures.rejection_by_measure(decided, labels, measures)
stage.show(fig, "rejected", f"Accuracy against rejected fraction, scores averaged over seeds, bands binomial: {about}.")

# %%
half = {}
for arm, some in measures.items():
    said = []
    for name, values in some.items():
        table = calibration.accuracy_against_rejection(decided[arm], labels, values, np.array([0.0, 0.5]))
        whole, kept = table.itertuples()
        half[f"{arm}, {name}"] = [whole.accuracy, kept.accuracy]
        error = (kept.accuracy_high - kept.accuracy_low) / 2
        word = "" if kept.accuracy - whole.accuracy > 2 * error else " (no clear rise)"
        said.append(f"by {name} {kept.accuracy:.3f} ± {error:.3f}{word}")
    stage.finding(f"{arm}, accuracy {whole.accuracy:.3f}; of the {kept.jets} jets that stay when half are rejected {', '.join(said)}.", main=True)

# %%
stage.finish(
    scores=str(file),
    jets=len(labels),
    taggers=len(found),
    seeds=seeds,
    ways={arm: table.set_index("way")[["accuracy", "log_loss", "ece", "ece_floor"]].T.to_dict() for arm, table in compared.items()},
    temperatures={arm: table.set_index("way").temperature.dropna().to_dict() for arm, table in compared.items()},
    gains={metric: gain.gain for metric, gain in gains.items()},
    rejection={arm: dict(zip(table.signal, table.text)) for arm, table in tables.items()},
    half_rejected=half,
)
