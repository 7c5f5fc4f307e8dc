"""Speed of conversion and of reading a warm store, one core: `python benchmarks/reading.py [FILES …]`.

Without arguments the committed sample is repeated to one file of 100,000 jets.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import awkward as ak
import numpy as np
import torch
import uproot

from jepalib.data.convert import convert
from jepalib.data.sampling import BatchStream, evaluation_batches
from jepalib.data.store import JetStore

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
BATCH = 512
READ = 100_000  # jets per measurement
REPEATS = 7


def repeated_sample(out: Path, times: int = 100) -> Path:
    """The ten files of the sample one after another, `times` times, as one file."""
    kept = ("part_", "jet_", "label_")
    parts = []
    for path in sorted(SAMPLE.glob("*.root")):
        with uproot.open(path) as file:
            tree = file["tree"]
            parts.append(
                tree.arrays([branch.name for branch in tree.branches if branch.name.startswith(kept)])
            )
    jets = ak.concatenate(parts * 10)
    columns = {name: jets[name] for name in jets.fields}
    with uproot.recreate(out, compression=uproot.ZLIB(1)) as target:
        target.mktree("tree", {name: array.type.content for name, array in columns.items()})
        for _ in range(times // 10):
            target["tree"].extend(columns)
    return out


def measured(title: str, jets: int, work: Callable[[], object], repeats: int = REPEATS) -> None:
    """Prints jets per second by the wall clock and by the processor's, median and range."""
    wall, processor = [], []
    for _ in range(repeats):
        start, spent = time.perf_counter(), time.process_time()
        work()
        wall.append(jets / (time.perf_counter() - start))
        processor.append(jets / (time.process_time() - spent))
    print(
        f"{title:44s} {statistics.median(wall):10,.0f} jets/s  ({min(wall):,.0f} to {max(wall):,.0f}; "
        f"{statistics.median(processor):,.0f} per second of CPU)"
    )


def measure_reading(store: JetStore) -> None:
    rows = range(len(store))
    batches = min(READ, len(store)) // BATCH
    jets = batches * BATCH
    shuffled = np.random.default_rng(0).permutation(len(store))

    def sequential() -> None:
        for first in range(0, jets, BATCH):
            store.read(range(first, first + BATCH))

    def scattered() -> None:
        for first in range(0, jets, BATCH):
            store.read(shuffled[first : first + BATCH])

    def stream(window: int) -> None:
        source = BatchStream(store, rows, BATCH, seed=0, window=window, min_particles=2)
        for number in range(batches):
            source.batch(number)

    def evaluation() -> None:
        for _ in evaluation_batches(store, rows[:jets], BATCH):
            pass

    sequential()  # the arrays are in the page cache from here on, the loops compiled
    measured("read, sequential batches of 512", jets, sequential)
    measured("read, shuffled batches of 512", jets, scattered)
    measured("BatchStream, shuffled", jets, lambda: stream(0))
    measured("BatchStream, bucketed, window of 16", jets, lambda: stream(16))
    measured("evaluation_batches, sorted by length", jets, evaluation)


def main(files: list[Path]) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        sources = files or [repeated_sample(Path(folder) / "sample.root")]
        made = [convert(sources, Path(folder) / "store", quiet=True)]

        def convert_again() -> None:
            made.append(convert(sources, Path(folder) / f"store_{len(made)}", quiet=True))

        store = made[0]
        multiplicity = store.counts.mean()
        size = sum(path.stat().st_size for path in sources) / len(store)
        print(f"{len(store)} jets, {multiplicity:.1f} particles, {size:.0f} bytes of ROOT file each")
        measured("convert, one worker", len(store), convert_again, repeats=3)
        measure_reading(store)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
