"""Power laws: how a loss or an error falls with jets, data, parameters or operations.

L(x) = L_inf + a x^-b (Kaplan et al., arXiv:2001.08361; Hoffmann et al., arXiv:2203.15556), for runs
that were repeated with a few seeds. The floor L_inf and the exponent b are hard to tell apart on a
short range: a floor is fitted only where there are points enough, and what an exponent is
worth is told by its interval, not by the quality of the fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from jepalib.errors import JepalibError

CONFIDENCE = 0.95
FOR_FLOOR = 6  # points: three of freedom are left beside floor, factor and exponent
FOR_LAW = 3  # points: one of freedom beside factor and exponent
EXPONENTS = np.geomspace(0.005, 5, 100)  # searched; an interval that ends at an end is open there
REPLICAS = 400  # of the bootstrap
NARROW = 1.0  # an exponent is determined if its interval is at most so many times as wide as itself

Values = Float[np.ndarray, "points seeds"]


@dataclass(frozen=True)
class PowerLaw:
    """L(x) = floor + factor (x / unit)^-exponent.

    Attributes:
        floor, factor, exponent, unit: of the curve; `unit` is the geometric middle of the x.
        low, high: interval of `CONFIDENCE` for the exponent, 0 or infinity where it is open.
        error: half of that interval's part of 68 % (as a standard deviation).
        floor_high: upper end of the interval for the floor, NaN where it was not fitted.
        with_floor: whether a floor was fitted,
        why: and why, in words.
        points, seeds: how many were fitted; points are means over seeds.
        replicas: (factor, exponent, floor) of the bootstrap, for bands.
    """

    floor: float
    factor: float
    exponent: float
    unit: float
    low: float
    high: float
    error: float
    floor_high: float
    with_floor: bool
    why: str
    points: int
    seeds: int
    replicas: Float[np.ndarray, "replicas 3"]

    @property
    def determined(self) -> bool:
        """Whether the interval for the exponent is closed, above zero, and at most `NARROW` wide."""
        closed = 0 < self.low <= self.high < np.inf
        return closed and self.high - self.low <= NARROW * self.exponent

    def __call__(self, x: Float[np.ndarray, " x"]) -> Float[np.ndarray, " x"]:
        """The curve."""
        return self.floor + self.factor * (np.asarray(x, float) / self.unit) ** -self.exponent

    def band(self, x: Float[np.ndarray, " x"]) -> Float[np.ndarray, "2 x"]:
        """Lower and upper end of the interval of `CONFIDENCE` for the curve."""
        factor, exponent, floor = self.replicas.T[:, :, None]
        curves = floor + factor * (np.asarray(x, float) / self.unit) ** -exponent
        return np.quantile(curves, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)

    def told(self) -> str:
        """The exponent in words, such as "0.21 ± 0.03" or "not determined (0.05 to 1.4)"."""
        if self.determined:
            return f"{self.exponent:.2f} ± {self.error:.2f}"
        open_ended = "no upper end" if np.isinf(self.high) else f"{self.high:.2f}"
        return f"not determined ({self.low:.2f} to {open_ended})"


def fit_power_law(
    x: Float[np.ndarray, " points"], values: Values, floor: bool | None = None, seed: int = 0
) -> PowerLaw:
    """The power law through means over seeds, with the uncertainties that the seeds leave.

    Weighted least squares; each mean has the same relative error s / √seeds, s² being pooled over all
    points (two seeds of one point alone say little of a spread). Where the curve misses the points by
    more than that, or there is one seed, s is what the residuals say. The interval is that of a
    parametric bootstrap, in which s too is drawn (s² ν / χ²_ν), so that few seeds give wide
    intervals. Errors common to all points of a run, as of snapshots, are not known to it.

    Args:
        x: positive and increasing.
        values: positive; a column for each seed.
        floor: fit L_inf; where None, if there are at least `FOR_FLOOR` points.
        seed: of the bootstrap.

    Raises:
        JepalibError: fewer than `FOR_LAW` points (for a floor one more), or one that is not positive.
    """
    x = np.asarray(x, float)
    why = f"{len(x)} points, and a floor wants at least {FOR_FLOOR}"
    if floor is not None:
        why = "asked for"
    elif len(x) >= FOR_FLOOR:
        why = f"{len(x)} points, enough for a floor"
    with_floor = len(x) >= FOR_FLOOR if floor is None else floor
    if len(x) < FOR_LAW + with_floor:
        raise JepalibError(f"power law: {len(x)} points given, at least {FOR_LAW + with_floor} needed")
    if not (np.all(x > 0) and np.all(values > 0) and np.all(np.diff(x) > 0)):
        raise JepalibError("power law: x must be positive and increasing, and the values positive")
    unit, means = float(np.exp(np.log(x).mean())), values.mean(1)
    best = _best(x / unit, means[None], with_floor)[0]
    curve = best[2] + best[0] * (x / unit) ** -best[1]
    spread, freedom = _spread(values, means, curve, 3 if with_floor else 2)
    rng = np.random.default_rng(seed)
    drawn = spread * np.sqrt(freedom / rng.chisquare(freedom, REPLICAS))
    noise = rng.standard_normal((REPLICAS, len(x))) * drawn[:, None]
    replicas = _best(x / unit, curve * np.exp(np.clip(noise, -5, 5)), with_floor)
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    low, high = np.quantile(replicas[:, 1], tails)
    inner = np.quantile(replicas[:, 1], [0.1587, 0.8413])
    return PowerLaw(
        floor=float(best[2]),
        factor=float(best[0]),
        exponent=float(best[1]),
        unit=unit,
        low=0.0 if low <= EXPONENTS[0] * 1.01 else float(low),
        high=np.inf if high >= EXPONENTS[-1] * 0.99 else float(high),
        error=float(np.ptp(inner) / 2),
        floor_high=float(np.quantile(replicas[:, 2], tails[1])) if with_floor else float("nan"),
        with_floor=with_floor,
        why=why,
        points=len(x),
        seeds=values.shape[1],
        replicas=replicas,
    )


def _best(
    x: Float[np.ndarray, " points"], curves: Float[np.ndarray, "curves points"], with_floor: bool
) -> Float[np.ndarray, "curves 3"]:
    """(factor, exponent, floor) of each curve: `EXPONENTS`, then finer steps about the best of them."""
    found = _solved(x, curves, np.broadcast_to(EXPONENTS, (len(curves), len(EXPONENTS))), with_floor)
    step = EXPONENTS[1] / EXPONENTS[0]
    for _ in range(2):
        near = found[:, 1, None] * np.geomspace(1 / step, step, 21)
        found = _solved(x, curves, np.clip(near, EXPONENTS[0], EXPONENTS[-1]), with_floor)
        step **= 0.1
    return found


def _solved(
    x: Float[np.ndarray, " points"],
    curves: Float[np.ndarray, "curves points"],
    exponents: Float[np.ndarray, "curves tried"],
    with_floor: bool,
) -> Float[np.ndarray, "curves 3"]:
    """The best of some exponents for each curve; for a given one the fit is linear in factor and floor.

    Weights are 1 / value²: errors are relative. Factor and floor are not negative.
    """
    basis = x ** -exponents[:, :, None] / curves[:, None]  # (curves, tried, points), as the next
    level = np.broadcast_to(1 / curves[:, None], basis.shape)
    first, mixed, ones = (basis**2).sum(2), (basis * level).sum(2), (level**2).sum(2)
    y_first, y_ones = basis.sum(2), level.sum(2)
    factor, floor = y_first / first, np.zeros_like(first)
    if with_floor:
        determinant = first * ones - mixed**2
        safe = np.where(determinant > 1e-12 * first * ones, determinant, np.inf)
        with_level = (ones * y_first - mixed * y_ones) / safe, (first * y_ones - mixed * y_first) / safe
        usable = (with_level[0] > 0) & (with_level[1] > 0)
        factor, floor = np.where(usable, with_level, (factor, floor))
    missed = factor[:, :, None] * basis + floor[:, :, None] * level - 1
    rows, best = np.arange(len(curves)), (missed**2).sum(2).argmin(1)
    return np.stack([factor[rows, best], exponents[rows, best], floor[rows, best]], axis=1)


def _spread(
    values: Values, means: Float[np.ndarray, " points"], curve: Float[np.ndarray, " points"], fitted: int
) -> tuple[float, int]:
    """Relative standard error of the means with its freedom: that of seeds, or of residuals if larger."""
    points, seeds = values.shape
    misses = points - fitted
    residual = float((((means - curve) / curve) ** 2).sum() / max(misses, 1)) ** 0.5
    if seeds == 1:
        return residual, max(misses, 1)
    freedom = points * (seeds - 1)
    pooled = float((((values - means[:, None]) / curve[:, None]) ** 2).sum() / freedom / seeds) ** 0.5
    return (residual, misses) if misses and residual > pooled else (pooled, freedom)


def frontier(
    flops: Float[np.ndarray, " runs"], losses: Float[np.ndarray, " runs"]
) -> Bool[np.ndarray, " runs"]:
    """Which runs no other beats: none with as few operations or fewer has a loss as low."""
    order = np.lexsort((losses, flops))
    lowest = np.minimum.accumulate(np.asarray(losses)[order])
    best = np.empty(len(order), bool)
    best[order] = np.r_[True, lowest[1:] < lowest[:-1]]
    return best


def fits_table(fits: dict[str, PowerLaw]) -> pd.DataFrame:
    """A row per fit: what was fitted, the exponent with its interval, the floor, and why there is one."""
    rows = [
        {
            "curve": name,
            "exponent": law.exponent,
            "low": law.low,
            "high": law.high,
            "floor": law.floor if law.with_floor else float("nan"),
            "floor at most": law.floor_high,
            "points": law.points,
            "seeds": law.seeds,
            "floor, why": law.why,
            "verdict": law.told(),
        }
        for name, law in fits.items()
    ]
    return pd.DataFrame(rows)
