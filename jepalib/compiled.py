"""numba's compiler, with a cache on disk where one can be written."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numba


def compiled(function: Callable, **options: object) -> Callable:
    """`function` compiled by numba without the GIL, cached on disk where a cache can be written.

    Args:
        options: of `numba.njit`. There is no fast-math unless it is asked for.
    """
    function = inspect.unwrap(function)  # the shape checks of the tests wrap every function
    try:
        return numba.njit(cache=True, nogil=True, **options)(function)
    except RuntimeError:  # numba found no writable place for its cache
        return numba.njit(nogil=True, **options)(function)
