"""CKA: its invariances, closed forms, the definition by kernels, and what it says of independent data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jepalib.errors import JepalibError
from jepalib.evaluation.cka import chance, cka_table, linear_cka


def normal(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def orthonormal(n: int, d: int) -> np.ndarray:
    """n x d with orthonormal columns of mean zero."""
    x = normal(n, d, 5)
    return np.linalg.qr(x - x.mean(0))[0]


@settings(deadline=None, max_examples=40)
@given(st.integers(8, 60), st.integers(1, 12), st.floats(1e-3, 1e3), st.integers(0, 99), st.booleans())
def test_rotation_scale_and_shift_change_nothing(n, d, scale, seed, debiased):
    x, y = normal(n, d, seed), normal(n, 7, seed + 100)
    rotation = np.linalg.qr(normal(d, d, seed + 200))[0]
    turned = scale * x @ rotation + 3
    assert linear_cka(x, turned, debiased) == pytest.approx(1)
    assert linear_cka(turned, y, debiased) == pytest.approx(linear_cka(x, y, debiased), abs=1e-7)
    assert linear_cka(x, y, debiased) == pytest.approx(linear_cka(y, x, debiased))


@pytest.mark.parametrize("stretch", [(1.0, 1.0, 1.0), (3.0, 1.0, 0.5), (1.0, 0.0, 0.0)])
def test_stretching_orthonormal_columns_has_a_closed_form(stretch):
    """CKA of U and U diag(s) is Σ s² / (√D √Σ s⁴)."""
    x, s = orthonormal(40, 3), np.array(stretch)
    expected = np.sum(s**2) / np.sqrt(3 * np.sum(s**4))
    assert linear_cka(x, x * s, debiased=False) == pytest.approx(expected)


def test_the_unbiased_form_is_its_definition_with_kernels():
    """Song et al., Eq. 5, with the Gram matrices written out."""
    x, y = normal(30, 5, 0) @ normal(5, 5, 1), normal(30, 9, 2)
    y[:, :3] += x[:, :3]

    def hsic(a: np.ndarray, b: np.ndarray) -> float:
        n, one = len(a), np.ones(len(a))
        k, l = a @ a.T, b @ b.T  # noqa: E741
        np.fill_diagonal(k, 0)
        np.fill_diagonal(l, 0)
        mixed = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
        return (np.trace(k @ l) + mixed - 2 / (n - 2) * (one @ k @ l @ one)) / (n * (n - 3))

    expected = hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))
    assert linear_cka(x, y) == pytest.approx(expected, rel=1e-9)
    assert linear_cka(x + 7, y - 2) == pytest.approx(expected, rel=1e-9), "also where they are not centred"


def test_independent_ones_are_unlike_however_few_jets():
    pairs = [(normal(60, 64, seed), normal(60, 64, seed + 1000)) for seed in range(40)]
    fair = np.array([linear_cka(x, y) for x, y in pairs])
    naive = np.array([linear_cka(x, y, debiased=False) for x, y in pairs])
    assert abs(fair.mean()) < 3 * fair.std() / np.sqrt(len(fair)) + 1e-3
    assert np.abs(fair).max() < 0.1
    assert naive.min() > 0.4, "the plain form sees what is not there"


def test_a_known_share_in_common():
    """x beside as many columns of noise: ‖Σ_x,both‖² = 4, ‖Σ_x‖ = 2 and ‖Σ_both‖ = √8 in the limit."""
    x, noise = normal(20_000, 4, 0), normal(20_000, 4, 1)
    both = np.hstack([x, noise])
    assert linear_cka(x, both) == pytest.approx(4 / (2 * np.sqrt(8)), abs=0.01)
    assert linear_cka(x, noise) == pytest.approx(0, abs=0.002)


def test_table_and_chance():
    x, y = normal(200, 6, 0), normal(200, 8, 1)
    y[:, :6] += x
    table = cka_table({"a": x, "b": y}, {"b": y, "c": -2 * x})
    assert table.shape == (2, 2)
    assert table.loc["a", "c"] == table.loc["b", "b"] == pytest.approx(1)
    assert table.loc["a", "b"] == linear_cka(x, y)
    drawn = chance(x, y, 30, seed=1)
    assert np.array_equal(drawn, chance(x, y, 30, seed=1))
    assert np.abs(drawn).max() < 0.1 < table.loc["a", "b"]


def test_what_has_no_answer_is_refused():
    x = normal(10, 3, 0)
    with pytest.raises(JepalibError, match="10 jets in one"):
        linear_cka(x, x[:5])
    with pytest.raises(JepalibError, match="not all of the same"):
        cka_table({"a": x}, {"b": x[:5]})
    with pytest.raises(JepalibError, match="collapsed"):
        linear_cka(x, np.full((10, 3), 0.1, np.float32))
    with pytest.raises(JepalibError, match="finite"):
        linear_cka(x, np.full((10, 3), np.nan))
    with pytest.raises(JepalibError, match="3 embeddings"):
        linear_cka(x[:3], x[:3])
