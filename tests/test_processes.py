"""Workers end with the process that they work for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

POOL = """
import os, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from jepalib.processes import die_with_parent

if __name__ == "__main__":
    die_with_parent()  # nothing, in a process that multiprocessing did not start
    with ProcessPoolExecutor(2, get_context("spawn"), die_with_parent) as pool:
        jobs = [pool.submit(time.sleep, 60) for _ in range(2)]
        while len(pool._processes) < 2 or not all(job.running() for job in jobs):
            time.sleep(0.01)
        print(*pool._processes, flush=True)
        time.sleep(60)
"""


def alive(process: int) -> bool:
    """Whether a process runs; one that is dead and not yet collected does not."""
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_workers_die_when_their_parent_is_killed(tmp_path) -> None:
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        workers = [int(number) for number in parent.stdout.readline().split()]
        assert len(workers) == 2
        assert all(map(alive, workers))
        time.sleep(1)  # they may still be importing
        os.kill(parent.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while any(map(alive, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
