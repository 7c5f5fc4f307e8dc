"""Can the scores be trusted: calibration, entropy, temperature, averaging, rejection, bins.

Arrays of probabilities in, numbers and tables out. The log loss is in `evaluation.tagging`.
Errors of accuracies are Wilson's binomial interval of one standard deviation (E. B. Wilson,
J. Am. Stat. Assoc. 22 (1927) 209), which does not vanish where all jets are right.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.optimize import brentq
from scipy.special import logsumexp

from jepalib.errors import JepalibError
from jepalib.evaluation.tagging import auc_ovo, checked

BINS = 15  # of confidence, of equal width
COLDEST, HOTTEST = 0.01, 100.0  # temperatures among which the best one is sought

Probabilities = Float[np.ndarray, "jets classes"]
Labels = Int[np.ndarray, " jets"]


def reliability(probabilities: Probabilities, labels: Labels, bins: int = BINS) -> pd.DataFrame:
    """Confidence against accuracy in bins of confidence, the largest probability of a jet.

    Bins are of equal width and open below, ((m - 1)/M, m/M], as C. Guo et al. (arXiv:1706.04599,
    Eq. 2) have them.

    Returns:
        A row per bin: low, high, jets, confidence (mean), accuracy, accuracy_low, accuracy_high;
        what an empty bin cannot have is NaN.

    Raises:
        JepalibError: what `tagging.checked` refuses, or less than one bin.
    """
    probabilities, labels = _sound(probabilities, labels)
    edges, confidence, cell = confidence_bins(probabilities, bins)
    right = probabilities.argmax(1) == labels
    jets, hits = np.bincount(cell, minlength=bins), np.bincount(cell, right, bins)
    low, high = binomial_interval(hits, jets)
    columns = {
        "low": edges[:-1], "high": edges[1:], "jets": jets,
        "confidence": _ratio(np.bincount(cell, confidence, bins), jets), "accuracy": _ratio(hits, jets),
        "accuracy_low": low, "accuracy_high": high,
    }  # fmt: skip
    return pd.DataFrame(columns)


def confidence_bins(
    probabilities: Probabilities, bins: int = BINS
) -> tuple[Float[np.ndarray, " edges"], Float[np.ndarray, " jets"], Int[np.ndarray, " jets"]]:
    """Edges of the bins of confidence, confidence of each jet, and the bin that it is in.

    Raises:
        JepalibError: less than one bin.
    """
    if bins < 1:
        raise JepalibError(f"calibration: {bins} bins of confidence; give at least one")
    edges, confidence = np.linspace(0, 1, bins + 1), probabilities.max(1)
    return edges, confidence, np.digitize(confidence, edges[1:-1], right=True)


def expected_calibration_error(probabilities: Probabilities, labels: Labels, bins: int = BINS) -> float:
    """ECE = Σ_m |B_m|/n |acc(B_m) - conf(B_m)| over the bins of `reliability` (Guo et al., Eq. 3).

    Few jets give a large ECE to the best of models: compare it with `calibration_floor`.
    """
    table = reliability(probabilities, labels, bins)
    gap = (table["accuracy"] - table["confidence"]).abs().fillna(0.0)
    return float((gap * table["jets"]).sum() / table["jets"].sum())


def calibration_floor(probabilities: Probabilities, bins: int = BINS) -> float:
    """The ECE to expect of so many jets with these confidences if calibration were perfect.

    Right or wrong is then a draw with the confidence p: the gap of a bin is nearly Gaussian around
    zero, and n_m E|acc - conf| = √(2/π Σ p (1 - p)).

    Raises:
        JepalibError: rows that are no probabilities, or none, or less than one bin.
    """
    probabilities = np.asarray(probabilities, np.float64)
    _sound(probabilities, np.zeros(len(probabilities), np.int64))
    _, confidence, cell = confidence_bins(probabilities, bins)
    variance = np.bincount(cell, np.clip(confidence * (1 - confidence), 0, None), bins)
    return float(np.sqrt(2 / math.pi * variance).sum() / len(confidence))


def entropy(probabilities: Probabilities) -> Float[np.ndarray, " jets"]:
    """Shannon entropy -Σ p ln p of each jet's scores, in nats: 0 if certain, ln(classes) at most."""
    p = np.asarray(probabilities, np.float64)
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum(1)


def fit_temperature(probabilities: Probabilities, labels: Labels) -> float:
    """The temperature T that makes softmax(ln p / T) have the smallest log loss (Guo et al., Eq. 9).

    ln p are logits up to a constant of each jet. The log loss is convex in 1/T, so the root of
    its derivative is the optimum; fit it on validation jets and use `tempered` on test jets.
    T > 1 means that the model was too sure of itself.

    Raises:
        JepalibError: what `tagging.checked` refuses; or no optimum between 0.01 and 100, as where
            every jet is right or the scores say nothing.
    """
    probabilities, labels = _sound(probabilities, labels)
    logits = _logarithms(probabilities)
    chosen = logits[np.arange(len(labels)), labels].mean()

    def slope(inverse: float) -> float:
        """Derivative of the log loss by 1/T."""
        scaled = inverse * logits
        p = np.exp(scaled - logsumexp(scaled, axis=1, keepdims=True))
        return float((p * logits).sum(1).mean() - chosen)

    if not slope(1 / HOTTEST) < 0 < slope(1 / COLDEST):
        why = (
            "the scores say nothing of the class" if slope(1 / HOTTEST) >= 0 else "nearly every jet is right"
        )
        raise JepalibError(
            f"fit_temperature: no best temperature between {COLDEST:g} and {HOTTEST:g} for "
            f"{len(labels)} jets: {why}; take more or other validation jets"
        )
    return 1 / float(brentq(slope, 1 / HOTTEST, 1 / COLDEST, xtol=1e-10))


def tempered(probabilities: Probabilities, temperature: float) -> Probabilities:
    """softmax(ln p / T): softer scores for T > 1, sharper for T < 1; the most probable class stays.

    Raises:
        JepalibError: a temperature that is not positive and finite.
    """
    if not 0 < temperature < math.inf:
        raise JepalibError(f"tempered: temperature {temperature}; it must be positive and finite")
    scaled = _logarithms(np.asarray(probabilities, np.float64)) / temperature
    return np.exp(scaled - logsumexp(scaled, axis=1, keepdims=True))


def average(samples: Float[np.ndarray, "members jets classes"]) -> Probabilities:
    """Mean of the probabilities of several models of a deep ensemble, or several passes of MC dropout.

    B. Lakshminarayanan et al. (arXiv:1612.01474); Y. Gal and Z. Ghahramani (arXiv:1506.02142), whose
    passes are made with dropout left on. Its log loss is never above the mean of the members'.

    Raises:
        JepalibError: there are no members.
    """
    samples = np.asarray(samples, np.float64)
    if len(samples) == 0:
        raise JepalibError("average: no members; give at least one array of probabilities")
    return samples.mean(0)


def disagreement(samples: Float[np.ndarray, "members jets classes"]) -> Float[np.ndarray, " jets"]:
    """Mutual information of class and member in nats: the entropy of the mean less the mean entropy.

    What is left is the part of the uncertainty that all members share.

    Raises:
        JepalibError: there are no members.
    """
    mean = entropy(average(samples))
    return np.clip(mean - np.mean([entropy(member) for member in samples], axis=0), 0, None)


def accuracy_against_rejection(
    probabilities: Probabilities,
    labels: Labels,
    uncertainty: Float[np.ndarray, " uncertainties"] | None = None,
    fractions: Float[np.ndarray, " points"] | None = None,
) -> pd.DataFrame:
    """Accuracy of the jets that remain when the most uncertain ones are rejected first.

    Args:
        uncertainty: of each jet, larger is less certain; by default the `entropy` of its scores.
        fractions: rejected fractions, at least 0 and below 1; by default 0 to 0.95 in steps of 0.05.

    Returns:
        A row per fraction: rejected, jets (that remain, one at least), accuracy, accuracy_low,
        accuracy_high. Of jets with equal uncertainty the first in order are kept.

    Raises:
        JepalibError: what `tagging.checked` refuses, an uncertainty that is not finite or of other
            jets, a fraction outside [0, 1).
    """
    probabilities, labels = _sound(probabilities, labels)
    uncertainty = entropy(probabilities) if uncertainty is None else np.asarray(uncertainty, np.float64)
    if uncertainty.shape != labels.shape or not np.isfinite(uncertainty).all():
        raise JepalibError(
            f"accuracy_against_rejection: give one finite uncertainty for each of the {len(labels)} jets"
        )
    fractions = np.linspace(0, 0.95, 20) if fractions is None else np.asarray(fractions, np.float64)
    if not ((fractions >= 0) & (fractions < 1)).all():
        raise JepalibError(f"accuracy_against_rejection: fractions {fractions.tolist()} must lie in [0, 1)")
    right = (probabilities.argmax(1) == labels)[np.argsort(uncertainty, kind="stable")]
    kept = np.maximum(len(labels) - np.floor(fractions * len(labels) + 1e-9).astype(int), 1)
    hits = np.cumsum(right)[kept - 1]
    low, high = binomial_interval(hits, kept)
    columns = {"rejected": fractions, "jets": kept, "accuracy": hits / kept}
    return pd.DataFrame(columns | {"accuracy_low": low, "accuracy_high": high})


def quantile_edges(values: Float[np.ndarray, " jets"], bins: int = 6) -> Float[np.ndarray, " edges"]:
    """Edges of bins with nearly equal numbers of jets; fewer bins where many values are equal.

    The last edge lies a little above the largest value, for bins that are open above.

    Raises:
        JepalibError: no values, one that is not finite, or less than one bin.
    """
    values = np.asarray(values, np.float64)
    if len(values) == 0 or not np.isfinite(values).all() or bins < 1:
        raise JepalibError(
            f"quantile_edges: {len(values)} values in {bins} bins; give finite values and a bin"
        )
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)))
    above = np.nextafter(edges[-1], np.inf)
    return np.append(edges[:-1], above) if len(edges) > 1 else np.array([edges[0], above])


def metrics_by(
    probabilities: Probabilities,
    labels: Labels,
    values: Float[np.ndarray, " values"],
    edges: Float[np.ndarray, " edges"],
) -> pd.DataFrame:
    """Accuracy, AUC and calibration in bins of an observable: multiplicity, energy, pT.

    The mixture of classes changes from bin to bin, and a bin may lack one: read these as "how good
    here", not as an effect of the observable alone.

    Args:
        values: the observable of each jet.
        edges: rising; bins are [low, high). `quantile_edges` makes some.

    Returns:
        A row per bin: low, high, centre (median of its jets), jets, accuracy, accuracy_low,
        accuracy_high, auc_ovo (NaN with a single class), ece, ece_floor (`calibration_floor`);
        NaN in bins without jets.

    Raises:
        JepalibError: what `tagging.checked` refuses, edges that do not rise, or jets outside them.
    """
    probabilities, labels = _sound(probabilities, labels)
    values, edges = np.asarray(values, np.float64), np.asarray(edges, np.float64)
    if values.shape != labels.shape:
        raise JepalibError(f"metrics_by: {len(values)} values for {len(labels)} jets")
    if len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise JepalibError(f"metrics_by: edges {edges.tolist()} must be at least two and rise")
    outside = int((~((values >= edges[0]) & (values < edges[-1]))).sum())
    if outside:
        raise JepalibError(
            f"metrics_by: {outside} of {len(values)} jets lie outside [{edges[0]:g}, {edges[-1]:g}) "
            "or have no value; widen the edges or choose the jets first"
        )
    cell = np.digitize(values, edges[1:-1])
    rows = [
        {"low": low, "high": high} | _summary(probabilities, labels, values, cell == i)
        for i, (low, high) in enumerate(pairwise(edges))
    ]
    return pd.DataFrame(rows)


def binomial_interval(
    hits: Float[np.ndarray, " bins"] | Int[np.ndarray, " bins"], jets: Int[np.ndarray, " bins"]
) -> tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"]]:
    """Wilson's interval of one standard deviation around hits/jets; NaN without jets."""
    hits, jets = np.asarray(hits, np.float64), np.asarray(jets, np.float64)
    centre = (hits + 0.5) / (jets + 1)
    half = np.sqrt(_ratio(hits * (jets - hits), jets) + 0.25) / (jets + 1)
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def _summary(
    probabilities: np.ndarray, labels: np.ndarray, values: np.ndarray, chosen: np.ndarray
) -> dict[str, float | int]:
    """What `metrics_by` says of one bin."""
    jets = int(chosen.sum())
    names = ("centre", "accuracy", "accuracy_low", "accuracy_high", "auc_ovo", "ece", "ece_floor")
    if jets == 0:
        return {"jets": 0} | dict.fromkeys(names, math.nan)
    p, y = probabilities[chosen], labels[chosen]
    hits = int((p.argmax(1) == y).sum())
    (low,), (high,) = binomial_interval(np.array([hits]), np.array([jets]))
    numbers = (
        float(np.median(values[chosen])), hits / jets, float(low), float(high), auc_ovo(p, y),
        expected_calibration_error(p, y), calibration_floor(p),
    )  # fmt: skip
    return {"jets": jets} | dict(zip(names, numbers, strict=True))


def _sound(probabilities: Probabilities, labels: Labels) -> tuple[Probabilities, Labels]:
    """`tagging.checked` for as many classes as there are columns."""
    probabilities = np.asarray(probabilities)
    return checked(probabilities, labels, [str(i) for i in range(probabilities.shape[1])])


def _logarithms(probabilities: Probabilities) -> Probabilities:
    """ln p, where what a float32 cannot hold counts as its smallest number."""
    return np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, NaN where whole is 0."""
    part = np.asarray(part, np.float64)
    return np.divide(part, whole, out=np.full(part.shape, math.nan), where=np.asarray(whole) > 0)
