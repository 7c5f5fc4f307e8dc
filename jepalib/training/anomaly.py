"""A network that learns to tell sample A from sample B: the fine-tuned arm of an anomaly search."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.evaluation.search import Draw, Scores, Sizes
from jepalib.training.distributed import World
from jepalib.training.few_shot import AdaptConfig, Arm, Training
from jepalib.training.runs import Run

HELD_OUT = 0.25  # of both samples, on which the best moment of a training is chosen
EPS = 1e-7  # probabilities are kept above


class TwoSamples(JetStore):
    """A store whose labels say which sample a jet is in: 1 for the rows of B, 0 for all others.

    Truth is out of reach: whoever reads this store sees no other label.
    """

    def __init__(self, store: JetStore, b: Int[np.ndarray, " rows"]) -> None:
        self.__dict__.update(store.__dict__)
        self.whole = store  # whose files close when it goes
        self.classes = ("A", "B")
        self.labels = np.zeros(len(store), np.int8)
        self.labels[b] = 1


class SampleTraining(Training):
    """Both samples weigh the same, and the best moment has the lowest log loss.

    With little signal in B the accuracy is one half within its error whatever is learned; the
    log loss knows before it does.
    """

    worst = -float("inf")

    def _cross_entropy(self, scores: Tensor, labels: Tensor) -> Tensor:
        counts = np.bincount(self.arm.store.labels[self.rows], minlength=2)
        weight = torch.tensor(counts.sum() / (2 * counts), dtype=scores.dtype, device=scores.device)
        return F.cross_entropy(scores, labels, weight)

    def _quality(self, scores: np.ndarray, labels: np.ndarray) -> float:
        truth = np.log(np.clip(scores[np.arange(len(labels)), labels], EPS, 1))
        return float(np.mean([truth[labels == sample].mean() for sample in (0, 1)]))


@dataclass(frozen=True)
class TunedOnSamples:
    """An arm of `evaluation.scan`: encoder and head trained to tell A from B. Made by `tuned_on_samples`.

    Attributes:
        run: a pre-training, whose encoder every training begins with.
        store: where the jets are.
        background, signal: rows of the store that are the pools.
        scratch: begin with random weights, though the architecture is that of the run.
    """

    run: Path
    store: Path
    background: Int[np.ndarray, " backgrounds"]
    signal: Int[np.ndarray, " signals"]
    config: AdaptConfig
    head: str
    scratch: bool

    @property
    def pools(self) -> tuple[int, int]:
        """Background and signal events that there are to draw from."""
        return len(self.background), len(self.signal)

    def length(self, sizes: Sizes, signals: int) -> tuple[int, float]:
        """Steps of a training with so many signal jets in B, and epochs over the jets that it trains on."""
        jets = sum(size - _held(size) for size in (sizes.a, sizes.b + signals))
        steps = self.config.steps_for(jets)
        return steps, steps * self.config.batch_size / jets

    def __call__(self, drawn: Draw, seed: int) -> Scores:
        """Train on A against B, and score the test samples at the best moment."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        pretraining = Run.open(self.run)
        encoder = None if self.scratch else pretraining.encoder()
        b = np.concatenate([self.background[drawn.b], self.signal[drawn.signal]])
        test = np.concatenate([self.background[drawn.test_background], self.signal[drawn.test_signal]])
        train, held = _held_out([self.background[drawn.a], b], seed)
        jets = (TwoSamples(JetStore.open(self.store), b), held, test)
        few = Arm(
            self.config, pretraining, encoder, *jets, frozen=False, tokens=False, world=World(0, 1, device)
        )
        training = SampleTraining(few, self.head, train, seed, self.config.grid(frozen=False)[0])
        training.go()
        training.classifier.load_state_dict(training.best.weights)
        scores = training.scores(test)[:, 1].astype(np.float64)
        return scores[: len(drawn.test_background)], scores[len(drawn.test_background) :]


def tuned_on_samples(
    run: Path,
    store: JetStore,
    background: Int[np.ndarray, " backgrounds"],
    signal: Int[np.ndarray, " signals"],
    config: AdaptConfig,
    head: str = "mlp",
    scratch: bool = False,
) -> TunedOnSamples:
    """An arm of `evaluation.scan`: encoder and head trained to tell A from B.

    The training is that of the few-shot table (`few_shot.Training`) with the labels A and B; a
    quarter of both samples is held out to choose its best moment. The first setting of the grid is
    taken: there is no truth to tune by.

    Args:
        run: a pre-training, whose encoder every training begins with.
        scratch: begin with random weights instead: the network of the run without its training.
        store: where the jets are.
        background, signal: its rows that are the pools of `search.draw`.
        config: steps are those of the few-shot table for as many labels.

    Raises:
        JepalibError: a row is in both pools, or the run is not there or has no encoder yet.
    """
    background, signal = np.asarray(background), np.asarray(signal)
    if len(both := np.intersect1d(background, signal)):
        raise JepalibError(f"anomaly search: {len(both)} rows are background and signal (first {both[0]})")
    Run.open(run).encoder()
    return TunedOnSamples(run, store.path, background, signal, config, head, scratch)


def _held(jets: int) -> int:
    return max(1, round(HELD_OUT * jets))


def _held_out(
    samples: list[np.ndarray], seed: int
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " held"]]:
    """The same share of each sample for training and for choosing, in rising order."""
    rng, train, held = np.random.default_rng(seed), [], []
    for rows in samples:
        if len(rows) < 2:
            raise JepalibError(f"samples A and B of {[len(s) for s in samples]} jets; each needs at least 2")
        mixed, cut = rng.permutation(rows), _held(len(rows))
        train.append(mixed[cut:])
        held.append(mixed[:cut])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(held))
