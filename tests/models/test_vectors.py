"""Vectors in numba kernels: exponentials at every scale, transposes and products of every shape."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from jepalib.models.kernels import _multiply, _softmax, _transpose
from jepalib.models.vectors import Matrix, exp2, load, maximum, pointer, store


@numba.njit
def powers(x):
    for i in range(0, len(x), 16):
        store(exp2(load(pointer(x, 0), i)), pointer(x, 0), i)


@numba.njit
def larger(a, b):
    store(maximum(load(pointer(a, 0), 0), load(pointer(b, 0), 0)), pointer(a, 0), 0)


@numba.njit
def product(a, x, out, rows, columns, inner):
    """`a` is given transposed: its columns are the rows of its array."""
    first = Matrix(pointer(a.reshape(-1), 0), 1, a.shape[1])
    second = Matrix(pointer(x.reshape(-1), 0), x.shape[1], 1)
    third = Matrix(pointer(out.reshape(-1), 0), out.shape[1], 1)
    _multiply(first, second, third, rows, columns, inner)


@numba.njit
def transposed(x, rows, columns, factor, out):
    source = Matrix(pointer(x.reshape(-1), 0), x.shape[1], 1)
    _transpose(source, rows, columns, factor, Matrix(pointer(out.reshape(-1), 0), out.shape[1], 1))


@numba.njit
def weights(scores, norms):
    p = Matrix(pointer(scores.reshape(-1), 0), scores.shape[1], 1)
    _softmax(p, scores.shape[0], pointer(norms, 0))


def test_powers_of_two() -> None:
    x = np.linspace(-126, 127, 16 * 20000).astype(np.float32)
    expected = np.exp2(x.astype(np.float64))
    powers(x)
    assert np.abs(x / expected - 1).max() < 2e-7
    exact = np.linspace(-1000, 1000, 160)
    expected = np.exp2(exact)
    powers(exact)
    np.testing.assert_allclose(exact, expected, rtol=1e-15)


def test_powers_beyond_float32() -> None:
    x = np.array([0, -0.0, -126, -127, -1e30, -np.inf, np.nan, 1] * 2, np.float32)
    powers(x)
    least = 2.0**-126
    np.testing.assert_array_equal(x[:8], np.array([1, 1, least, least, least, least, np.nan, 2], np.float32))


def test_maximum_keeps_the_second_where_one_is_nan() -> None:
    a = np.array([1, 2, np.nan, 3, -np.inf, 0] + [0] * 10, np.float32)
    larger(a, np.array([2, 1, 5, np.nan, -1, 0] + [0] * 10, np.float32))
    np.testing.assert_array_equal(a[:6], np.array([2, 2, 5, np.nan, -1, 0], np.float32))


@pytest.mark.parametrize("rows", [*range(1, 20), 64])
@pytest.mark.parametrize("columns", [8, 16, 24, 40])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_write_exactly_their_rows_and_columns(rows: int, columns: int, dtype: type) -> None:
    rng = np.random.default_rng(rows)
    inner = 7
    a, x = (rng.normal(size=shape).astype(dtype) for shape in ((inner, rows), (inner, columns)))
    out = np.full((rows + 1, columns + 3), 5, dtype)
    product(a, x, out, rows, columns, inner)
    np.testing.assert_allclose(out[:rows, :columns], a.T @ x, rtol=2e-4, atol=1e-5)
    assert (out[rows:] == 5).all()
    assert (out[:, columns:] == 5).all()


@pytest.mark.parametrize("rows", [1, 8, 15, 16, 17, 40])
@pytest.mark.parametrize("columns", [8, 24])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_transposes_repeat_the_last_row(rows: int, columns: int, dtype: type) -> None:
    x = np.random.default_rng(rows).normal(size=(rows, columns + 2)).astype(dtype)
    length = (rows + 15) // 16 * 16
    out = np.full((columns + 1, length), 5, dtype)
    transposed(x, rows, columns, 0.5, out)
    places = np.minimum(np.arange(length), rows - 1)
    np.testing.assert_array_equal(out[:columns], x[places, :columns].T / 2)
    assert (out[columns] == 5).all()


def test_softmax_of_columns() -> None:
    scores = np.random.default_rng(0).normal(size=(21, 32)).astype(np.float32) * 40
    scores[:, 3] += 1e4
    peaks = scores.max(0)
    shifted = np.exp2(scores.astype(np.float64) - peaks)
    norms = np.zeros(64, np.float32)
    weights(scores, norms)
    np.testing.assert_allclose(scores, shifted / shifted.sum(0), atol=1e-6)
    np.testing.assert_array_equal(norms[:32], peaks)
    np.testing.assert_allclose(norms[32:], 1 / shifted.sum(0), rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("row", [0, 4, 20])
def test_softmax_of_a_column_with_a_number_that_is_none(bad: float, row: int) -> None:
    scores = np.zeros((21, 16), np.float32)
    scores[row, 5] = bad
    weights(scores, np.zeros(32, np.float32))
    assert np.isnan(scores[:, 5]).any()
    assert np.isfinite(np.delete(scores, 5, axis=1)).all()
