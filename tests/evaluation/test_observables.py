"""Observables equal their definitions and energyflow's; the ridge finds what is there and no more."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
from made_jets import make_jets

from jepalib.errors import JepalibError
from jepalib.evaluation import observables as module
from jepalib.evaluation.observables import (
    EFP_GRAPHS,
    PHYSICS,
    TARGETS,
    compare,
    energy_flow_polynomials,
    hand_made,
    observables,
    physics,
    predict_observables,
    regress,
)
from jepalib.jets import Jets
from jepalib.schema import JET_COLUMN, PARTICLE_COLUMN


def jets_of(particles: list[np.ndarray]) -> Jets:
    """Jets of (pT, Δη, Δφ) rows about an axis at η = φ = 0."""
    packed = torch.zeros(sum(map(len, particles)), 16)
    pt, deta, dphi = torch.tensor(np.concatenate(particles), dtype=torch.float32).T
    packed[:, :6] = torch.stack(
        [pt * dphi.cos(), pt * dphi.sin(), pt * deta.sinh(), pt * deta.cosh(), deta, dphi], dim=1
    )
    offsets = torch.tensor([0, *np.cumsum([len(p) for p in particles])])
    n = len(particles)
    return Jets(packed, offsets, torch.zeros(n, 10), torch.zeros(n, dtype=torch.long), torch.arange(n))


def test_polynomials_are_those_of_energyflow():
    reference = json.loads(Path(__file__).with_name("energyflow_reference.json").read_text())
    assert reference["version"] == "1.4.0"
    theirs = {nx.MultiGraph([tuple(e) for e in g]): i for i, g in enumerate(reference["graphs"])}

    def same(a: nx.MultiGraph, b: nx.MultiGraph) -> bool:
        simple = [nx.Graph() for _ in range(2)]
        for to, graph in zip(simple, (a, b)):
            for u, v in graph.edges():
                times = to.edges[u, v]["times"] + 1 if to.has_edge(u, v) else 1
                to.add_edge(u, v, times=times)
        return nx.is_isomorphic(*simple, edge_match=lambda x, y: x["times"] == y["times"])

    ours = energy_flow_polynomials(jets_of([np.array(j["particles"]) for j in reference["jets"]]))
    for name, graph in EFP_GRAPHS.items():
        (column,) = [i for other, i in theirs.items() if same(nx.MultiGraph(graph), other)]
        expected = [j["values"][column] for j in reference["jets"]]
        assert ours[name].to_numpy() == pytest.approx(expected, rel=1e-5, abs=1e-15), name


@pytest.mark.parametrize("name", EFP_GRAPHS)
def test_polynomials_are_their_defining_sums(name):
    jets = make_jets([1, 2, 5, 7])
    edges = EFP_GRAPHS[name]
    assert int(name.split("_")[1]) == len(edges)
    for i, value in enumerate(energy_flow_polynomials(jets)[name]):
        rows = slice(int(jets.offsets[i]), int(jets.offsets[i + 1]))
        pt = jets.particles[rows, :2].double().norm(dim=1)
        place = jets.particles[rows, 4:6].double()
        theta = (place[:, None] - place[None]).norm(dim=2)
        vertices = "abcdefg"[: max(max(e) for e in edges) + 1]
        terms = [f"{vertices[k]}{vertices[j]}" for k, j in edges]
        spec = ",".join([*vertices, *terms])
        z = (pt / pt.sum()).numpy()
        expected = np.einsum(spec, *[z] * len(vertices), *[theta.numpy()] * len(edges), optimize="greedy")
        assert value == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_the_graphs_are_connected_and_differ():
    graphs = [nx.MultiGraph(edges) for edges in EFP_GRAPHS.values()]
    assert all(nx.is_connected(g) for g in graphs)
    assert len({tuple(sorted(map(tuple, g.edges()))) for g in graphs}) == len(graphs)


def test_batches_of_any_size_give_the_same(monkeypatch):
    jets = make_jets([3, 128, 40, 1, 77, 12])
    whole = energy_flow_polynomials(jets)
    alike = module._alike
    monkeypatch.setattr(module, "_alike", lambda some: alike(some, pairs=100))
    pd.testing.assert_frame_equal(energy_flow_polynomials(jets), whole)
    rows = torch.cat(list(alike(jets, pairs=20_000)))
    assert sorted(rows.tolist()) == list(range(len(jets)))


def test_targets_are_logarithms_and_what_is_undefined_is_nan():
    jets = make_jets([1, 2, 30])
    values = jets.observables.clone()
    values[:, JET_COLUMN["tau1"]] = torch.tensor([0.0, 0.1, 0.2])
    values[:, JET_COLUMN["sdmass"]] = torch.tensor([0.0, 80.0, 125.0])
    table = observables(replace(jets, observables=values))
    assert list(table.columns) == list(TARGETS)
    assert table.tau1.to_numpy() == pytest.approx([np.nan, math.log(0.1), math.log(0.2)], nan_ok=True)
    assert table.sdmass.to_numpy() == pytest.approx([np.nan, 80, 125], nan_ok=True)
    assert table.tau4.isna().all(), "a data set without τ4"
    assert list(table.multiplicity) == [1, 2, 30]
    assert table.efp_1_line.isna().tolist() == [True, False, False]
    assert table.efp_3_triangle.isna().tolist() == [True, True, False]
    assert np.isfinite(table.drop(columns=["tau1", "tau2", "tau3", "tau4", "sdmass"]).iloc[2]).all()


def test_physics_of_known_jets():
    jets = make_jets([3, 4, 1])
    values, particles = jets.observables.clone(), torch.zeros_like(jets.particles)
    values[:, JET_COLUMN["tau1"] : JET_COLUMN["tau4"] + 1] = torch.tensor(
        [[0.4, 0.2, 0.05, 0.04], [0.5, 0.1, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    )
    values[:, JET_COLUMN["sdmass"]] = torch.tensor([80.0, 0.0, 125.0])

    def set_columns(rows: list[int], **columns: float) -> None:
        for name, value in columns.items():
            particles[rows, PARTICLE_COLUMN[name]] = value

    set_columns([0, 4], charge=1, isElectron=1)
    set_columns([5], charge=-1, isMuon=1)
    set_columns([1], charge=1, isChargedHadron=1)
    set_columns([2, 7], isPhoton=1)
    set_columns([0, 4], d0val=-0.31, d0err=0.1)  # displaced on either side of the beam
    set_columns([1], d0val=0.29, d0err=0.1)  # not enough
    set_columns([5], d0val=5.0)  # no error: nothing is known
    set_columns([2], d0val=5.0, d0err=0.1)  # not charged
    table = physics(replace(jets, observables=values, particles=particles))
    assert list(table.columns) == list(PHYSICS)
    assert table.sdmass.to_numpy() == pytest.approx([80, np.nan, 125], nan_ok=True)
    assert table.tau21.to_numpy() == pytest.approx([0.5, 0.2, np.nan], nan_ok=True)
    assert table.tau32.to_numpy() == pytest.approx([0.25, np.nan, np.nan], nan_ok=True)
    assert table.tau43.to_numpy() == pytest.approx([0.8, np.nan, np.nan], nan_ok=True)
    assert list(table.multiplicity) == [3, 4, 1]
    assert list(table.leptons) == [1, 2, 0]
    assert list(table.displaced) == [1, 1, 0]


def test_what_a_data_set_does_not_hold_is_undefined():
    """Top tagging files have neither identification nor tracks: no jet has zero leptons there."""
    jets = make_jets([3, 4])
    bare = jets.particles.clone()
    bare[:, 6:] = 0
    table = physics(jets.with_particles(bare))
    assert table[["leptons", "displaced"]].isna().all(axis=None)
    assert list(table.multiplicity) == [3, 4]


def test_hand_made_features_of_a_known_jet():
    jets = jets_of([np.array([[60.0, 0.0, 0.0], [40.0, 0.3, 0.4]])])
    jets.particles[0, 11], jets.particles[1, 13] = 1, 1  # a charged hadron, a photon
    jets.observables[0, :4] = torch.tensor([100.0, -1.2, 0.0, 150.0])
    row = hand_made(jets).iloc[0]
    assert len(row) == 16
    assert row.ln_pt == pytest.approx(math.log(100))
    assert (row.eta, row.ln_girth) == (pytest.approx(-1.2), pytest.approx(math.log(0.4 * 0.5)))
    assert row.pt_dispersion == pytest.approx(math.hypot(0.6, 0.4))
    assert (row.share_ChargedHadron, row.share_Photon, row.share_Muon) == pytest.approx((0.6, 0.4, 0))
    assert [row[f"z{k}"] for k in range(1, 6)] == pytest.approx([0.6, 0.4, 0, 0, 0])
    mass2 = 2 * 60 * 40 * (math.cosh(0.3) - math.cos(0.4))
    assert row.ln_mass == pytest.approx(0.5 * math.log(mass2), rel=1e-5)


def test_hand_made_features_hold_no_target():
    jets = make_jets([int(n) for n in np.random.default_rng(0).integers(5, 60, 400)])
    features, targets = hand_made(jets), observables(jets)
    assert not set(features) & set(TARGETS)
    for name in ("multiplicity", *EFP_GRAPHS):
        strongest = features.corrwith(targets[name], method="spearman").abs().max()
        assert strongest < 0.999, f"{name} is there up to a monotone function"


def linear_case(jets: int = 3000, noise: float = 0.5) -> tuple[np.ndarray, pd.DataFrame]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(jets, 6)) * 3 + 1
    signal = x @ rng.normal(size=6)
    signal = (signal - signal.mean()) / signal.std()
    known = 100 * signal
    return x, pd.DataFrame({"known": known, "noisy": signal + noise * rng.normal(size=jets),
                            "nothing": rng.normal(size=jets)})  # fmt: skip


def test_regression_finds_what_is_there_and_its_error():
    x, y = linear_case()
    table = regress(x[:1000], y[:1000], x[1000:], y[1000:]).set_index("target")
    assert table.r2["known"] > 0.9999
    assert table.r2["noisy"] == pytest.approx(1 / 1.25, abs=4 * table.r2_error["noisy"])
    assert table.r2["nothing"] < 0.01
    assert 0.003 < table.r2_error["noisy"] < 0.02
    # Residuals of the noisy target are normal with the noise's width.
    half = (table.residual_q84["noisy"] - table.residual_q16["noisy"]) / 2
    assert half == pytest.approx(0.5, rel=0.1)
    assert (table.train_jets == 1000).all()
    assert (table.test_jets == 2000).all()


def test_r2_is_that_of_scikit_learn_and_its_error_that_of_a_plain_bootstrap():
    from sklearn.metrics import r2_score

    rng = np.random.default_rng(0)
    truth = rng.normal(size=(500, 1)) + 1e3
    guess = truth + 0.4 * rng.normal(size=truth.shape)
    r2, error = module._r2(truth, guess, seed=0)
    assert r2[0] == pytest.approx(r2_score(truth, guess), abs=1e-9)
    draws = [r2_score(truth[i], guess[i]) for i in rng.integers(500, size=(400, 500))]
    assert error[0] == pytest.approx(np.std(draws), rel=0.2)


def test_undefined_targets_are_left_out_and_counted():
    x, y = linear_case()
    y = y.assign(missing=np.nan, one=y.known.where(np.arange(len(y)) == 0), constant=1.0)
    y.loc[y.index % 3 == 0, "noisy"] = np.nan
    table = regress(x[:1500], y[:1500], x[1500:], y[1500:]).set_index("target")
    assert table.undefined["noisy"] == 1000
    assert table.undefined["missing"] == 3000
    assert table.r2[["missing", "one", "constant"]].isna().all()
    assert table.r2["noisy"] == pytest.approx(0.8, abs=0.05)
    assert table.r2["known"] > 0.9999
    predicted = predict_observables(x[:1500], y[:1500], x[1500:])
    assert predicted.missing.isna().all()
    assert predicted.noisy.notna().all(), "the jets without the value are predicted too"


def test_feature_sets_side_by_side():
    x, y = linear_case()
    sets = {"good": x, "poor": torch.tensor(x[:, :2]), "frame": pd.DataFrame(x)}
    train, test = ({name: s[part] for name, s in sets.items()} for part in (slice(1000), slice(1000, None)))
    table = compare(train, y[:1000], test, y[1000:])
    r2 = table.pivot(index="target", columns="features", values="r2")
    assert list(table.features.unique()) == ["good", "poor", "frame"]
    assert r2.good["known"] > r2.poor["known"]
    assert r2.good["known"] == r2.frame["known"]
    with pytest.raises(JepalibError, match=r"\['good'\] in test"):
        compare(train, y[:1000], {"good": x}, y)


def test_mistakes_are_named():
    x, y = linear_case(100)
    with pytest.raises(JepalibError, match="90 training targets"):
        regress(x, y[:90], x, y)
    with pytest.raises(JepalibError, match="do not fit"):
        regress(x, y, x, y[["known"]])
    with pytest.raises(JepalibError, match="test features hold NaN"):
        regress(x, y, np.full_like(x, np.nan), y)
