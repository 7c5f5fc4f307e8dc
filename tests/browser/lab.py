"""JupyterLab on working copies of the notebooks, with settings, kernels and folders of its own."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from contextlib import chdir
from pathlib import Path
from types import TracebackType

import nbformat
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from jepalib.workbook.runner import plan

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "runs" / "browser"  # everything that these tests leave
# The notebooks that others go on from; kept, so that a second call is quick. Or those of `make test`.
SMOKE = ROOT / os.environ.get("JEPALIB_SMOKE_RUN", HERE / "smoke")
EARLIER = ("01", "03", "04", "10")
COPIES = HERE / "notebooks"
SCREENSHOTS = HERE / "screenshots"
SECONDS = HERE / "seconds.json"  # what was measured
STARTUP = 60.0  # seconds


def make_earlier() -> None:
    """Runs the notebooks that others go on from, in the smallest profile; done ones are skipped."""
    command = [sys.executable, "-m", "jepalib.workbook.cli", "run", *EARLIER]
    subprocess.run([*command, "--profile", "smoke", "--out", str(SMOKE)], cwd=ROOT, check=True)


def working_copy(name: str) -> Path:
    """The notebook with smoke parameters, in a run folder of its own where the others are done already.

    What it trained itself in the smoke run, if it is part of that, it finds again, as at a second opening.
    """
    run_dir = HERE / "live" / name
    shutil.rmtree(run_dir, ignore_errors=True)
    run_dir.mkdir(parents=True)
    for folder in SMOKE.iterdir():
        if folder.name == name:
            shutil.copytree(folder, run_dir / name)
        elif folder.is_dir():
            (run_dir / folder.name).symlink_to(folder)
    with chdir(ROOT):
        [job] = plan([name], "smoke", [], run_dir)
    notebook = parameterize_notebook(load_notebook_node(str(job.source)), job.parameters)
    COPIES.mkdir(parents=True, exist_ok=True)
    copy = COPIES / f"{name}.ipynb"
    nbformat.write(notebook, copy)
    return copy


class Lab:
    """A running JupyterLab: `with Lab(folder) as lab: lab.url("02_masks.ipynb")`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.token = folder, secrets.token_hex(16)
        self.state = HERE / "jupyter"
        self.log = HERE / "jupyter.log"

    def url(self, notebook: str) -> str:
        """The address of a notebook, in a workspace without what an earlier one had open."""
        return f"{self.base}lab/tree/{notebook}?token={self.token}&reset"

    def __enter__(self) -> Lab:
        shutil.rmtree(self.state, ignore_errors=True)
        settings = self.state / "settings" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        quiet = {"fetchNews": "false", "checkForUpdates": False}  # nothing from outside, no question about it
        (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0"]
        command += [f"--ServerApp.root_dir={self.folder}", "--LabApp.expose_app_in_browser=True"]
        command += ["--LabApp.extension_manager=readonly"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, env=self._environment(), stdout=log, stderr=log)
        self.base = self._wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()  # it ends its kernels first
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _environment(self) -> dict[str, str]:
        """The user's environment, with the folders of Jupyter and IPython elsewhere."""
        places = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
        }
        inherited = {name: value for name, value in os.environ.items() if name != "JEPALIB_HEADLESS"}
        return (
            inherited
            | {name: str(self.state / place) for name, place in places.items()}
            | {"JUPYTER_TOKEN": self.token}
        )

    def _wait(self) -> str:
        """The server's address, from the file that it writes when it listens."""
        note = self.state / "runtime" / f"jpserver-{self.process.pid}.json"
        deadline = time.monotonic() + STARTUP
        while time.monotonic() < deadline and self.process.poll() is None:
            if note.is_file() and (text := note.read_text()).endswith("}"):
                return json.loads(text)["url"]
            time.sleep(0.1)
        self.process.kill()
        raise RuntimeError(f"JupyterLab did not start within {STARTUP:.0f} s; see {self.log}")
