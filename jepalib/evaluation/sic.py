"""How much a cut on a score sharpens a search: the significance improvement characteristic (SIC).

A cut that keeps the shares TPR of the signal and FPR of the background turns a significance
S/√B into TPR/√FPR · S/√B: SIC = TPR/√FPR. Accepting everything has SIC 1; a random score has
√FPR, never more than 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from jepalib.errors import JepalibError
from jepalib.evaluation.tagging import MIN_PASSING

RATES = (1e-2, 1e-3, 1e-4)  # false-positive rates at which the SIC is quoted
POINTS = 100  # of a curve, evenly in ln FPR


@dataclass(frozen=True)
class SicPoint:
    """SIC of one cut.

    Attributes:
        value: TPR/√FPR; NaN where fewer background events pass than `sic_curve` was told.
        error: binomial standard deviation, of the test events of both kinds.
        fpr, tpr: shares of background and signal that pass.
    """

    value: float
    error: float
    fpr: float
    tpr: float


@dataclass(frozen=True)
class SicCurve:
    """SIC against FPR, rising, from where enough background passes to 1.

    Attributes:
        fpr, tpr: shares of background and signal that pass.
        sic: TPR/√FPR.
        error: its binomial standard deviation, of the test events of both kinds.
    """

    fpr: Float[np.ndarray, " points"]
    tpr: Float[np.ndarray, " points"]
    sic: Float[np.ndarray, " points"]
    error: Float[np.ndarray, " points"]

    @property
    def maximum(self) -> SicPoint:
        """The best point, at least 1 (everything accepted).

        The largest of many noisy values: too large by a part of its error, for every
        classifier alike where the test events are the same.
        """
        return self._point(int(np.argmax(self.sic)))

    def at(self, rate: float) -> SicPoint:
        """The point at one of `RATES`; values are NaN where too little background passes there."""
        found = np.flatnonzero(self.fpr == rate)
        return self._point(int(found[0])) if len(found) else SicPoint(math.nan, math.nan, rate, math.nan)

    def figures(self) -> dict[str, float]:
        """max_sic, max_sic_error, max_sic_fpr, and for each of `RATES` sic_1e-2, sic_1e-2_error …"""
        best = self.maximum
        row = {"max_sic": best.value, "max_sic_error": best.error, "max_sic_fpr": best.fpr}
        for rate in RATES:
            point, name = self.at(rate), f"sic_1e{math.log10(rate):.0f}"
            row |= {name: point.value, f"{name}_error": point.error}
        return row

    def _point(self, place: int) -> SicPoint:
        return SicPoint(*(float(a[place]) for a in (self.sic, self.error, self.fpr, self.tpr)))


def sic_curve(
    background: Float[np.ndarray, " backgrounds"],
    signal: Float[np.ndarray, " signals"],
    min_passing: int = MIN_PASSING,
) -> SicCurve:
    """SIC of a score on pure test events of both kinds, larger scores being more signal-like.

    The curve ends where fewer than `min_passing` background events pass: ten leave 16 % of
    uncertainty on √FPR. Between two cuts it goes as a random choice between them does, so that
    equal scores are taken or left in no order, and a constant score is a random one.

    The error is that at a fixed FPR and adds in squares the signal's, √(t(1 - t)/n_s)/√FPR with
    t = (passing + 1/2)/(n_s + 1), which is not zero where no signal passes, and that of the
    threshold, which the background sets: dTPR/dFPR √(FPR (1 - FPR)/n_b)/√FPR, its slope taken
    from FPR/2 to 2 FPR.

    Raises:
        JepalibError: a score is not finite, there is no signal, or no more background than
            `min_passing`.
    """
    background, signal = np.asarray(background, np.float64), np.asarray(signal, np.float64)
    if not (np.isfinite(background).all() and np.isfinite(signal).all()):
        raise JepalibError("SIC: the scores hold NaN or infinity")
    if not 1 <= min_passing < len(background) or not len(signal):
        raise JepalibError(
            f"SIC: {len(background)} background and {len(signal)} signal test events, with at least "
            f"{min_passing} background events to pass; give more of both"
        )
    least = min_passing / len(background)
    grid = np.geomspace(least, 1.0, POINTS)
    fpr = np.unique(np.concatenate([grid, [rate for rate in RATES if rate >= least * (1 - 1e-9)]]))
    low, high = fpr / 2, np.minimum(2 * fpr, 1)
    below, tpr, above = np.split(_roc(background, signal, np.concatenate([low, fpr, high])), 3)
    smooth = (tpr * len(signal) + 0.5) / (len(signal) + 1)
    of_signal = smooth * (1 - smooth) / len(signal)
    of_threshold = ((above - below) / (high - low)) ** 2 * fpr * (1 - fpr) / len(background)
    return SicCurve(fpr, tpr, tpr / np.sqrt(fpr), np.sqrt((of_signal + of_threshold) / fpr))


def _roc(
    background: Float[np.ndarray, " backgrounds"],
    signal: Float[np.ndarray, " signals"],
    fpr: Float[np.ndarray, " points"],
) -> Float[np.ndarray, " points"]:
    """TPR at the given FPR, linear between neighbouring thresholds."""
    scores = np.concatenate([background, signal])
    order = np.argsort(-scores)
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # of each group of equal scores
    passing = np.cumsum(order >= len(background))[last]
    x = np.append(0, last + 1 - passing) / len(background)
    return np.interp(fpr, x, np.append(0, passing) / len(signal))


@dataclass(frozen=True)
class SicBand:
    """Several seeds' curves in one.

    Attributes:
        fpr: of every point.
        mean: SIC, mean over seeds.
        error: of one more seed on other test events: the standard deviation over seeds and the
            binomial error of the test events, in squares; the latter alone for one seed.
        seeds: how many.
    """

    fpr: Float[np.ndarray, " points"]
    mean: Float[np.ndarray, " points"]
    error: Float[np.ndarray, " points"]
    seeds: int


def sic_band(curves: Sequence[SicCurve]) -> SicBand:
    """Mean and uncertainty of curves that were made with as many test events.

    Raises:
        JepalibError: no curve, or curves of different numbers of background events.
    """
    if not curves or any(len(c.fpr) != len(curves[0].fpr) or (c.fpr != curves[0].fpr).any() for c in curves):
        raise JepalibError("SIC: give at least one curve, all with as many background test events")
    values = np.stack([curve.sic for curve in curves])
    spread = values.std(0, ddof=1) if len(curves) > 1 else np.zeros(values.shape[1])
    binomial = np.stack([curve.error for curve in curves]).mean(0)
    return SicBand(curves[0].fpr, values.mean(0), np.hypot(spread, binomial), len(curves))
