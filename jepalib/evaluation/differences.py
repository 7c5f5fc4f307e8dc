"""Two arms of a comparison, each repeated with several seeds: is there a difference?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student

from jepalib.errors import JepalibError
from jepalib.evaluation.contrasts import CONFIDENCE, judge


@dataclass(frozen=True)
class Difference:
    """First minus second arm.

    Attributes:
        first, second: means over seeds.
        first_spread, second_spread: standard deviations over seeds; NaN with one seed.
        gain: first - second.
        error: its standard error, from the spreads of both arms; NaN with one seed.
        reach: half the interval of `CONFIDENCE` around the gain (Student's t, which is wide for
            few seeds: 4.3 errors for two seeds an arm, 2.8 for three).
    """

    first: float
    first_spread: float
    second: float
    second_spread: float
    gain: float
    error: float
    reach: float

    @property
    def word(self) -> str:
        """'a gain', 'a loss', 'no difference beyond the spread' or 'one seed, spread unknown'."""
        return "one seed, spread unknown" if math.isnan(self.error) else verdict(self.gain, self.reach)

    def against(self, published: float) -> str:
        """What this says of a published difference, in words (`contrasts.judge`)."""
        return judge(self.gain - self.reach, self.gain + self.reach, published)

    def sentence(self, first: str, second: str) -> str:
        """Both arms by name with the spread over seeds, the difference with its interval, the verdict."""
        arms = f"{first} {self.first:.3f}{plus_minus(self.first_spread)}, "
        arms += f"{second} {self.second:.3f}{plus_minus(self.second_spread)}"
        interval = plus_minus(self.reach) and f"{plus_minus(self.reach)} ({100 * CONFIDENCE:.0f} %)"
        return f"{arms}: {self.gain:+.3f}{interval}, {self.word}"


def difference(first: Float[np.ndarray, " seeds_a"], second: Float[np.ndarray, " seeds_b"]) -> Difference:
    """Compare two arms by their values of each seed.

    The error is the root of the sum of both variances over their numbers of seeds, with n_a + n_b - 2
    degrees of freedom. It knows of the seeds of both arms only: one pre-training and one set of
    test jets stand behind all of them.

    Raises:
        JepalibError: an arm has no value, or one that is not finite.
    """
    arms = [np.asarray(arm, float) for arm in (first, second)]
    if any(len(arm) == 0 or not np.isfinite(arm).all() for arm in arms):
        raise JepalibError("difference: both arms need at least one finite value")
    means = [float(arm.mean()) for arm in arms]
    spreads = [float(arm.std(ddof=1)) if len(arm) > 1 else math.nan for arm in arms]
    error = math.sqrt(sum(s**2 / len(arm) for s, arm in zip(spreads, arms, strict=True)))
    freedom = len(arms[0]) + len(arms[1]) - 2
    reach = float(student.ppf(0.5 + CONFIDENCE / 2, freedom)) * error if error == error else math.nan
    return Difference(means[0], spreads[0], means[1], spreads[1], means[0] - means[1], error, reach)


def verdict(gain: float, reach: float) -> str:
    """'a gain', 'a loss' or 'no difference beyond the spread', which is `reach` to both sides."""
    if abs(gain) <= reach:
        return "no difference beyond the spread"
    return "a gain" if gain > 0 else "a loss"


def plus_minus(error: float, decimals: int = 3) -> str:
    """ " ± 0.012" to write behind a number; nothing where the error is not known, as with one seed."""
    return "" if math.isnan(error) else f" ± {error:.{decimals}f}"
