"""Features that do not tell the mass: what is left of them after a regression in the sidebands.

A feature that follows the mass tells the signal region from the sidebands without any signal, and a
cut on a classifier of such features shapes the spectrum. Its mean and its spread as functions
of ln m are fitted to sideband events and taken away; the signal region is interpolated and
not looked at.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from jepalib.errors import JepalibError

POWERS = 3  # of ln m, for the mean; the spread is linear in ln m
FLOOR = 0.05  # of the mean spread: what a fitted spread is at least


def decorrelated(
    features: Float[np.ndarray, "events features"],
    mass: Float[np.ndarray, " events"],
    inside: Bool[np.ndarray, " events"],
    powers: int = POWERS,
) -> Float[np.ndarray, "events features"]:
    """(x - mean of x at this mass) / spread of x at this mass, both fitted to the sidebands.

    The fits have errors, and many features have many: where training and test events share one
    regression, a classifier learns its errors in the signal region and finds them again, a bump out of
    nothing (`bump_hunt.fold_scores` therefore makes one for each). Constant features become 0.

    Args:
        mass: of each event, in any unit, above 0.
        inside: whether the event is in the signal region.
        powers: highest power of ln m in the mean.

    Raises:
        JepalibError: no more sideband events than parameters, or a mass that is not above 0.
    """
    sideband = ~inside
    if sideband.sum() <= powers + 1 or not (mass > 0).all():
        raise JepalibError(
            f"decorrelation: {int(sideband.sum())} sideband events for {powers + 1} parameters; more are "
            "needed, all with masses above 0"
        )
    x, u = np.asarray(features, np.float64), np.log(mass)
    u = (u - u.mean()) / max(u.std(), 1e-12)
    terms = np.vander(u, powers + 1)
    rest = x - terms @ np.linalg.lstsq(terms[sideband], x[sideband], rcond=None)[0]
    size = np.abs(rest)
    line = np.vander(u, 2)
    spread = line @ np.linalg.lstsq(line[sideband], size[sideband], rcond=None)[0]
    typical = size[sideband].mean(0)
    real = typical > 1e-9 * np.abs(x).max(0, initial=1e-300)  # not rounding
    return np.where(real, rest / np.where(real, np.maximum(spread, FLOOR * typical), 1.0), 0.0)
