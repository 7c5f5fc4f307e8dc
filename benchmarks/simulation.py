"""Jets per second of the simulation on one core, and how much of the time is Pythia's.

    python benchmarks/simulation.py [--jets 400] [--repeats 3]

Every class is generated in this process, without the start of Pythia; "Pythia" is the
time inside its event generation. The last line averages over the classes, each with
the same number of jets.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

from jepalib.data.simulation import produce
from jepalib.schema import CLASSES


class Clocked:
    """A Pythia whose event generation is timed."""

    def __init__(self, pythia: Any) -> None:
        self.pythia, self.seconds = pythia, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.pythia, name)

    def nextBatch(self, count: int) -> Any:
        start = time.process_time()
        events = self.pythia.nextBatch(count)
        self.seconds += time.process_time() - start
        return events


def measure(name: str, jets: int, repeat: int) -> tuple[float, float, float]:
    """CPU seconds per jet in all and in Pythia, wall seconds per jet, of one class."""
    clocks: list[Clocked] = []
    original = produce.generator

    def clocked(*args: Any) -> Clocked:
        clocks.append(Clocked(original(*args)))
        return clocks[-1]

    produce.generator = clocked
    try:
        chunks = produce.jet_chunks(produce.FileTask(Path(), name, "train", repeat, jets, 0))
        next(chunks)  # start and first-call costs are not counted
        clocks[0].seconds, done = 0.0, 0
        cpu, wall = time.process_time(), time.perf_counter()
        while done < jets:
            done += len(next(chunks)["jet_pt"])
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    finally:
        produce.generator = original
    return cpu / done, clocks[0].seconds / done, wall / done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jets", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print("| class | jets/s of CPU time | spread | jets/s of wall time | Pythia |\n|---|---|---|---|---|")
    total = pythia = wall_total = 0.0
    for name in CLASSES:
        runs = [measure(name, options.jets, repeat) for repeat in range(options.repeats)]
        rates = [1 / run[0] for run in runs]
        cpu, inside, wall = (statistics.median(run[i] for run in runs) for i in range(3))
        total, pythia, wall_total = total + cpu, pythia + inside, wall_total + wall
        print(
            f"| {name} | {1 / cpu:.0f} | {min(rates):.0f}-{max(rates):.0f} | {1 / wall:.0f} "
            f"| {inside / cpu:.0%} |",
            flush=True,
        )
    count = len(CLASSES)
    print(f"| all | {count / total:.0f} | | {count / wall_total:.0f} | {pythia / total:.0%} |")


if __name__ == "__main__":
    main()
