"""Two arms of a comparison, each repeated with several seeds: is there a difference?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from jepalib.errors import JepalibError

CLEAR = 2.0  # standard errors of the difference; below it there is none to speak of


@dataclass(frozen=True)
class Difference:
    """First minus second arm.

    Attributes:
        first, second: means over seeds.
        first_spread, second_spread: standard deviations over seeds; NaN with one seed.
        gain: first - second.
        error: its standard error, from the spreads of both arms; NaN with one seed.
    """

    first: float
    first_spread: float
    second: float
    second_spread: float
    gain: float
    error: float

    @property
    def word(self) -> str:
        """'a gain', 'a loss', 'no difference beyond the spread' or 'one seed, spread unknown'."""
        if math.isnan(self.error):
            return "one seed, spread unknown"
        if abs(self.gain) < CLEAR * self.error or self.gain == 0:
            return "no difference beyond the spread"
        return "a gain" if self.gain > 0 else "a loss"

    def sentence(self, first: str, second: str) -> str:
        """Both arms by name, the difference and the verdict, in words."""
        arms = f"{first} {self.first:.3f}{_spread(self.first_spread)}, "
        arms += f"{second} {self.second:.3f}{_spread(self.second_spread)}"
        return f"{arms}: {self.gain:+.3f}{_spread(self.error)}, {self.word}"


def difference(first: Float[np.ndarray, " seeds_a"], second: Float[np.ndarray, " seeds_b"]) -> Difference:
    """Compare two arms by their values of each seed.

    The error is the root of the sum of both variances over their numbers of seeds (Welch).

    Raises:
        JepalibError: an arm has no value, or one that is not finite.
    """
    arms = [np.asarray(arm, float) for arm in (first, second)]
    if any(len(arm) == 0 or not np.isfinite(arm).all() for arm in arms):
        raise JepalibError("difference: both arms need at least one finite value")
    means = [float(arm.mean()) for arm in arms]
    spreads = [float(arm.std(ddof=1)) if len(arm) > 1 else math.nan for arm in arms]
    error = math.sqrt(sum(s**2 / len(arm) for s, arm in zip(spreads, arms, strict=True)))
    return Difference(means[0], spreads[0], means[1], spreads[1], means[0] - means[1], error)


def _spread(value: float) -> str:
    return "" if math.isnan(value) else f" ± {value:.3f}"
