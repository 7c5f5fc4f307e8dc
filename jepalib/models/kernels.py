"""Numba kernels for attention among the tokens of packed jets, on a CPU.

Each jet is handled by itself, head by head. Scores are made transposed, a row for each key and a
lane for each query, so that the sums of a softmax are sums of whole vectors. Of the inputs only
queries (and gradients of the output) are transposed for that, in registers; keys, values and
results are read and written where they stand. Scores are not kept: the backward pass makes them
again from their maxima and sums.

Rows of scores and of the bias are whole vectors: those of a jet of n tokens are `row_length(n)`
long. Lanes beyond the n-th repeat the last query forward, and weigh nothing backward.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jepalib.compiled import compiled
from jepalib.models.vectors import (
    Matrix,
    ahead,
    exp2,
    load,
    maximum,
    pointer,
    prefetch,
    repeat,
    store,
    tile,
    transpose,
)

SHORT = 32  # tokens: while a jet up to this length is worked on, the next one is fetched
BEYOND = 1e30  # stands for the maximum of the scores of a query that does not exist
LOG2E = math.log2(math.e)  # scores are kept in units of ln 2: powers of 2 are cheaper than of e


def _compile(function: Callable) -> Callable:
    """numba's compiled form of a function.

    Without fastmath: NaN and infinity must survive, or a diverged run goes unseen.
    """
    return compiled(function, error_model="numpy")


class Batch(NamedTuple):
    """Packed jets whose tokens attend to each other.

    Attributes:
        qkv: (tokens, 3 width) queries, keys and values; channels of a head a multiple of 8.
        offsets: (jets + 1) of the packed tokens.
        bias: flat, per jet (heads, tokens, row_length(tokens)) from `bias_offsets` on and
            symmetric in the tokens; or of length 0 for none.
        heads: of attention.
        scale: factor of the products of queries and keys.
    """

    qkv: np.ndarray
    offsets: np.ndarray
    bias: np.ndarray
    bias_offsets: np.ndarray
    heads: int
    scale: float


class Pairs(NamedTuple):
    """The pairs i >= j >= lead of tokens of packed jets, and their places in a bias.

    Attributes:
        edges: (jets + 1) offsets of the pairs, which are ordered by (i, j).
        offsets, bias_offsets, heads: as in `Batch`.
    """

    edges: np.ndarray
    lead: int
    offsets: np.ndarray
    bias_offsets: np.ndarray
    heads: int


@_compile
def row_length(tokens):
    """Length of a bias row of a jet of so many tokens: whole vectors of 16."""
    return (tokens + 15) // 16 * 16


@_compile
def _scratch(offsets, first, last, squares, channels, kind):
    """Memory for so many squares of scores, transposed channels and two numbers a query.

    Enough for the longest of some jets, and aligned with the lines of the cache.
    """
    longest = 0
    for jet in range(first, last):
        longest = max(longest, offsets[jet + 1] - offsets[jet])
    length = row_length(longest)
    room = np.zeros(length * (squares * longest + channels + 2) + 16, kind)
    return room[-(room.ctypes.data // room.itemsize) % 16 :]


@_compile
def _next(offsets, jet, last):
    """Tokens of the next jet if it is to be fetched meanwhile, else 0.

    A head's rows lie too far apart for the processor to foresee the next one. A long jet
    has work to hide that behind, and the next one would drive it from the cache.
    """
    if jet + 1 == last or offsets[jet + 1] - offsets[jet] > SHORT:
        return 0
    return min(offsets[jet + 2] - offsets[jet + 1], SHORT)


@_compile
def _fetch(array, begin, count, part, parts):
    """Asks for one of so many parts of `count` numbers of a flat array."""
    share = (count + parts - 1) // parts
    prefetch(pointer(array, begin + part * share), min(share, count - part * share))


@_compile
def _rows(array, row, width, column):
    """A flat array with rows of some width, from one row and column on."""
    return Matrix(pointer(array, row * width + column), width, 1)


@_compile
def _multiply(a, x, out, rows, columns, inner):
    """out[:rows, :columns] = a[:rows, :inner] x[:inner, :columns]; columns a multiple of 8."""
    tiles = (rows + 7) // 8
    height = (rows + tiles - 1) // tiles
    for column in range(0, columns, 16):
        lanes = min(16, columns - column)
        values = Matrix(ahead(x.at, column), x.row, 1)
        for row in range(0, rows, height):
            factors = Matrix(ahead(a.at, row * a.row), a.row, a.column)
            sums = Matrix(ahead(out.at, row * out.row + column), out.row, 1)
            tile(factors, values, sums, min(height, rows - row), lanes, inner)


@_compile
def _transpose(source, rows, columns, factor, out):
    """out = factor source', in whole vectors; columns a multiple of 8."""
    for row in range(0, rows, 16):
        for column in range(0, columns, 8):
            block = Matrix(ahead(source.at, row * source.row + column), source.row, 1)
            transpose(block, rows - row, factor, Matrix(ahead(out.at, column * out.row + row), out.row, 1))


@_compile
def _add_bias(scores, bias, n):
    for i in range(0, n * scores.row, 16):
        store(load(scores.at, i) + load(bias, i) * repeat(bias, LOG2E), scores.at, i)


@_compile
def _softmax(p, n, norms):
    """Scores p of n keys to weights; writes a row of maxima and one of 1 / sums."""
    for lane in range(0, p.row, 16):
        places = range(lane, lane + n * p.row, p.row)
        peak = load(p.at, lane)
        for i in places:
            peak = maximum(peak, load(p.at, i))
        total = repeat(p.at, 0.0)
        for i in places:
            power = exp2(load(p.at, i) - peak)
            store(power, p.at, i)
            total = total + power
        share = repeat(p.at, 1.0) / total
        for i in places:
            store(load(p.at, i) * share, p.at, i)
        store(peak, norms, lane)
        store(share, norms, p.row + lane)


@_compile
def attend(batch, first, last, out, norms):
    """Attention within jets first to last - 1.

    Args:
        out: (tokens, width), written.
        norms: (2, heads, tokens), written: the maximum of each query's scores, and 1 / the sum
            of the powers of their distances to it.
    """
    width = out.shape[1]
    d = width // batch.heads
    room = _scratch(batch.offsets, first, last, 1, d, out.dtype)
    qkv, results = batch.qkv.reshape(-1), out.reshape(-1)
    for jet in range(first, last):
        begin, n = batch.offsets[jet], batch.offsets[jet + 1] - batch.offsets[jet]
        end, following = begin + n, _next(batch.offsets, jet, last)
        length = row_length(n)
        qt = Matrix(pointer(room, 2 * length), length, 1)
        p = Matrix(ahead(qt.at, d * length), length, 1)
        for h in range(batch.heads if n else 0):
            _fetch(qkv, 3 * width * end, 3 * width * following, h, batch.heads)
            _fetch(results, width * end, width * following, h, batch.heads)
            q = _rows(qkv, begin, 3 * width, h * d)
            k = _rows(qkv, begin, 3 * width, width + h * d)
            v = _rows(qkv, begin, 3 * width, 2 * width + h * d)
            _transpose(q, n, d, LOG2E * batch.scale, qt)
            _multiply(k, qt, p, n, length, d)
            if len(batch.bias):
                _add_bias(p, pointer(batch.bias, batch.bias_offsets[jet] + h * n * length), n)
            _softmax(p, n, pointer(room, 0))
            _multiply(Matrix(p.at, 1, length), v, _rows(results, begin, width, h * d), n, d, n)
            for kind in range(2):
                for i in range(n):
                    norms[kind, h, begin + i] = room[kind * length + i]


@_compile
def _score_gradient(p, ds, n, norms, scale, slopes):
    """Scores p to weights, and gradients ds of these to those of the products of queries and keys.

    The gradients of the scores themselves are written to `slopes`.
    """
    for lane in range(0, p.row, 16):
        places = range(lane, lane + n * p.row, p.row)
        peak, share = load(norms, lane), load(norms, p.row + lane)
        delta = repeat(p.at, 0.0)
        for i in places:
            weight = exp2(load(p.at, i) - peak) * share
            store(weight, p.at, i)
            delta = delta + weight * load(ds.at, i)
        for i in places:
            slope = load(p.at, i) * (load(ds.at, i) - delta)
            store(slope, slopes, i)
            store(slope * repeat(p.at, scale), ds.at, i)


@_compile
def attend_backward(batch, first, last, norms, grad, grad_qkv, grad_bias):
    """Gradients of `attend`.

    Args:
        grad: (tokens, width) of `out`.
        grad_qkv: like `qkv`, written.
        grad_bias: like the bias, written, with queries and keys exchanged; or of length 0.
    """
    width = grad.shape[1]
    d = width // batch.heads
    room = _scratch(batch.offsets, first, last, 2, 2 * d, grad.dtype)
    qkv, grads, results = batch.qkv.reshape(-1), grad.reshape(-1), grad_qkv.reshape(-1)
    for jet in range(first, last):
        begin, n = batch.offsets[jet], batch.offsets[jet + 1] - batch.offsets[jet]
        end, following = begin + n, _next(batch.offsets, jet, last)
        length = row_length(n)
        qt = Matrix(pointer(room, 2 * length), length, 1)
        gt = Matrix(ahead(qt.at, d * length), length, 1)
        p = Matrix(ahead(gt.at, d * length), length, 1)
        ds = Matrix(ahead(p.at, n * length), length, 1)
        for h in range(batch.heads if n else 0):
            _fetch(qkv, 3 * width * end, 3 * width * following, h, batch.heads)
            _fetch(grads, width * end, width * following, h, batch.heads)
            _fetch(results, 3 * width * end, 3 * width * following, h, batch.heads)
            q = _rows(qkv, begin, 3 * width, h * d)
            k = _rows(qkv, begin, 3 * width, width + h * d)
            v = _rows(qkv, begin, 3 * width, 2 * width + h * d)
            g = _rows(grads, begin, width, h * d)
            _transpose(q, n, d, LOG2E * batch.scale, qt)
            _transpose(g, n, d, 1.0, gt)
            _multiply(k, qt, p, n, length, d)
            _multiply(v, gt, ds, n, length, d)
            at = batch.bias_offsets[jet] + h * n * length
            if len(batch.bias):
                _add_bias(p, pointer(batch.bias, at), n)
            for i in range(length):
                room[i] = norms[0, h, begin + i] if i < n else BEYOND
                room[length + i] = norms[1, h, begin + i] if i < n else 0
            slopes = pointer(grad_bias, at) if len(grad_bias) else ds.at
            _score_gradient(p, ds, n, pointer(room, 0), batch.scale, slopes)
            _multiply(Matrix(ds.at, 1, length), k, _rows(results, begin, 3 * width, h * d), n, d, n)
            _multiply(ds, q, _rows(results, begin, 3 * width, width + h * d), n, d, n)
            _multiply(p, g, _rows(results, begin, 3 * width, 2 * width + h * d), n, d, n)


@_compile
def spread_pairs(pairs, first, last, values, bias):
    """Writes the (pairs, heads) values of jets first to last - 1 into both halves of their bias."""
    for jet in range(first, last):
        n = pairs.offsets[jet + 1] - pairs.offsets[jet]
        length = row_length(n)
        base, at = pairs.bias_offsets[jet], pairs.edges[jet]
        bias[base : pairs.bias_offsets[jet + 1]] = 0
        for i in range(pairs.lead, n):
            for j in range(pairs.lead, i + 1):
                for h in range(pairs.heads):
                    bias[base + (h * n + i) * length + j] = values[at, h]
                    bias[base + (h * n + j) * length + i] = values[at, h]
                at += 1


@_compile
def collect_pairs(pairs, first, last, grad, grad_values):
    """The transpose of `spread_pairs`: from the gradient of the bias that of the values."""
    for jet in range(first, last):
        n = pairs.offsets[jet + 1] - pairs.offsets[jet]
        length = row_length(n)
        base, at = pairs.bias_offsets[jet], pairs.edges[jet]
        for i in range(pairs.lead, n):
            for j in range(pairs.lead, i + 1):
                for h in range(pairs.heads):
                    value = grad[base + (h * n + i) * length + j]
                    if i != j:
                        value += grad[base + (h * n + j) * length + i]
                    grad_values[at, h] = value
                at += 1
