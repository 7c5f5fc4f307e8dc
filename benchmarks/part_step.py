"""One training step of the Particle Transformer: weaver-core against jepalib, on the same weights.

    python benchmarks/part_step.py [--batch 256] [--rounds 7] [--threads 2] [--size mini] [--cpu-time]
        [--keep-memory]

A step is forward, cross-entropy, backward and AdamW. weaver-core runs as it comes
(float32, padded to the longest jet of the batch, trim=False, dropout 0), and also fed
chunks of 32 jets sorted by length whose gradients are accumulated; jepalib runs in
float32 and in bfloat16 autocast. Rounds are interleaved, so that a disturbance hits all
alike; the medians of step time and of the ratios within a round are printed, with the
range from the lower to the upper quartile. Multiplicities follow a gamma distribution of
mean 40 and standard deviation 20, cut to 1-128, near those of JetClass.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from dataclasses import astuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jepalib.jets import Jets, pad
from jepalib.kinematics import model_inputs
from jepalib.models.heads import Classifier, LinearHead
from jepalib.models.layout import offsets_of
from jepalib.models.memory import keep_freed_memory
from jepalib.models.official import from_weaver_state, weaver_columns
from jepalib.models.particle_transformer import ParticleTransformer
from jepalib.models.sizes import SIZES, Size
from jepalib.schema import CLASSES, MAX_PARTICLES

Step = Callable[[], None]
CHUNK = 32


def synthetic_jets(jets: int, seed: int) -> Jets:
    """Jets of realistic multiplicity; the values only need the right ranges."""
    rng = np.random.default_rng(seed)
    counts = torch.from_numpy(np.clip(rng.gamma(4.0, 10.0, jets).round(), 1, MAX_PARTICLES).astype(np.int64))
    total = int(counts.sum())
    pt = rng.lognormal(1.0, 1.2, total)
    eta, phi = rng.normal(0, 0.2, total), rng.normal(0, 0.2, total)
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    energy = np.sqrt(px**2 + py**2 + pz**2 + 0.14**2)
    flags = np.eye(5)[rng.integers(0, 5, total)]
    columns = [px, py, pz, energy, eta, phi, *rng.normal(0, 0.1, (4, total)), rng.integers(-1, 2, total)]
    particles = torch.from_numpy(np.column_stack([*columns, flags]).astype(np.float32))
    offsets = offsets_of(counts)
    observables = torch.zeros(jets, 10)
    for column, values in ((0, px), (3, energy)):
        observables[:, column] = torch.from_numpy(np.add.reduceat(values, offsets[:-1].numpy()))
    labels = torch.from_numpy(rng.integers(0, len(CLASSES), jets))
    return Jets(particles, offsets, observables, labels, torch.arange(jets))


def weaver_model(size: Size) -> nn.Module:
    logging.disable(logging.INFO)
    from weaver.nn.model.ParticleTransformer import ParticleTransformer as Weaver

    no_dropout = {"dropout": 0.0, "attn_dropout": 0.0, "activation_dropout": 0.0}
    _, embed, heads, blocks, cls_blocks, pair, *_ = astuple(size)
    return Weaver(
        17, len(CLASSES), use_pre_activation_pair=size.pre_activation_pair, embed_dims=embed,
        pair_embed_dims=pair, num_heads=heads, num_layers=blocks, num_cls_layers=cls_blocks,
        block_params=no_dropout, trim=False,
    )  # fmt: skip


def weaver_inputs(jets: Jets) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs in weaver's order, four-vectors, mask and labels, padded to the longest jet."""
    order = torch.empty(17, dtype=torch.long)
    order[weaver_columns(17)] = torch.arange(17)
    x, mask = pad(model_inputs(jets)[:, order], jets.offsets)
    p4, _ = pad(jets.particles[:, :4], jets.offsets)
    return x.transpose(1, 2).contiguous(), p4.transpose(1, 2).contiguous(), mask[:, None], jets.labels


def weaver_step(model: nn.Module, batches: list[tuple[Tensor, Tensor, Tensor, Tensor]]) -> Step:
    """A step on the batches together (gradients accumulated), inputs made beforehand."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    jets = sum(len(labels) for *_, labels in batches)

    def step() -> None:
        optimizer.zero_grad()
        for x, p4, mask, labels in batches:
            loss = F.cross_entropy(model(x, v=p4, mask=mask), labels, reduction="sum") / jets
            loss.backward()
        optimizer.step()

    return step


def jepalib_step(model: nn.Module, jets: Jets, bf16: bool) -> Step:
    """A step from packed jets; making the inputs and sorting by length are part of it."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(jets)
        F.cross_entropy(logits.float(), jets.labels).backward()
        optimizer.step()

    return step


def make_steps(size: Size, jets: Jets) -> dict[str, Step]:
    """The four contestants, all starting from the same weights."""
    torch.manual_seed(0)
    weaver = weaver_model(size)
    weights = weaver.state_dict()
    order = torch.argsort(jets.counts)
    chunks = [weaver_inputs(jets.take(rows)) for rows in order.split(CHUNK)]
    steps = {"weaver, padded": weaver_step(weaver, [weaver_inputs(jets)])}
    chunked = weaver_model(size)
    chunked.load_state_dict(weights)
    steps[f"weaver, sorted chunks of {CHUNK}"] = weaver_step(chunked, chunks)
    for name, bf16 in (("jepalib, float32", False), ("jepalib, bfloat16", True)):
        model = Classifier(ParticleTransformer(size), LinearHead(size.width))
        model.load_state_dict(from_weaver_state(weights))
        steps[name] = jepalib_step(model, jets, bf16)
    return steps


def measure(steps: dict[str, Step], rounds: int, clock: Callable[[], float]) -> dict[str, np.ndarray]:
    """Seconds of every step, one measurement a round after one round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            start = clock()
            step()
            if number:
                seconds[name].append(clock() - start)
    return {name: np.array(values) for name, values in seconds.items()}


def spread(values: np.ndarray, digits: int) -> str:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=256, help="jets in a batch")
    parser.add_argument("--rounds", type=int, default=7, help="measured steps of each")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--size", choices=list(SIZES), default="mini")
    parser.add_argument(
        "--cpu-time", action="store_true", help="for a busy machine: seconds of CPU, not of wall"
    )
    parser.add_argument("--keep-memory", action="store_true", help="for all four: do not return freed memory")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.keep_memory:
        keep_freed_memory()
    jets = synthetic_jets(args.batch, args.seed)
    longest, mean = int(jets.counts.max()), float(jets.counts.float().mean())
    print(
        f"{args.size}, {args.batch} jets of {mean:.1f} particles (longest {longest}), {args.threads} threads"
    )
    clock = time.process_time if args.cpu_time else time.perf_counter
    seconds = measure(make_steps(SIZES[args.size], jets), args.rounds, clock)
    padded, chunked, *_ = seconds.values()
    print(f"{'':28}{'ms a step':>24}{'times padded':>20}{'times chunked':>20}")
    for name, values in seconds.items():
        ratios = spread(padded / values, 2), spread(chunked / values, 2)
        print(f"{name:28}{spread(1e3 * values, 0):>24}{ratios[0]:>20}{ratios[1]:>20}")


if __name__ == "__main__":
    main()
