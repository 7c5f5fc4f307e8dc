"""Scattered reads from a file into one array, at about a microsecond per piece.

A memory map would be as fast, but it grows the process by whatever was touched and
cannot be larger than the address space that the process may use; `pread` has neither
fault. Called from compiled code it costs no interpreter time and frees the GIL.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from jaxtyping import Int
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from jepalib.compiled import compiled

_pread = types.ExternalFunction("pread", types.intp(types.int32, types.voidptr, types.uintp, types.int64))


@intrinsic
@no_type_check  # numba must see the function itself, not the tests' shape checks around it
def _pointer(typing_context, address):
    """An address as the `void *` that C functions take."""

    def code(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.intp), code


@compiled
def _read_pieces(file, starts, sizes, out):
    address = out.ctypes.data
    done, first = 0, 0
    while first < len(starts):
        start, size, last = starts[first], sizes[first], first + 1
        while last < len(starts) and starts[last] == start + size:  # neighbours in one call
            size += sizes[last]
            last += 1
        got = 0
        while got < size:  # one call returns at most 2 GiB
            now = _pread(file, _pointer(address + done + got), size - got, start + got)
            if now <= 0:
                return first
            got += now
        done += size
        first = last
    return -1


def read_pieces(
    file: int, starts: Int[np.ndarray, " pieces"], sizes: Int[np.ndarray, " pieces"], out: np.ndarray
) -> int:
    """Fills `out` with the bytes [start, start + size) of every piece, one after another.

    Args:
        file: descriptor open for reading.
        starts, sizes: in bytes, int64; the sizes add up to the bytes of `out`.
        out: contiguous, of any type.

    Returns:
        -1, or the number of the first piece that could not be read.
    """
    if int(sizes.sum()) != out.nbytes or not out.flags.c_contiguous:
        raise ValueError(f"read_pieces: {int(sizes.sum())} bytes asked for an array of {out.nbytes}")
    return _read_pieces(file, starts, sizes, out.reshape(-1).view(np.uint8))
