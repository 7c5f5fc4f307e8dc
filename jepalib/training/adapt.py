"""Adaptation: probes, frozen, fine-tuned and from-scratch classifiers against label count.

Both arms, pre-trained and from scratch, get the same tuning grid and the same number of
trials; settings and the best moment of each training are chosen on validation jets and
reported on test jets.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from jepalib.data.store import JetStore, load_rows, save_rows, stratified_subset
from jepalib.errors import JepalibError
from jepalib.processes import die_with_parent
from jepalib.progress import Progress
from jepalib.training.classifiers import HEADS
from jepalib.training.config import override
from jepalib.training.distributed import World
from jepalib.training.few_shot import (
    AdaptConfig,
    Arm,
    Training,
    report,
    run_probe,
    settings_of_before,
    train_classifier,
)
from jepalib.training.runs import Run, differences, write_atomically
from jepalib.training.start import jets_in_all

MODES = ("linear-probe", "frozen", "fine-tuned", "from-scratch")
FROZEN = MODES[:2]  # whose encoder stays as it is


@dataclass(frozen=True)
class Point:
    """One entry of the table: what is trained, on how many labels, with which seed."""

    mode: str
    head: str
    labels: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.mode}_{self.head}_{self.labels}_seed{self.seed}"


def adapt(
    run: Path | None,
    data: Path,
    out: Path,
    labels: Sequence[int],
    modes: Sequence[str] = MODES,
    seeds: int = 3,
    heads: Sequence[str] = ("mlp",),
    overrides: Mapping[str, object] | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> pd.DataFrame:
    """The few-shot table, written to OUT/few_shot.csv; finished points are not made again.

    Args:
        run: a pre-training run; None for from-scratch alone.
        data: a store with training, validation and test jets.
        out: folder of the table, the label subsets and the classifiers.
        labels: numbers of training labels.
        modes: any of `MODES`.
        seeds: how many seeds (label subset, initialisation, batches) a point.
        heads: any of `classifiers.HEADS`.
        overrides: settings of `AdaptConfig` by name.
        workers: processes that make points side by side, each on its share of the
            cores; None for one per core, or one in all on a GPU.

    Raises:
        JepalibError: unknown mode, head or setting, too few jets, or `out` holds a
            table made with other settings.
    """
    config = override(AdaptConfig(), overrides or {})
    _check(run, labels, modes, seeds, heads)
    _check_dropout(config, modes)
    bench = _Bench(config, run, Path(data), Path(out))
    bench.claim()
    missing = [point for point in _plan(labels, modes, seeds, heads) if not bench.has(point)]
    # The first seed of a setting tunes for the others where there is a choice; the longest come first.
    missing.sort(key=lambda point: -point.labels)
    tuned = len(config.grid(frozen=False)) > 1
    stages = [[p for p in missing if p.seed == 0], [p for p in missing if p.seed > 0]] if tuned else [missing]
    workers = _workers(workers, len(missing))
    if not missing and not quiet:
        print(f"{out}: every point is there already", file=sys.stderr)
    with Progress(len(missing), "adapt", unit="points", quiet=quiet or not missing) as bar:
        for points in stages:
            for point in bench.make_all(points, workers):
                bar.add(1, note=point.name)
    return bench.table()


def share_of_labels(percent: float, store: JetStore) -> int:
    """So many per cent of the training jets as a number of labels, at least one of each class.

    Raises:
        JepalibError: not above 0 and at most 100.
    """
    if not 0 < percent <= 100:
        raise JepalibError(f"labels {percent:g} %: give a share above 0 and at most 100 %")
    return max(round(percent / 100 * len(store.rows("train"))), len(store.classes))


def _workers(asked: int | None, points: int) -> int:
    """Processes to use; trainings are so small that a core each beats sharing all cores."""
    if asked is not None and asked < 1:
        raise JepalibError(f"workers = {asked}: give a whole number of at least 1")
    cores = 1 if torch.cuda.is_available() else len(os.sched_getaffinity(0))
    return max(1, min(asked or cores, points))


def _check(run: Path | None, labels, modes, seeds: int, heads) -> None:
    for mode in modes:
        if mode not in MODES:
            raise JepalibError(f"mode '{mode}' is not one of {', '.join(MODES)}")
        if run is None and mode != "from-scratch":
            raise JepalibError(f"mode '{mode}' needs a pre-training run")
    for head in heads:
        if head not in HEADS:
            raise JepalibError(f"head '{head}' is not one of {', '.join(HEADS)}")
    if not labels or min(labels) < 2 or seeds < 1:
        raise JepalibError(f"labels {list(labels)}, seeds {seeds}: at least 2 labelled jets and 1 seed")


def _check_dropout(config: AdaptConfig, modes: Sequence[str]) -> None:
    """A frozen encoder is run once on whole jets, so that there is nothing to drop from a step on."""
    if frozen := sorted(set(modes) & set(FROZEN)):
        for name in ("pid_dropout", "td_dropout"):
            if value := getattr(config, name):
                others = ", ".join(mode for mode in MODES if mode not in FROZEN)
                raise JepalibError(
                    f"{name} = {value}: mode '{frozen[0]}' runs its encoder once on whole jets; leave it, "
                    f"or the dropout (modes that take it: {others})"
                )


def _plan(labels, modes, seeds: int, heads) -> list[Point]:
    """Every point once; a linear probe has a head of its own."""
    points = []
    for mode, n, seed in itertools.product(modes, labels, range(seeds)):
        points += [Point(mode, h, n, seed) for h in (("logistic",) if mode == "linear-probe" else heads)]
    return points


class _Bench:
    """Store, encoder and folder that all points share."""

    def __init__(self, config: AdaptConfig, run: Path | None, data: Path, out: Path) -> None:
        self.arguments = (config, run, data, out)
        self.config, self.out = config, out
        self.run = Run.open(run) if run is not None else None
        if self.run is not None:
            _ = self.run.manifest  # says so if the pre-training is not finished
        self.store = JetStore.open(data)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.world = World(0, 1, device)
        self.val = self._some("val", config.val_jets)
        self.test = self._some("test", config.test_jets)
        self._frozen: Arm | None = None
        self._kept: dict[Point, Training] = {}  # the best trial of a tuning is its seed's training

    def _some(self, split: str, jets: int) -> np.ndarray:
        rows = self.store.rows(split)
        if not jets or jets >= len(rows):
            return np.asarray(rows)
        return stratified_subset(self.store.labels, rows, jets, 0, self.store.classes)

    def claim(self) -> None:
        """Write the settings into the folder, or check that they are the same."""
        about = {
            "settings": asdict(self.config),
            "data_hash": self.store.data_hash,
            "run": self.run.identity() if self.run else None,
        }
        file = self.out / "adapt.json"
        if file.is_file():
            known = json.loads(file.read_text())
            known["settings"] = settings_of_before(known["settings"])
            if differing := differences(known, json.loads(json.dumps(about))):
                raise JepalibError(
                    f"{self.out} holds a table of another run, data set or settings ({differing[0]}); "
                    "use another --out"
                )
        if self.out.exists() and not self.out.is_dir():
            raise JepalibError(f"{self.out} is a file; the table needs a folder")
        self.out.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(about, indent=2) + "\n")

    def has(self, point: Point) -> bool:
        """Whether the point was made already."""
        return (self.out / "points" / f"{point.name}.json").is_file()

    def make_all(self, points: list[Point], workers: int) -> Iterator[Point]:
        """Make the points, giving each when it is done.

        Raises:
            JepalibError: a worker was killed, or could not begin.
        """
        if workers == 1 or len(points) < 2:
            yield from (self.make(point) for point in points)
            return
        threads = max(1, len(os.sched_getaffinity(0)) // workers)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, _begin, (self.arguments, threads)) as pool:
            jobs = [pool.submit(_make, point) for point in points]
            try:
                yield from (job.result() for job in as_completed(jobs))
            except BrokenProcessPool:
                raise JepalibError(
                    "adapt: a worker was killed (out of memory?) or could not begin (a script calls adapt "
                    'below `if __name__ == "__main__":`); the points so far are kept, call again, perhaps '
                    "with fewer --workers"
                ) from None
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def make(self, point: Point) -> Point:
        """One point's row into OUT/points."""
        file = self.out / "points" / f"{point.name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        begun = time.perf_counter()
        figures = self._figures(point)
        row = {
            **self._source(point.mode),
            **asdict(point),
            **figures,
            "seconds": round(time.perf_counter() - begun, 2),
        }
        write_atomically(file, json.dumps(row) + "\n")
        return point

    def _source(self, mode: str) -> dict[str, object]:
        """Which pre-training a row belongs to; none for a network from scratch."""
        size = self.run.config.size if self.run else self.config.size
        if self.run is None or mode == "from-scratch":
            return {"method": None, "size": size, "run": None, "jets_pretrained": 0}
        seen = jets_in_all(self.run)
        name = self.run.path.name
        return {"method": self.run.config.method, "size": size, "run": name, "jets_pretrained": seen}

    def _figures(self, point: Point) -> dict[str, object]:
        arm = self._arm(point)
        rows = self._labelled(point)
        if point.mode == "linear-probe":
            return run_probe(arm, rows, point.seed)
        trial = self._tuned(point)
        training = self._kept.pop(point, None) or train_classifier(arm, point.head, rows, point.seed, trial)
        return report(training, self.out / "models" / point.name, asdict(point))

    def _arm(self, point: Point) -> Arm:
        """What is trained in this mode; frozen embeddings are made once."""
        frozen = point.mode in FROZEN
        tokens = point.head == "class-attention"
        if frozen and self._frozen is not None and self._frozen.tokens >= tokens:
            return self._frozen
        encoder = None if point.mode == "from-scratch" else self.run.encoder()
        jets = (self.store, self.val, self.test)
        arm = Arm(self.config, self.run, encoder, *jets, frozen, tokens, self.world)
        if frozen:
            self._frozen = arm
        return arm

    def _labelled(self, point: Point) -> np.ndarray:
        """The labelled jets of this count and seed, saved beside the table; all alike, or simply all."""
        file = self.out / "subsets" / f"labels_{point.labels}_seed{point.seed}.npy"
        if not file.is_file():
            rows = self.store.rows("train")
            if point.labels < len(rows):
                rows = stratified_subset(
                    self.store.labels, rows, point.labels, point.seed, self.store.classes
                )
            elif point.labels > len(rows):
                raise JepalibError(f"labels = {point.labels}: {self.store.path} has only {len(rows)}")
            save_rows(file, np.asarray(rows))
        return load_rows(file)

    def _tuned(self, point: Point) -> dict[str, float]:
        """The setting of the grid with the best validation accuracy on seed 0."""
        arm = self._arm(point)
        grid = self.config.grid(arm.frozen)
        if len(grid) == 1:
            return grid[0]
        file = self.out / "tuning" / f"{point.mode}_{point.head}_{point.labels}.json"
        if file.is_file():
            return {**grid[0], **json.loads(file.read_text())["best"]}
        first = replace(point, seed=0)
        rows = self._labelled(first)
        trainings = [train_classifier(arm, point.head, rows, 0, trial) for trial in grid]
        best = max(trainings, key=lambda training: training.best.quality)
        self._kept = {first: best}
        file.parent.mkdir(parents=True, exist_ok=True)
        record = {"best": best.trial, "trials": [training.row() for training in trainings]}
        write_atomically(file, json.dumps(record, indent=1) + "\n")
        return best.trial

    def table(self) -> pd.DataFrame:
        """All points so far, in order, also as OUT/few_shot.csv."""
        files = sorted((self.out / "points").glob("*.json"))
        table = pd.DataFrame([json.loads(f.read_text()) for f in files])
        table["mode"] = pd.Categorical(table["mode"], MODES, ordered=True)
        table = table.sort_values(["mode", "head", "labels", "seed"], ignore_index=True)
        table["mode"] = table["mode"].astype(str)
        whole = [c for c in ("steps", "best_step", "val_jets", "test_jets") if c in table]
        table[whole] = table[whole].astype("Int64")  # a probe has no steps: empty, not 0
        write_atomically(self.out / "few_shot.csv", table.to_csv(index=False))
        return table


def _begin(arguments: tuple, threads: int) -> None:
    """A worker's own bench, on its share of the cores."""
    global _worker_bench
    die_with_parent()
    torch.set_num_threads(threads)
    _worker_bench = _Bench(*arguments)


def _make(point: Point) -> Point:
    return _worker_bench.make(point)
