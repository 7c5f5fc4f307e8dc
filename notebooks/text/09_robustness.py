# %% [markdown]
# # When does it break?
#
# A tagger is trained on perfect simulated jets and used on real ones, where a detector cell is dead, a track is
# misplaced, or the particle identification of one subsystem is missing altogether. A good score on clean jets says
# nothing about that day. Here things are taken away or spoilt one at a time, on jets that are otherwise the same,
# and every network sees exactly the same damage.

# %% tags=["parameters"]
run_dir: str = "runs/laptop"  # folder of this run, seen from the project's root
data_dir: str = ""  # a store or JetClass files of your own; empty: those of 01_explore
pretrained: str = ""  # folder of a pre-training; empty: that of 03_pretrain
classifiers: str = ""  # folder of `jepalib adapt --out`; empty: that of 04_few_shot
robust_labels: int = 500  # labelled jets of the classifiers that are compared
robust_jets: int = 500  # test jets
robust_seeds: int = 1  # of the classifiers that are trained here
pid_dropout: float = 0.3  # share of training jets that lose identification where feature dropout is on
td_dropout: float = 0.6  # share that loses displacement (all those without identification, and more)
tune_again: bool = False  # tune these classifiers anew; else they take the rates chosen for their like in 04
drop_fractions: list[float] = [0.1, 0.3, 0.5, 0.7, 0.9]  # of the particles of each jet
smear_widths: list[float] = [0.05, 0.1, 0.2, 0.4]  # relative, of each particle's energy
dead_sides: list[float] = [0.1, 0.2, 0.4, 0.8]  # of a dead square, in η and radians
shifts_mm: list[float] = [0.02, 0.1, 0.5]  # bias of both impact parameters
seed: int = 0  # of what is dropped, smeared and dead

# %%
from pathlib import Path

import pandas as pd
import torch

from jepalib.errors import JepalibError
from jepalib.evaluation.published import published
from jepalib.evaluation.robustness import by_arm, compare_arms, is_right, paired_gain, robustness_table
from jepalib.schema import CLASSES
from jepalib.training.adapt import adapt
from jepalib.training.presets import changes
from jepalib.training.robustness import LOSSES, all_conditions, attention_to_lost, losses, probabilities_under
from jepalib.training.runs import Run
from jepalib.training.taggers import taggers, trained_with
from jepalib.viz import results, robustness
from jepalib.viz.playground import RobustnessPlayground
from jepalib.workbook import inputs, notebook
from jepalib.workbook.live import pretrain_live

# %%
stage = notebook.start("09_robustness", run_dir)
store = inputs.earlier_store(stage, data_dir)
if store.classes != CLASSES:
    raise JepalibError(f"{store.path} holds {store.dataset} jets; 09_robustness is about the ten classes of JetClass")
run = Run.open(stage.depends(pretrained or stage.earlier("03_pretrain")["run"]))
folder = stage.depends(classifiers or Path(stage.earlier("04_few_shot")["few_shot"]).parent)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

# %% [markdown]
# ## The arms
#
# *Fine-tuned* and *from scratch* are the classifiers of `04_few_shot`. If pre-training makes a network robust, is
# it because it has learnt jets, or because JP-JEPA hides groups of inputs from its student on purpose? *Feature
# dropout* (Section 4.1 of the paper) takes particle identification away from some of the context jets and track
# displacement from more of them. To tell the two apart it is switched off and on where it can be:
#
# - **no dropout**: fine-tuned from a pre-training of the same length *without* feature dropout;
# - **+ dropout**: with feature dropout while the classifier is trained, fine-tuned and from scratch.

# %%
objective, without = run.config.objective, None
if getattr(objective, "pid_dropout", 0) or getattr(objective, "td_dropout", 0):
    settings = {**changes(run.config), "pid_dropout": 0.0, "td_dropout": 0.0}
    path = stage.depends(stage.keyed("without-dropout", run.config, store.data_hash))
    without = pretrain_live(
        run.config.method, run.config.size, store.path, path, settings, results.training_curves
    )
    print(f"{without.manifest['jets_seen']} jets seen, as many as with dropout ({run.manifest['jets_seen']})")

# %% [markdown]
# All arms are trained on the same labelled jets, with the same steps, batches and head. What differs is in the name.
# Those of `04_few_shot` were tuned on validation jets. Those made here, with as many seeds as `robust_seeds` says,
# take the rates that were best for their like with the other kind of dropout, a small disadvantage for them, unless
# `tune_again` asks for a tuning of their own on the same grid.

# %%
members = [(t.arm.replace("from-", "from "), t) for t in taggers(folder, robust_labels)]
head = members[0][1].config.head
dropout = {"pid_dropout": pid_dropout, "td_dropout": td_dropout}
extra = [("no dropout", without, ["fine-tuned"], {}), ("+ dropout", run, ["fine-tuned", "from-scratch"], dropout)]
for addition, source, modes, changed in extra:
    if source is None:
        continue
    settings = trained_with(folder, robust_labels, modes, tune_again)
    settings |= {"test_jets": robust_jets, **changed}
    key = (source.identity(), store.data_hash, robust_labels, head, settings)
    out = stage.depends(stage.keyed("no-dropout" if source is without else "with-dropout", *key))
    adapt(source.path, store.path, out, [robust_labels], modes, robust_seeds, [head], settings)
    made = [t for t in taggers(out, robust_labels, modes) if t.seed < robust_seeds]
    members += [(f"{t.arm.replace('from-', 'from ')}, {addition}", t) for t in made]

# %% [markdown]
# ## The damage
#
# - **An input is removed**: one of the 17 numbers that describe a constituent reads as missing, for all
#   constituents. Missing is zero after the transformation of the inputs, which for identification and displacement
#   is how a data set without them looks. Then whole groups: kinematics, identification, displacement. The pair
#   features, made from four-vectors, stay.
# - **Constituents are lost**, at random or the softest first; the jet's pT and axis stay those found before.
# - **A dead square** of the calorimeter close to the jet takes all that points into it, but the hardest.
# - **Energies are smeared**, each constituent's by its own factor; the jet follows.
# - **The tracker is shifted**: every track's impact parameters are off by a constant, their errors do not know.
#
# Larger losses contain the smaller ones, and each network sees the same jets with the same damage.

# %%
jets = inputs.some_jets(store, "test", robust_jets, seed)
labels = jets.labels.numpy()
scans = {"random": drop_fractions, "softest": drop_fractions, "dead": dead_sides}
conditions = all_conditions(**scans, smearing=smear_widths, shift=shifts_mm)
about = losses(jets, conditions, seed)
models = pd.DataFrame([(arm, tagger.seed) for arm, tagger in members], columns=["arm", "seed"])
scores = probabilities_under([t.classifier for _, t in members], jets, conditions, seed, device)
by_seed = robustness_table(scores, labels, models, about)
table = by_arm(scores, labels, models, about)
sample = f"{len(jets)} test jets, {robust_labels} labels"
stage.table(
    table.drop(columns=["auc_spread", "loss_spread"]),
    "robustness",
    f"Every arm under every condition ({sample}): accuracy with its spread over seeds and its error from the finite "
    "number of jets; what is lost against clean jets, jet by jet; share of constituents and pT that are gone.",
)

# %% [markdown]
# ## What does it need?
#
# The paper finds that JP-JEPA keeps 0.723 of its accuracy of 0.861 on average over the removals, and a supervised
# ParT 0.665 of 0.861; without particle identification 0.536 against 0.136. Their networks have seen a hundred
# million labelled jets, ours as many as the figure says: another scale, and less to lose. What compares is which of
# the two arms loses more, and what each leans on; the size of a loss does not.

# %%
main = ["fine-tuned", "from scratch"]
theirs = published("JetClass robustness", "accuracy")
fig = robustness.removal_figure(table, main, theirs)
stage.show(
    fig,
    "removals",
    f"Accuracy without one input or one group; lines: nothing removed. Ours: {sample}, bars one standard error of seeds "
    "and jets. Published (open, grey): JetClass with 100 M labels, another scale.",
    main=True,
)

# %%
means = table[table.kind == "mean"].set_index("arm")
clean = table[table.kind == "clean"].set_index("arm")
for arm in means.index:
    mine = means.loc[arm]
    stage.finding(
        f"{arm}: accuracy {clean.accuracy[arm]:.3f} clean, {mine.accuracy:.3f} on average over 17 removals ("
        + (f"spread over {mine.seeds} seeds {mine.spread:.3f}" if mine.seeds > 1 else "one seed")
        + f"), lost {mine.loss:.3f} ± {mine.loss_error:.3f} (jets); AUC "
        f"{clean.auc_ovo[arm]:.3f} to {mine.auc_ovo:.3f}."
    )

# %%
few = table[table.kind.isin(["clean", "mean"])].assign(what=lambda rows: rows.kind)
few = pd.concat([few, table[table.kind == "group"].assign(what=lambda rows: "no " + rows.what)])
overview = few.pivot(index="arm", columns="what", values="accuracy").loc[means.index].reset_index()
overview = overview.rename(columns={"mean": "mean of removals"}).assign(
    spread=means.spread.to_numpy(), lost=means.loss.to_numpy(), seeds=means.seeds.to_numpy()
)
stage.table(
    overview,
    "overview",
    f"Accuracy of each arm, clean and without inputs ({sample}); spread over seeds, and what is lost, of the mean of removals.",
    main=True,
)

# %%
inputs_lost = table[table.kind == "input"]
for arm in main:
    worst = inputs_lost[inputs_lost.arm == arm].nlargest(3, "loss")
    named = ", ".join(f"{w.what} ({w.loss:.3f} ± {w.loss_error:.3f})" for w in worst.itertuples())
    stage.finding(f"{arm} leans most on {named}: accuracy lost without it, error from {len(jets)} jets.")

# %% [markdown]
# ## Who is more robust?
#
# Two questions that are easily mixed up: who is *better* when an input is missing, and who *loses less*? A network
# that was better to begin with may lose more and still be ahead. A difference within its interval of 95 % is none. The
# interval has two parts: the spread over seeds, pooled over all arms because the few seeds of one arm say
# little of it, and the finite number of test jets, which all arms share.

# %%
value = theirs.set_index(["model", "setting"]).value
gap = {name: value["JP-JEPA Small", name] - value["ParT", name] for name in ("clean", "mean of removals", "pid")}
questions = {
    "clean": (("clean", ""), False, gap["clean"]),
    "mean over the 17 removals": (("mean", ""), False, gap["mean of removals"]),
    "lost in that mean": (("mean", ""), True, gap["clean"] - gap["mean of removals"]),
    "no identification": (("group", "pid"), False, gap["pid"]),
}
right, verdicts = is_right(scores, labels), {}
for question, (condition, lost, published_gap) in questions.items():
    result = compare_arms(right, models, about, main, condition, lost)
    verdicts[question] = result.word
    stage.finding(
        f"{question.capitalize()}: {result.sentence(*main)}. Published, at another scale: {published_gap:+.3f}.",
        main=condition[0] == "mean",
    )

# %% [markdown]
# The same, jet by jet: both arms averaged over the seeds that they share, on the same test jets.

# %%
gains = paired_gain(scores, labels, models, about, main)
stage.table(
    gains,
    "gains",
    f"Accuracy of {main[0]} minus {main[1]} under each condition ({sample}): error from the jets, spread over the seeds "
    "that both have.",
)

# %% [markdown]
# ## Is it the dropout?

# %%
fig = robustness.arms_figure(by_seed, table)
stage.show(
    fig,
    "arms",
    f"All arms, single seeds and mean with one standard error ({sample}; {means.seeds.min()} to {means.seeds.max()} seeds).",
)

# %%
pairs = {"pre-training": ("fine-tuned", "fine-tuned, no dropout")}
pairs |= {f"training, {arm}": (f"{arm}, + dropout", arm) for arm in main}
for where, pair in pairs.items():
    if not set(pair) <= set(means.index):
        continue
    for name, condition in {"clean": ("clean", ""), "mean over removals": ("mean", ""), "no pid": ("group", "pid")}.items():
        result = compare_arms(right, models, about, pair, condition)
        verdicts[f"dropout in {where}: {name}"] = result.word
        stage.finding(f"Feature dropout in {where}, {name}: {result.sentence(*pair)}.", main=condition[0] == "group")

# %% [markdown]
# ## How fast does it break?

# %%
fig = robustness.scan_figure(table, list(means.index))
stage.show(
    fig,
    "scans",
    f"Accuracy against what is lost or spoilt ({sample}). Bands: standard deviation over seeds of the first two arms. "
    "Below the sides of the dead square: the share of constituents in it.",
)

# %%
for kind in [*scans, "smearing", "shift"]:
    rows = table[(table.kind == kind) & table.arm.isin(main)]
    largest = rows[rows["size"] == rows["size"].max()].set_index("arm")
    told = "; ".join(f"{arm} {largest.accuracy[arm]:.3f}, lost {largest.loss[arm]:.3f}" for arm in main)
    gone = largest.lost_particles.iloc[0]
    pair = gains[(gains.kind == kind) & (gains["size"] == rows["size"].max())].iloc[0]
    stage.finding(
        f"{robustness.SCAN_WORDS[kind].capitalize()} {rows['size'].max():g}"
        + (f" ({gone:.0%} of the constituents)" if gone else "")
        + f": {told}; difference of the arms {pair.gain:+.3f} ± {pair.jet_error:.3f} (jets)."
    )

# %% [markdown]
# ## Did it look at what is gone?
#
# The class token of the network gathers the jet by attention. How much of it lay, before the loss, on the
# constituents that are then lost? If it looked everywhere alike, the share would be that of constituents; if it
# followed the energy, that of pT. A network that looks mostly elsewhere has less to lose.

# %%
lossy = [condition for condition in conditions if condition.kind in LOSSES]
rows = []
for arm, tagger in members:
    if arm in main:
        looked = attention_to_lost(tagger.classifier, jets, lossy, seed, device).mean(1)
        rows += [(arm, c.kind, c.size, value) for c, value in zip(lossy, looked)]
attention = pd.DataFrame(rows, columns=["arm", "kind", "size", "attention"])
attention = attention.groupby(["arm", "kind", "size"], as_index=False).mean()
columns = ["arm", "kind", "size", "lost_particles", "lost_pt", "loss", "loss_error"]
attention = attention.merge(table[columns]).rename(columns={"loss_error": "error"})
fig = robustness.attention_figure(attention)
stage.show(
    fig,
    "attention",
    f"Share of the class token's attention on what is then lost, and of pT, relative to that of constituents "
    f"({sample}, means over jets and seeds), and the accuracy lost (errors: jets).",
)

# %%
middle = sorted(drop_fractions)[(len(drop_fractions) - 1) // 2]
for arm in main:
    mine = attention[attention.arm == arm]
    tracks = mine[["attention", "lost_particles", "lost_pt"]].corrwith(mine.loss)
    half = mine[mine["size"] == middle].set_index("kind")
    told = ", ".join(
        f"{kind} {half.attention[kind]:.2f} of the attention ({half.lost_pt[kind]:.2f} of pT, accuracy {-half.loss[kind]:+.3f})"
        for kind in ("random", "softest")
    )
    stage.finding(
        f"{arm}, {middle:.0%} of the constituents lost: {told}. Over all {len(mine)} losses accuracy lost goes "
        f"with attention ({tracks.attention:.2f}), constituents ({tracks.lost_particles:.2f}), pT ({tracks.lost_pt:.2f}; correlations); "
        f"the share of attention differs from that of constituents by at most {(mine.attention - mine.lost_particles).abs().max():.3f}."
    )

# %% [markdown]
# ## Try it
#
# Live in JupyterLab: take inputs away, drop constituents, smear energies, and see at once what becomes of one jet's
# scores and of the accuracy over as many as two hundred. In an executed notebook the first jet stands there undamaged.

# %%
first = {arm: next(t for name, t in members if name == arm).classifier.cpu() for arm in main}
RobustnessPlayground(first, jets.take(list(range(min(200, len(jets))))), store.classes, seed, memory=stage.folder / "playground.json")

# %%
stage.finish(
    accuracy=clean.accuracy.to_dict(),
    removals=means.accuracy.to_dict(),
    spread=means.spread.dropna().to_dict(),
    lost=means.loss.to_dict(),
    no_pid=table[table.what == "pid"].set_index("arm").accuracy.to_dict(),
    worst={arm: inputs_lost[inputs_lost.arm == arm].nlargest(1, "loss").what.iloc[0] for arm in main},
    verdicts=verdicts,
    conditions=len(conditions),
    jets=len(jets),
    table=str(stage.folder / "robustness.csv"),
    without=str(without.path) if without else "",
)
