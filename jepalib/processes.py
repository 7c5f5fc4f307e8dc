"""Worker processes: jobs side by side, and none that outlives the process that it works for."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import joblib


def die_with_parent() -> None:
    """Ends this process as soon as the one that started it ends, even by ``kill -9``.

    To be called first in every worker (the initializer of a pool); in a process that
    multiprocessing did not start it does nothing. A waiting thread, not a signal of the
    kernel (PR_SET_PDEATHSIG), so that it also works outside Linux and does not depend on
    which thread of the parent started the worker.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def follow() -> None:
        parent.join()
        while os.getppid() == parent.pid:  # its files are closed a moment before it has ended
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=follow, name="jepalib die with parent", daemon=True).start()


def side_by_side(jobs: Iterable[Any], workers: int, ordered: bool = True) -> Iterator[Any]:
    """Results of `joblib.delayed` jobs, made in so many processes, as they come.

    Args:
        ordered: in the order of the jobs.
    """
    kind = "generator" if ordered else "generator_unordered"
    with warnings.catch_warnings():
        # Worker processes that grew by training a network are replaced; that is not worth a word.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
        yield from joblib.Parallel(workers, return_as=kind)(jobs)
