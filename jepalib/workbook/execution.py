"""One notebook executed by papermill: kernel over ipc, progress lines, a dead kernel noticed."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import papermill
from jupyter_client.kernelspec import NoSuchKernel
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

HEADLESS = "JEPALIB_HEADLESS"  # set for kernels that no one watches; widgets show their static twins
LINE_EVERY = 5.0  # seconds between progress lines in a log
ENGINE = "jepalib"
# Unless the user says otherwise. One thread: jets come in micro-batches too small to share
# (245 jets/s with one, 229 with two, and down to 11 when another job takes a core).
KERNEL_DEFAULTS = {"OMP_NUM_THREADS": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}


@dataclass
class Failure:
    """Why a notebook did not get to its end."""

    reason: str
    cell: str = ""
    traceback: str = ""


class Watch:
    """Tells how far a notebook is: a moving line in a terminal, a line every few seconds in a log."""

    def __init__(self, title: str, cells: int, quiet: bool = False) -> None:
        self.title, self.cells, self.quiet = title, cells, quiet
        self.cell, self.heading, self.said = 0, "", ""
        self.start = time.monotonic()
        self.moving = sys.stderr.isatty()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._report, daemon=True)

    def at(self, cell: int, heading: str) -> None:
        """A cell begins."""
        self.cell, self.heading, self.said = cell + 1, heading, ""

    def say(self, text: str) -> None:
        """The kernel printed something; its last line is shown."""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        self.said = lines[-1] if lines else self.said

    def line(self) -> str:
        """The state in one line."""
        seconds = time.monotonic() - self.start
        doing = self.said or self.heading
        return f"{self.title}: cell {self.cell}/{self.cells}, {seconds:.0f} s  {doing}".rstrip()

    def _report(self) -> None:
        while not self.stop.wait(1.0 if self.moving else LINE_EVERY):
            if self.moving:
                width = shutil.get_terminal_size().columns - 1
                print(f"\r\x1b[K{self.line()[:width]}", end="", file=sys.stderr, flush=True)
            else:
                print(self.line(), file=sys.stderr, flush=True)

    def __enter__(self) -> Watch:
        if not self.quiet:
            self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop.set()
        if not self.quiet:
            self.thread.join()
            if self.moving:
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)


class WatchedClient(PapermillNotebookClient):
    """papermill's client that passes on what the kernel prints."""

    watch: Watch

    def process_message(self, *args: Any, **kwargs: Any) -> NotebookNode | None:
        output = super().process_message(*args, **kwargs)
        if output is not None and output.get("output_type") == "stream":
            self.watch.say(output["text"])
        return output


class WorkbookEngine(NBClientEngine):
    """papermill engine: the kernel talks over ipc sockets in a private folder, and is told it is alone.

    ipc, because a TCP port can be taken by another job of the same node between its
    choice and its use, and anyone on the node can connect to it.
    """

    @classmethod
    def execute_managed_notebook(  # papermill's own signature, with our two arguments
        cls, nb_man: NotebookExecutionManager, kernel_name: str, watch: Watch, kernel_cwd: Path, **_: Any
    ) -> NotebookNode:
        with tempfile.TemporaryDirectory(prefix="jepa-", ignore_cleanup_errors=True) as sockets:
            config = Config()
            config.KernelManager.transport = "ipc"
            config.KernelManager.ip = f"{sockets}/k"
            config.KernelManager.connection_file = f"{sockets}/kernel.json"
            config.HistoryManager.enabled = False
            client = WatchedClient(
                nb_man,
                config=config,
                kernel_name=kernel_name,
                timeout=None,
                startup_timeout=120,
                extra_arguments=["--log-level=CRITICAL"],  # it calls the interrupt that ends it an error
                coalesce_streams=True,
            )
            client.watch = watch
            client.on_cell_start = lambda cell, cell_index: watch.at(
                cell_index, _heading(nb_man.nb, cell_index)
            )
            return client.execute(env=KERNEL_DEFAULTS | os.environ | {HEADLESS: "1"}, cwd=str(kernel_cwd))


papermill_engines.register(ENGINE, WorkbookEngine)


def _heading(notebook: NotebookNode, index: int) -> str:
    """The last heading above a cell."""
    for cell in reversed(notebook.cells[: index + 1]):
        headings = re.findall(r"^#+ +(.+)$", cell.source, re.M) if cell.cell_type == "markdown" else []
        if headings:
            return headings[-1]
    return ""


def execute(
    source: Path, output: Path, parameters: dict[str, Any], root: Path, watch: Watch
) -> Failure | None:
    """Runs one notebook with the given parameters and writes the executed one to `output`.

    Returns the failure, or None. That no cell failed does not yet mean success: the
    runner also asks for the result that the last cell writes.
    """
    with watch:
        try:
            papermill.execute_notebook(
                source,
                output,
                parameters,
                engine_name=ENGINE,
                progress_bar=False,
                kernel_name="python3",
                language="python",
                watch=watch,
                kernel_cwd=root,
            )
        except PapermillExecutionError as error:
            text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))
            where = f"cell {error.cell_index + 1} ({watch.heading})"
            return Failure(f"{error.ename}: {error.evalue}", where, text)
        except DeadKernelError:
            return Failure(
                "the kernel was killed by the system, most often because memory ran out "
                "(ask for more memory, or make the batch or the data set smaller)",
                f"cell {watch.cell} ({watch.heading})",
            )
        except (NoSuchKernel, RuntimeError, OSError) as error:
            return Failure(f"the kernel could not be started or reached: {error}")
    return None
