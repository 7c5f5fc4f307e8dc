"""Many experiments: what the table says, what is kept, and that workers change nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
import pytest

from jepalib.errors import JepalibError
from jepalib.evaluation.scan import Experiment, bands, plan, scan, upper_bounds, verdict
from jepalib.evaluation.search import Draw, OnFeatures, Sizes, fit_linear, fit_trees
from jepalib.evaluation.sic import sic_curve

SIZES = Sizes(200, 250, 400, 150)
RNG = np.random.default_rng(0)
BACKGROUND = RNG.normal(size=(850, 3))
SIGNALS = {"easy": RNG.normal(3, 1, (300, 3)), "hard": RNG.normal(0.3, 1, (300, 3))}


@pytest.fixture
def arms() -> dict:
    fits = {"trees": partial(fit_trees, members=1, rounds=20), "linear": fit_linear}
    return {(s, a): OnFeatures(BACKGROUND, x, fit) for s, x in SIGNALS.items() for a, fit in fits.items()}


def test_every_experiment_has_a_row_and_a_curve(arms):
    experiments = plan(arms, [20, 100], [0, 1])
    assert len(experiments) == 2 * 2 * 2 * 2
    table, curves = scan(arms, [*experiments, experiments[0]], SIZES)  # asked for twice, made once
    assert list(curves) == experiments
    assert len(table) == 16
    row = table[(table.signal == "easy") & (table.arm == "linear") & (table.signals == 100)].iloc[0]
    assert row.significance == pytest.approx(100 / 250**0.5)
    assert row.max_sic == curves[Experiment("easy", "linear", 100, 0)].maximum.value
    means = table[table.signals == 100].groupby("signal").max_sic.mean()
    assert means["easy"] > 2 * means["hard"]
    found = bands(curves, "easy", 100)
    assert list(found) == ["trees", "linear"]
    assert found["trees"].seeds == 2


def test_workers_change_nothing(arms):
    experiments = plan({("easy", "trees"): arms["easy", "trees"]}, [30], [0, 1, 2])
    alone, _ = scan(arms, experiments, SIZES)
    together, _ = scan(arms, experiments, SIZES, workers=2)
    assert alone.equals(together)


@dataclass(frozen=True)
class Counting:
    """An arm that tells how often it was trained."""

    calls: list
    pools: tuple = (850, 300)

    def __call__(self, drawn: Draw, seed: int):
        self.calls.append(seed)
        return np.arange(400.0), np.arange(150.0) + 200 + seed


def test_kept_scores_are_taken_and_damaged_ones_named(tmp_path):
    arm = Counting([])
    arms = {("Tbqq", "network, α/β"): arm}
    experiments = plan(arms, [10], [0, 1])
    first, _ = scan(arms, experiments, SIZES, tmp_path / "kept")
    again, curves = scan(arms, experiments, SIZES, tmp_path / "kept")
    assert arm.calls == [0, 1]
    assert first.equals(again)
    assert len(list((tmp_path / "kept").iterdir())) == 2
    expected = sic_curve(np.arange(400.0), np.arange(150.0) + 201)
    np.testing.assert_array_equal(curves[experiments[1]].sic, expected.sic)
    (tmp_path / "kept" / experiments[0].file).write_bytes(b"half")
    with pytest.raises(JepalibError, match="no scores here"):
        scan(arms, experiments, SIZES, tmp_path / "kept")


def test_an_unknown_arm_and_a_small_pool_are_named(arms):
    with pytest.raises(JepalibError, match="no arm 'forest' for the signal easy"):
        scan(arms, [Experiment("easy", "forest", 10, 0)], SIZES)
    small = {("easy", "trees"): replace(arms["easy", "trees"], background=BACKGROUND[1:])}
    with pytest.raises(JepalibError, match="850 background events are needed, there are 849"):
        scan(small, plan(small, [10], [0]), SIZES)
    with pytest.raises(JepalibError, match="301 signal events"):
        scan(arms, plan(arms, [151], [0]), SIZES)


def judged(**arms: list[float]) -> pd.DataFrame:
    """A table of one signal: maximum SIC of each seed by arm."""
    rows = [
        {"signal": "Tbl", "signals": 10, "arm": arm, "seed": seed, "max_sic": value, "sic_1e-2": value / 2}
        for arm, values in arms.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_a_verdict_at_the_best_cut_and_at_a_fixed_one():
    table = judged(high=[3.0, 3.1, 3.2], low=[1.0, 1.1, 1.2])
    words, sentence = verdict(table, "high", "low")
    assert words == {"max_sic": "a gain", "sic_1e-2": "a gain"}
    assert "maximum SIC: high 3.100 ± 0.100, low 1.100 ± 0.100: +2.000" in sentence
    assert "SIC at FPR 1e-2: high 1.550 ± 0.050" in sentence
    table.loc[1, "sic_1e-2"] = np.nan
    words, sentence = verdict(table, "low", "high")
    assert words == {"max_sic": "a loss", "sic_1e-2": "not quoted"}
    assert sentence.endswith("; SIC at FPR 1e-2: not quoted")
    with pytest.raises(JepalibError, match="at least one finite value"):
        verdict(table, "high", "forest")


def test_the_bound_is_the_better_of_those_told_the_truth():
    one = judged(trees=[2.0, 4.0], linear=[2.5, 2.7], other=[9.0, 9.0])
    two = judged(trees=[1.0, 1.2], linear=[2.5, 2.7]).assign(signal="Zqq")
    found = upper_bounds(pd.concat([one, two]), {"features, supervised": ["trees", "linear"]})
    assert set(found.arm) == {"features, supervised"}
    best = found.groupby("signal").classifier.unique()
    assert {signal: list(names) for signal, names in best.items()} == {"Tbl": ["trees"], "Zqq": ["linear"]}
    assert found[found.signal == "Tbl"].max_sic.tolist() == [2.0, 4.0]
