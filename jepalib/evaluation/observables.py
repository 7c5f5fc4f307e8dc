"""Jet observables as regression targets, hand-made features, and the ridge regression between them.

What an embedding knows is asked as in HEP-JEPA (arXiv:2502.03933): energy flow polynomials
(EFPs), N-subjettiness, soft-drop mass and multiplicity, read off by a linear map, against
the same from hand-made features and from the embedding of an untrained encoder.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from jepalib.errors import JepalibError
from jepalib.jets import Jets, pad
from jepalib.schema import PARTICLE_COLUMN

# A row per jet; training and test jets, and feature sets, differ in shape.
Features = Float[np.ndarray, "_ _"] | Float[Tensor, "_ _"] | pd.DataFrame

# EFPs by name: the edges of their multigraphs, all that are connected with d <= 3 edges and
# four with d = 4. The name begins with d.
EFP_GRAPHS = {
    "efp_1_line": ((0, 1),),
    "efp_2_double": ((0, 1), (0, 1)),
    "efp_2_wedge": ((0, 1), (0, 2)),
    "efp_3_triple": ((0, 1), (0, 1), (0, 1)),
    "efp_3_kite": ((0, 1), (0, 2), (0, 2)),
    "efp_3_star": ((0, 1), (0, 2), (0, 3)),
    "efp_3_chain": ((0, 1), (0, 2), (1, 3)),
    "efp_3_triangle": ((0, 1), (0, 2), (1, 2)),
    "efp_4_quadruple": ((0, 1), (0, 1), (0, 1), (0, 1)),
    "efp_4_star": ((0, 1), (0, 2), (0, 3), (0, 4)),
    "efp_4_chain": ((0, 1), (0, 2), (1, 3), (2, 4)),
    "efp_4_square": ((0, 1), (0, 2), (1, 3), (2, 3)),
}
TARGETS = (*EFP_GRAPHS, "tau1", "tau2", "tau3", "tau4", "sdmass", "multiplicity")
PHYSICS = ("sdmass", "tau21", "tau32", "tau43", "multiplicity", "leptons", "displaced")
DISPLACED = 3.0  # |d0|/σ of a displaced track
TYPES = ("isChargedHadron", "isNeutralHadron", "isPhoton", "isElectron", "isMuon")
LEADING = 5  # constituents with a feature of their own
PENALTIES = tuple(10.0**k for k in range(-3, 6))  # of the ridge, in standardised features
RESAMPLES = 200  # of the bootstrap


def energy_flow_polynomials(jets: Jets) -> pd.DataFrame:
    """EFP_G = Σ_{i1…iN} z_i1 … z_iN Π_{(k,l) in G} θ_{ik il} of the graphs `EFP_GRAPHS`.

    z_i = pT_i / Σ pT and θ_ij = √(Δη² + Δφ²), β = 1 (Komiske, Metodiev and Thaler,
    arXiv:1712.07124). One row per jet; 0 where there are too few particles.
    """
    values = np.zeros((len(jets), len(EFP_GRAPHS)))
    for rows in _alike(jets):
        some, places = jets.take(rows), [PARTICLE_COLUMN["deta"], PARTICLE_COLUMN["dphi"]]
        weight, _ = pad(some.particles[:, :2].double().norm(dim=1), some.offsets)
        place, _ = pad(some.particles[:, places].double(), some.offsets)
        z = weight / weight.sum(1, keepdim=True).clamp_min(1e-300)
        polynomials = _polynomials(z, torch.cdist(place, place, compute_mode="donot_use_mm_for_euclid_dist"))
        values[rows] = torch.stack([polynomials[name] for name in EFP_GRAPHS], dim=1).cpu().numpy()
    return pd.DataFrame(values, columns=list(EFP_GRAPHS))


def _alike(jets: Jets, pairs: int = 1_000_000) -> Iterator[Tensor]:
    """Rows of jets of like size, as many as together have about `pairs` padded pairs of particles."""
    counts = jets.counts.cpu()
    order = counts.argsort()
    begin = 0
    while begin < len(order):
        end = begin + 1
        while end < len(order) and (end + 1 - begin) * int(counts[order[end]]) ** 2 <= pairs:
            end += 1
        yield order[begin:end]
        begin = end


def _polynomials(
    z: Float[Tensor, "jets length"], theta: Float[Tensor, "jets length length"]
) -> dict[str, Float[Tensor, " jets"]]:
    """The EFPs of `EFP_GRAPHS` by variable elimination: at most a product of two matrices."""

    def seen(matrix: Tensor, vector: Tensor) -> Tensor:
        return (matrix @ (z * vector)[:, :, None])[:, :, 0]

    one = torch.ones_like(z)
    power = [one, *(seen(theta**k, one) for k in (1, 2, 3, 4))]  # Σ_j z_j θ_ij^k
    through = theta @ (z[:, :, None] * theta)  # Σ_k z_k θ_ik θ_kj
    second = seen(theta, power[1])
    pair = z[:, :, None] * z[:, None, :]
    return {
        "efp_1_line": (z * power[1]).sum(1),
        "efp_2_double": (z * power[2]).sum(1),
        "efp_2_wedge": (z * power[1] ** 2).sum(1),
        "efp_3_triple": (z * power[3]).sum(1),
        "efp_3_kite": (z * power[1] * power[2]).sum(1),
        "efp_3_star": (z * power[1] ** 3).sum(1),
        "efp_3_chain": (z * power[1] * second).sum(1),
        "efp_3_triangle": (pair * theta * through).sum((1, 2)),
        "efp_4_quadruple": (z * power[4]).sum(1),
        "efp_4_star": (z * power[1] ** 4).sum(1),
        "efp_4_chain": (z * second**2).sum(1),
        "efp_4_square": (pair * through**2).sum((1, 2)),
    }


def observables(jets: Jets) -> pd.DataFrame:
    """Regression targets, columns `TARGETS`, a row per jet; NaN where one is not defined.

    EFPs and τ1 to τ4 (of `Jets.observables`) as natural logarithms, undefined where they
    are 0: too few particles, or a data set that lacks them. Soft-drop mass in GeV, undefined
    where it is 0. Multiplicity: constituents in `jets` (at most 128 in JetClass).
    """
    table = energy_flow_polynomials(jets)
    for name in ("tau1", "tau2", "tau3", "tau4", "sdmass"):
        table[name] = jets.observable(name).double().cpu().numpy()
    table = table.where(table > 0)
    for name in set(table) - {"sdmass"}:
        table[name] = np.log(table[name])
    table["multiplicity"] = jets.counts.double().cpu().numpy()
    return table


def physics(jets: Jets) -> pd.DataFrame:
    """What one would ask of a jet: columns `PHYSICS`, a row per jet; NaN where one is not defined.

    Soft-drop mass in GeV, undefined where it is 0. τ21 = τ2/τ1, τ32, τ43 (of `Jets.observables`),
    undefined where one of the two is 0. Numbers of constituents, of electrons and muons among
    them, and of displaced tracks: charged constituents with |d0|/σ(d0) > `DISPLACED`, where d0 is the
    transverse impact parameter and σ its error, both in mm; a track without an error is none.
    Numbers are NaN for all jets where the data set has no identification, or no tracks.
    """
    jet, columns = jets.jet_of_particle, {"sdmass": jets.observable("sdmass").double()}
    for n in (1, 2, 3):
        above, below = (jets.observable(f"tau{k}").double() for k in (n + 1, n))
        columns[f"tau{n + 1}{n}"] = torch.where(below > 0, above / below.clamp_min(1e-30), 0.0)
    table = pd.DataFrame({name: values.cpu().numpy() for name, values in columns.items()})
    table = table.where(table > 0)

    def count(chosen: Bool[Tensor, " particles"], known: bool) -> np.ndarray:
        number = torch.zeros(len(jets), dtype=torch.float64, device=jet.device)
        return (number.index_add_(0, jet, chosen.double()) if known else number * np.nan).cpu().numpy()

    lepton = (jets.column("isElectron") + jets.column("isMuon")) > 0
    d0, error = jets.column("d0val").abs(), jets.column("d0err")
    identified = any(bool((jets.column(name) != 0).any()) for name in TYPES)
    table["multiplicity"] = jets.counts.double().cpu().numpy()
    table["leptons"] = count(lepton, identified)
    displaced = (jets.column("charge") != 0) & (error > 0) & (d0 > DISPLACED * error)
    table["displaced"] = count(displaced, bool((error > 0).any()))
    return table


def hand_made(jets: Jets) -> pd.DataFrame:
    """What one writes down without a network: 16 features per jet, none of them a target.

    ln pT, η, ln E and ln mass of the jet (GeV), ln of the girth Σ z ΔR, √Σz² (pT dispersion),
    the z of the five leading constituents and the share of pT in each type of particle, with
    z = pT/Σ pT. Left out, as targets or as what gives them away: the number of particles (of
    any type), the groomed mass, τ_N and the EFPs. Two come close to targets all the same:
    girth to τ1 where the axis of τ1 is the jet's, and mass with pT to `efp_2_double`, which is
    2 (m/pT)² for small angles.
    """
    jet = jets.jet_of_particle
    total = jets.particles.new_zeros(len(jets), 4, dtype=torch.float64)
    total.index_add_(0, jet, jets.particles[:, :4].double())
    pt = jets.particles[:, :2].double().norm(dim=1)
    sum_pt = pt.new_zeros(len(jets)).index_add_(0, jet, pt).clamp_min(1e-12)
    z = pt / sum_pt[jet]

    def summed(values: Tensor) -> Tensor:
        return pt.new_zeros(len(jets)).index_add_(0, jet, values)

    mass2 = total[:, 3] ** 2 - total[:, :3].square().sum(1)
    axis = jets.observables.double()
    columns = {
        "ln_pt": axis[:, 0].clamp_min(1e-3).log(),
        "eta": axis[:, 1],
        "ln_energy": axis[:, 3].clamp_min(1e-3).log(),
        "ln_mass": 0.5 * mass2.clamp_min(1e-6).log(),
        "ln_girth": summed(z * torch.hypot(jets.column("deta"), jets.column("dphi"))).clamp_min(1e-6).log(),
        "pt_dispersion": summed(z**2).sqrt(),
    }
    columns |= {f"share_{name[2:]}": summed(z * jets.column(name)) for name in TYPES}
    place = torch.arange(len(z), device=z.device) - jets.offsets[:-1][jet]
    columns |= {f"z{k + 1}": summed(torch.where(place == k, z, 0.0)) for k in range(LEADING)}
    return pd.DataFrame({name: values.cpu().numpy() for name, values in columns.items()})


def predict_observables(train_x: Features, train_y: pd.DataFrame, test_x: Features) -> pd.DataFrame:
    """Ridge regression of every target on standardised features; predictions for the test jets.

    The penalty of each target is chosen from `PENALTIES` by leave-one-out on the training
    jets. Jets without a target are left out of its fit; a target that fewer than ten
    training jets have is predicted as NaN.

    Raises:
        JepalibError: rows or columns that do not fit, or features that are not finite.
    """
    train_x, test_x = _matrix(train_x, "training"), _matrix(test_x, "test")
    if len(train_x) != len(train_y) or train_x.shape[1] != test_x.shape[1]:
        raise JepalibError(
            f"regression: features {train_x.shape} for {len(train_y)} training targets; "
            f"test features {test_x.shape}"
        )
    targets = train_y.to_numpy(float)
    defined = np.isfinite(targets)
    predicted = np.full((len(test_x), targets.shape[1]), np.nan)
    patterns, member = np.unique(defined, axis=1, return_inverse=True)
    for i, rows in enumerate(patterns.T):  # targets that the same jets have are fitted together
        columns = np.flatnonzero(member == i)
        if rows.sum() < 10:
            continue
        model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES, alpha_per_target=True))
        scale = StandardScaler().fit(targets[rows][:, columns])
        model.fit(train_x[rows], scale.transform(targets[rows][:, columns]))
        answer = model.predict(test_x).reshape(len(test_x), -1)
        predicted[:, columns] = scale.inverse_transform(answer)
    return pd.DataFrame(predicted, columns=train_y.columns)


def regress(
    train_x: Features, train_y: pd.DataFrame, test_x: Features, test_y: pd.DataFrame, seed: int = 0
) -> pd.DataFrame:
    """How well a linear map reads the observables off the features: one row per target.

    Columns: target; r2 on the test jets (1 - residual over total sum of squares) and
    r2_error, its standard deviation over `RESAMPLES` bootstrap samples of them drawn by
    `seed`; residual_q16, residual_q50, residual_q84, quantiles of predicted - true in the
    target's unit; train_jets and test_jets that have the target; undefined, those of both
    that do not. A target that cannot be scored has NaN.
    """
    predicted = predict_observables(train_x, train_y, test_x)
    if list(test_y.columns) != list(train_y.columns) or len(test_y) != len(predicted):
        raise JepalibError("regress: the test targets do not fit those of training, or their features")
    truth, guess = test_y.to_numpy(float), predicted.to_numpy()
    r2, error = _r2(truth, guess, seed)
    residuals = pd.DataFrame(guess - truth)
    table = pd.DataFrame({"target": list(train_y.columns), "r2": r2, "r2_error": error})
    for q in (16, 50, 84):
        table[f"residual_q{q}"] = residuals.quantile(q / 100).to_numpy()
    table["train_jets"] = train_y.notna().sum().to_numpy()
    table["test_jets"] = test_y.notna().sum().to_numpy()
    table["undefined"] = len(train_y) + len(test_y) - table["train_jets"] - table["test_jets"]
    return table


def compare(
    train: dict[str, Features],
    train_y: pd.DataFrame,
    test: dict[str, Features],
    test_y: pd.DataFrame,
    seed: int = 0,
) -> pd.DataFrame:
    """`regress` for several feature sets by name, one under another, in a column `features`.

    Raises:
        JepalibError: the sets of training and test have other names.
    """
    if list(train) != list(test):
        raise JepalibError(f"compare: feature sets {list(train)} in training, {list(test)} in test")
    tables = [regress(train[name], train_y, test[name], test_y, seed) for name in train]
    return pd.concat(tables, keys=list(train), names=["features"]).reset_index(level=0).reset_index(drop=True)


def _matrix(x: Features, which: str) -> Float[np.ndarray, "jets dims"]:
    if isinstance(x, Tensor):
        x = x.detach().cpu()
    matrix = np.asarray(x, dtype=float)
    if not np.isfinite(matrix).all():
        raise JepalibError(f"regression: the {which} features hold NaN or infinity")
    return matrix


def _r2(truth: np.ndarray, guess: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """R² of each column and its standard deviation over bootstrap samples of the rows."""
    there = np.isfinite(truth) & np.isfinite(guess)
    # About the mean of the column, so that the difference of squares keeps its digits.
    mean = np.where(there, truth, 0.0).sum(0) / np.maximum(there.sum(0), 1)
    centred = np.where(there, truth - mean, 0.0)
    squared = np.where(there, guess - truth, 0.0) ** 2
    sums = np.stack([there, centred, centred**2, squared]).transpose(1, 0, 2).reshape(len(truth), -1)

    def score(weights: np.ndarray) -> np.ndarray:
        count, first, second, lost = (weights @ sums).reshape(4, -1)
        spread = second - first**2 / np.maximum(count, 1)
        usable = (count > 1) & (spread > 1e-12 * np.maximum(second, 1e-300))
        return np.where(usable, 1 - lost / np.where(usable, spread, 1.0), np.nan)

    rng, rows = np.random.default_rng(seed), len(truth)
    draws = (np.bincount(rng.integers(rows, size=rows), minlength=rows) for _ in range(RESAMPLES))
    return score(np.ones(rows)), np.std([score(draw.astype(float)) for draw in draws], axis=0, ddof=1)
