"""Ways of making scores trustworthy, on members whose calibration is known by construction."""

import math

import numpy as np
import pytest
from scipy.special import softmax

from jepalib.evaluation.calibration import (
    average,
    calibration_floor,
    entropy,
    expected_calibration_error,
    fit_temperature,
    tempered,
)
from jepalib.evaluation.ensembles import (
    METRICS,
    RESAMPLES,
    Way,
    bootstrap_weights,
    by_member,
    compare,
    paired_difference,
    ways,
)
from jepalib.evaluation.tagging import log_loss


def members(jets: int, seed: int, count: int = 3, sure: float = 2.5) -> tuple[np.ndarray, np.ndarray]:
    """Models that all see the same and each add noise of their own, too sure of themselves by `sure`."""
    rng = np.random.default_rng(seed)
    seen = rng.normal(size=(jets, 5))
    labels = (rng.random((jets, 1)) < softmax(2 * seen, axis=1).cumsum(1)).argmax(1)
    noise = 0.7 * rng.normal(size=(count, jets, 5))
    return softmax(sure * 2 * (seen + noise), axis=2), labels


@pytest.fixture(scope="module")
def found():
    validation, validation_labels = members(3000, 0)
    test, labels = members(4000, 1)
    return ways(
        validation, validation_labels, test, np.sqrt(test) / np.sqrt(test).sum(2, keepdims=True)
    ), labels


def test_every_way_is_made_as_its_name_says(found):
    by_name = {way.name: way for way in found[0]}
    assert list(by_name) == [
        "single model", "temperature", "MC dropout", "ensemble", "ensemble, temperature"
    ]  # fmt: skip
    (validation, validation_labels), (test, _) = members(3000, 0), members(4000, 1)
    assert np.array_equal(by_name["single model"].members, test)
    for i, temperature in enumerate(by_name["temperature"].temperatures):
        assert temperature == pytest.approx(fit_temperature(validation[i], validation_labels))
        np.testing.assert_allclose(by_name["temperature"].members[i], tempered(test[i], temperature))
    np.testing.assert_allclose(by_name["ensemble"].members[0], test.mean(0))
    (temperature,) = by_name["ensemble, temperature"].temperatures
    assert temperature == pytest.approx(fit_temperature(average(validation), validation_labels))
    np.testing.assert_allclose(
        by_name["ensemble, temperature"].members[0], tempered(test.mean(0), temperature)
    )


def test_the_table_holds_the_metrics_of_the_members(found):
    table = compare(*found).set_index("way")
    assert table.models.to_dict() == {
        "single model": 3, "temperature": 3, "MC dropout": 3, "ensemble": 1, "ensemble, temperature": 1
    }  # fmt: skip
    labels = found[1]
    for way in found[0]:
        row, each = table.loc[way.name], way.members
        assert row.jets == 4000
        expected = {
            "accuracy": [(p.argmax(1) == labels).mean() for p in each],
            "log_loss": [log_loss(p, labels) for p in each],
            "ece": [expected_calibration_error(p, labels) for p in each],
        }
        np.testing.assert_allclose(by_member(way, labels), np.transpose(list(expected.values())))
        for metric in METRICS:
            assert row[metric] == pytest.approx(np.mean(expected[metric])), (way.name, metric)
            if len(each) > 1:
                assert row[f"{metric}_spread"] == pytest.approx(np.std(expected[metric], ddof=1))
            else:
                assert math.isnan(row[f"{metric}_spread"])
        assert row.ece_floor == pytest.approx(np.mean([calibration_floor(p) for p in each]))
        assert row.entropy == pytest.approx(np.mean([entropy(p).mean() for p in each]))
    assert table.temperature.isna().tolist() == ["temperature" not in name for name in table.index]


def test_what_is_known_of_these_models_is_found(found):
    """Too sure of themselves: temperatures mend it; an ensemble is better than its members."""
    table = compare(*found).set_index("way")
    assert table.temperature["temperature"] > 1.5
    assert table.ece["single model"] > 5 * table.ece["temperature"]
    assert table.ece["temperature"] < 3 * table.ece_floor["temperature"]
    for way in ("temperature", "ensemble", "ensemble, temperature"):
        assert table.log_loss_change[way] < -5 * table.log_loss_change_error[way]
    assert table.accuracy_change["ensemble"] > 3 * table.accuracy_change_error["ensemble"]
    assert table.accuracy_change["temperature"] == pytest.approx(0, abs=1e-12)
    assert table.accuracy_change_error["temperature"] == pytest.approx(0, abs=1e-12)
    first = table.loc["single model"]
    assert all(first[f"{m}_change"] == first[f"{m}_change_error"] == 0 for m in METRICS)


def test_errors_are_those_of_repeated_samples():
    """The bootstrap's error against the spread over fresh samples of jets; paired ones are smaller."""
    fresh = []
    for seed in range(60):
        p, labels = members(500, seed, count=2)
        fresh.append(compare([Way("a", p[:1]), Way("b", p[1:])], labels).set_index("way"))
    for metric in ("accuracy", "log_loss"):
        told = np.mean([table.loc["a", f"{metric}_error"] for table in fresh])
        assert told == pytest.approx(np.std([table.loc["a", metric] for table in fresh]), rel=0.35)
        changes = [table.loc["b", f"{metric}_change"] for table in fresh]
        told = np.mean([table.loc["b", f"{metric}_change_error"] for table in fresh])
        assert told == pytest.approx(np.std(changes), rel=0.35)


def test_paired_difference_is_that_of_both_arms_and_changes_sign(found):
    (single, *_, ensemble, _), labels = found
    there, back = (paired_difference(*pair, labels) for pair in ((ensemble, single), (single, ensemble)))
    table = compare([single, ensemble], labels).set_index("way").loc["ensemble"]
    for metric in METRICS:
        assert there[metric] == pytest.approx((table[f"{metric}_change"], table[f"{metric}_change_error"]))
        assert back[metric] == pytest.approx((-there[metric][0], there[metric][1]))
    assert paired_difference(single, single, labels)["log_loss"] == (0, 0)


def test_resamples_draw_every_jet_as_often_and_come_again():
    weights = bootstrap_weights(300, 3)
    assert weights.shape == (RESAMPLES + 1, 300)
    assert (weights[0] == 1).all()
    assert (weights.sum(1) == 300).all()
    assert weights[1:].mean(0).max() < 1.5
    assert weights[1:].var() == pytest.approx(1, rel=0.1)  # Poisson's
    assert np.array_equal(bootstrap_weights(300, 3), weights)


def test_one_member_makes_no_ensemble_and_scores_that_say_nothing_have_no_temperature():
    p = np.full((1, 60, 5), 0.2)
    labels = np.arange(60) % 5
    found = ways(p, labels, p, np.empty((0, 60, 5)))
    assert [way.name for way in found] == ["single model", "temperature"]
    assert math.isnan(found[1].temperatures[0])
    np.testing.assert_allclose(found[1].members, p)
    table = compare(found, labels).set_index("way")
    assert table.temperature.isna().all()
    assert table.accuracy["temperature"] == pytest.approx(0.2)
