"""Keeping freed memory, where the C library would hand it back after every step."""

from __future__ import annotations

import ctypes
import platform

# Numbers of glibc's mallopt.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3


def keep_freed_memory() -> bool:
    """Asks glibc to reuse freed memory instead of returning it to the system.

    A training step frees and allocates gigabytes of activations; pages that were
    returned must be cleared by the system again, about a tenth of the time of a step of
    Mini in float32. The process then never becomes smaller again. Call it once, before
    training; it affects the whole process.

    Returns:
        whether the C library took the settings (False without glibc).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((M_MMAP_THRESHOLD, 1 << 25), (M_TRIM_THRESHOLD, (1 << 31) - 1), (M_TOP_PAD, 1 << 26))
    return all(mallopt(which, value) == 1 for which, value in settings)
