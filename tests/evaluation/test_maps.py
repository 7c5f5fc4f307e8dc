"""t-SNE maps: groups stay groups, the seed decides, new jets find theirs, dead embeddings are refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jepalib.errors import JepalibError
from jepalib.evaluation.maps import JetMap, follows, same_class_neighbours


def drawn(jets: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three far groups in 12 columns, of which two never vary."""
    rng, centres = np.random.default_rng(seed), np.random.default_rng(9).normal(0, 20, (3, 12))
    group = np.arange(jets) % 3
    x = centres[group] + rng.normal(size=(jets, 12))
    return np.hstack([np.full((jets, 2), 7.0), x]), group


@pytest.fixture(scope="module")
def groups():
    return drawn(90, 0)


@pytest.fixture(scope="module")
def chart(groups):
    return JetMap.fit(groups[0], seed=3)


def test_groups_stay_together_and_the_seed_repeats_the_map(groups, chart):
    x, group = groups
    distance = np.linalg.norm(chart.places[:, None] - chart.places[None], axis=-1)
    nearest = np.argsort(distance, 1)[:, 1:6]
    by_hand = (group[nearest] == group[:, None]).mean()
    assert by_hand > 0.95
    assert same_class_neighbours(chart.places, group, 5) == pytest.approx(by_hand)
    np.testing.assert_array_equal(JetMap.fit(x, seed=3).places, chart.places)
    # Scale and offset of the embedding do not matter, nor do columns that never vary.
    np.testing.assert_allclose(JetMap.fit(x[:, 2:], seed=3).places, chart.places)
    assert chart.alive.tolist() == [False] * 2 + [True] * 12


def test_new_jets_find_their_group_each_by_itself(chart, groups):
    new, group = drawn(30, 1)
    before = chart.places.copy()
    places = chart.place(new)
    assert same_class_neighbours(chart.places, groups[1], 5, others=(places, group)) == 1
    np.testing.assert_allclose(chart.place(new[4:6]), places[4:6], atol=1e-3)
    np.testing.assert_array_equal(chart.places, before)


def test_jets_of_the_map_are_placed_where_they_are():
    x = np.random.default_rng(4).normal(size=(300, 6))
    chart = JetMap.fit(x)
    away = np.linalg.norm(chart.place(x) - chart.places, axis=1)
    assert np.median(away) < 0.1 * chart.places.std()


def test_a_saved_map_is_the_same_map(chart, tmp_path):
    path = chart.save(tmp_path / "new" / "map.npz")
    assert [p.name for p in path.parent.iterdir()] == ["map.npz"]
    again, (new, _) = JetMap.load(path), drawn(20, 2)
    np.testing.assert_array_equal(again.places, chart.places)
    np.testing.assert_array_equal(again.place(new), chart.place(new))
    assert again.seed == 3
    with np.load(path, allow_pickle=False) as file:  # plain arrays: nothing that runs code
        assert set(file) == {"places", "reduced", "alive", "mean", "spread", "axes", "seed"}


def test_what_is_no_map_is_refused(chart, tmp_path):
    with pytest.raises(JepalibError, match="no saved map"):
        JetMap.load(tmp_path / "none.npz")
    (tmp_path / "other.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(JepalibError, match="no saved map"):
        JetMap.load(tmp_path / "other.npz")
    np.savez(tmp_path / "else.npz", x=np.zeros(3))
    with pytest.raises(JepalibError, match="places"):
        JetMap.load(tmp_path / "else.npz")
    with pytest.raises(JepalibError, match="14 columns, 3 given"):
        chart.place(np.zeros((5, 3)))
    with pytest.raises(JepalibError, match="finite"):
        chart.place(np.full((5, 14), np.inf))


def test_a_network_that_gives_one_vector_with_other_rounding_has_collapsed():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(1, 8)) * (1 + 1e-7 * rng.normal(size=(60, 8)))).astype(np.float32)
    assert len(np.unique(x, axis=0)) > 50
    with pytest.raises(JepalibError, match="collapsed"):
        JetMap.fit(x)


def test_too_few_jets_for_their_neighbours(groups):
    x, group = groups
    with pytest.raises(JepalibError, match="10 of 10 jets"):
        same_class_neighbours(x[:10], group[:10])
    few = np.where(np.arange(len(x)) < 10, 1.0, np.nan)
    found = follows(x, pd.DataFrame({"none": np.nan, "few": few, "first": x[:, 2]}, index=range(len(x))))
    assert np.isnan([found["none"], found["few"]]).all()
    assert np.isfinite(found["first"])


@pytest.mark.parametrize("size", [0.0, 1.0, 1e4])
def test_collapsed_embeddings_are_refused(size):
    row = np.random.default_rng(0).normal(size=(1, 8)) * size
    with pytest.raises(JepalibError, match="collapsed"):
        JetMap.fit(np.repeat(row, 40, axis=0).astype(np.float32))
    with pytest.raises(JepalibError, match="only 3 different"):
        JetMap.fit(np.repeat(row + np.arange(3)[:, None], 40, axis=0))
    with pytest.raises(JepalibError, match="finite"):
        JetMap.fit(np.full((40, 8), np.nan))
    with pytest.raises(JepalibError, match="9 embeddings"):
        JetMap.fit(np.eye(9))


def test_a_line_is_drawn_as_one():
    """The rank is 1 but the jets differ: no NaN."""
    along = np.linspace(0, 1, 60)[:, None] * np.ones((1, 8))
    places = JetMap.fit(along).places
    assert np.isfinite(places).all()
    assert follows(places, pd.DataFrame({"along": along[:, 0]}))["along"] > 0.9


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 99), st.floats(0.01, 100))
def test_what_follows_the_map_is_told_from_what_does_not(seed, scale):
    rng = np.random.default_rng(seed)
    places = rng.uniform(size=(400, 2))
    table = pd.DataFrame({"x": np.exp(scale * places[:, 0] / 10), "noise": rng.normal(size=400)})
    table.loc[:20, "x"] = np.nan
    found = follows(places, table)
    assert found["x"] > 0.95, "any rising function of a coordinate"
    assert -0.3 < found["noise"] < 0.1
    assert follows(places, pd.DataFrame({"same": np.ones(400)}))["same"] == 1
