"""How many labels a pre-training saves: read off curves whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jepalib.errors import JepalibError
from jepalib.evaluation.label_savings import LabelCount, catch_up, check_table, few_shot_table, labels_needed

COUNTS = (500, 2000, 8000)


def rows(mode, accuracies, counts=COUNTS, spread=0.0, seeds=3, views=1000):
    noise = np.linspace(-1, 1, seeds) * spread
    return pd.DataFrame(
        {"labels": n, "mode": mode, "seed": seed, "jets_pretrained": views, "accuracy": value + noise[seed]}
        for n, value in zip(counts, accuracies)
        for seed in range(seeds)
    )


def table(tuned, scratch, **more):
    return pd.concat(
        [rows("fine-tuned", tuned, **more), rows("from-scratch", scratch, **(more | {"views": 0}))]
    )


def needed(*arms, **more):
    return labels_needed(table(*arms, **more), "fine-tuned", np.random.default_rng(0))


def meeting(*arms, **more):
    return catch_up(table(*arms, **more), "fine-tuned", np.random.default_rng(0))


def test_labels_are_read_between_points_in_their_logarithm():
    found = needed((0.55, 0.65, 0.75), (0.5, 0.6, 0.7))
    assert found.labels.tolist() == list(COUNTS)
    assert found.accuracy.tolist() == pytest.approx([0.55, 0.65, 0.75])
    assert [each.value for each in found.needed] == pytest.approx([1000, 4000, math.inf])
    assert [str(each) for each in found.needed] == ["about 1,000", "about 4,000", "more than 8,000"]


def test_an_arm_below_all_that_was_measured_needs_fewer():
    (first, *_) = needed((0.4, 0.5, 0.6), (0.5, 0.6, 0.7)).needed
    assert (first.value, str(first)) == (0.0, "fewer than 500")


def test_curves_meet_where_their_difference_is_nothing():
    assert meeting((0.6, 0.65, 0.68), (0.5, 0.63, 0.70)).value == pytest.approx(4000)  # +0.02 and -0.02
    assert str(meeting((0.6, 0.65, 0.71), (0.5, 0.63, 0.70))) == "more than 8,000"
    assert str(meeting((0.4, 0.65, 0.71), (0.5, 0.63, 0.70))) == "fewer than 500"


def test_only_where_both_were_measured_can_they_meet():
    own = rows("fine-tuned", (0.6, 0.65), (500, 2000))
    both = pd.concat([own, rows("from-scratch", (0.5, 0.6, 0.9), views=0)])
    found = catch_up(both, "fine-tuned", np.random.default_rng(0))
    assert (found.value, found.most) == (math.inf, 2000)
    apart = pd.concat([own, rows("from-scratch", (0.9,), (8000,), views=0)])
    with pytest.raises(JepalibError, match="different numbers of labels"):
        catch_up(apart, "fine-tuned", np.random.default_rng(0))


def test_a_dip_of_the_curve_from_scratch_counts_in_its_favour():
    first = needed((0.62, 0.7, 0.7), (0.5, 0.65, 0.6)).needed[0]
    assert 500 < first.value < 2000
    assert needed((0.66, 0.7, 0.7), (0.5, 0.65, 0.6)).needed[0].value == math.inf
    after = needed((0.62, 0.7, 0.7), (0.6, 0.59, 0.7)).needed[0]  # level to 2,000, then a fifth of the rise
    assert after.value == pytest.approx(2000 * 4**0.2)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.floats(0.1, 0.9), min_size=3, max_size=3, unique=True), st.integers(0, 2))
def test_an_arm_like_from_scratch_needs_its_own_labels(accuracies, place):
    curve = np.sort(np.round(accuracies, 6) + 1e-3 * np.arange(3))
    found = needed(curve, curve).needed[place]
    assert found.value == pytest.approx(COUNTS[place])
    assert meeting(curve, curve).value == 0  # not ahead anywhere


@settings(deadline=None, max_examples=15)
@given(st.floats(0.1, 0.9), st.floats(0.0, 0.05), st.floats(0.0, 0.05))
def test_a_better_arm_never_needs_fewer_and_the_interval_holds_the_number(accuracy, more, spread):
    scratch = (0.3, 0.5, 0.6)
    low, high = (
        needed((value,) * 3, scratch, spread=spread).needed[0] for value in (accuracy, accuracy + more)
    )
    assert low.value <= high.value
    assert low.low <= low.value <= low.high


def test_the_interval_is_that_of_the_mean_over_seeds():
    """Of normal seeds it covers what is true about as often as it says."""
    generator, hits = np.random.default_rng(1), 0
    for _ in range(60):
        found = table((0.55, 0.65, 0.75), (0.5, 0.6, 0.7), seeds=5)
        found["accuracy"] += generator.normal(0, 0.01, len(found))
        first = labels_needed(found, "fine-tuned", generator).needed[0]
        hits += first.low <= 1000 <= first.high
        assert first.high < 2 * first.low  # not simply endless: the points are 0.1 apart, their errors 0.004
    assert hits >= 48  # of 60; 57 expected of 95 %, a bootstrap of five seeds has somewhat less


def test_wide_spread_shows_in_words_and_one_seed_has_no_interval():
    found = needed((0.55, 0.65, 0.69), (0.5, 0.6, 0.7), spread=0.03).needed
    assert "(95 %: " in str(found[1])
    assert str(found[2]).startswith("about 7,000 (95 %: ")
    assert str(found[2]).endswith("to more than 8,000)")
    single = needed((0.55, 0.65, 0.75), (0.5, 0.6, 0.7), seeds=1).needed[0]
    assert math.isnan(single.low)
    assert str(single) == "about 1,000"


def test_the_same_generator_gives_the_same_interval():
    once, again = (needed((0.55, 0.65, 0.75), (0.5, 0.6, 0.7), spread=0.02).needed[0] for _ in range(2))
    assert isinstance(once, LabelCount)
    assert once == again


def test_tables_that_do_not_serve_are_refused(tmp_path):
    whole = table((0.55, 0.65, 0.75), (0.5, 0.6, 0.7))
    with pytest.raises(JepalibError, match="no frozen"):
        labels_needed(whole, "frozen", np.random.default_rng(0))
    two = pd.concat([whole, rows("fine-tuned", (0.5, 0.6, 0.7), views=5)])
    with pytest.raises(JepalibError, match=r"after \[5, 1000\] jets; choose one"):
        catch_up(two, "fine-tuned", np.random.default_rng(0))
    with pytest.raises(JepalibError, match="no such table; benchmarks/gain_by_views"):
        few_shot_table(tmp_path / "few_shot.csv")
    whole.drop(columns="seed").to_csv(tmp_path / "few_shot.csv", index=False)
    with pytest.raises(JepalibError, match=r"few_shot.csv: the table lacks \['seed'\]"):
        few_shot_table(tmp_path / "few_shot.csv")


def test_an_accuracy_that_is_none_or_twice_there_is_named():
    good = table((0.55, 0.65, 0.75), (0.5, 0.6, 0.7)).reset_index(drop=True)
    none = good.assign(accuracy=good.accuracy.where(good.index != 3))
    with pytest.raises(JepalibError, match=r"here: no finite accuracy for mode .*, labels .*, seed"):
        check_table(none, "here")
    with pytest.raises(
        JepalibError, match=r"here: a second accuracy \(choose one head\) for mode fine-tuned"
    ):
        check_table(pd.concat([good, good[good["mode"] == "fine-tuned"]], ignore_index=True), "here")
