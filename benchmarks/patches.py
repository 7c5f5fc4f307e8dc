"""Speed of `make_patches` on one core, numba and torch form: `python benchmarks/patches.py [STORE]`.

Without a store the committed sample is repeated to 30,000 jets. Both forms go through the same
jets in batches of 2,000; rounds of the two are interleaved, and their results must be equal.
Beside the speed stands what patches leave out: the particles that are in no group.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from jepalib.data.readers import read_jetclass
from jepalib.data.store import JetStore
from jepalib.jets import Jets, concatenate
from jepalib.models.patches import PatchConfig, Patches, batched_patches, make_patches, uncovered

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
JETS, BATCH, REPEATS = 30_000, 2_000, 7
CONFIGS = {
    "n/4 centres, k = 8": PatchConfig(),
    "n/4 centres, k = 16": PatchConfig(neighbours=16),
    "n/2 centres, k = 8": PatchConfig(fraction=0.5),
    "n/8 centres, k = 8": PatchConfig(fraction=0.125),
}


def batches_of(store: str | None) -> list[Jets]:
    """Batches of mixed classes, from a store or from the sample."""
    generator = torch.Generator().manual_seed(0)
    if store:
        rows = torch.randperm(len(JetStore.open(store)), generator=generator)[:JETS]
        jets = JetStore.open(store).read(np.sort(rows.numpy()))
    else:
        jets = concatenate([read_jetclass(path).jets for path in sorted(SAMPLE.glob("*.root"))])
        jets = jets.take(torch.arange(JETS) % len(jets))
    return [jets.take(part) for part in torch.randperm(len(jets), generator=generator).split(BATCH)]


def seconds(make: Callable[..., Patches], batches: list[Jets], config: PatchConfig) -> float:
    start = time.perf_counter()
    for jets in batches:
        make(jets.column("deta"), jets.column("dphi"), jets.offsets, config)
    return time.perf_counter() - start


def left_out(batches: list[Jets], config: PatchConfig) -> tuple[float, float]:
    """Share of particles in no group and of jets with one; refuses forms that differ."""
    alone = touched = particles = 0
    for jets in batches:
        places = jets.column("deta"), jets.column("dphi"), jets.offsets
        patches, other = make_patches(*places, config), batched_patches(*places, config)
        if not all(torch.equal(a, b) for a, b in zip(vars(patches).values(), vars(other).values())):
            sys.exit("the two forms differ")
        free = uncovered(patches, len(jets.particles))
        alone, particles = alone + int(free.sum()), particles + len(free)
        touched += len(jets.jet_of_particle[free].unique())
    return alone / particles, touched / sum(len(jets) for jets in batches)


def main(store: str | None = None) -> None:
    torch.set_num_threads(1)
    batches = batches_of(store)
    few, jets = batches[:3], sum(len(batch) for batch in batches)
    counts = torch.cat([batch.counts for batch in batches])
    print(
        f"{jets} jets, {counts.float().mean():.1f} particles on average ({counts.min()} to {counts.max()}), "
        f"median of {REPEATS} runs (lowest to highest)"
    )
    for name, config in CONFIGS.items():
        alone, touched = left_out(few, config)  # compiles, too
        numba, batched = [], []
        for _ in range(REPEATS):
            numba.append(jets / seconds(make_patches, batches, config))
            batched.append(sum(map(len, few)) / seconds(batched_patches, few, config))
        print(
            f"{name:20s} numba {statistics.median(numba):9,.0f} jets/s ({min(numba):,.0f} to "
            f"{max(numba):,.0f}), torch form {statistics.median(batched):6,.0f} jets/s; "
            f"in no group: {alone:.2%} of particles, at least one in {touched:.1%} of jets"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
