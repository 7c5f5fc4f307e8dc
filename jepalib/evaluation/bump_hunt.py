"""A bump hunt: a mass spectrum, a smooth background from its sidebands, and what stands above it.

The classifier is trained to tell the signal region from the sidebands (CWoLa hunting; Collins,
Howe and Nachman, arXiv:1805.02664) with k folds, so that no event is scored by a model that has
seen it.

The trap: features that know the mass. They tell the signal region from the sidebands without
any signal, and a cut on the score then carves a bump out of pure background. `sculpting` compares
the mass of selected and rejected background; look at it before any significance. The way out is
`decorrelation.decorrelated`, in each fold by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import ks_2samp
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from jepalib.errors import JepalibError
from jepalib.evaluation.decorrelation import decorrelated
from jepalib.evaluation.search import Fit, Score
from jepalib.evaluation.spectrum import (
    DIJET,
    Excess,
    Fitted,
    Shape,
    Window,
    excess,
    fit_sidebands,
    goodness,
)

MIN_SIDEBAND = 30  # selected sideband events; a fit to fewer says nothing


@dataclass(frozen=True)
class Selection:
    """What a cut leaves, and what it says.

    Attributes:
        efficiency: share of the sideband events that pass.
        passed: which events do.
        counts: events by mass bin.
        background: fitted to the sidebands.
        excess: in the signal region.
        goodness: p-value of the fit in the sidebands (deviance, χ²); small where the function
            does not describe them.
    """

    efficiency: float
    passed: Bool[np.ndarray, " events"]
    counts: Int[np.ndarray, " bins"]
    background: Fitted
    excess: Excess
    goodness: float


def check_plan(
    injections: Sequence[int], draws: int, efficiencies: Sequence[float], announced: float
) -> None:
    """Whether hunts of these numbers and cuts can be made and read; before any work.

    Args:
        injections: numbers of signal events.
        draws: of each number.
        efficiencies: of the cuts.
        announced: the cut that was chosen before looking.

    Raises:
        JepalibError: it cannot; names the parameter.
    """
    if not injections or min(injections) < 0 or max(injections) == 0:
        raise JepalibError(f"injections={list(injections)}: give numbers of signal events, one above 0")
    if draws < 1:
        raise JepalibError(f"hunt_seeds={draws}: at least one draw is needed")
    if not efficiencies or not all(0 < one < 1 for one in efficiencies):
        raise JepalibError(f"efficiencies={list(efficiencies)}: give shares between 0 and 1")
    if announced not in efficiencies:
        raise JepalibError(f"announced_cut={announced:g}: must be one of efficiencies={list(efficiencies)}")


def draw_signals(
    pool: Int[np.ndarray, " pool"], count: int, seed: int, draw: int
) -> Int[np.ndarray, " injected"]:
    """Rows of signal events to inject; a larger number of the same draw holds the smaller one.

    Raises:
        JepalibError: there are fewer signal events.
    """
    if count > len(pool):
        raise JepalibError(
            f"injections: {count} signal events are asked for, {len(pool)} are in the mass window; inject "
            "fewer, or raise signal_events (file_events for the public file)"
        )
    return np.random.default_rng([seed, draw]).permutation(pool)[:count]


def by_mass(
    masses: Float[np.ndarray, "events 2"],
    first: Float[np.ndarray, "events features"],
    second: Float[np.ndarray, "events features"],
) -> Float[np.ndarray, "events both"]:
    """Features of the two jets of each event side by side, those of the lighter jet first.

    Which jet of a resonance has the larger pT is chance; which is the lighter is not.
    """
    swap = masses[:, :1] > masses[:, 1:]
    return np.concatenate([np.where(swap, second, first), np.where(swap, first, second)], axis=1)


def dijet_features(
    masses: Float[np.ndarray, "events 2"], tau21: Float[np.ndarray, "events 2"]
) -> Float[np.ndarray, "events 4"]:
    """Lighter mass, mass difference, τ21 of the lighter and of the heavier jet.

    Those of most searches in the LHC Olympics data (arXiv:2101.08320).

    Args:
        masses: of both jets, GeV.
        tau21: τ2/τ1 of both, in the same order.
    """
    rising = np.sort(masses, axis=1)
    return np.column_stack(
        [rising[:, 0], rising[:, 1] - rising[:, 0], by_mass(masses, tau21[:, :1], tau21[:, 1:])]
    )


def fit_discriminant(
    x: Float[np.ndarray, "events features"], y: Int[np.ndarray, " events"], seed: int
) -> Score:
    """Fisher's linear discriminant with a shrunken covariance (Ledoit and Wolf), for wide embeddings.

    It has no setting to choose and draws nothing: `seed` is there because a `search.Fit` takes one.
    """
    discriminant = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    return make_pipeline(StandardScaler(), discriminant).fit(x, y).decision_function


def fold_scores(
    features: Float[np.ndarray, "events features"],
    inside: Bool[np.ndarray, " events"],
    fit: Fit,
    folds: int = 5,
    seed: int = 0,
    mass: Float[np.ndarray, " events"] | None = None,
) -> tuple[Float[np.ndarray, " events"], Int[np.ndarray, " events"]]:
    """Score of every event by a classifier that has not seen it, and the fold of each event.

    Scores of different folds come from different classifiers: compare within a fold only. Folds judge each
    other, what one learns of another the other learns of it: on background alone the significance of
    loose cuts therefore scatters by more than 1. `null_hunts` tells by how much, and mends it.

    Args:
        features: must not tell the mass (see `sculpting`).
        inside: whether the event is in the signal region; the others are the sidebands.
        fit: `search.fit_trees`, `search.fit_linear`, `fit_discriminant`, or alike.
        mass: where given, features are decorrelated from it, those to learn from and those to judge
            each by a regression of their own.

    Raises:
        JepalibError: fewer than `folds` events in the signal region or in the sidebands.
    """
    if folds < 2 or min(int(inside.sum()), int((~inside).sum())) < folds:
        raise JepalibError(
            f"bump hunt: {int(inside.sum())} events in the signal region, {int((~inside).sum())} in the "
            f"sidebands, {folds} folds; at least 2 folds and an event of both kinds for each"
        )
    scores, fold = np.empty(len(inside)), np.empty(len(inside), np.int64)
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(features, inside)
    for number, (train, held) in enumerate(parts):
        seen, other = (
            features[rows] if mass is None else decorrelated(features[rows], mass[rows], inside[rows])
            for rows in (train, held)
        )
        scores[held] = fit(seen, inside[train].astype(np.int64), seed + number)(other)
        fold[held] = number
    return scores, fold


def select(
    scores: Float[np.ndarray, " events"],
    fold: Int[np.ndarray, " events"],
    sideband: Bool[np.ndarray, " events"],
    efficiency: float,
    seed: int = 0,
) -> Bool[np.ndarray, " events"]:
    """Events no lower in score than this share of the sideband events of their fold.

    The sidebands set the cut; the signal region is not looked at. The cut lies at the last sideband
    event that passes and not at the first that does not: k of n then stand for k/(n + 1) of the
    background of the signal region, else for (k + 1)/(n + 1), a bump of 1/k out of nothing. Events of
    equal scores are taken in random order (a tree knows few values), so that the share is as asked.

    Raises:
        JepalibError: no share above 0 and at most 1, or a fold of which no sideband event is left.
    """
    if not 0 < efficiency <= 1:
        raise JepalibError(f"bump hunt: efficiency {efficiency:g} is no share above 0 and at most 1")
    passed = np.ones(len(scores), bool)
    if efficiency == 1:
        return passed
    lots = np.random.default_rng(seed).random(len(scores))
    for number in np.unique(fold):
        rows = np.flatnonzero(fold == number)
        falling = rows[np.lexsort((lots[rows], -scores[rows]))]
        before = np.cumsum(sideband[falling]) - sideband[falling]  # sideband events of higher scores
        there = int(sideband[rows].sum())
        allowed = round(efficiency * there)
        if allowed < 1:
            raise JepalibError(
                f"bump hunt: efficiency {efficiency:g} leaves none of {there} sideband events of a "
                "fold; cut less, or use more events"
            )
        passed[falling] = before < allowed
    return passed


def sculpting(mass: Float[np.ndarray, " events"], passed: Bool[np.ndarray, " events"]) -> float:
    """p-value that a cut does not depend on the mass: Kolmogorov-Smirnov, selected against rejected.

    Give background only: the sidebands of data, or the true background of a simulation, which
    shows the signal region too. Small means that the cut shapes the spectrum. NaN where nothing
    is selected or nothing rejected.
    """
    if passed.all() or not passed.any():
        return float("nan")
    return float(ks_2samp(mass[passed], mass[~passed], method="asymp").pvalue)


def hunt(
    mass: Float[np.ndarray, " events"],
    scores: Float[np.ndarray, " events"],
    fold: Int[np.ndarray, " events"],
    window: Window,
    efficiencies: Sequence[float],
    shape: Shape = DIJET,
    seed: int = 0,
) -> list[Selection]:
    """Excess in the signal region after cuts of several background efficiencies.

    Args:
        mass: of each event, GeV.
        scores, fold: of `fold_scores`; or of a classifier of A against B that has seen none of
            the events, and zeros.
        window: mass bins and the signal region among them.
        efficiencies: shares of the sideband events to keep; 1 is the plain spectrum.
        shape: function that is fitted to the sidebands.
        seed: of the order of equal scores.

    Raises:
        JepalibError: a mass outside the bins, or fewer than `MIN_SIDEBAND` selected sideband events.
    """
    inside = window.regions(mass)
    selections = []
    for efficiency in efficiencies:
        passed = select(scores, fold, ~inside, efficiency, seed)
        counts = np.histogram(mass[passed], window.edges)[0]
        left = int(counts[~window.inside].sum())
        if left < MIN_SIDEBAND:
            raise JepalibError(
                f"bump hunt: efficiency {efficiency:g} leaves {left} sideband events, {MIN_SIDEBAND} needed"
            )
        background = fit_sidebands(counts, window, shape)
        selections.append(
            Selection(
                efficiency,
                passed,
                counts,
                background,
                excess(int(counts[window.inside].sum()), background.total, background.error),
                goodness(counts, background, window),
            )
        )
    return selections
