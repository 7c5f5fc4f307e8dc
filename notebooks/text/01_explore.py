# %% [markdown]
# # What is in a jet?
#
# Which differences between the ten classes can one see by eye, before any network looks? If there are none
# in the distributions, there is nothing to learn; where they are is what a good representation must hold.
#
# Jets of JetClass have pT between 500 and 1000 GeV and |η| < 2. Nine classes come from a heavy particle whose decay
# products merged into one jet; the tenth, *q/g*, is the background: jets of ordinary quarks and gluons,
# which are far more common in the data than all the rest.

# %% tags=["parameters"]
run_dir: str = "runs/laptop"  # folder of this run, seen from the project's root
data_dir: str = ""  # a store or JetClass files of your own; empty: simulate
train_jets_per_class: int = 2000  # simulated jets of each class for training
val_jets_per_class: int = 200  # for choosing settings
test_jets_per_class: int = 500  # for the final numbers
explore_jets: int = 10000  # jets that the figures are drawn from
seed: int = 0  # of everything random

# %%
import pandas as pd
import torch

from jepalib.kinematics import model_inputs, particle_types
from jepalib.schema import CLASSES, INPUTS, PARTICLE_TYPES
from jepalib.viz import displays, plots
from jepalib.workbook import inputs, notebook

stage = notebook.start("01_explore", run_dir)
wanted = {"train": train_jets_per_class, "val": val_jets_per_class, "test": test_jets_per_class}

# %% [markdown]
# ## The jets
#
# With an empty `data_dir` the jets are simulated here: Pythia 8 makes the collisions, a parametrised detector
# smears and loses particles, and the anti-kT algorithm (R = 0.8) gathers them into jets. This takes a few
# minutes once; called again, it finds them done.

# %%
store = inputs.own_store(stage, data_dir) if data_dir else inputs.simulated_store(stage, wanted, seed)
inputs.need_jetclass(store)
splits = {name: len(store.rows(name)) for name in ("train", "val", "test")}
jets = inputs.some_jets(store, "train", explore_jets, seed)
labels = jets.labels
print(f"{splits}; the figures show {len(jets)} training jets with {len(jets.particles)} constituents")

# %% [markdown]
# ## Ten jets
#
# One jet of each class. Filled circles are charged hadrons, open circles neutral ones, pentagons photons,
# triangles electrons (up) and muons (down); the area follows pT. Look for *prongs*: a top quark has three
# quarks in it, W, Z and H → bb have two, and q/g has one core with soft radiation around it.

# %%
fig = displays.jet_gallery(jets)
stage.show(fig, "ten_jets", "One jet of each class around its axis.")

# %% [markdown]
# ## The average jet
#
# One jet is a few dozen points; the mean of many is an image. The share of the jet's energy falls
# steeply from the axis to the rim, so the colours are logarithmic.

# %%
fig = plots.jet_images(jets)
stage.show(fig, "images", "Mean share of the jet's energy in cells around the axis, for each class.")

# %% [markdown]
# ## How many constituents, and which
#
# Gluons radiate more than quarks (their colour charge is larger by 9/4), and more quarks make more
# particles: multiplicity is the simplest tagger there is. At most 128 constituents are kept.

# %%
fig = plots.multiplicity(jets)
stage.show(fig, "multiplicity", "Number of constituents by class.")

# %%
fig = plots.particle_spectra(jets)
stage.show(fig, "spectra", "Constituents by type: transverse momentum, distance from the axis, impact parameter.")

# %%
kinds = particle_types(jets)
counts = pd.crosstab(labels[jets.jet_of_particle].numpy(), kinds.numpy())
counts = counts.reindex(columns=range(len(PARTICLE_TYPES)), fill_value=0).to_numpy()
composition = pd.DataFrame(counts / labels.bincount().numpy()[:, None], columns=PARTICLE_TYPES)
composition.insert(0, "class", CLASSES)
composition["all"] = composition[list(PARTICLE_TYPES)].sum(axis=1)
stage.table(composition, "composition", "Mean number of constituents per jet, by class and type.")

# %%
mean_counts = composition.set_index("class")["all"]
stage.finding(
    f"Jets of {mean_counts.idxmax()} have the most constituents ({mean_counts.max():.1f} on average), "
    f"those of {mean_counts.idxmin()} the fewest ({mean_counts.min():.1f}).",
    main=True,
)
leptons = composition.set_index("class")[["e-", "e+", "mu-", "mu+"]].sum(axis=1)
most = ", ".join(f"{name} {mean:.2f}" for name, mean in leptons.nlargest(3).items())
stage.finding(f"Most electrons and muons per jet: {most}; in q/g {leptons['QCD']:.2f}.")

# %% [markdown]
# ## Mass
#
# The invariant mass of all constituents is smeared by soft radiation from elsewhere in the collision. *Soft
# drop* grooms it: it undoes the clustering step by step and throws away the softer branch until both are
# hard enough. What remains peaks at the mass of the heavy particle. A neutrino carries its share away unseen:
# look what that does to the two leptonic classes.

# %%
fig = plots.jet_mass(jets)
stage.show(fig, "mass", "Soft-drop mass by class; particle masses: W 80, Z 91, H 125, t 173 GeV.", main=True)

# %%
median_mass = {name: float(jets.observable("sdmass")[labels == i].median()) for i, name in enumerate(CLASSES)}
heaviest = max(median_mass, key=median_mass.get)
stage.finding(
    f"Median soft-drop mass: W {median_mass['Wqq']:.0f}, Z {median_mass['Zqq']:.0f}, "
    f"H → bb {median_mass['Hbb']:.0f}, {heaviest} {median_mass[heaviest]:.0f}, q/g {median_mass['QCD']:.0f} GeV.",
    main=True,
)

# %% [markdown]
# ## Prongs
#
# N-subjettiness τN asks how well N axes explain a jet: 0 when every constituent lies on one of them. A
# two-prong jet has a small ratio τ2/τ1, a three-prong jet a small τ3/τ2.

# %%
fig = plots.substructure(jets)
stage.show(fig, "substructure", "Ratios of N-subjettiness by class: left two prongs, right three.")

# %%
tau = {n: jets.observable(f"tau{n}") for n in (1, 2, 3)}
ratios = pd.DataFrame({"tau21": tau[2] / tau[1], "tau32": tau[3] / tau[2], "class": labels}).replace(
    torch.inf, torch.nan
)
medians = ratios.groupby("class").median().set_axis(CLASSES)
stage.finding(
    f"Median τ2/τ1 is {medians.tau21['Wqq']:.2f} for W and {medians.tau21['QCD']:.2f} for q/g; "
    f"median τ3/τ2 is {medians.tau32['Tbqq']:.2f} for top and {medians.tau32['QCD']:.2f} for q/g."
)

# %% [markdown]
# ## What the network sees
#
# Networks like inputs of order one. ParT takes logarithms of momenta and energies, shifts and scales them, and
# squeezes impact parameters (how far a track misses the collision point, in mm: long-lived b and c hadrons
# give large ones) through tanh. Seventeen numbers for each constituent, in three groups: kinematics,
# identity, displacement.

# %%
fig = plots.inputs_before_after(jets)
stage.show(fig, "inputs", "The 17 inputs after the transform (grey, lower axes) and before it (blue, upper axes).")

# %%
transformed = model_inputs(jets)
spread = dict(zip(INPUTS, transformed.std(0).tolist(), strict=True))
largest = transformed.abs().max()
stage.finding(f"After the transform all {len(INPUTS)} inputs lie within ±{largest:.1f}.")

# %%
stage.finish(
    store=str(store.path),
    jets=splits,
    mean_constituents=mean_counts.to_dict(),
    median_mass=median_mass,
    median_ratios=medians.to_dict(),
    largest_input=float(largest),
    input_spread=spread,
)
