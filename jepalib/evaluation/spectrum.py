"""A mass spectrum: a smooth function fitted to its sidebands, and the excess in the signal region.

The excess is judged with the uncertainty of the fit: as a count n against an expectation b ± σ,
which is the same as a second count of b τ events with τ = b/σ² (R. Cousins, J. Linnemann and
J. Tucker, arXiv:physics/0702156). Two answers are given, for n below b too:

- z, the root of the profile likelihood ratio, signed (G. Cowan et al., arXiv:1007.1727; with σ:
  G. Cowan, "Discovery sensitivity for a counting experiment with background uncertainty", Eq. 20):
  z² = 2 [n ln(n (b + σ²)/(b² + n σ²)) - b²/σ² ln(1 + σ² (n - b)/(b (b + σ²)))];
- p, the exact binomial test of these two counts, with half the probability of the count itself.
  Counts are whole numbers, so that no p-value of theirs is quite uniform; this mid-p is
  so on average, and closely from some twenty expected events on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import betainc, xlogy
from scipy.stats import chi2

from jepalib.errors import JepalibError

ITERATIONS = 100  # of the fit
TOLERANCE = 1e-10  # of its deviance, relative


@dataclass(frozen=True)
class Window:
    """Mass bins, and which of them are the signal region.

    Attributes:
        edges: of all bins, rising, GeV.
        low, high: of the signal region, each one of the edges.

    Raises:
        JepalibError: the edges do not rise, or the region does not lie on them with bins on
            either side.
    """

    edges: Float[np.ndarray, " edges"]
    low: float
    high: float

    def __post_init__(self) -> None:
        if (np.diff(self.edges) <= 0).any() or self.edges[0] <= 0:
            raise JepalibError("bump hunt: the edges of the mass bins must rise, from above 0")
        near = [np.isclose(self.edges, value, rtol=1e-9).any() for value in (self.low, self.high)]
        if not all(near) or not self.edges[0] < self.low < self.high < self.edges[-1]:
            raise JepalibError(
                f"bump hunt: signal region {self.low:g} to {self.high:g} GeV: take two of the bin edges "
                f"{np.array2string(np.asarray(self.edges), precision=5)}, with sidebands on either side"
            )

    @property
    def centres(self) -> Float[np.ndarray, " bins"]:
        """Middle of each bin, GeV."""
        return (self.edges[1:] + self.edges[:-1]) / 2

    @property
    def inside(self) -> Bool[np.ndarray, " bins"]:
        """Which bins are in the signal region."""
        return (self.centres > self.low) & (self.centres < self.high)

    def regions(self, mass: Float[np.ndarray, " events"]) -> Bool[np.ndarray, " events"]:
        """Which events are in the signal region; the others are in the sidebands.

        Raises:
            JepalibError: a mass is in no bin.
        """
        outside = ~((mass >= self.edges[0]) & (mass < self.edges[-1]))
        if outside.any():
            raise JepalibError(
                f"bump hunt: {int(outside.sum())} of {len(mass)} masses are not in {self.edges[0]:g} to "
                f"{self.edges[-1]:g} GeV; leave these events out before training"
            )
        return (mass >= self.low) & (mass < self.high)


@dataclass(frozen=True)
class Shape:
    """The smooth function of the mass that is fitted.

    "dijet": f = p0 (1 - x)^p1 / x^(p2 + p3 ln x) with x = m/√s, as in dijet searches; "polynomial":
    ln f is a polynomial in ln m. ln f is linear in the parameters of both, so that the
    likelihood has one maximum.

    Attributes:
        function: "dijet" or "polynomial".
        parameters: how many, the normalisation among them; 2 to 4 for "dijet".
        energy: √s of the collisions, GeV (dijet).

    Raises:
        JepalibError: another function or number.
    """

    function: str = "dijet"
    parameters: int = 3
    energy: float = 13000.0

    def __post_init__(self) -> None:
        most = {"dijet": 4, "polynomial": 6}.get(self.function, 0)
        if not 2 <= self.parameters <= most:
            raise JepalibError(
                f"bump hunt: function {self.function!r} with {self.parameters} parameters; there are "
                "'dijet' (2 to 4) and 'polynomial' (2 to 6)"
            )

    def terms(self, window: Window) -> Float[np.ndarray, "bins terms"]:
        """The terms of ln f at the middle of each bin, as orthonormal columns."""
        mass = window.centres
        if self.function == "dijet":
            x = mass / self.energy
            if x.max() >= 1:
                raise JepalibError(f"bump hunt: masses up to {mass.max():g} GeV at √s = {self.energy:g} GeV")
            columns = [np.ones_like(x), np.log(x), np.log1p(-x), np.log(x) ** 2][: self.parameters]
        else:
            u = np.log(mass / mass[0]) / np.log(mass[-1] / mass[0])
            columns = [u**power for power in range(self.parameters)]
        return np.linalg.qr(np.stack(columns, axis=1))[0]


DIJET = Shape()


@dataclass(frozen=True)
class Fitted:
    """A function fitted to the sidebands, and what it says of all bins.

    Attributes:
        expected: events by bin.
        errors: standard deviation of each, of the fit alone.
        total, error: of the whole signal region.
        parameters: how many were fitted.
    """

    expected: Float[np.ndarray, " bins"]
    errors: Float[np.ndarray, " bins"]
    total: float
    error: float
    parameters: int


def fit_sidebands(counts: Int[np.ndarray, " bins"], window: Window, shape: Shape = DIJET) -> Fitted:
    """Maximum likelihood of Poisson counts in the sidebands; the signal region is not looked at.

    Bins are taken by their middle times their width. Errors are those of the expected
    information; that the function itself may be wrong is not in them (`goodness`).

    Raises:
        JepalibError: no more sideband bins than parameters, or no events in them.
    """
    terms, outside = shape.terms(window), ~window.inside
    if outside.sum() <= shape.parameters or not counts[outside].any():
        raise JepalibError(
            f"bump hunt: {int(counts[outside].sum())} events in {int(outside.sum())} sideband bins for "
            f"{shape.parameters} parameters; use finer bins, wider sidebands or fewer parameters"
        )
    offset = np.log(np.diff(window.edges))
    x, n, width = terms[outside], counts[outside], offset[outside]
    weight = np.sqrt(n + 0.5)
    theta = np.linalg.lstsq(x * weight[:, None], weight * (np.log(n + 0.5) - width), rcond=None)[0]
    value = _deviance(n, np.exp(x @ theta + width))
    for _ in range(ITERATIONS):
        mean = np.exp(x @ theta + width)
        step = np.linalg.pinv(x.T @ (x * mean[:, None])) @ (x.T @ (n - mean))
        fresh = _deviance(n, np.exp(np.clip(x @ (theta + step) + width, -500, 500)))
        while fresh > value * (1 + TOLERANCE) + TOLERANCE:  # too far
            step = step / 2
            fresh = _deviance(n, np.exp(np.clip(x @ (theta + step) + width, -500, 500)))
        theta, gain, value = theta + step, value - fresh, fresh
        if gain <= TOLERANCE * (1 + value):
            break
    covariance = np.linalg.pinv(x.T @ (x * np.exp(x @ theta + width)[:, None]))
    expected = np.exp(terms @ theta + offset)
    slope = (expected[:, None] * terms)[window.inside].sum(0)
    return Fitted(
        expected=expected,
        errors=expected * np.sqrt(np.einsum("bi,ij,bj->b", terms, covariance, terms)),
        total=float(expected[window.inside].sum()),
        error=float(np.sqrt(slope @ covariance @ slope)),
        parameters=shape.parameters,
    )


def _deviance(n: Int[np.ndarray, " bins"], mean: Float[np.ndarray, " bins"]) -> float:
    """-2 ln of the likelihood ratio to the counts themselves."""
    return float(2 * (xlogy(n, n) - n * np.log(mean) - n + mean).sum())


def goodness(counts: Int[np.ndarray, " bins"], background: Fitted, window: Window) -> float:
    """p-value of the fit in the sidebands: its deviance as χ², good where bins hold a few events each."""
    outside = ~window.inside
    freedom = int(outside.sum()) - background.parameters
    return float(chi2.sf(_deviance(counts[outside], background.expected[outside]), freedom))


@dataclass(frozen=True)
class Excess:
    """A count against its expectation.

    Attributes:
        observed: events.
        expected, error: without signal, and its standard deviation.
        z: significance of the asymptotic profile likelihood; negative below the expectation.
        p: one-sided mid-p-value of the exact test.
    """

    observed: int
    expected: float
    error: float
    z: float
    p: float


def excess(observed: int, expected: int | float, error: int | float) -> Excess:
    """Local significance and p-value of a count (see the module's head).

    Raises:
        JepalibError: expectation or error are not above 0.
    """
    if not (expected > 0 and error > 0):
        raise JepalibError(f"bump hunt: {expected:g} ± {error:g} events expected; both must be above 0")
    tau = expected / error**2
    other = expected * tau  # events of a count that would know the background as well
    tail = betainc(observed, other + 1, 1 / (1 + tau)) if observed else 1.0  # P(n or more | both counts)
    beyond = betainc(observed + 1, other, 1 / (1 + tau))
    return Excess(
        observed, expected, error, significance(observed, expected, error), float(tail + beyond) / 2
    )


def significance(observed: int | float, expected: int | float, error: int | float) -> float:
    """The signed root of the profile likelihood ratio; `observed` = s + b gives the expected one (Asimov)."""
    n, b, variance = observed, expected, error**2
    first = xlogy(n, n * (b + variance) / (b**2 + n * variance))
    second = b**2 / variance * np.log1p(variance * (n - b) / (b * (b + variance)))
    return float(np.sign(n - b) * np.sqrt(max(2 * (first - second), 0.0)))


def toys(
    expected: Float[np.ndarray, " bins"], window: Window, number: int, seed: int, shape: Shape = DIJET
) -> list[Excess]:
    """Excesses of Poisson draws of a spectrum, each with a fit of its own to its sidebands.

    With background alone they tell whether p-values are uniform; with a signal added, which
    significance is to be expected (`expected_range`).
    """
    rng, found = np.random.default_rng(seed), []
    for counts in rng.poisson(expected, (number, len(expected))):
        background = fit_sidebands(counts, window, shape)
        found.append(excess(int(counts[window.inside].sum()), background.total, background.error))
    return found


def expected_range(found: Sequence[Excess]) -> tuple[float, float, float]:
    """Median significance of toys, and the central 68 % of them (low, high)."""
    median, low, high = np.quantile([one.z for one in found], [0.5, 0.16, 0.84])
    return float(median), float(low), float(high)
