"""Speed of `draw_masks`, the greedy order included, on one core: `python benchmarks/masking.py`."""

from __future__ import annotations

import statistics
import time

import torch

from jepalib.jets import Jets
from jepalib.masking import MaskConfig, draw_masks
from jepalib.schema import PARTICLE_COLUMN

CONFIGS = {
    "JP-JEPA, 1 target": MaskConfig(),
    "JP-JEPA, 4 targets": MaskConfig(4, (0.15, 0.2), (0.4, 0.75)),
    "P-JEPA, random": MaskConfig(1, (0.3, 0.5), None, "random", "random"),
}


def spread_jets(jets: int, seed: int = 0) -> Jets:
    """Jets of 10 to 128 particles, 40 on average, Gaussian around the axis."""
    generator = torch.Generator().manual_seed(seed)
    counts = (10 + torch.empty(jets).exponential_(1 / 30.8, generator=generator)).long().clamp(max=128)
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])
    particles = torch.zeros(int(offsets[-1]), 16)
    for name in ("deta", "dphi"):
        particles[:, PARTICLE_COLUMN[name]].normal_(0, 0.2, generator=generator)
    rows = torch.arange(jets)
    return Jets(particles, offsets, torch.zeros(jets, 10), rows % 10, rows)


def main(jets: int = 50_000, repeats: int = 9) -> None:
    torch.set_num_threads(1)
    batch, generator = spread_jets(jets), torch.Generator().manual_seed(1)
    start = time.perf_counter()
    draw_masks(spread_jets(10), MaskConfig(), generator)
    print(f"first call (compiles, or reads the cache): {time.perf_counter() - start:.2f} s")
    print(f"{jets} jets, mean multiplicity {batch.counts.float().mean():.1f}, median of {repeats} runs")
    for name, config in CONFIGS.items():
        rates = []
        for _ in range(repeats):
            start = time.perf_counter()
            draw_masks(batch, config, generator)
            rates.append(jets / (time.perf_counter() - start))
        print(f"{name:20s} {statistics.median(rates):9,.0f} jets/s  ({min(rates):,.0f} to {max(rates):,.0f})")


if __name__ == "__main__":
    main()
