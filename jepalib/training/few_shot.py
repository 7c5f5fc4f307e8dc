"""One few-shot training: a probe or a classifier on a handful of labels."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepalib.data.sampling import BatchStream
from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.evaluation.representation import linear_probe
from jepalib.evaluation.tagging import tagging_metrics
from jepalib.jets import Jets
from jepalib.models.encoders import EncoderConfig
from jepalib.perturb import drop_features
from jepalib.training.classifiers import (
    BATCH,
    ClassifierConfig,
    EncodedJets,
    build,
    encode,
    probabilities,
    save_classifier,
)
from jepalib.training.config import PRECISIONS, check_ranges
from jepalib.training.distributed import World
from jepalib.training.loop import Diverged, Loop, StepResult
from jepalib.training.optim import parameter_groups, warm_cosine
from jepalib.training.runs import Run

KEPT_JETS = 200_000  # labelled jets that a frozen encoder is run on once and for all (7 kB each)

# Settings of which several are tried, and what one trial calls its own.
TRIED = {
    "rates": "rate",
    "encoder_scales": "encoder_scale",
    "lengths": "length",
    "weight_decays": "weight_decay",
}


@dataclass(frozen=True)
class AdaptConfig:
    """How classifiers are trained on few labels.

    Attributes:
        rates: peak learning rates of the head that are tried.
        encoder_scales: the encoder's rate as a share of the head's, tried with each.
        steps: optimiser steps at 500 labels; grows with the square root of the labels, and is at
            least half of this for fewer.
        lengths: multiples of these steps that are tried.
        weight_decays: that are tried.
        batch_size: jets a step.
        checks: validations during a training; the best moment is kept.
        val_jets, test_jets: (stratified) jets for choosing and for reporting, 0 for all.
        warmup, clip, precision, micro_batch: as in pre-training.
        pid_dropout, td_dropout: probability per training jet that it loses the group, as in
            JP-JEPA's pre-training; for networks whose encoder is trained.
        encoder, size, inputs: of the network from scratch when no run is given; kinds
            and sizes are those of `models.encoders.EncoderConfig`.
    """

    rates: tuple[float, ...] = (1e-3, 3e-3)
    encoder_scales: tuple[float, ...] = (0.3, 1.0)
    steps: int = 400
    lengths: tuple[float, ...] = (1.0,)
    weight_decays: tuple[float, ...] = (0.01,)
    batch_size: int = 64
    checks: int = 5
    val_jets: int = 5000
    test_jets: int = 100_000
    warmup: float = 0.05
    clip: float = 1.0
    precision: str = "float32"
    micro_batch: int = 128
    pid_dropout: float = 0.0
    td_dropout: float = 0.0
    encoder: str = "particles"
    size: str = "nano"
    inputs: str = "full"

    def __post_init__(self) -> None:
        positive, not_negative = ("rates", "lengths"), ("encoder_scales", "weight_decays")
        tried = {name: getattr(self, name) for name in (*positive, *not_negative)}
        if empty := [name for name, values in tried.items() if not values]:
            raise JepalibError(f"{' and '.join(empty)}: give at least one value")
        for name, least in (("steps", 1), ("batch_size", 2), ("checks", 1), ("micro_batch", 1)):
            if getattr(self, name) < least:
                raise JepalibError(f"{name} = {getattr(self, name)}: give a whole number of at least {least}")
        check_ranges(self, ("clip", "val_jets", "test_jets"), ())
        for name, values in tried.items():
            if not (min(values) > 0 or (name in not_negative and min(values) == 0)):
                raise JepalibError(
                    f"{name} {values}: must be {'positive' if name in positive else 'at least 0'}"
                )
        if not 0 <= self.warmup < 1:
            raise JepalibError(f"warmup = {self.warmup} is a share of the run, at least 0 and below 1")
        for name in ("pid_dropout", "td_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise JepalibError(f"{name} = {getattr(self, name)} is not between 0 and 1")
        if self.precision not in PRECISIONS:
            raise JepalibError(f"precision '{self.precision}' is not one of {', '.join(PRECISIONS)}")
        _ = self.architecture  # refuses an unknown kind, size or input set

    @property
    def architecture(self) -> EncoderConfig:
        """The network from scratch when no run is given."""
        return EncoderConfig(self.encoder, self.size, self.inputs)

    def steps_for(self, labels: int, length: float = 1.0) -> int:
        """Optimiser steps for so many labels, in a training that is `length` times as long as usual."""
        return max(1, round(length * max(self.steps // 2, self.steps * (labels / 500) ** 0.5)))

    def passes(self, labels: int, length: float = 1.0) -> float:
        """How often such a training sees each labelled jet.

        With 10,000 labels two thirds of the distance between from scratch and fine-tuned were gone after 17
        passes instead of 6 (Nano: LOG.md), so that few passes make a pre-training look better than it is.
        """
        return self.steps_for(labels, length) / math.ceil(labels / self.batch_size)

    def grid(self, frozen: bool) -> list[dict[str, float]]:
        """Settings to choose from, the same for every mode; a frozen encoder has no rate of its own."""
        tried = {one: getattr(self, many) for many, one in TRIED.items()}
        if frozen:
            tried["encoder_scale"] = (0.0,)
        return [dict(zip(tried, values)) for values in itertools.product(*tried.values())]


def settings_of_before(settings: Mapping[str, object]) -> dict[str, object]:
    """Settings that a table was made with, under today's names; what there was not had its default.

    `weight_decays` was one number, `weight_decay`, before it could be tuned.
    """
    known = dict(settings)
    if "weight_decay" in known:
        known["weight_decays"] = [known.pop("weight_decay")]
    return {**asdict(AdaptConfig()), **known}


@dataclass
class Arm:
    """One mode of adaptation: which encoder, whether it is trained, on which jets.

    Attributes:
        encoder: pre-trained, None from scratch.
        val, test: store rows for choosing and for reporting.
        frozen: whether the encoder stays as it is.
        tokens: whether a head needs the frozen encoder's tokens.
    """

    config: AdaptConfig
    run: Run | None
    encoder: nn.Module | None
    store: JetStore
    val: np.ndarray
    test: np.ndarray
    frozen: bool
    tokens: bool
    world: World

    @property
    def classifier_config(self) -> ClassifierConfig:
        """Architecture of the classifiers of this arm, head aside."""
        architecture = (self.run or self.config).architecture
        return ClassifierConfig(architecture, "mlp", self.store.classes, self.config.micro_batch)

    @cached_property
    def encoded_val(self) -> EncodedJets:
        """Validation jets through the frozen encoder, made once."""
        return self.encode(self.val)

    @cached_property
    def encoded_test(self) -> EncodedJets:
        """Test jets through the frozen encoder, made once."""
        return self.encode(self.test)

    def encode(self, rows: np.ndarray) -> EncodedJets:
        """Jets through the frozen encoder."""
        return encode(self.encoder.to(self.world.device), self.store, rows, self.world.device, self.tokens)


def run_probe(arm: Arm, rows: np.ndarray, seed: int) -> dict[str, object]:
    """Logistic regression on `pooling.pool` of the frozen encoder; no validation jets used."""
    train, test = arm.encode(rows), arm.encoded_test
    labels = test.labels.numpy()
    probe = linear_probe(train.pooled, train.labels.numpy(), test.pooled, labels, seed)
    metrics = tagging_metrics(probe.probabilities[:, : len(arm.store.classes)], labels, arm.store.classes)
    return {**metrics, "C": probe.setting, "test_jets": len(arm.test)}


def train_classifier(arm: Arm, head: str, rows: np.ndarray, seed: int, trial: dict[str, float]) -> Training:
    """Train a classifier on the labelled rows; judged on validation jets alone.

    Args:
        trial: one of `AdaptConfig.grid`.
    """
    training = Training(arm, head, rows, seed, trial)
    training.go()
    return training


def report(training: Training, folder: Path, about: dict[str, object]) -> dict[str, object]:
    """Test figures of the best moment of a training, whose classifier is saved in `folder`.

    Args:
        about: what the classifier is, kept beside its weights.
    """
    arm, row = training.arm, training.row()
    training.classifier.load_state_dict(training.best.weights)
    labels = np.asarray(arm.store.labels[arm.test])
    metrics = tagging_metrics(training.scores(arm.test), labels, arm.store.classes)
    notes = {**about, **row, "accuracy": metrics["accuracy"]}
    save_classifier(folder, training.classifier, training.config, notes)
    return {**metrics, **row, "test_jets": len(arm.test)}


@dataclass(frozen=True)
class _Best:
    quality: float
    step: int
    weights: dict[str, Tensor]


class Training:
    """A classifier, its optimiser and the validation that picks its best moment."""

    worst = 0.0  # quality of scores that are not finite

    def __init__(self, arm: Arm, head: str, rows: np.ndarray, seed: int, trial: dict[str, float]) -> None:
        self.arm, self.trial = arm, trial
        self.steps = arm.config.steps_for(len(rows), trial["length"])
        torch.manual_seed(seed)
        self.config = replace(arm.classifier_config, head=head)
        encoder = copy.deepcopy(arm.encoder) if arm.encoder is not None else None
        self.classifier = build(self.config, encoder).to(arm.world.device)
        self.classifier.encoder.requires_grad_(not arm.frozen)
        self.rows, self.seed = rows, seed
        self.check_every = max(1, self.steps // arm.config.checks)
        self.best: _Best | None = None

    def row(self) -> dict[str, object]:
        """What was chosen, and how it did on validation jets."""
        return {
            "val_accuracy": self.best.quality,
            "steps": self.steps,
            "best_step": self.best.step,
            **self.trial,
            "val_jets": len(self.arm.val),
        }

    def go(self) -> None:
        """All steps; `best` keeps the weights with the best validation accuracy."""
        c = self.arm.config
        loop = Loop(
            module=self.classifier,
            optimizer=self._optimizer(),
            rate=lambda step: warm_cosine(step / self.steps, self.trial["rate"], c.warmup),
            batch=self._batches(),
            loss=self._loss,
            seed=self.seed,
            world=self.arm.world,
            clip=c.clip,
            precision=c.precision,
        )
        self._train_mode()
        try:
            loop.run(0, self.steps, self._after)
        except Diverged:
            if self.best is None:  # not one good moment: the worst that a trial can do
                self._after(StepResult(self.steps, float("nan"), float("nan"), None))

    def _optimizer(self) -> torch.optim.Optimizer:
        """Encoder and head with rates of their own; the head's decays as the encoder's."""
        decay = self.trial["weight_decay"]
        head = [{**g, "scale": 1.0} for g in parameter_groups(self.classifier.head, decay, decay)]
        encoder = []
        if not self.arm.frozen:
            scale = self.trial["encoder_scale"]
            encoder = [{**g, "scale": scale} for g in parameter_groups(self.classifier.encoder, decay, decay)]
        return torch.optim.AdamW([*head, *encoder], lr=self.trial["rate"], fused=True)

    def _batches(self):
        """Batch by step number: jets, or what the frozen encoder made of them where that fits in memory."""
        stream = BatchStream(self.arm.store, self.rows, self.arm.config.batch_size, self.seed)
        if not self.arm.frozen or len(self.rows) > KEPT_JETS:
            return stream.batch
        encoded, order = self.arm.encode(self.rows), np.argsort(self.rows)
        sorted_rows = np.asarray(self.rows)[order]

        def batch(step: int) -> EncodedJets:
            return encoded.take(torch.from_numpy(order[np.searchsorted(sorted_rows, stream.rows_of(step))]))

        return batch

    def _loss(self, batch: Jets | EncodedJets, generator: torch.Generator) -> tuple[Tensor, None]:
        if isinstance(batch, EncodedJets):
            scores, labels = self.classifier.head(batch.encoded), batch.labels
        else:
            c = self.arm.config
            jets = drop_features(batch, c.pid_dropout, c.td_dropout, generator)
            scores, labels = self.classifier(jets), batch.labels
        return self._cross_entropy(scores.float(), labels), None

    def _cross_entropy(self, scores: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(scores, labels)

    def _quality(self, scores: np.ndarray, labels: np.ndarray) -> float:
        """What the best moment has most of, on validation jets: accuracy."""
        return float((scores.argmax(1) == labels).mean())

    def _after(self, result: StepResult) -> bool:
        if result.step % self.check_every and result.step != self.steps:
            return False
        labels = np.asarray(self.arm.store.labels[self.arm.val])
        scores = self.scores(self.arm.val)
        quality = self._quality(scores, labels) if np.isfinite(scores).all() else self.worst
        if self.best is None or quality > self.best.quality:
            weights = {k: v.detach().clone() for k, v in self.classifier.state_dict().items()}
            self.best = _Best(quality, result.step, weights)
        self._train_mode()
        return False

    def _train_mode(self) -> None:
        self.classifier.train()
        if self.arm.frozen:
            self.classifier.encoder.eval()

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Class probabilities of validation or test rows."""
        if not self.arm.frozen:
            return probabilities(self.classifier, self.arm.store, rows, self.arm.world.device)
        self.classifier.eval()
        source = self.arm.encoded_val if rows is self.arm.val else self.arm.encoded_test
        parts = []
        with torch.no_grad():
            for places in torch.arange(len(source)).split(BATCH):
                batch = source.take(places).to(self.arm.world.device)
                parts.append(self.classifier.head(batch.encoded).softmax(1).cpu())
        return torch.cat(parts).numpy()
