"""Many pseudo-experiments of an anomaly search: classifiers x signals x numbers of signal events x seeds.

Each is independent of all others, so that they are spread over the cores; scores are kept, so
that a search that was stopped goes on.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pandas as pd

from jepalib.errors import JepalibError
from jepalib.evaluation.differences import difference
from jepalib.evaluation.search import Arm, Scores, Sizes, draw
from jepalib.evaluation.sic import SicBand, SicCurve, sic_band, sic_curve
from jepalib.evaluation.tagging import MIN_PASSING
from jepalib.processes import side_by_side
from jepalib.progress import Progress

Arms = Mapping[tuple[str, str], Arm]  # by the names of the signal and of the classifier
METRICS = ("max_sic", "sic_1e-2")  # the best cut, found by the truth, and one that is fixed beforehand
NOT_QUOTED = "not quoted"


@dataclass(frozen=True, order=True)
class Experiment:
    """One training of one classifier.

    Attributes:
        signal, arm: names of the signal and of the classifier.
        signals: N, signal events in sample B.
        seed: of the pseudo-experiment and of the classifier.
    """

    signal: str
    arm: str
    signals: int
    seed: int

    @property
    def file(self) -> str:
        """Name of the file in which its scores are kept."""
        name = f"{self.signal}_{self.arm}_{self.signals}_seed{self.seed}"
        return re.sub(r"[^\w.-]+", "-", name) + ".npz"


def plan(arms: Arms, signals: Sequence[int], seeds: Sequence[int]) -> list[Experiment]:
    """Every classifier with every number of signal events and every seed."""
    return [Experiment(*name, count, seed) for name in arms for count in signals for seed in seeds]


def scan(
    arms: Arms,
    experiments: Sequence[Experiment],
    sizes: Sizes,
    keep: Path | None = None,
    workers: int = 1,
    min_passing: int = MIN_PASSING,
) -> tuple[pd.DataFrame, dict[Experiment, SicCurve]]:
    """The SIC of every experiment.

    Args:
        sizes: as in `search.draw`.
        keep: a folder for the scores of each experiment, which are taken from there where they
            are; it belongs to these arms and sizes alone.
        workers: processes. Arrays of the arms are shared by all of them, not copied.
        min_passing: background events without which no SIC is quoted (NaN in the table).

    Returns:
        Table with columns signal, arm, signals, significance (S/√B of B), seed and those of
        `SicCurve.figures`, and the curves.

    Raises:
        JepalibError: an experiment with an arm that is not there, or one that cannot be made.
    """
    experiments = list(dict.fromkeys(experiments))
    if unknown := [one for one in experiments if (one.signal, one.arm) not in arms]:
        raise JepalibError(f"search: no arm '{unknown[0].arm}' for the signal {unknown[0].signal}")
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    jobs = [joblib.delayed(_make)(one, arms[one.signal, one.arm], sizes, keep) for one in experiments]
    found = {}
    with Progress(len(jobs), "search", unit="trainings") as bar:
        for one, scores in side_by_side(jobs, workers, ordered=False):
            found[one] = sic_curve(*scores, min_passing)
            bar.add(1, note=f"{one.signal}, {one.arm}")
    curves = {one: found[one] for one in experiments}
    rows = [
        {
            "signal": one.signal,
            "arm": one.arm,
            "signals": one.signals,
            "significance": one.signals / sizes.b**0.5,
            "seed": one.seed,
            **curve.figures(),
        }
        for one, curve in curves.items()
    ]
    return pd.DataFrame(rows), curves


def bands(curves: Mapping[Experiment, SicCurve], signal: str, signals: int) -> dict[str, SicBand]:
    """Mean curve and uncertainty over seeds by classifier, for one signal and number of its events."""
    by_arm: dict[str, list[SicCurve]] = {}
    for one, curve in curves.items():
        if (one.signal, one.signals) == (signal, signals):
            by_arm.setdefault(one.arm, []).append(curve)
    return {arm: sic_band(group) for arm, group in by_arm.items()}


def verdict(
    table: pd.DataFrame, first: str, second: str, metrics: Sequence[str] = METRICS
) -> tuple[dict[str, str], str]:
    """Are two classifiers told apart, by the spread over seeds of both (`differences.difference`)?

    Args:
        table: of `scan`, for one signal and one number of its events.
        first, second: names of the classifiers.

    Returns:
        The word of each metric ("not quoted" where a seed has no value), and all in one sentence.

    Raises:
        JepalibError: the table has no row of one of them.
    """
    words, parts = {}, []
    for metric in metrics:
        pair = [table[table.arm == arm][metric].to_numpy(float) for arm in (first, second)]
        title = "maximum SIC" if metric == "max_sic" else f"SIC at FPR {metric.removeprefix('sic_')}"
        if np.isnan(np.concatenate(pair)).any():
            words[metric] = NOT_QUOTED
            parts.append(f"{title}: {NOT_QUOTED}")
        else:
            result = difference(*pair)
            words[metric] = result.word
            parts.append(f"{title}: {result.sentence(first, second)}")
    return words, "; ".join(parts)


def upper_bounds(table: pd.DataFrame, told: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Of several classifiers that were told the truth, the one with the largest mean maximum SIC.

    Chosen for each signal and number of its events; its rows, with the name of the bound as `arm` and its
    own as `classifier`.

    Args:
        table: of `scan`.
        told: classifiers by the name of the bound, such as trees and a linear head on the same features.
    """
    rows = []
    for name, arms in told.items():
        for _, group in table[table.arm.isin(arms)].groupby(["signal", "signals"], sort=False):
            best = group.groupby("arm").max_sic.mean().idxmax()
            rows.append(group[group.arm == best].assign(arm=name, classifier=best))
    return pd.concat(rows, ignore_index=True)


def _make(one: Experiment, arm: Arm, sizes: Sizes, keep: Path | None) -> tuple[Experiment, Scores]:
    file = keep / one.file if keep is not None else None
    if file is not None and file.is_file():
        try:
            with np.load(file, allow_pickle=False) as kept:
                return one, (kept["background"], kept["signal"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise JepalibError(f"{file}: no scores here ({error}); remove it and make them again") from error
    background, signal = arm(draw(arm.pools, sizes, one.signals, one.seed), one.seed)
    if file is not None:
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        with temporary.open("wb") as handle:
            np.savez(handle, background=background, signal=signal)
        temporary.replace(file)
    return one, (background, signal)
