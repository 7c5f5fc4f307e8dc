"""The run folder: config beside metrics beside weights; all that later stages need.

config.json          the complete configuration, unknown keys refused
metrics.jsonl        one object a line: step, jets_seen, loss and its parts, diagnostics
student.safetensors  weights, written with every checkpoint
teacher.safetensors
rest.safetensors     what else the objective has: predictor, heads, statistics
resume.pt            everything needed to go on: weights, optimiser, step, sums
start.json           the run whose encoder this one began with, where it did
failure.txt          why the last attempt ended early, where it could still say so
manifest.json        written last: versions, seed, data hash, git revision, wall time
snapshots/JETS/      the same (but resume.pt) after so many jets, where they were asked for
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save
from torch import Tensor

import jepalib
from jepalib.errors import JepalibError
from jepalib.methods.registry import find_method
from jepalib.models.encoders import EncoderConfig, build_encoder
from jepalib.run_status import FAILURE, METRICS, read_metrics
from jepalib.training.config import PretrainConfig, config_from_dict

NETWORKS, REST = ("student", "teacher"), "rest"  # files of weights


class Run:
    """A run folder on disk.

    Args:
        path: the folder; `Run.open` for one that exists, `Run.create` for a new one.
    """

    def __init__(self, path: Path, config: PretrainConfig) -> None:
        self.path, self.config = Path(path), config

    @classmethod
    def open(cls, path: Path) -> Run:
        """An existing run.

        Raises:
            JepalibError: no run there, or its configuration cannot be read.
        """
        file = Path(path) / "config.json"
        if not file.is_file():
            raise JepalibError(f"{path} is not a run folder (no config.json); make one with jepalib pretrain")
        try:
            fields = json.loads(file.read_text())
        except json.JSONDecodeError as error:
            raise JepalibError(f"{file} is not valid JSON ({error}); the folder is damaged") from None
        return cls(path, config_from_dict(PretrainConfig, fields, str(file)))

    @classmethod
    def create(cls, path: Path, config: PretrainConfig) -> Run:
        """The run folder at `path` with this configuration, made if it is not there.

        Raises:
            JepalibError: a run with another configuration is there already.
        """
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise JepalibError(f"{path} is a file; a run needs a folder of its own")
        if path.is_dir() and any(path.iterdir()) and not (path / "config.json").is_file():
            raise JepalibError(f"{path} holds other files and no run; choose an empty or a new folder")
        if (path / "config.json").is_file():
            run = cls.open(path)
            if not run.begun:
                return cls._write(path, config)  # nothing was trained yet: a first try that failed
            if differing := differences(asdict(run.config), asdict(config)):
                raise JepalibError(
                    f"{path} holds a run with other settings: {'; '.join(differing)}. "
                    "Ask for the same settings to go on, or choose another --run folder."
                )
            return run
        return cls._write(path, config)

    @classmethod
    def _write(cls, path: Path, config: PretrainConfig) -> Run:
        path.mkdir(parents=True, exist_ok=True)
        write_atomically(path / "config.json", json.dumps(asdict(config), indent=2) + "\n")
        return cls(path, config)

    def check_method(self, method: str) -> None:
        """Refuse a run of another method than the one asked for.

        Raises:
            JepalibError: it is one; the message says what to do.
        """
        if self.config.method != method:
            raise JepalibError(
                f"{self.path} was pre-trained by {self.config.method}, not {method}: ask for the same method "
                "in both notebooks, or give the folder of another run"
            )

    @property
    def finished(self) -> bool:
        """Whether the last step was made and the manifest written."""
        return (self.path / "manifest.json").is_file()

    @property
    def begun(self) -> bool:
        """Whether something was trained that can be gone on with or used."""
        return self.finished or (self.path / "resume.pt").is_file()

    def identity(self) -> dict[str, object]:
        """What tells this run from others: its settings and a hash of the teacher's weights."""
        file = self.path / "teacher.safetensors"
        if not file.is_file():
            raise JepalibError(f"{self.path} has no {file.name}: no checkpoint was written yet")
        return {"config": asdict(self.config), "teacher": hashlib.sha256(file.read_bytes()).hexdigest()}

    @property
    def manifest(self) -> dict:
        """What the finished run was made of and with.

        Raises:
            JepalibError: the run is not finished.
        """
        if not self.finished:
            raise JepalibError(f"{self.path} is not finished; call jepalib pretrain on it again to go on")
        return json.loads((self.path / "manifest.json").read_text())

    def metrics(self) -> pd.DataFrame:
        """The lines of metrics.jsonl so far, a row each (also while the run is going on)."""
        return read_metrics(self.path / METRICS)

    @property
    def snapshots(self) -> list[Run]:
        """The run as it was on the way, by jets seen; each is a finished run folder of its own."""
        folders = [folder for folder in self.path.glob("snapshots/*") if folder.name.isdigit()]
        return [Run.open(folder) for folder in sorted(folders, key=lambda folder: int(folder.name))]

    @property
    def architecture(self) -> EncoderConfig:
        """The encoder that this run trains."""
        config = self.config
        return find_method(config.method).architecture(config.size, config.inputs, config.objective)

    def encoder(self, which: str | None = None) -> torch.nn.Module:
        """The pre-trained network in evaluation mode, rebuilt from this folder alone.

        Args:
            which: "teacher" or "student"; the one that the method hands on (`Method.downstream`) if None.
        """
        which = which or find_method(self.config.method).downstream
        file = self.path / f"{which}.safetensors"
        if not file.is_file():
            raise JepalibError(
                f"{self.path} has no {file.name}: no checkpoint was written yet, or only the encoder was kept"
            )
        network = build_encoder(self.architecture, self.config.micro_batch)
        network.load_state_dict(load_file(file))
        return network.eval()

    def method(self) -> torch.nn.Module:
        """The whole method as it was trained (student, teacher, predictor, heads), in evaluation mode.

        Raises:
            JepalibError: a part of it is not here.
        """
        c = self.config
        module = find_method(c.method).module(c.size, c.objective, c.inputs, c.micro_batch)
        state = {}
        for name in [*(name for name in NETWORKS if hasattr(module, name)), REST]:
            file = self.path / f"{name}.safetensors"
            if not file.is_file():
                raise JepalibError(
                    f"{self.path} has no {file.name}: no checkpoint yet, one of an earlier jepalib, or only "
                    "the encoder was kept; pre-train again into another folder"
                )
            prefix = "" if name == REST else f"{name}."
            state |= {prefix + key: value for key, value in load_file(file).items()}
        module.load_state_dict(state)
        return module.eval()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder: two processes that write one run would destroy it.

        An exception is written into the folder before it goes on, for those who watch from elsewhere.
        """
        with open(self.path / ".lock", "w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise JepalibError(
                    f"another process is writing {self.path}; wait for it or stop it"
                ) from None
            (self.path / FAILURE).unlink(missing_ok=True)
            try:
                yield
            except Exception as error:
                write_atomically(self.path / FAILURE, f"{str(error) or type(error).__name__}\n")
                raise

    def write_rest(self, method: torch.nn.Module) -> None:
        """What a method has beside student and teacher."""
        networks = tuple(f"{name}." for name in NETWORKS)
        self._write_state(REST, {k: v for k, v in method.state_dict().items() if not k.startswith(networks)})

    def write_weights(self, name: str, network: torch.nn.Module) -> None:
        """`name`.safetensors, replaced in one go."""
        self._write_state(name, network.state_dict())

    def _write_state(self, name: str, state: Mapping[str, Tensor]) -> None:
        temporary = self.path / f".{name}.tmp"
        weights = {k: v.detach().cpu().contiguous() for k, v in state.items()}
        temporary.write_bytes(save(weights))
        os.replace(temporary, self.path / f"{name}.safetensors")

    def write_checkpoint(self, state: dict) -> None:
        """resume.pt, replaced in one go: a kill at any moment leaves the old or the new one."""
        temporary = self.path / ".resume.tmp"
        with open(temporary, "wb") as handle:
            torch.save(state, handle)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, self.path / "resume.pt")

    def read_checkpoint(self) -> dict | None:
        """The state to go on from, None before the first checkpoint."""
        file = self.path / "resume.pt"
        return torch.load(file, map_location="cpu", weights_only=True) if file.is_file() else None

    def cut_metrics(self, step: int) -> None:
        """Forget the metrics after `step`, which will be made again."""
        file = self.path / "metrics.jsonl"
        if not file.is_file():
            return
        lines = [line for line in file.read_text().splitlines() if line.endswith("}")]
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        write_atomically(file, "".join(line + "\n" for line in kept))

    def append_metrics(self, line: Mapping[str, object]) -> None:
        """One more line; numbers that are not finite become null."""
        clean = {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in line.items()}
        with open(self.path / "metrics.jsonl", "a") as handle:
            handle.write(json.dumps(clean) + "\n")

    @contextmanager
    def snapshot(self, jets: int) -> Iterator[Run]:
        """A run folder for the networks of this moment, in its place once all is written."""
        final = self.path / "snapshots" / str(jets)
        draft = self.path / "snapshots" / f".{jets}.tmp"
        for left in (draft, final):  # by a run that was stopped here, and comes by again
            shutil.rmtree(left, ignore_errors=True)
        run = Run._write(draft, self.config)
        if (self.path / "metrics.jsonl").is_file():
            shutil.copyfile(self.path / "metrics.jsonl", draft / "metrics.jsonl")
        yield run
        os.replace(draft, final)

    def write_manifest(self, data_hash: str, seconds: float, extra: Mapping[str, object]) -> None:
        """The last file of a run: its presence says that all the rest is whole."""
        manifest = {
            **provenance(),
            "seed": self.config.seed,
            "data_hash": data_hash,
            "seconds": round(seconds, 1),
            **extra,
        }
        write_atomically(self.path / "manifest.json", json.dumps(manifest, indent=2) + "\n")


def provenance() -> dict[str, object]:
    """Versions, machine, time and git revision of this process."""
    here = Path(jepalib.__file__).parent
    git = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    found = subprocess.run(git, capture_output=True, text=True, check=False) if shutil.which("git") else None
    return {
        "jepalib": jepalib.__version__,
        "git": found.stdout.strip() if found is not None and found.returncode == 0 else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old or the new one, never half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # two may write at once
    temporary.write_text(text)
    os.replace(temporary, path)


def differences(old: Mapping, new: Mapping, prefix: str = "") -> list[str]:
    """Settings that differ, readable: 'lr is 0.001 there, 0.01 asked for'."""
    found = []
    for key in old:
        a, b = old[key], new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += differences(a, b, f"{prefix}{key}.")
        elif _plain(a) != _plain(b):
            found.append(f"{prefix}{key} is {a} there, {b} asked for")
    return found


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
