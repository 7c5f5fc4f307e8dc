"""t-SNE maps: groups stay groups, the seed decides, dead embeddings are refused."""

from __future__ import annotations

import numpy as np
import pytest

from jepalib.errors import JepalibError
from jepalib.evaluation.maps import same_class_neighbours, tsne_map


@pytest.fixture(scope="module")
def groups():
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 20, (3, 12))
    return np.repeat(centres, 30, axis=0) + rng.normal(size=(90, 12)), np.repeat(np.arange(3), 30)


def test_groups_stay_together_and_the_seed_repeats_the_map(groups):
    x, group = groups
    places = tsne_map(x)
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
    nearest = np.argsort(distance, 1)[:, 1:6]
    by_hand = (group[nearest] == group[:, None]).mean()
    assert by_hand > 0.95
    assert same_class_neighbours(places, group, 5) == pytest.approx(by_hand)
    np.testing.assert_array_equal(tsne_map(x), places)


def test_dead_embeddings_are_refused(groups):
    with pytest.raises(JepalibError, match="collapsed"):
        tsne_map(np.ones((40, 8)))
    with pytest.raises(JepalibError, match="finite"):
        tsne_map(np.full((40, 8), np.nan))
