"""How many labels a pre-training saves: what training from scratch needs for the same accuracy.

Between measured numbers of labels the mean accuracy is taken as linear in their logarithm; beyond the
measured nothing is guessed, a number of labels is then "more than" the largest or "fewer than" the
smallest. Intervals are a bootstrap over seeds: it knows of the labelled jets, initial weights and
batches that the seeds differ by, not of the one pre-training and the one set of test jets behind them, and
takes the points of a curve as independent, though fewer labels of a seed are a part of more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from jepalib.errors import JepalibError
from jepalib.evaluation.contrasts import CONFIDENCE

SCRATCH = "from-scratch"
TREES = "trees on the numbers"  # boosted trees on what was the target of jet-targets
COLUMNS = {"labels", "mode", "seed", "jets_pretrained", "accuracy"}
DRAWS = 1_000  # of the bootstrap


@dataclass(frozen=True)
class LabelCount:
    """A number of labels read off a curve.

    Attributes:
        value: the number; 0 where it is below all that was measured, infinite where beyond.
        low, high: interval of `contrasts.CONFIDENCE`, in the same sense; NaN with one seed.
        least, most: smallest and largest number of labels that was measured.
    """

    value: float
    low: float
    high: float
    least: int
    most: int

    def __str__(self) -> str:
        """ "about 3,100 (95 %: 2,400 to more than 10,000)", "more than 10,000", ..."""
        if math.isnan(self.low) or self.low == self.high == self.value:
            return self._words(self.value)
        reach = f"{100 * CONFIDENCE:.0f} %: {self._number(self.low)} to {self._number(self.high)}"
        return f"{self._words(self.value)} ({reach})"

    def _words(self, value: float) -> str:
        return self._number(value) if value in (0, math.inf) else f"about {self._number(value)}"

    def _number(self, value: float) -> str:
        if value == 0:
            return f"fewer than {self.least:,}"
        return f"more than {self.most:,}" if value == math.inf else f"{float(f'{value:.2g}'):,.0f}"


def few_shot_table(file: Path) -> pd.DataFrame:
    """The few-shot tables that lie beside an encoder, as ``benchmarks/gain_by_views.py`` writes them.

    Args:
        file: that of the encoder; boosted trees for the same labels lie beside it as trees.csv, where
            there are any.

    Raises:
        JepalibError: there is none, or it lacks a column.
    """
    if not Path(file).is_file():
        raise JepalibError(f"{file}: no such table; benchmarks/gain_by_views.py makes one for a run")
    trees = Path(file).with_name("trees.csv")
    tables = [pd.read_csv(each) for each in (file, trees) if Path(each).is_file()]
    return check_table(pd.concat(tables, ignore_index=True), str(file))


def labels_needed(table: pd.DataFrame, mode: str, generator: np.random.Generator) -> pd.DataFrame:
    """How many labels training from scratch needs for what a pre-trained arm reaches with fewer.

    The curve from scratch is made monotone by its running maximum, which is in its favour.

    Args:
        table: rows of one pre-training (one `jets_pretrained`) and of training from scratch: columns
            labels, mode, seed, jets_pretrained and accuracy.
        mode: the pre-trained arm.
        generator: of the bootstrap.

    Returns:
        A row for each number of labels of the arm: labels, accuracy (mean over seeds), seeds, needed
        (a `LabelCount`).

    Raises:
        JepalibError: a column or an arm is missing, or the table holds several pre-trainings.
    """
    arms = _Arms(table, mode, generator)
    rows = []
    for place, labels in enumerate(arms.own.counts):

        def needed(own: np.ndarray, scratch: np.ndarray, place: int = place) -> float:
            return _needed(own[place], arms.scratch.counts, scratch)

        rows.append((int(labels), arms.own.mean[place], len(arms.own.values[place]), arms.measure(needed)))
    return pd.DataFrame(rows, columns=["labels", "accuracy", "seeds", "needed"])


def catch_up(table: pd.DataFrame, mode: str, generator: np.random.Generator) -> LabelCount:
    """The number of labels at which training from scratch first is as good as a pre-trained arm.

    Both mean curves are compared where both were measured; "fewer than" the smallest number of labels
    means that the arm is not ahead there already, "more than" that it is ahead up to the largest.

    Args:
        table, mode, generator: as in `labels_needed`.

    Raises:
        JepalibError: as `labels_needed`, or both arms have no number of labels in common.
    """
    arms = _Arms(table, mode, generator)
    low, high = (
        max(arms.own.counts[0], arms.scratch.counts[0]),
        min(arms.own.counts[-1], arms.scratch.counts[-1]),
    )
    if low > high:
        raise JepalibError(f"catch_up: {mode} and {SCRATCH} were measured with different numbers of labels")
    every = np.union1d(arms.own.counts, arms.scratch.counts)
    common = np.log(every[(every >= low) & (every <= high)])

    def meet(own: np.ndarray, scratch: np.ndarray) -> float:
        ahead = np.interp(common, np.log(arms.own.counts), own)
        ahead -= np.interp(common, np.log(arms.scratch.counts), scratch)
        return _first_zero(common, ahead)

    return arms.measure(meet, (int(low), int(high)))


@dataclass(frozen=True)
class _Arm:
    """Accuracies of one arm: by number of labels, those of all seeds."""

    counts: Float[np.ndarray, " counts"]
    values: list[np.ndarray]

    @classmethod
    def of(cls, rows: pd.DataFrame) -> _Arm:
        grouped = [(labels, group.accuracy.to_numpy(float)) for labels, group in rows.groupby("labels")]
        return cls(np.array([labels for labels, _ in grouped], float), [values for _, values in grouped])

    @property
    def mean(self) -> Float[np.ndarray, " counts"]:
        return np.array([values.mean() for values in self.values])

    def draws(self, generator: np.random.Generator) -> Float[np.ndarray, "draws counts"]:
        """Means of seeds drawn with replacement, apart for each number of labels.

        Deviations are widened by sqrt(n / (n - 1)): a bootstrap of few seeds is too narrow by that.
        """
        columns = []
        for values in self.values:
            n, mean = len(values), values.mean()
            drawn = values[generator.integers(n, size=(DRAWS, n))].mean(1)
            columns.append(mean + (drawn - mean) * math.sqrt(n / (n - 1)))
        return np.stack(columns, axis=1)


class _Arms:
    """A pre-trained arm and training from scratch."""

    def __init__(self, table: pd.DataFrame, mode: str, generator: np.random.Generator) -> None:
        check_table(table, "label savings")
        for name in (mode, SCRATCH):
            if name not in set(table["mode"]):
                raise JepalibError(
                    f"label savings: the table has no {name}; it has {sorted(set(table['mode']))}"
                )
        own = table[table["mode"] == mode]
        if len(seen := sorted(own.jets_pretrained.unique().tolist())) > 1:
            raise JepalibError(f"label savings: {mode} after {seen} jets; choose one pre-training")
        self.own, self.scratch = _Arm.of(own), _Arm.of(table[table["mode"] == SCRATCH])
        self.generator = generator

    def measure(
        self, number: Callable[[np.ndarray, np.ndarray], float], within: tuple[int, int] | None = None
    ) -> LabelCount:
        """A number of labels made from both mean curves, with its interval."""
        least, most = within or (int(self.scratch.counts[0]), int(self.scratch.counts[-1]))
        value, low, high = number(self.own.mean, self.scratch.mean), math.nan, math.nan
        if min(map(len, self.own.values + self.scratch.values)) > 1:
            both = zip(self.own.draws(self.generator), self.scratch.draws(self.generator))
            drawn = [number(own, scratch) for own, scratch in both]
            tail = (1 - CONFIDENCE) / 2
            # Of the draws themselves: between a finite number and infinity there is nothing to interpolate.
            low, high = np.quantile(drawn, [tail, 1 - tail], method="inverted_cdf").tolist()
        return LabelCount(float(value), low, high, least, most)


def _needed(accuracy: float, counts: np.ndarray, scratch: np.ndarray) -> float:
    """Labels at which the monotone curve reaches the accuracy; 0 below the measured, infinite beyond."""
    curve = np.maximum.accumulate(scratch)
    if accuracy < curve[0]:
        return 0.0
    if accuracy > curve[-1]:
        return math.inf
    after = int(np.searchsorted(curve, accuracy))  # the first point that reaches it
    if after == 0:
        return float(counts[0])
    share = (accuracy - curve[after - 1]) / (curve[after] - curve[after - 1])
    return float(counts[after - 1] * (counts[after] / counts[after - 1]) ** share)


def _first_zero(places: np.ndarray, ahead: np.ndarray) -> float:
    """exp of where a piecewise linear curve first is not above 0; 0 if at once, infinite if nowhere."""
    behind = np.flatnonzero(ahead <= 0)
    if not len(behind):
        return math.inf
    after = behind[0]
    if after == 0:
        return 0.0
    share = ahead[after - 1] / (ahead[after - 1] - ahead[after])
    return float(np.exp(places[after - 1] + share * (places[after] - places[after - 1])))


def check_table(table: pd.DataFrame, where: str) -> pd.DataFrame:
    """The table itself, if it has `COLUMNS` and one finite accuracy for each point.

    Raises:
        JepalibError: it has not; `where` begins the message.
    """
    if missing := COLUMNS - set(table.columns):
        raise JepalibError(f"{where}: the table lacks {sorted(missing)}; it has {', '.join(table.columns)}")
    point = ["mode", "labels", "seed", "jets_pretrained"]
    for wrong, what in (
        (~np.isfinite(table.accuracy), "no finite accuracy"),
        (table.duplicated(point), "a second accuracy (choose one head)"),
    ):
        if wrong.any():
            first = ", ".join(f"{name} {value}" for name, value in table.loc[wrong, point].iloc[0].items())
            raise JepalibError(f"{where}: {what} for {first}")
    return table
