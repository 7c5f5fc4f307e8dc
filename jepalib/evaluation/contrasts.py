"""Is a difference between two settings more than their spread, and is it the published one?

For trainings that were repeated with a few seeds and judged on the same jets. The spread over
seeds is pooled over all settings: two or three seeds of one setting alone say little of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from scipy.stats import t as student

from jepalib.errors import JepalibError

CONFIDENCE = 0.95
SIMILAR = 0.005  # published accuracies that differ by no more; HEP-JEPA calls 0.004 similar and 0.006 better
NARROW = 0.02  # an interval within this on both sides says that there is no difference

First = Bool[np.ndarray, "seeds_1 jets_1"]
Second = Bool[np.ndarray, "seeds_2 jets_2"]


@dataclass(frozen=True)
class Contrast:
    """Accuracy of one setting minus that of another.

    Attributes:
        difference: of the means over seeds.
        error: its standard error.
        low, high: interval of `CONFIDENCE`; endless where no setting has two seeds.
    """

    difference: float
    error: float
    low: float
    high: float

    def verdict(self, published: float) -> str:
        """What this says of a published difference, in words (`judge`)."""
        return judge(self.low, self.high, published)


def judge(low: float, high: float, published: float) -> str:
    """What an interval for our difference says of a published one, in words.

    A published difference of at most `SIMILAR` counts as none, which is seen here only if the
    whole interval lies within `NARROW`: noise does not confirm anything.
    """
    if not np.isfinite([low, high]).all():
        return "undecided: one seed, spread unknown"
    zero = low <= 0 <= high
    if abs(published) <= SIMILAR + 1e-9:
        if not zero:
            return "not seen: there is a difference"
        return "seen: no difference" if max(-low, high) <= NARROW else "undecided within the spread"
    if not zero:
        return "seen" if published * (low + high) > 0 else "not seen: the opposite is"
    if not low <= published <= high:
        return "not seen: none of the published size"
    return "undecided within the spread"


def pooled_spread(accuracies: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Standard deviation over seeds, the same for all settings, and its degrees of freedom.

    s² = Σ_settings Σ_seeds (a - mean of the setting)² / Σ_settings (seeds - 1); NaN and 0
    where no setting has two seeds.
    """
    squares = sum(float(np.var(group) * len(group)) for group in accuracies)
    freedom = sum(len(group) - 1 for group in accuracies)
    return ((squares / freedom) ** 0.5 if freedom else float("nan")), freedom


def contrast(first: First, second: Second, spread: float, freedom: int) -> Contrast:
    """The first setting against the second, which were judged on the same jets.

    The error adds in squares that of the seeds, s √(1/n₁ + 1/n₂), and that of the finite number
    of jets: for each jet the difference of the shares of seeds that are right, its deviation
    over jets divided by √jets. (The second holds a part of the first again, so that the sum is
    rather too large.) The interval takes Student's t with the freedom of the pooled spread.

    Args:
        first, second: whether each seed's probe is right on each jet.
        spread, freedom: of `pooled_spread`.

    Raises:
        JepalibError: the jets are not as many in both.
    """
    if first.shape[1] != second.shape[1]:
        raise JepalibError(
            f"contrast: {first.shape[1]} and {second.shape[1]} jets; compare on the same jets only"
        )
    by_jet = first.mean(0) - second.mean(0)
    difference = float(by_jet.mean())
    if not freedom:
        return Contrast(difference, float("nan"), -np.inf, np.inf)
    seeds = spread**2 * (1 / len(first) + 1 / len(second))
    error = float((seeds + by_jet.var() / len(by_jet)) ** 0.5)
    reach = float(student.ppf(0.5 + CONFIDENCE / 2, freedom)) * error
    return Contrast(difference, error, difference - reach, difference + reach)
