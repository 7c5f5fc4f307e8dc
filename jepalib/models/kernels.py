"""Numba kernels for attention among the tokens of packed jets, on a CPU.

Each jet is handled by itself, head by head: its queries, keys and values are copied into
small buffers that stay in the first-level cache. Scores are never stored; the backward
pass makes them again from the logarithm of their sum. A row of the bias of a jet of n
tokens is `row_length(n)` long and holds `NO_KEY` beyond the n-th place.

All products are one `_matmul` on buffers whose last dimensions have a fixed length (8
inner rows, 16 columns); loops of that length are what the compiler turns into vectors.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial

import numba
import numpy as np

NO_KEY = -1e30  # bias of a place where there is no token


def _compile(function: Callable, reassociate: bool = True) -> Callable:
    """numba's compiled form of a function, without the shape checks that tests wrap around it.

    Not the whole of fastmath: NaN and infinity must survive, or a diverged run goes unseen.
    """
    flags = {"contract", "reassoc", "nsz", "arcp"} if reassociate else {"contract"}
    compiler = numba.njit(fastmath=flags, nogil=True, cache=True, error_model="numpy")
    return compiler(inspect.unwrap(function))


@_compile
def row_length(tokens):
    """Length of a bias row of a jet of so many tokens: whole vectors of 16."""
    return (tokens + 15) // 16 * 16


@_compile
def _matmul(a, x, out, count):
    """out[r] = a[r] x for the first `count` rows, rounded up to an even number.

    a (rows, inner / 8, 8); x (inner / 8, 8, columns / 16, 16); out (rows, columns / 16, 16).
    """
    for r in range((count + 1) // 2):
        for b in range(out.shape[1]):
            for lane in range(16):
                out[2 * r, b, lane] = 0
                out[2 * r + 1, b, lane] = 0
        for k in range(x.shape[0]):
            a0, a1, a2, a3 = a[2 * r, k, 0], a[2 * r, k, 1], a[2 * r, k, 2], a[2 * r, k, 3]
            a4, a5, a6, a7 = a[2 * r, k, 4], a[2 * r, k, 5], a[2 * r, k, 6], a[2 * r, k, 7]
            s = 2 * r + 1
            b0, b1, b2, b3 = a[s, k, 0], a[s, k, 1], a[s, k, 2], a[s, k, 3]
            b4, b5, b6, b7 = a[s, k, 4], a[s, k, 5], a[s, k, 6], a[s, k, 7]
            for b in range(out.shape[1]):
                for lane in range(16):
                    x0, x1, x2, x3 = x[k, 0, b, lane], x[k, 1, b, lane], x[k, 2, b, lane], x[k, 3, b, lane]
                    x4, x5, x6, x7 = x[k, 4, b, lane], x[k, 5, b, lane], x[k, 6, b, lane], x[k, 7, b, lane]
                    out[2 * r, b, lane] += (a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3) + (
                        a4 * x4 + a5 * x5 + a6 * x6 + a7 * x7
                    )
                    out[2 * r + 1, b, lane] += (b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3) + (
                        b4 * x4 + b5 * x5 + b6 * x6 + b7 * x7
                    )


@partial(_compile, reassociate=False)
def _exp_float32(x, shifted):
    """exp of x <= 0 in place: 2^k times a polynomial (Cephes) in the remainder.

    Adding 1.5 2^23 rounds to a whole number and leaves it in the lowest bits.
    """
    whole, power = x.view(np.int32), shifted.view(np.int32)
    for b in range(x.shape[0]):
        for lane in range(16):
            v = max(x[b, lane], np.float32(-87.0))
            t = v * np.float32(1.44269504) + np.float32(12582912.0)
            k = t - np.float32(12582912.0)
            r = v - k * np.float32(0.693359375) + k * np.float32(2.12194440e-4)
            y = np.float32(1.9875691500e-4) * r + np.float32(1.3981999507e-3)
            y = y * r + np.float32(8.3334519073e-3)
            y = y * r + np.float32(4.1665795894e-2)
            y = y * r + np.float32(1.6666665459e-1)
            y = y * r + np.float32(5.0000001201e-1)
            x[b, lane] = y * r * r + r + np.float32(1.0)
            shifted[b, lane] = t
    for b in range(x.shape[0]):
        for lane in range(16):
            whole[b, lane] += power[b, lane] << 23


@_compile
def _exp(x, room, exact):
    if exact:
        for b in range(x.shape[0]):
            for lane in range(16):
                x[b, lane] = math.exp(x[b, lane])
    else:
        _exp_float32(x, room)


@_compile
def _load_rows(source, column, begin, n, d, rows):
    """One head's channels of a jet, a row per token; zeros up to a multiple of 16 tokens."""
    for j in range(n):
        for c in range(d):
            rows[j, c] = source[begin + j, column + c]
    rows[n : row_length(n)] = 0


@_compile
def _load_columns(source, column, begin, n, d, scale, columns):
    """One head's channels of a jet, a row per channel; zeros up to a multiple of 16 tokens."""
    for j in range(n):
        for c in range(d):
            columns[c, j] = source[begin + j, column + c] * scale
    columns[:, n:] = 0


@_compile
def _add_bias(scores, bias, n):
    """Adds the bias of a head, or, where there is none, NO_KEY beyond the n-th place."""
    blocks = scores.shape[1]
    if len(bias):
        table = bias.reshape(n, blocks, 16)
        for i in range(n):
            for b in range(blocks):
                for lane in range(16):
                    scores[i, b, lane] += table[i, b, lane]
    else:
        for i in range(n):
            for lane in range(n - 16 * (blocks - 1), 16):
                scores[i, blocks - 1, lane] = NO_KEY


@_compile
def _store_columns(columns, target, column, begin, n, d):
    for j in range(n):
        for c in range(d):
            target[begin + j, column + c] = columns[c, j]


@_compile
def _subtract(p, rows, n):
    for i in range(n):
        value = rows[i]
        for b in range(p.shape[1]):
            for lane in range(16):
                p[i, b, lane] -= value


@_compile
def _softmax(p, n, room, exact, lse):
    """Rows of scores become probabilities; their log-sum-exp goes to `lse`."""
    for i in range(n):
        top = p[i, 0, 0]
        for b in range(p.shape[1]):
            for lane in range(16):
                top = max(top, p[i, b, lane])
        lse[i] = top
    _subtract(p, lse, n)
    _exp(p[:n].reshape(-1, 16), room, exact)
    for i in range(n):
        total = lse[i] * 0
        for b in range(p.shape[1]):
            for lane in range(16):
                total += p[i, b, lane]
        lse[i] += math.log(total)
        for b in range(p.shape[1]):
            for lane in range(16):
                p[i, b, lane] /= total


@_compile
def attend(qkv, offsets, bias, bias_offsets, heads, exact, first, last, out, lse):
    """Attention within jets first to last - 1.

    Args:
        qkv: (tokens, 3 width) queries, keys and values.
        offsets: (jets + 1) of the packed tokens.
        bias: flat, per jet (heads, tokens, row_length(tokens)) from `bias_offsets` on; or
            of length 0 for none.
        exact: use the exponential of the C library (for float64).
        out: (tokens, width), written.
        lse: (heads, tokens), written: log of the sum of exponentials of the scores.
    """
    width = qkv.shape[1] // 3
    d = width // heads
    channels = row_length(d)
    for jet in range(first, last):
        begin, n = offsets[jet], offsets[jet + 1] - offsets[jet]
        if n == 0:
            continue
        length = row_length(n)
        blocks = length // 16
        q, v = np.zeros((length, channels), qkv.dtype), np.zeros((length, channels), qkv.dtype)
        k = np.zeros((channels, length), qkv.dtype)
        square = np.zeros((2, length, blocks, 16), qkv.dtype)
        p, room = square[0], square[1].reshape(-1, 16)
        mixed = np.zeros((length, channels // 16, 16), qkv.dtype)
        for h in range(heads):
            _load_rows(qkv, h * d, begin, n, d, q)
            _load_columns(qkv, width + h * d, begin, n, d, 1 / math.sqrt(d), k)
            _load_rows(qkv, 2 * width + h * d, begin, n, d, v)
            _matmul(q.reshape(length, -1, 8), k.reshape(-1, 8, blocks, 16), p, n)
            at = bias_offsets[jet] + h * n * length
            _add_bias(p, bias[at : at + n * length], n)
            _softmax(p, n, room, exact, lse[h, begin : begin + n])
            _matmul(p.reshape(length, -1, 8), v.reshape(-1, 8, channels // 16, 16), mixed, n)
            for i in range(n):
                for c in range(d):
                    out[begin + i, h * d + c] = mixed[i, c >> 4, c & 15]


@_compile
def _score_gradient(p, ds, n, grad_bias):
    """ds = p (ds - delta), with delta the product of each row's output and its gradient."""
    for i in range(n):
        delta = ds[i, 0, 0] * 0
        for b in range(ds.shape[1]):
            for lane in range(16):
                delta += p[i, b, lane] * ds[i, b, lane]
        for b in range(ds.shape[1]):
            for lane in range(16):
                ds[i, b, lane] = p[i, b, lane] * (ds[i, b, lane] - delta)
    if len(grad_bias):
        table = grad_bias.reshape(n, ds.shape[1], 16)
        for i in range(n):
            for b in range(ds.shape[1]):
                for lane in range(16):
                    table[i, b, lane] += ds[i, b, lane]


@_compile
def attend_backward(
    qkv, offsets, bias, bias_offsets, heads, exact, first, last, lse, grad, grad_qkv, grad_bias
):
    """Gradients of `attend`: writes `grad_qkv` and adds to `grad_bias` (of length 0 for none)."""
    width = qkv.shape[1] // 3
    d = width // heads
    channels = row_length(d)
    scale = 1 / math.sqrt(d)
    for jet in range(first, last):
        begin, n = offsets[jet], offsets[jet + 1] - offsets[jet]
        if n == 0:
            continue
        length = row_length(n)
        blocks = length // 16
        rows = np.zeros((4, length, channels), qkv.dtype)
        columns = np.zeros((5, channels, length), qkv.dtype)
        square = np.zeros((3, length, blocks, 16), qkv.dtype)
        q, k, go, mixed = rows[0], rows[1], rows[2], rows[3]
        qt, kt, vt, got, sums = columns[0], columns[1], columns[2], columns[3], columns[4]
        p, ds, room = square[0], square[1], square[2].reshape(-1, 16)
        for h in range(heads):
            _load_rows(qkv, h * d, begin, n, d, q)
            _load_columns(qkv, h * d, begin, n, d, scale, qt)
            _load_rows(qkv, width + h * d, begin, n, d, k)
            _load_columns(qkv, width + h * d, begin, n, d, scale, kt)
            _load_columns(qkv, 2 * width + h * d, begin, n, d, 1.0, vt)
            _load_rows(grad, h * d, begin, n, d, go)
            _load_columns(grad, h * d, begin, n, d, 1.0, got)
            _matmul(q.reshape(length, -1, 8), kt.reshape(-1, 8, blocks, 16), p, n)
            at = bias_offsets[jet] + h * n * length
            _add_bias(p, bias[at : at + n * length], n)
            _subtract(p, lse[h, begin : begin + n], n)
            _exp(p[:n].reshape(-1, 16), room, exact)
            _matmul(go.reshape(length, -1, 8), vt.reshape(-1, 8, blocks, 16), ds, n)
            _score_gradient(p, ds, n, grad_bias[at : at + n * length])
            p[n:] = 0  # an odd number of rows was rounded up
            ds[n:] = 0
            _matmul(
                ds.reshape(length, -1, 8),
                k.reshape(-1, 8, channels // 16, 16),
                mixed.reshape(length, -1, 16),
                n,
            )
            for i in range(n):
                for c in range(d):
                    grad_qkv[begin + i, h * d + c] = mixed[i, c] * scale
            _matmul(
                qt.reshape(channels, -1, 8),
                ds.reshape(-1, 8, blocks, 16),
                sums.reshape(channels, blocks, 16),
                d,
            )
            _store_columns(sums, grad_qkv, width + h * d, begin, n, d)
            _matmul(
                got.reshape(channels, -1, 8),
                p.reshape(-1, 8, blocks, 16),
                sums.reshape(channels, blocks, 16),
                d,
            )
            _store_columns(sums, grad_qkv, 2 * width + h * d, begin, n, d)


@_compile
def spread_pairs(values, offsets, bias_offsets, heads, lead, first, last, pairs, bias):
    """Writes the values of pairs i >= j >= lead of each jet into both halves of its bias.

    Args:
        values: (pairs, heads), the pairs of jet k from pairs[k] on, ordered by (i, j).
    """
    for jet in range(first, last):
        n = offsets[jet + 1] - offsets[jet]
        padded = row_length(n)
        base, at = bias_offsets[jet], pairs[jet]
        for h in range(heads):
            for i in range(n):
                row = base + (h * n + i) * padded
                bias[row : row + n] = 0
                bias[row + n : row + padded] = NO_KEY
        for i in range(lead, n):
            for j in range(lead, i + 1):
                for h in range(heads):
                    bias[base + (h * n + i) * padded + j] = values[at, h]
                    bias[base + (h * n + j) * padded + i] = values[at, h]
                at += 1


@_compile
def collect_pairs(grad, offsets, bias_offsets, heads, lead, first, last, pairs, grad_values):
    """The transpose of `spread_pairs`: from the gradient of the bias that of the values."""
    for jet in range(first, last):
        n = offsets[jet + 1] - offsets[jet]
        padded = row_length(n)
        base, at = bias_offsets[jet], pairs[jet]
        for i in range(lead, n):
            for j in range(lead, i + 1):
                for h in range(heads):
                    value = grad[base + (h * n + i) * padded + j]
                    if i != j:
                        value += grad[base + (h * n + j) * padded + i]
                    grad_values[at, h] = value
                at += 1
