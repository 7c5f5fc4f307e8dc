"""Hunts in which there is no bump: what they find nevertheless, and significances mended by it.

Folds judge each other (`bump_hunt.fold_scores`), so that Z of background alone scatters by more than 1
where a cut is loose, and its p-values are not uniform. Toys of the whole hunt tell centre and scatter for
each cut; (Z - centre)/scatter is right as far as so many toys know them, and where Z is normal.
Whether it is can only be tested by toys that had no part in the mending: `cross_calibrated`.
"""

from __future__ import annotations

from collections.abc import Sequence

import joblib
import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import kstest, norm

from jepalib.errors import JepalibError
from jepalib.evaluation.bump_hunt import fold_scores, hunt
from jepalib.evaluation.search import Fit
from jepalib.evaluation.spectrum import Fitted, Window
from jepalib.processes import side_by_side
from jepalib.progress import Progress

EVIDENCE = 3.0  # calibrated Z from which a bump counts as found
UNLIKELY = 0.01  # Kolmogorov-Smirnov p-value below which p-values are called not uniform
TAIL = 0.05  # p-value below which the share of toys is told
MIN_TOYS = 8  # four for each half


def null_z(
    features: Float[np.ndarray, "events features"],
    background: Fitted,
    window: Window,
    efficiencies: Sequence[float],
    number: int,
    hunter: tuple[Fit, int],
    seed: int = 0,
    workers: int = 1,
) -> Float[np.ndarray, "toys cuts"]:
    """Local significance of whole hunts in which there is no bump: training, cut, fit and test.

    Each toy gives the events masses drawn anew from the fitted spectrum, so that nothing in them
    knows the mass, whatever signal they may hold: data alone say what no bump looks like. What is
    tested is the method; whether features know the mass is tested by `bump_hunt.sculpting`.

    Args:
        background: fit to the sidebands of all events.
        number: of toys. Fewer are the first of more.
        hunter: what is fitted, and in how many folds (`bump_hunt.fold_scores`).
        workers: processes.

    Returns:
        Z of the exact test (`spectrum.Excess.p`), normal where p is uniform.

    Raises:
        JepalibError: fewer than `MIN_TOYS` toys; or as `fold_scores` and `hunt`.
    """
    if number < MIN_TOYS:
        raise JepalibError(f"bump hunt: {number} toys; hunt_toys and tree_toys must be {MIN_TOYS} or more")
    experiment = (features, background, window, efficiencies, hunter)
    jobs = [joblib.delayed(_toy)(*experiment, np.random.SeedSequence([seed, toy])) for toy in range(number)]
    found = []
    with Progress(number, "toys", unit="toys") as bar:
        for z in side_by_side(jobs, workers):
            found.append(z)
            bar.add(1)
    return np.array(found)


def _toy(
    features: Float[np.ndarray, "events features"],
    background: Fitted,
    window: Window,
    efficiencies: Sequence[float],
    hunter: tuple[Fit, int],
    seed: np.random.SeedSequence,
) -> list[float]:
    fit, folds = hunter
    mass = drawn_masses(background, window, len(features), np.random.default_rng(seed))
    number = int(seed.generate_state(1)[0] >> 1)
    scores, fold = fold_scores(features, window.regions(mass), fit, folds, number, mass)
    return [
        float(norm.isf(one.excess.p)) for one in hunt(mass, scores, fold, window, efficiencies, seed=number)
    ]


def drawn_masses(
    background: Fitted, window: Window, number: int, rng: np.random.Generator
) -> Float[np.ndarray, " events"]:
    """Masses from the fitted spectrum, evenly within each bin."""
    bins = rng.choice(len(background.expected), number, p=background.expected / background.expected.sum())
    return window.edges[bins] + rng.random(number) * np.diff(window.edges)[bins]


def calibrated(
    z: Float[np.ndarray, "*hunts cuts"], null: Float[np.ndarray, "toys cuts"]
) -> Float[np.ndarray, "*hunts cuts"]:
    """(Z - centre)/scatter of the toys without a bump, for each cut.

    Raises:
        JepalibError: fewer than `MIN_TOYS` / 2 toys, or all of them alike.
    """
    if len(null) < MIN_TOYS // 2 or (null.std(axis=0) == 0).any():
        raise JepalibError(
            f"bump hunt: {len(null)} toys, too few or all alike; raise hunt_toys and tree_toys"
        )
    return (z - null.mean(axis=0)) / null.std(axis=0, ddof=1)


def cross_calibrated(null: Float[np.ndarray, "toys cuts"]) -> Float[np.ndarray, "toys cuts"]:
    """Z of each toy, calibrated by the half of the toys to which it does not belong."""
    mended = np.empty_like(null)
    mended[::2] = calibrated(null[::2], null[1::2])
    mended[1::2] = calibrated(null[1::2], null[::2])
    return mended


def uniformity(null: Float[np.ndarray, "toys cuts"], efficiencies: Sequence[float]) -> pd.DataFrame:
    """Are p-values uniform where there is no bump? A row for each cut.

    Returns:
        Columns cut; centre and scatter of Z; raw and calibrated: Kolmogorov-Smirnov p-value against
        uniform, as they come and cross-calibrated; below and calibrated_below: share of toys with
        a p-value below `TAIL`; verdict on the calibrated ones, "uniform" or "not uniform".
    """
    mended, rows = cross_calibrated(null), []
    for i, cut in enumerate(efficiencies):
        raw, new = norm.sf(null[:, i]), norm.sf(mended[:, i])
        right = float(kstest(new, "uniform").pvalue)
        rows.append(
            {
                "cut": float(cut),
                "centre": float(null[:, i].mean()),
                "scatter": float(null[:, i].std(ddof=1)),
                "raw": float(kstest(raw, "uniform").pvalue),
                "calibrated": right,
                "below": float((raw < TAIL).mean()),
                "calibrated_below": float((new < TAIL).mean()),
                "verdict": "uniform" if right >= UNLIKELY else "not uniform",
            }
        )
    return pd.DataFrame(rows)


def global_p(local: Float[np.ndarray, " cuts"], null: Float[np.ndarray, "toys cuts"]) -> tuple[float, int]:
    """Probability that one of the cuts looks so unlikely or more where there is no bump, and toys that did.

    The look-elsewhere effect of several cuts on the same events, which are far from independent: the largest
    Z observed is compared with the largest of each toy. (beyond + 1)/(toys + 1), never 0 and never too
    small (B. Phipson and G. Smyth, arXiv:1603.05766).

    Args:
        local: calibrated Z of each cut.
        null: cross-calibrated Z of the toys.
    """
    beyond = int((null.max(axis=1) >= local.max()).sum())
    return (beyond + 1) / (len(null) + 1), beyond
