"""Compiled functions where numba can write no cache."""

from __future__ import annotations

import os
import subprocess
import sys

WITHOUT_CACHE = """
import numba.core.caching
numba.core.caching.CacheImpl._locator_classes = []
import os, sys
import numpy as np
import torch
from jepalib.data.pread import read_pieces
from jepalib.masking import greedy_order
from jepalib.models.kernels import row_length

print(greedy_order(torch.tensor([1.0, 0, 2]), torch.zeros(3), torch.tensor([0, 3])).tolist())
out = np.zeros(4, np.uint8)
print(read_pieces(os.open(sys.argv[1], os.O_RDONLY), np.array([1, 5]), np.array([3, 1]), out), out.tolist())
print(row_length(17))
"""


def test_everything_compiled_works_where_numba_finds_no_place_for_its_cache(tmp_path) -> None:
    (tmp_path / "numbers").write_bytes(bytes(range(8)))
    command = [sys.executable, "-c", WITHOUT_CACHE, str(tmp_path / "numbers")]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ.copy())
    assert run.stdout.splitlines() == ["[1, 0, 2]", "-1 [1, 2, 3, 5]", "32"]
