"""Accuracy by condition, its paired losses and errors, and what is said of two arms."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from jepalib.errors import JepalibError
from jepalib.evaluation.contrasts import pooled_spread
from jepalib.evaluation.robustness import (
    MEAN,
    by_arm,
    compare_arms,
    is_right,
    paired_gain,
    robustness_table,
)
from jepalib.evaluation.tagging import auc_ovo

JETS, CLASSES = 400, 4
CONDITIONS = pd.DataFrame(
    {"kind": ["clean", "input", "input", "random"], "what": ["", "a", "b", ""], "size": [0, 0, 0, 0.5]}
)
MODELS = pd.DataFrame({"arm": ["A", "A", "B", "B"], "seed": [0, 1, 0, 1]})
# Share of right jets of each model under each condition.
SHARES = np.array(
    [[0.8, 0.7, 0.5, 0.4], [0.82, 0.72, 0.52, 0.42], [0.8, 0.4, 0.4, 0.4], [0.78, 0.38, 0.38, 0.42]]
)


@pytest.fixture(scope="module")
def scored():
    """Scores with exactly these shares right; what is right under a worse condition was right before."""
    labels = np.arange(JETS) % CLASSES
    order = np.random.default_rng(0).permutation(JETS)
    right = order[None, None] < np.round(SHARES * JETS)[..., None]
    chosen = np.where(right, labels, (labels + 1) % CLASSES)
    p = np.full((*chosen.shape, CLASSES), 0.1)
    np.put_along_axis(p, chosen[..., None], 0.7, axis=-1)
    return p, labels


def test_every_model_and_condition_has_its_numbers(scored):
    p, labels = scored
    table = robustness_table(p, labels, MODELS, CONDITIONS)
    assert len(table) == 4 * 5
    shown = table[table.kind != "mean"]
    assert shown.accuracy.to_numpy().reshape(4, 4) == pytest.approx(SHARES)
    assert shown.loss.to_numpy().reshape(4, 4) == pytest.approx(SHARES[:, :1] - SHARES)
    first = shown.iloc[1]
    lost = 0.1  # of 400 jets, each lost jet was right before: a binomial
    assert first.loss_error == pytest.approx((lost * (1 - lost) / JETS) ** 0.5)
    assert shown.iloc[0].loss_error == 0
    assert first.auc_ovo == pytest.approx(auc_ovo(p[0, 1], labels))
    assert first.auc_change == pytest.approx(auc_ovo(p[0, 1], labels) - auc_ovo(p[0, 0], labels))
    assert (table.jets == JETS).all()


def test_the_mean_is_over_removed_inputs_alone(scored):
    mean = robustness_table(*scored, MODELS, CONDITIONS).query("kind == 'mean'")
    assert mean.what.eq(MEAN).all()
    assert mean.accuracy.tolist() == pytest.approx([0.6, 0.62, 0.4, 0.38])
    assert mean.loss.tolist() == pytest.approx([0.2, 0.2, 0.4, 0.4])
    none = CONDITIONS.assign(kind=["clean", "group", "group", "random"])
    assert "mean" not in set(robustness_table(*scored, MODELS, none).kind)


def test_arms_have_a_spread_over_seeds_and_an_error_over_jets(scored):
    table = by_arm(*scored, MODELS, CONDITIONS).set_index(["arm", "what", "kind"])
    a, b = table.loc["A", "a", "input"], table.loc["B", MEAN, "mean"]
    assert (a.accuracy, a.loss, a.seeds, a.jets) == (pytest.approx(0.71), pytest.approx(0.1), 2, JETS)
    assert a.spread == pytest.approx(np.std([0.70, 0.72], ddof=1))
    assert a.loss_spread == pytest.approx(0, abs=1e-12)
    # Half of the 2 % between the seeds counts half: the variance of the mean of both over jets.
    assert a.jet_error == pytest.approx(((0.7 + 0.02 * 0.25) - 0.71**2) ** 0.5 / JETS**0.5)
    assert b.accuracy == pytest.approx(0.39)
    one = by_arm(scored[0][:1], scored[1], MODELS[:1], CONDITIONS)
    assert one.spread.isna().all()
    assert (one.jet_error > 0).all()


def test_two_arms_are_compared_over_seeds_and_jets(scored):
    right = is_right(*scored)
    about = (MODELS, CONDITIONS, ("A", "B"))
    mean = compare_arms(right, *about)
    assert (mean.first, mean.second, mean.word) == (pytest.approx(0.61), pytest.approx(0.39), "a gain")
    spread, freedom = pooled_spread([[0.60, 0.62], [0.40, 0.38]])
    by_jet = right[:2, 1:3].mean((0, 1)) - right[2:, 1:3].mean((0, 1))
    assert mean.error == pytest.approx((spread**2 + by_jet.var() / JETS) ** 0.5)
    assert mean.reach == pytest.approx(student.ppf(0.975, freedom) * mean.error)
    assert compare_arms(right, *about, ("clean", "")).word == "no difference beyond the spread"
    assert compare_arms(right, *about, lost=True).gain == pytest.approx(-0.2)
    assert compare_arms(right, *about, ("input", "a")).gain == pytest.approx(0.32)


def test_an_arm_of_one_seed_is_judged_by_the_spread_of_the_others(scored):
    right = is_right(*scored)
    lone = MODELS.assign(arm=["A", "A", "B", "C"])
    result = compare_arms(right, lone, CONDITIONS, ("C", "B"), ("random", ""))
    assert np.isnan([result.first_spread, result.second_spread]).all()
    spread, freedom = pooled_spread([[0.40, 0.42]])
    by_jet = right[3, 3].astype(float) - right[2, 3]
    assert (result.gain, freedom) == (pytest.approx(0.02), 1)
    assert result.error == pytest.approx((2 * spread**2 + by_jet.var() / JETS) ** 0.5)
    assert result.word == "no difference beyond the spread"
    alone = MODELS.assign(arm=list("ABCD"))
    assert compare_arms(right, alone, CONDITIONS, ("A", "B")).word == "one seed, spread unknown"


def test_a_comparison_needs_two_arms_and_one_condition(scored):
    right = is_right(*scored)
    with pytest.raises(JepalibError, match="2 conditions input , one is needed"):
        compare_arms(right, MODELS, CONDITIONS, ("A", "B"), ("input", ""))
    with pytest.raises(JepalibError, match=r"arms \['A', 'C'\] of \['A', 'B'\]"):
        compare_arms(right, MODELS, CONDITIONS, ("A", "C"))
    with pytest.raises(JepalibError, match="0 conditions group pid"):
        compare_arms(right, MODELS, CONDITIONS, ("A", "B"), ("group", "pid"))


def test_gains_are_paired_jet_by_jet_over_shared_seeds(scored):
    gains = paired_gain(*scored, MODELS, CONDITIONS, ("A", "B")).set_index("what")
    assert gains.loc["a", "gain"] == pytest.approx(0.71 - 0.39)
    assert gains.loc["a", "spread"] == pytest.approx(np.std([0.3, 0.34], ddof=1))
    assert gains.loc[MEAN, "gain"] == pytest.approx(0.61 - 0.39)
    assert (gains.seeds == 2).all()
    renamed = paired_gain(*scored, MODELS.set_axis([3, 2, 1, 0]), CONDITIONS, ("A", "B"))
    assert renamed.set_index("what").equals(gains), "rows of the table are places, whatever its index says"
    same = MODELS.assign(seed=[0, 1, 0, 7])
    gains = paired_gain(*scored, same, CONDITIONS, ("A", "B")).set_index("what")
    assert gains.loc["a", ["gain", "seeds"]].tolist() == [pytest.approx(0.3), 1]
    assert gains.loc["a", "jet_error"] == pytest.approx((0.3 * 0.7 / JETS) ** 0.5)
    with pytest.raises(JepalibError, match="share no seed"):
        paired_gain(*scored, MODELS.assign(seed=range(4)), CONDITIONS, ("A", "B"))


def test_what_does_not_fit_is_refused(scored):
    p, labels = scored
    with pytest.raises(JepalibError, match="scores of 4 models and 4 conditions, tables of 2 and 4"):
        robustness_table(p, labels, MODELS[:2], CONDITIONS)
    with pytest.raises(JepalibError, match="first condition must be the clean"):
        robustness_table(p[:, ::-1], labels, MODELS, CONDITIONS[::-1].reset_index(drop=True))
    with pytest.raises(JepalibError, match="are no probabilities"):
        is_right(2 * p, labels)
