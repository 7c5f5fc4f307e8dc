"""Many files on many cores: what is missing is made, what is finished is checked."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from jepalib.data.simulation.branches import read_parameters
from jepalib.data.simulation.dijets import DATASET as DIJETS
from jepalib.data.simulation.dijets import DijetTask, make_dijets, read_event_parameters
from jepalib.data.simulation.processes import require
from jepalib.data.simulation.produce import MAX_FILES, SPLITS, FileTask, make_file
from jepalib.data.simulation.twin_files import read_twin_parameters
from jepalib.data.simulation.twins import TWINS, TwinTask, make_twin
from jepalib.data.simulation.whole import remove_leftovers
from jepalib.errors import JepalibError
from jepalib.processes import die_with_parent
from jepalib.progress import Progress
from jepalib.schema import CLASSES

POLL = 0.2  # seconds between looks at the workers
Task = FileTask | TwinTask | DijetTask
KINDS: dict[type, tuple[Callable, Callable]] = {  # how a file is made, and how it tells what it is
    FileTask: (make_file, read_parameters),
    TwinTask: (make_twin, read_twin_parameters),
    DijetTask: (make_dijets, read_event_parameters),
}


def simulate(
    out: Path,
    split: str,
    jets_per_class: int | tuple[int, int],
    classes: Sequence[str] | None = None,
    files_per_class: int = 1,
    seed: int = 0,
    workers: int | None = None,
    quiet: bool = False,
    dataset: str = "jetclass",
) -> list[Path]:
    """Make simulated JetClass files OUT/<split>/<Process>_<NNN>.root.

    Or, with `dataset` "top" or "quark-gluon", files in the layout of these public data
    sets, OUT/<split>/top_<NNN>.h5 or QG_jets_<NNN>.npz, which hold both classes, mixed; with
    "lhco" files of the LHC Olympics, OUT/<split>/events_anomalydetection_<NNN>.h5, which hold events.

    A file's content follows from (seed, class, split, number) alone, whatever the
    workers; a longer JetClass file begins with the jets of a shorter one. Finished files of an
    earlier call are kept, so an interrupted call goes on when repeated.

    Args:
        out: folder of the data set.
        split: "train", "val" or "test"; different random streams, folders of their own.
        jets_per_class: jets of each class, spread over its files; of "lhco" events, of which a pair of
            numbers gives background and signal (0 for none).
        classes: some of `schema.CLASSES`; all by default (JetClass only).
        files_per_class: files of each class; files at all where they hold both.
        seed: of the whole data set, 0 or larger.
        workers: processes, one file at a time each; all available cores by default.
        quiet: no progress, and no table of jets/s per class in the end.
        dataset: "jetclass", "top", "quark-gluon" or "lhco".

    Returns:
        All files of the call, old and new, in the order of the classes.

    Raises:
        JepalibError: a wrong argument, a finished file made with other parameters, a
            missing package, a folder that cannot be written, or a failed worker.
    """
    names = tuple(CLASSES if classes is None else classes)
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    _check_dataset(dataset, classes)
    jets, signal = _numbers(jets_per_class, dataset)
    _check(split, names, jets, files_per_class, seed, workers)
    for module in ("pythia8mc", "fastjet"):
        require(module)
    folder, shares = Path(out) / split, list(enumerate(_shares(jets, files_per_class)))
    if dataset == "jetclass":
        tasks = [FileTask(folder, name, split, number, n, seed) for name in names for number, n in shares]
    elif dataset == DIJETS:
        signals = _shares(signal, files_per_class)
        tasks = [DijetTask(folder, split, number, n, signals[number], seed) for number, n in shares]
    else:
        tasks = [TwinTask(folder, dataset, split, number, n, seed) for number, n in shares]
    missing = [task for task in tasks if not _finished(task)]
    if missing:
        _prepare(missing[0].folder)
        unit = "events" if dataset == DIJETS else "jets"
        with Progress(sum(task.jets for task in missing), "simulate", unit=unit, quiet=quiet) as bar:
            rates = _Rates(bar, missing)
            _run(missing, min(workers, len(missing)), rates)
        if not quiet:
            print(rates.table(unit))
    return [task.path for task in tasks]


def _check(split: str, names: Sequence[str], jets: int, files: int, seed: int, workers: int) -> None:
    if split not in SPLITS:
        raise JepalibError(f"simulate: unknown split {split!r}; choose one of {', '.join(SPLITS)}")
    unknown = [name for name in names if name not in CLASSES]
    if unknown or not names:
        raise JepalibError(f"simulate: unknown classes {unknown}; choose from {', '.join(CLASSES)}")
    if len(set(names)) < len(names):
        raise JepalibError(f"simulate: a class is named twice in {', '.join(names)}")
    for title, value in (("jets per class", jets), ("files per class", files), ("workers", workers)):
        if value < 1:
            raise JepalibError(f"simulate: {title} must be at least 1, got {value}")
    if files > jets:
        raise JepalibError(f"simulate: {files} files for {jets} jets would leave files empty")
    if files > MAX_FILES:
        raise JepalibError(f"simulate: at most {MAX_FILES} files per class, got {files}")
    if seed < 0:
        raise JepalibError(f"simulate: the seed must not be negative, got {seed}")


def _check_dataset(dataset: str, classes: Sequence[str] | None) -> None:
    known = ("jetclass", *TWINS, DIJETS)
    if dataset not in known:
        raise JepalibError(f"simulate: unknown data set {dataset!r}; choose one of {', '.join(known)}")
    if dataset != "jetclass" and classes is not None:
        raise JepalibError(f"simulate: every file of {dataset} holds both classes; leave the classes out")


def _numbers(jets_per_class: int | tuple[int, int], dataset: str) -> tuple[int, int]:
    """Jets of each class; of events those of background and of signal."""
    if isinstance(jets_per_class, int):
        return jets_per_class, jets_per_class
    if dataset != DIJETS:
        raise JepalibError(f"simulate: {dataset} has as many jets of each class; give one number")
    if jets_per_class[1] < 0:
        raise JepalibError(f"simulate: {jets_per_class[1]} signal events; give 0 or more")
    return jets_per_class


def _shares(jets: int, files: int) -> list[int]:
    """Jets of each file; the first files take those that do not divide evenly."""
    share, rest = divmod(jets, files)
    return [share + (number < rest) for number in range(files)]


def _finished(task: Task) -> bool:
    """Whether the file is already there, as asked.

    Raises:
        JepalibError: it is there with other parameters, or broken.
    """
    if not task.path.exists():
        return False
    found = KINDS[type(task)][1](task.path)
    for key, wanted in task.parameters.items():
        if found.get(key) != wanted:
            raise JepalibError(
                f"{task.path} was made with {key} = {found.get(key)}, this call wants {wanted}; "
                "choose another folder, delete the file, or repeat the call as it was"
            )
    return True


def _prepare(folder: Path) -> None:
    """The folder, there and without what killed processes left in it.

    Raises:
        JepalibError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
    except OSError as error:
        raise JepalibError(f"simulate: {folder} cannot be used as a folder for files ({error})") from error


class _Rates:
    """Jets/s of every class: in the progress bar while it is made, as a table in the end."""

    def __init__(self, bar: Progress, tasks: Sequence[Task]) -> None:
        self.bar = bar
        self.wanted: Counter[str] = Counter()
        for task in tasks:
            self.wanted[task.name] += task.jets
        self.jets: Counter[str] = Counter()
        self.begun: dict[str, float] = {}
        self.ended: dict[str, float] = {}

    def start(self, name: str) -> None:
        """A file of the class begins."""
        self.begun.setdefault(name, time.monotonic())

    def add(self, name: str, jets: int) -> None:
        """Jets of a class are made."""
        self.jets[name] += jets
        running = [f"{other} {self._rate(other):.0f}/s" for other in self.begun if other not in self.ended]
        if self.jets[name] >= self.wanted[name]:
            self.ended.setdefault(name, time.monotonic())
        self.bar.add(jets, note=", ".join(running))

    def _seconds(self, name: str) -> float:
        return max(self.ended.get(name, time.monotonic()) - self.begun[name], 1e-9)

    def _rate(self, name: str) -> float:
        return self.jets[name] / self._seconds(name)

    def table(self, unit: str = "jets") -> str:
        """Jets, seconds from the first file's begin to the last one's end, and jets/s, by class."""
        lines = [f"{'class':<12}{unit:>9}{'seconds':>10}{unit + '/s':>9}"]
        for name in self.begun:
            lines.append(
                f"{name:<12}{self.jets[name]:>9}{self._seconds(name):>10.1f}{self._rate(name):>9.1f}"
            )
        return "\n".join(lines)


def _run(tasks: list[Task], workers: int, rates: _Rates) -> None:
    """Make the files, in this process if one worker is enough."""
    if workers > 1:
        _run_pool(tasks, workers, rates)
        return
    for task in tasks:
        rates.start(task.name)
        _make(task, lambda jets, name=task.name: rates.add(name, jets))


def _make(task: Task, report: Callable[[int], None]) -> None:
    KINDS[type(task)][0](task, report)


# --- worker processes -----------------------------------------------------------------

_shared: dict[str, Any] = {}  # in a worker: the queue for progress, the sign to stop


class _Stopped(Exception):
    """The parent wants no more files."""


def _worker_begins(queue: Any, stop: Any) -> None:
    import signal

    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops the workers
    _shared.update(queue=queue, stop=stop)


def _worker_file(task: Task) -> None:
    report = _reporter(task.name)
    _shared["queue"].put((task.name, None))
    _make(task, report)


def _reporter(name: str) -> Callable[[int], None]:
    def report(jets: int) -> None:
        if _shared["stop"].is_set():
            raise _Stopped
        _shared["queue"].put((name, jets))

    return report


def _run_pool(tasks: list[Task], workers: int, rates: _Rates) -> None:
    context = multiprocessing.get_context("spawn")
    queue, stop = context.SimpleQueue(), context.Event()
    with ProcessPoolExecutor(workers, context, _worker_begins, (queue, stop)) as pool:
        futures = {pool.submit(_worker_file, task): task for task in tasks}
        try:
            _watch(futures, queue, rates)
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _watch(futures: dict[Future[None], Task], queue: Any, rates: _Rates) -> None:
    """Pass progress on until all files are made; the first failure ends the call."""
    waiting = set(futures)
    while waiting:
        finished, waiting = wait(waiting, timeout=POLL, return_when=FIRST_COMPLETED)
        while not queue.empty():
            name, jets = queue.get()
            rates.start(name) if jets is None else rates.add(name, jets)
        for future in finished:
            task, error = futures[future], future.exception()
            if isinstance(error, BrokenProcessPool):
                raise JepalibError(
                    f"simulate: a worker process died, perhaps for want of memory, while {task.path.name} "
                    "was made or waited for; finished files are kept: repeat the call, with fewer workers"
                ) from error
            if isinstance(error, JepalibError):
                raise error
            if error is not None:
                raise JepalibError(f"simulate: {task.path.name} failed: {error!r}") from error
