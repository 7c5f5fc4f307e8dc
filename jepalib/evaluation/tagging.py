"""How well jets are told apart: accuracy, AUC, background rejection, confusion, log loss.

Definitions are those of ParT (arXiv:2202.03772, Sec. 5), so that numbers compare with
its tables. Arrays in, numbers out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from jepalib.errors import JepalibError
from jepalib.schema import CLASSES

# Signal efficiency at which the rejection of each class against QCD is quoted.
SIGNAL_EFFICIENCY = {name: 0.5 for name in CLASSES[1:]} | {"Hqql": 0.99, "Tbl": 0.995}
BINARY_EFFICIENCIES = (0.5, 0.3)
MIN_PASSING = 10  # background jets above the threshold; fewer say nothing (32 % uncertainty)


@dataclass(frozen=True)
class Rejection:
    """Background rejection 1/FPR at a fixed signal efficiency.

    Attributes:
        value: 1/FPR; NaN where `reason` says why it cannot be told.
        uncertainty: one binomial standard deviation of the passing background.
        passing: background jets above the threshold.
        reason: empty if the value stands.
    """

    value: float
    uncertainty: float
    passing: int
    reason: str = ""


def checked(
    probabilities: Float[np.ndarray, "jets classes"],
    labels: Int[np.ndarray, " jets"],
    classes: Sequence[str] = CLASSES,
) -> tuple[Float[np.ndarray, "jets classes"], Int[np.ndarray, " jets"]]:
    """The same in float64 and int64.

    Raises:
        JepalibError: no jets, other columns than classes, labels that are none of them, or
            rows that are no probabilities.
    """
    probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels, np.int64)
    if len(labels) == 0:
        raise JepalibError("tagging: there are no jets to evaluate")
    if probabilities.shape[1] != len(classes):
        raise JepalibError(
            f"tagging: probabilities have {probabilities.shape[1]} columns for {len(classes)} classes"
        )
    wrong = int(((labels < 0) | (labels >= len(classes))).sum())
    if wrong:
        raise JepalibError(f"tagging: {wrong} of {len(labels)} labels are not in 0 to {len(classes) - 1}")
    sound = (probabilities >= 0).all(1) & (np.abs(probabilities.sum(1) - 1) < 1e-2)
    if not sound.all():
        row = int(np.argmin(sound))
        raise JepalibError(
            f"tagging: {int((~sound).sum())} rows are no probabilities (first is row {row}: "
            f"{probabilities[row].tolist()}); apply a softmax to the logits"
        )
    return probabilities, labels


def tagging_metrics(
    probabilities: Float[np.ndarray, "jets classes"],
    labels: Int[np.ndarray, " jets"],
    classes: Sequence[str] = CLASSES,
) -> dict[str, float]:
    """Every number of one tagger: accuracy, auc_ovo, log_loss, rej_<name>, rej_<name>_err.

    Rejections are NaN where statistics do not allow them; `rejections` says why. With two
    classes the second is the signal and the names are its efficiencies in per cent.

    Args:
        probabilities: columns in the order of the classes, rows sum to one.
        labels: class index of each jet.
        classes: names of the classes.
    """
    probabilities, labels = checked(probabilities, labels, classes)
    metrics = {
        "accuracy": float((probabilities.argmax(1) == labels).mean()),
        "auc_ovo": auc_ovo(probabilities, labels),
        "log_loss": log_loss(probabilities, labels),
    }
    table = (
        rejections(probabilities, labels) if len(classes) > 2 else binary_rejections(probabilities, labels)
    )
    for name, rejection in table.items():
        metrics[f"rej_{name}"], metrics[f"rej_{name}_err"] = rejection.value, rejection.uncertainty
    return metrics


def log_loss(probabilities: Float[np.ndarray, "jets classes"], labels: Int[np.ndarray, " jets"]) -> float:
    """Mean of -ln p(true class); p is kept above the smallest float32 step of 1."""
    chosen = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(chosen, np.finfo(np.float32).eps)).mean())


def auc_ovo(probabilities: Float[np.ndarray, "jets classes"], labels: Int[np.ndarray, " jets"]) -> float:
    """Macro one-vs-one AUC, as ParT: the mean over ordered pairs (a, b) of classes.

    Each pair uses only jets of a and b, and p_a as the score for a against b; equal to
    scikit-learn's ``roc_auc_score(multi_class="ovo", average="macro")`` (Hand and Till,
    Mach. Learn. 45 (2001) 171, Eq. 7). One sort a class instead of two a pair. Classes
    without jets are left out; NaN if fewer than two are left.
    """
    classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=classes)
    present = np.flatnonzero(counts)
    if len(present) < 2:
        return math.nan
    total = 0.0
    for a in present:
        order = np.argsort(probabilities[:, a])
        score, label = probabilities[order, a], labels[order]
        below = np.concatenate([[0], np.cumsum(label == a)])
        edges = np.flatnonzero(np.concatenate([[True], score[1:] != score[:-1], [True]]))
        # Jets of class a with a lower score, equal ones counted half.
        lower = np.repeat((below[edges[:-1]] + below[edges[1:]]) / 2, np.diff(edges))
        above = np.bincount(label, weights=counts[a] - lower, minlength=classes)
        total += sum(above[b] / (counts[a] * counts[b]) for b in present if b != a)
    return float(total / (len(present) * (len(present) - 1)))


def discriminant(probabilities: Float[np.ndarray, "jets classes"], signal: str) -> Float[np.ndarray, " jets"]:
    """Score of `signal` against QCD, p_s / (p_s + p_QCD); 0 where both vanish."""
    s, b = probabilities[:, CLASSES.index(signal)], probabilities[:, 0]
    return np.divide(s, s + b, out=np.zeros_like(s), where=s + b > 0)


def passing_background(
    signal: Float[np.ndarray, " signals"], background: Float[np.ndarray, " backgrounds"], efficiency: float
) -> tuple[int, str]:
    """Background jets above the highest threshold that keeps at least `efficiency` of the signal.

    And an empty text; or 0 and the reason if the signal is too small for one of its jets to fail.
    """
    allowed = math.floor(len(signal) * (1 - efficiency) + 1e-9)  # signal jets that may fail
    if allowed < 1:
        needed = math.ceil(1 / (1 - efficiency) - 1e-9)
        return 0, f"{len(signal)} signal jets, {needed} needed for an efficiency of {100 * efficiency:g} %"
    threshold = np.partition(signal, allowed)[allowed]
    return int((background >= threshold).sum()), ""


def background_rejection(
    signal: Float[np.ndarray, " signals"], background: Float[np.ndarray, " backgrounds"], efficiency: float
) -> Rejection:
    """1/FPR at the highest threshold that keeps at least `efficiency` of the signal.

    Not a number, with the reason, if fewer than `MIN_PASSING` background jets pass, or
    if the signal is too small for one of its jets to fail.
    """
    passing, reason = passing_background(signal, background, efficiency)
    if not reason and passing < MIN_PASSING:
        reason = f"{passing} of {len(background)} background jets pass, {MIN_PASSING} needed"
    if reason:
        return Rejection(math.nan, math.nan, passing, reason)
    rate = passing / len(background)
    return Rejection(1 / rate, math.sqrt((1 - rate) / passing) / rate, passing)


def rejections(
    probabilities: Float[np.ndarray, "jets classes"], labels: Int[np.ndarray, " jets"]
) -> dict[str, Rejection]:
    """Rejection of QCD for each signal class at its `SIGNAL_EFFICIENCY`."""
    table = {}
    for name, efficiency in SIGNAL_EFFICIENCY.items():
        score = discriminant(probabilities, name)
        signal, background = score[labels == CLASSES.index(name)], score[labels == 0]
        table[name] = background_rejection(signal, background, efficiency)
    return table


def binary_rejections(
    probabilities: Float[np.ndarray, "jets 2"], labels: Int[np.ndarray, " jets"]
) -> dict[str, Rejection]:
    """Rejection of class 0 at the `BINARY_EFFICIENCIES` of class 1, as top and quark-gluon tagging quote."""
    signal, background = probabilities[labels == 1, 1], probabilities[labels == 0, 1]
    return {
        f"{100 * efficiency:g}": background_rejection(signal, background, efficiency)
        for efficiency in BINARY_EFFICIENCIES
    }


def confusion_matrix(
    probabilities: Float[np.ndarray, "jets classes"], labels: Int[np.ndarray, " jets"]
) -> Int[np.ndarray, "classes classes"]:
    """Number of jets by true class (rows) and most probable class (columns)."""
    classes = probabilities.shape[1]
    cells = labels * classes + probabilities.argmax(1)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)
