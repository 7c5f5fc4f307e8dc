"""Numba kernels for attention among the tokens of packed jets, on a CPU.

Each jet is handled by itself, head by head: its queries, keys and values are copied into
small buffers that stay in the first-level cache. Scores are never stored; the backward
pass makes them again from the logarithm of their sum. A row of the bias of a jet of n
tokens is `row_length(n)` long and holds `NO_KEY` beyond the n-th place.

Buffers are zero beyond the tokens and channels and whole vectors of 16 long. Elementwise
loops run over a last dimension of fixed length 16: the compiler turns those into vector
instructions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from jepalib.compiled import compiled

NO_KEY = -1e30  # bias of a place where there is no token


def _compile(function: Callable, reassociate: bool = True) -> Callable:
    """numba's compiled form of a function.

    Not the whole of fastmath: NaN and infinity must survive, or a diverged run goes unseen.
    """
    flags = {"contract", "reassoc", "nsz", "arcp"} if reassociate else {"contract"}
    return compiled(function, fastmath=flags, error_model="numpy")


@_compile
def row_length(tokens):
    """Length of a bias row of a jet of so many tokens: whole vectors of 16."""
    return (tokens + 15) // 16 * 16


@intrinsic
def _tile(typing, a, x, out, row, column, inner):
    """out[row : row + 8, column : column + 16] = a[those rows, :inner] x[:inner, those columns].

    Written as vector instructions: eight sums stay in registers, which the compiler does not
    find out by itself, since it cannot know that the arrays do not overlap.
    """

    def generate(context, builder, signature, args):
        arrays = [context.make_array(t)(context, builder, v) for t, v in zip(signature.args[:3], args[:3])]
        widths = [cgutils.unpack_tuple(builder, array.shape)[1] for array in arrays]
        row, column, inner = args[3:]
        vector = ir.VectorType(context.get_data_type(signature.args[0].dtype), 16)
        anything, zero = ir.Constant(vector, ir.Undefined), ir.Constant(vector, [0.0] * 16)
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), 16), [0] * 16)
        align = signature.args[0].dtype.bitwidth // 8
        rows = [builder.add(row, row.type(r)) for r in range(8)]
        lines = [builder.gep(arrays[0].data, [builder.mul(r, widths[0])]) for r in rows]
        sums = [cgutils.alloca_once_value(builder, zero) for _ in rows]

        def vector_at(array, place):
            return builder.bitcast(builder.gep(array.data, [place]), vector.as_pointer())

        with cgutils.for_range(builder, inner) as loop:
            place = builder.add(builder.mul(loop.index, widths[1]), column)
            values = builder.load(vector_at(arrays[1], place), align=align)
            for line, total in zip(lines, sums):
                factor = builder.load(builder.gep(line, [loop.index]))
                factor = builder.insert_element(anything, factor, ir.IntType(32)(0))
                term = builder.fmul(
                    builder.shuffle_vector(factor, anything, lanes), values, flags=["contract"]
                )
                builder.store(builder.fadd(builder.load(total), term, flags=["contract"]), total)
        for r, total in zip(rows, sums):
            place = builder.add(builder.mul(r, widths[2]), column)
            builder.store(builder.load(total), vector_at(arrays[2], place), align=align)
        return context.get_dummy_value()

    return types.void(a, x, out, types.intp, types.intp, types.intp), generate


@_compile
def _matmul(a, x, out, rows, inner):
    """out = a[:, :inner] x[:inner] for the first `rows` rows, rounded up to a multiple of 8."""
    for row in range(0, rows, 8):
        for column in range(0, out.shape[1], 16):
            _tile(a, x, out, row, column, inner)


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
        flat, table = scores.reshape(-1, 16), bias.reshape(-1, 16)
        for b in range(n * blocks):
            for lane in range(16):
                flat[b, lane] += table[b, lane]
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
def _softmax(p, n, room, exact, lse, sums):
    """exp(scores - maximum of the row); the sums of rows, and the logarithms of those of exp(scores)."""
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
        sums[i] = total


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
        rows, k = np.zeros((3, length, channels), qkv.dtype), np.zeros((channels, length), qkv.dtype)
        sums = np.zeros(length, qkv.dtype)
        q, v, mixed = rows[0], rows[1], rows[2]
        square = np.zeros((2, length, length), qkv.dtype)
        p, room = square[0], square[1].reshape(-1, 16)
        lanes = p.reshape(length, -1, 16)
        for h in range(heads):
            _load_rows(qkv, h * d, begin, n, d, q)
            _load_columns(qkv, width + h * d, begin, n, d, 1 / math.sqrt(d), k)
            _load_rows(qkv, 2 * width + h * d, begin, n, d, v)
            _matmul(q, k, p, n, d)
            at = bias_offsets[jet] + h * n * length
            _add_bias(lanes, bias[at : at + n * length], n)
            _softmax(lanes, n, room, exact, lse[h, begin : begin + n], sums)
            _matmul(p, v, mixed, n, n)
            for i in range(n):
                for c in range(d):
                    out[begin + i, h * d + c] = mixed[i, c] / sums[i]


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
        flat, table = ds.reshape(-1, 16), grad_bias.reshape(-1, 16)
        for b in range(table.shape[0]):
            for lane in range(16):
                table[b, lane] += flat[b, lane]


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
        rows = np.zeros((4, length, channels), qkv.dtype)
        columns = np.zeros((5, channels, length), qkv.dtype)
        square = np.zeros((3, length, length), qkv.dtype)
        q, k, go, mixed = rows[0], rows[1], rows[2], rows[3]
        qt, kt, vt, got, sums = columns[0], columns[1], columns[2], columns[3], columns[4]
        p, ds, room = square[0], square[1], square[2].reshape(-1, 16)
        lanes, ds_lanes = p.reshape(length, -1, 16), ds.reshape(length, -1, 16)
        for h in range(heads):
            _load_rows(qkv, h * d, begin, n, d, q)
            _load_columns(qkv, h * d, begin, n, d, scale, qt)
            _load_rows(qkv, width + h * d, begin, n, d, k)
            _load_columns(qkv, width + h * d, begin, n, d, scale, kt)
            _load_columns(qkv, 2 * width + h * d, begin, n, d, 1.0, vt)
            _load_rows(grad, h * d, begin, n, d, go)
            _load_columns(grad, h * d, begin, n, d, 1.0, got)
            _matmul(q, kt, p, n, d)
            at = bias_offsets[jet] + h * n * length
            _add_bias(lanes, bias[at : at + n * length], n)
            _subtract(lanes, lse[h, begin : begin + n], n)
            _exp(lanes[:n].reshape(-1, 16), room, exact)
            _matmul(go, vt, ds, n, d)
            _score_gradient(lanes, ds_lanes, n, grad_bias[at : at + n * length])
            _matmul(ds, k, mixed, n, n)
            for i in range(n):
                for c in range(d):
                    grad_qkv[begin + i, h * d + c] = mixed[i, c] * scale
            _matmul(qt, ds, sums, d, n)
            _store_columns(sums, grad_qkv, width + h * d, begin, n, d)
            _matmul(got, p, sums, d, n)
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
