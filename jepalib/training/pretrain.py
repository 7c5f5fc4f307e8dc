"""Pre-training: the loop over a method, with metrics, checkpoints and exact resumption."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from jepalib.data.sampling import BatchStream
from jepalib.data.store import JetStore, stratified_subset
from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.methods.registry import find_method
from jepalib.progress import Progress
from jepalib.training.collapse import diagnose
from jepalib.training.config import PretrainConfig, check_classes
from jepalib.training.distributed import World, average_, from_leader, joined_world
from jepalib.training.loop import Loop, StepResult
from jepalib.training.optim import adamw, learning_rate
from jepalib.training.runs import Run
from jepalib.training.start import begin_at, check_start, note_start, started_from


def pretrain(
    config: PretrainConfig, data: Path, run: Path, quiet: bool = False, start: Path | None = None
) -> Run:
    """Pre-train into the folder `run`, or go on there; a finished run is returned as it is.

    Args:
        config: the complete configuration.
        data: a store made by `jepalib convert`; its training split is used.
        run: the run folder.
        quiet: no progress lines.
        start: a finished run or snapshot whose encoder this one begins with; None for random weights.

    Raises:
        JepalibError: the folder holds another run, the data or the start are not those it began
            with, the loss is not finite, or somebody else is writing there.
    """
    first = Run.open(start) if start is not None else None
    with joined_world() as world:
        folder = Run.create(run, config) if world.leader else None
        from_leader(None, world)  # the folder exists from here on
        folder = folder or Run.open(run)
        check_start(folder, first)
        with folder.locked() if world.leader else nullcontext():
            if world.leader:
                note_start(folder, first)
            if from_leader(folder.finished, world):
                if folder.manifest["data_hash"] != JetStore.open(data).data_hash:
                    raise JepalibError(f"{run} was made of other data than {data}; choose another --run")
                _say(f"{run}: already done ({folder.config.steps} steps)", world, quiet)
                return folder
            Pretraining(folder, data, world, quiet, first).go()
    return folder


class Pretraining:
    """The state of one pre-training while it runs: module, optimiser, sums of metrics."""

    def __init__(self, run: Run, data: Path, world: World, quiet: bool, start: Run | None = None) -> None:
        self.run, self.config, self.world, self.quiet = run, run.config, world, quiet
        self.store = JetStore.open(data)
        if self.config.batch_size % world.size:
            raise JepalibError(
                f"batch_size {self.config.batch_size} does not divide over {world.size} processes"
            )
        self.stream = BatchStream(
            self.store, self._rows(), self.config.batch_size, self.config.seed, min_particles=2
        )
        torch.manual_seed(self.config.seed)
        method = find_method(self.config.method).module(
            self.config.size, self.config.objective, self.config.inputs, self.config.micro_batch
        )
        if start is not None:
            begin_at(start, method)
        self.method: nn.Module = method.to(world.device)
        self.optimizer = adamw(self.config, self.method)
        self.step, self.seconds, self.sums, self.summed = 0, 0.0, {}, 0
        self._restore()

    def _rows(self):
        rows = self.store.rows("train")
        if self.config.classes:
            check_classes(self.config.classes, self.store.classes)
            wanted = [self.store.classes.index(name) for name in self.config.classes]
            rows = np.asarray(rows)
            labels = self.store.labels[rows]
            if absent := [self.store.classes[label] for label in wanted if not (labels == label).any()]:
                raise JepalibError(
                    f"{self.store.path}: no training jets of {', '.join(absent)}; leave it out"
                )
            rows = rows[np.isin(labels, wanted)]
        if not self.config.max_jets:
            return rows
        return stratified_subset(self.store.labels, rows, self.config.max_jets, self.config.seed)

    def jets_seen(self, step: int) -> int:
        """Jets in the first `step` batches; an epoch is cut into nearly equal batches."""
        epochs, place = divmod(step, self.stream.batches_per_epoch)
        return epochs * self.stream.size + place * self.stream.size // self.stream.batches_per_epoch

    def go(self) -> None:
        """All steps that are left, then the manifest."""
        ready = self.stream.from_batch(self.step, self.world.rank, self.world.size)  # read ahead, in order
        loop = Loop(
            module=self.method,
            optimizer=self.optimizer,
            rate=lambda step: learning_rate(self.config, self._share(step)),
            batch=lambda step: next(ready)[1],
            loss=self._loss,
            seed=self.config.seed,
            world=self.world,
            clip=self.config.clip,
            precision=self.config.precision,
        )
        if self.stream.size < self.config.batch_size:
            size, asked = self.stream.size, self.config.batch_size
            _say(f"only {size} training jets: batches have {size}, not {asked}", self.world, self.quiet)
        if self.stream.left_out:
            _say(
                f"{self.stream.left_out} jets with fewer than two particles left out", self.world, self.quiet
            )
        whole = self.jets_seen(self.config.steps)
        if beyond := [jets for jets in self.config.snapshots if jets > whole]:
            _say(f"no snapshots at {beyond}: the run sees {whole} jets", self.world, self.quiet)
        left = whole - self.jets_seen(self.step)
        quiet = self.quiet or not self.world.leader
        with closing(ready), Progress(left, "pretrain", quiet=quiet) as self.bar, _signals() as stopped:
            self.started = self.saved = time.perf_counter()
            self.logged = self.step
            loop.run(self.step, self.config.steps, lambda result: self._after(result, stopped))
        self._checkpoint()
        if self.step < self.config.steps:
            _say(f"stopped by a signal; step {self.step} is saved, call again to go on", self.world)
            raise SystemExit(128 + (stopped[0] if stopped else signal.SIGTERM))
        if self.world.leader:
            self._write_manifest(self.run)

    def _share(self, step: int) -> float:
        """Jets seen before a step, as a share of all that the run will see."""
        return self.jets_seen(step) / self.jets_seen(self.config.steps)

    def _loss(self, jets: Jets, generator: torch.Generator) -> tuple[Tensor, object]:
        outputs = self.method(jets, self.method.draw(jets, generator), generator)
        return outputs.loss + outputs.probe_loss, outputs

    def _after(self, result: StepResult, stopped: list[int]) -> bool:
        """Teacher, sums, metrics line, checkpoint; True where any process was told to stop."""
        self.step = result.step
        self.method.after_step(result.step / self.config.steps)
        self._add(result)
        last = self.step == self.config.steps
        if self.step % self.config.log_every == 0 or last:
            self._log(result)
        self._snapshot()
        late = time.perf_counter() - self.saved > 60 * self.config.checkpoint_minutes
        # All processes must do the same next: none may wait for one that has left.
        flags = torch.tensor([float(bool(stopped)), float(late)], device=self.world.device)
        average_([flags], self.world)
        stop, due = (flags > 0).tolist()
        if (due or self.step % self.config.checkpoint_every == 0) and not (last or stop):
            self._checkpoint()
        new = self.jets_seen(self.step) - self.jets_seen(self.step - 1)
        self.bar.add(new, note=f"loss {float(result.details.loss.detach()):.4f}")
        return stop

    def _add(self, result: StepResult) -> None:
        outputs = result.details
        values = {
            "loss": outputs.loss,
            **{f"loss_{k}": v for k, v in outputs.parts.items()},
            **outputs.figures,
        }
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.detach().double()
        self.summed += 1

    def _log(self, result: StepResult) -> None:
        """One line of metrics.jsonl: means since the last line, diagnostics of this batch."""
        means = {k: torch.as_tensor(v / self.summed, dtype=torch.float64) for k, v in self.sums.items()}
        average_(list(means.values()), self.world)
        jets_since = self.jets_seen(self.step) - self.jets_seen(self.logged)
        self.sums, self.summed, self.logged = {}, 0, self.step
        now = time.perf_counter()
        took, self.started = now - self.started, now
        self.seconds += took
        if not self.world.leader:
            return
        line = {"step": self.step, "jets_seen": self.jets_seen(self.step)}
        line |= {k: float(v) for k, v in means.items()}
        line |= {"grad_norm": result.norm, "lr": learning_rate(self.config, self._share(self.step - 1))}
        diagnostics, alarm = diagnose(result.details.embeddings)
        line |= diagnostics
        line |= {"jets_per_second": jets_since / took, "seconds": self.seconds}
        if alarm:
            line["alarm"] = alarm
            _say(f"step {self.step}: {alarm}", self.world)
        self.run.append_metrics(line)
        self.started = time.perf_counter()

    def _checkpoint(self) -> None:
        self.saved = time.perf_counter()
        average_(list(self.sums.values()), self.world)
        if not self.world.leader:
            return
        self._write_networks(self.run)
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "sums": self.sums,
            "summed": self.summed,
            "data_hash": self.store.data_hash,
        }
        self.run.write_checkpoint(state)

    def _snapshot(self) -> None:
        """Keep the networks where the last step reached a number of jets that was asked for."""
        before, now = self.jets_seen(self.step - 1), self.jets_seen(self.step)
        for jets in self.config.snapshots:
            if before < jets <= now and self.world.leader:
                with self.run.snapshot(jets) as folder:
                    self._write_networks(folder)
                    self._write_manifest(folder)

    def _write_networks(self, folder: Run) -> None:
        folder.write_weights("teacher", self.method.encoder)
        folder.write_weights("student", self.method.student)
        folder.write_rest(self.method)

    def _write_manifest(self, folder: Run) -> None:
        extra = {"jets_seen": self.jets_seen(self.step), "left_out": self.stream.left_out}
        extra |= {"processes": self.world.size, "start": started_from(self.run)}
        extra |= {
            "training_jets": self.stream.size,
            "classes": list(self.config.classes or self.store.classes),
        }
        folder.write_manifest(self.store.data_hash, self.seconds, extra)

    def _restore(self) -> None:
        state = self.run.read_checkpoint()
        if self.world.leader:
            self.run.cut_metrics(state["step"] if state else 0)
        if state is None:
            return
        if state["data_hash"] != self.store.data_hash:
            raise JepalibError(
                f"{self.run.path} was begun on other data than {self.store.path}; "
                "give the same --data, or another --run folder"
            )
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.sums, self.summed = state["sums"], state["summed"]
        _say(f"{self.run.path}: going on at step {self.step} of {self.config.steps}", self.world, self.quiet)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """A list that gets the number of the first SIGTERM or SIGUSR1: finish the step, save, stop."""
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    kinds = (signal.SIGTERM, signal.SIGUSR1)
    old = [signal.signal(kind, lambda number, _: seen.append(number)) for kind in kinds]
    try:
        yield seen
    finally:
        for kind, handler in zip(kinds, old):
            signal.signal(kind, handler)


def _say(text: str, world: World, quiet: bool = False) -> None:
    if world.leader and not quiet:
        print(text, file=sys.stderr, flush=True)
