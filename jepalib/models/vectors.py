"""Vectors of 16 numbers in numba kernels: values like any other, and products of matrices of them.

numba makes vector instructions of simple loops, but not of those that keep their sums in
registers, since it cannot know that the arrays do not overlap. Here `load` and `store` move
vectors, + - * / and `maximum` work on all lanes, and `tile` and `transpose` are written as
instructions. On a processor with shorter vectors the compiler splits them.

numba's cache of a kernel looks at the kernel's own file only: after a change here, touch that one.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, overload, register_model

LANES = 16
ROWS = 8  # sums of a tile: with fewer the processor waits for them, more do not fit its registers

# 2^x on [-1/2, 1/2]: 1 at 0, relative error at most 9.1e-8 (minimax, from the highest power down)
POWER_OF_TWO = (0.001326472, 0.009671513, 0.05550734, 0.24022242, 0.693147, 1.0)

_int = ir.IntType(32)


class Vector(types.Type):
    """numba's type of 16 numbers of one kind."""

    def __init__(self, dtype: types.Float) -> None:
        super().__init__(name=f"Vector({dtype})")
        self.dtype = dtype


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, _vector_type(kind.dtype, LANES))


class Matrix(NamedTuple):
    """Numbers in memory: a pointer to the first, the steps to the next row and the next column."""

    at: Any
    row: int
    column: int


def _vector_type(dtype: types.Float, lanes: int) -> ir.VectorType:
    return ir.VectorType(ir.FloatType() if dtype.bitwidth == 32 else ir.DoubleType(), lanes)


def _read(builder, dtype, at, index, lanes):
    place = builder.bitcast(builder.gep(at, [index]), _vector_type(dtype, lanes).as_pointer())
    return builder.load(place, align=dtype.bitwidth // 8)


def _write(builder, dtype, vector, at, index):
    place = builder.bitcast(builder.gep(at, [index]), vector.type.as_pointer())
    builder.store(vector, place, align=dtype.bitwidth // 8)


def _repeat(builder, number, vector):
    """A vector of a type with the same number in all lanes."""
    anything = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(anything, number, _int(0))
    lanes = ir.Constant(ir.VectorType(_int, vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, anything, lanes)


def _multiply_add(builder, a, b, c):
    """a b + c in one instruction where there is one; `contract` alone lets NaN and infinity live."""
    return builder.fadd(builder.fmul(a, b, flags=["contract"]), c, flags=["contract"])


@intrinsic
def pointer(typing, array, index):
    """Where a number of a flat array lies."""

    def generate(context, builder, signature, args):
        return builder.gep(context.make_array(array)(context, builder, args[0]).data, [args[1]])

    return types.CPointer(array.dtype)(array, types.intp), generate


@intrinsic
def ahead(typing, at, count):
    """A pointer so many numbers further on."""
    return at(at, types.intp), lambda context, builder, signature, args: builder.gep(args[0], [args[1]])


@intrinsic
def load(typing, at, index):
    """The 16 numbers from at[index] on."""

    def generate(context, builder, signature, args):
        return _read(builder, at.dtype, *args, LANES)

    return Vector(at.dtype)(at, types.intp), generate


@intrinsic
def store(typing, vector, at, index):
    """Writes 16 numbers from at[index] on."""

    def generate(context, builder, signature, args):
        _write(builder, at.dtype, *args)
        return context.get_dummy_value()

    return types.void(vector, at, types.intp), generate


@intrinsic
def prefetch(typing, at, count):
    """Has the so many numbers from here on brought to the second-level cache, and does not wait."""

    def generate(context, builder, signature, args):
        byte, line = ir.IntType(8).as_pointer(), args[1].type(64 * 8 // at.dtype.bitwidth)
        kind = ir.FunctionType(ir.VoidType(), [byte, _int, _int, _int])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        with cgutils.for_range_slice(builder, line.type(0), args[1], line, line.type) as (i, _):
            place = builder.bitcast(builder.gep(args[0], [i]), byte)
            builder.call(fetch, [place, _int(0), _int(2), _int(1)])  # to read, second level, data
        return context.get_dummy_value()

    return types.void(at, types.intp), generate


@intrinsic
def repeat(typing, at, number):
    """A number in all lanes, of the kind that `at` points to."""

    def generate(context, builder, signature, args):
        value = context.cast(builder, args[1], number, at.dtype)
        return _repeat(builder, value, _vector_type(at.dtype, LANES))

    return Vector(at.dtype)(at, number), generate


def _define(symbol: Callable, instruction: str) -> None:
    @intrinsic
    def apply(typing, a, b):
        def generate(context, builder, signature, args):
            return getattr(builder, instruction)(*args, flags=["contract"])

        return a(a, b), generate

    @overload(symbol)
    def implement(a, b):
        return (lambda a, b: apply(a, b)) if isinstance(a, Vector) and a == b else None


_define(operator.add, "fadd")
_define(operator.sub, "fsub")
_define(operator.mul, "fmul")
_define(operator.truediv, "fdiv")


@intrinsic
def maximum(typing, a, b):
    """The larger of two, lane by lane; b where one of them is NaN."""

    def generate(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return a(a, b), generate


@intrinsic
def exp2(typing, x):
    """2^x. In float32 for x < 128 to 2e-7, and 2^-126 below -126; in float64 the C library's."""

    def generate(context, builder, signature, args):
        return (_fast_exp2 if x.dtype.bitwidth == 32 else _exact_exp2)(builder, args[0])

    return x(x), generate


def _fast_exp2(builder, x):
    """2^(nearest whole number) times a polynomial in the rest.

    Adding 1.5 2^23 rounds; the sum's low bits, 127 added, are the exponent of the power. It is
    multiplied, so that NaN stays NaN.
    """
    least, shift = (_repeat(builder, ir.FloatType()(v), x.type) for v in (-126.0, 12582912.0 + 127.0))
    x = builder.select(builder.fcmp_ordered("<", x, least), least, x)
    shifted = builder.fadd(x, shift)
    rest = builder.fsub(x, builder.fsub(shifted, shift))
    coefficients = [_repeat(builder, ir.FloatType()(float(np.float32(c))), x.type) for c in POWER_OF_TWO]
    value = coefficients[0]
    for coefficient in coefficients[1:]:
        value = _multiply_add(builder, value, rest, coefficient)
    whole = ir.VectorType(_int, x.type.count)
    bits = builder.shl(builder.bitcast(shifted, whole), _repeat(builder, _int(23), whole))
    return builder.fmul(value, builder.bitcast(bits, x.type))


def _exact_exp2(builder, x):
    function = builder.module.declare_intrinsic("llvm.exp2", [x.type.element])
    for lane in range(x.type.count):
        value = builder.call(function, [builder.extract_element(x, _int(lane))])
        x = builder.insert_element(x, value, _int(lane))
    return x


@intrinsic
def tile(typing, a, x, out, rows, lanes, inner):
    """out = a[:rows, :inner] x[:inner, :lanes] for 1 to 8 rows and 8 or 16 lanes.

    The columns of x and of out are next to each other, those of `a` anywhere.
    """

    def generate(context, builder, signature, args):
        matrices = [cgutils.unpack_tuple(builder, matrix) for matrix in args[:3]]
        rows, lanes, inner = args[3:]
        done = builder.append_basic_block("done")
        switch = builder.switch(builder.add(rows, lanes), done)
        for shape in [(r, n) for n in (8, 16) for r in range(1, ROWS + 1)]:
            block = builder.append_basic_block("rows{}lanes{}".format(*shape))
            switch.add_case(ir.Constant(rows.type, sum(shape)), block)
            builder.position_at_end(block)
            _sum_products(builder, a.types[0].dtype, matrices, shape, inner)
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return types.void(a, x, out, types.intp, types.intp, types.intp), generate


def _sum_products(builder, dtype, matrices, shape, inner):
    (a, a_row, a_column), (x, x_row, _), (out, out_row, _) = matrices
    rows, lanes = shape
    vector = _vector_type(dtype, lanes)
    sums = [cgutils.alloca_once(builder, vector) for _ in range(rows)]
    lines = [builder.gep(a, [builder.mul(a_row, inner.type(r))]) for r in range(rows)]
    for total in sums:
        builder.store(ir.Constant(vector, [0.0] * lanes), total)
    with cgutils.for_range(builder, inner) as loop:
        values = _read(builder, dtype, x, builder.mul(loop.index, x_row), lanes)
        column = builder.mul(loop.index, a_column)
        for line, total in zip(lines, sums):
            factor = _repeat(builder, builder.load(builder.gep(line, [column])), vector)
            builder.store(_multiply_add(builder, factor, values, builder.load(total)), total)
    for r, total in enumerate(sums):
        _write(builder, dtype, builder.load(total), out, builder.mul(out_row, inner.type(r)))


@intrinsic
def transpose(typing, source, rows, factor, out):
    """8 columns of 16 rows times a factor, written as 8 rows; the last of fewer rows is repeated."""

    def generate(context, builder, signature, args):
        (at, step, _), (target, out_step, _) = (cgutils.unpack_tuple(builder, args[i]) for i in (0, 3))
        dtype, whole = source.types[0].dtype, step.type
        last = builder.sub(args[1], whole(1))
        vectors = []
        for i in range(LANES):
            row = builder.select(builder.icmp_signed("<", last, whole(i)), last, whole(i))
            vectors.append(_read(builder, dtype, at, builder.mul(row, step), 8))
        for _ in range(4):  # each moves one binary digit of the place
            vectors = _shuffle(builder, vectors)
        number = context.cast(builder, args[2], factor, dtype)
        for c, vector in enumerate(vectors):
            vector = builder.fmul(vector, _repeat(builder, number, vector.type))
            _write(builder, dtype, vector, target, builder.mul(out_step, whole(c)))
        return context.get_dummy_value()

    return types.void(source, types.intp, factor, out), generate


def _shuffle(builder, vectors):
    """Like a pack of cards: the numbers of each vector of the first half between those of the second."""
    half, n = len(vectors) // 2, vectors[0].type.count
    places = [i // 2 + n * (i % 2) for i in range(2 * n)]
    return [
        builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_int, LANES), places[i : i + LANES]))
        for a, b in zip(vectors[:half], vectors[half:])
        for i in range(0, 2 * n, LANES)
    ]
