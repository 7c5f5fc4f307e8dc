"""Pre-training of the 2.5 M-parameter HEP-JEPA on this machine, and what limits it.

    python benchmarks/hep_jepa_step.py [--steps 12] [--batch 2048] [--processes 2] [--precisions bfloat16]

Two parts. First `jepalib pretrain` itself, end to end (reading, patches, masks, both encoders,
predictor, backward, exchange of gradients, AdamW, teacher) on three copies of the committed sample:
median jets/s over its steps, beside the 347 jets/s that the paper's 320 GPU-hours on an RTX 2080 Ti
for 4 x 100 M jets come to. Then one step in this process on one thread: floating-point operations of
its matrix products, the rate that the same products reach by themselves, and the shares of time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from jepalib.data.convert import convert
from jepalib.data.sampling import BatchStream
from jepalib.data.store import JetStore, stratified_subset
from jepalib.methods.registry import find_method
from jepalib.models.memory import keep_freed_memory
from jepalib.training.optim import adamw
from jepalib.training.presets import pretrain_config
from jepalib.training.runs import Run

PAPER = 4 * 100e6 / (320 * 3600)  # jets/s of one RTX 2080 Ti (arXiv:2502.03933, Sec. 4)
SAMPLE = Path(__file__).parents[1] / "data" / "sample"
KINDS = {  # profiler names to what a reader knows
    "matrix products": ("aten::mm", "aten::addmm", "mkldnn::_linear_pointwise"),
    "attention": ("_PackedAttention", "_PackedAttentionBackward"),
    "norms, GELU": ("gelu", "layer_norm"),
    "copies, casts, gathers": ("copy_", "index", "cat", "empty", "_to_copy"),
    "optimiser, teacher": ("adamw", "lerp"),
}


def pretraining_rate(store: Path, precision: str, processes: int, batch: int, steps: int) -> float:
    """Median jets/s of the steps of a real pre-training, without the first."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        settings = {
            "precision": precision, "batch_size": batch, "micro_batch": 256, "steps": steps, "log_every": 1,
            "max_jets": batch,  # or the epoch would be cut into equal batches of other sizes
        }  # fmt: skip
        command = [sys.executable, "-m", "jepalib.workbook.cli", "pretrain", "--method", "hep-jepa"]
        command += ["--size", "mini", "--data", str(store), "--run", str(run), "--quiet"]
        command += ["--processes", str(processes)]
        for name, value in settings.items():
            command += ["--set", f"{name}={value}"]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        return float(Run.open(run).metrics()["jets_per_second"].iloc[1:].median())


def copies_of_the_sample(folder: Path, copies: int) -> Path:
    """A store of the committed jets several times over, so that a batch of the paper's size fits."""
    for number in range(copies):
        for file in SAMPLE.glob("*.root"):
            target = folder / "train" / f"{file.stem[:-3]}{number:03d}.root"
            target.parent.mkdir(exist_ok=True)
            target.symlink_to(file)
    return convert([folder / "train"], folder / "store", quiet=True).path


def make_step(store: JetStore, precision: str, batch: int):
    """One training step as a function of its number."""
    config = pretrain_config("hep-jepa", "mini", {"micro_batch": 256})
    torch.manual_seed(0)
    method = find_method("hep-jepa").module("mini", config.objective, "full", 256)
    optimizer = adamw(config, method)
    rows = stratified_subset(store.labels, store.rows("train"), batch, 0)
    stream = BatchStream(store, rows, batch, 0)

    def step(number: int) -> None:
        jets, generator = stream.batch(number), torch.Generator().manual_seed(number)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            outputs = method(jets, method.draw(jets, generator), generator)
        optimizer.zero_grad(set_to_none=True)
        outputs.loss.backward()
        optimizer.step()
        method.after_step(0.1)

    return step


def peak(precision: str) -> float:
    """Best rate in flop/s of this model's largest product (4096 x 128 by 128 x 512) by itself."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    x, w = torch.randn(4096, 128, dtype=dtype), torch.randn(512, 128, dtype=dtype)
    seconds = []
    for _ in range(50):
        start = time.perf_counter()
        torch.nn.functional.linear(x, w)
        seconds.append(time.perf_counter() - start)
    return 2 * 4096 * 128 * 512 / min(seconds)


def shares(step, number: int) -> dict[str, float]:
    """Share of a step's time by kind of operation."""
    with profile(activities=[ProfilerActivity.CPU]) as record:
        step(number)
    total: Counter[str] = Counter()
    for event in record.key_averages():
        kind = next((k for k, names in KINDS.items() if any(n in event.key for n in names)), "all the rest")
        total[kind] += event.self_cpu_time_total
    return {kind: microseconds / sum(total.values()) for kind, microseconds in total.most_common()}


def anatomy(store: JetStore, precision: str, batch: int, rounds: int) -> None:
    """Prints what one step on one thread is made of."""
    torch.set_num_threads(1)
    step = make_step(store, precision, batch)
    step(0)
    with FlopCounterMode(display=False) as counter:  # it does not know the float32 routine by name
        make_step(store, "bfloat16", batch)(1)
    seconds = []
    for number in range(rounds):
        start = time.perf_counter()
        step(number)
        seconds.append(time.perf_counter() - start)
    flops, best = counter.get_total_flops(), peak(precision)
    median = float(np.median(seconds))
    print(f"\n{precision}, one thread, batch {batch}: {batch / median:.0f} jets/s (median of {rounds})")
    print(f"  matrix products {1e-6 * flops / batch:.0f} MFLOP a jet, {1e-9 * flops / median:.0f} GFLOP/s, ")
    print(f"  {100 * flops / median / best:.0f} % of the {1e-9 * best:.0f} GFLOP/s that they reach alone")
    parts = shares(step, 2)
    for kind, share in parts.items():
        print(f"  {kind:24}{100 * share:5.1f} %")
    largest = max(parts, key=parts.get)
    print(f"  what limits it: {largest}, {100 * parts[largest]:.0f} % of the time; if all but the products")
    print(
        f"  were for nothing, this thread would reach {batch / median / parts['matrix products']:.0f} jets/s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=12, help="steps of each pre-training")
    parser.add_argument("--batch", type=int, default=2048, help="jets a step, over all processes")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--precisions", default="float32,bfloat16")
    args = parser.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        path = copies_of_the_sample(Path(folder), 3)
        print(f"paper: {PAPER:.0f} jets/s on one RTX 2080 Ti")
        for precision in args.precisions.split(","):
            for processes in sorted({1, args.processes}):
                rate = pretraining_rate(path, precision, processes, args.batch, args.steps)
                ratio = rate / PAPER
                print(f"{precision}, {processes} processes: {rate:.0f} jets/s, {ratio:.2f} times the paper's")
        for precision in args.precisions.split(","):
            anatomy(JetStore.open(path), precision, args.batch // max(args.processes, 1), 5)


if __name__ == "__main__":
    main()
