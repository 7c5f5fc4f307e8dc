"""Which jets to look at: where models disagree, where one is wrong and sure, where it is unsure.

Probabilities and labels in, rows out, the most striking first.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from jepalib.errors import JepalibError
from jepalib.evaluation.calibration import entropy

Probabilities = Float[np.ndarray, "jets classes"]
Others = Float[np.ndarray, "other_jets other_classes"]  # must be as many: told plainly where they are not
Rows = Int[np.ndarray, " picked"]


def disagreements(first: Probabilities, second: Others, number: int) -> Rows:
    """Jets that two models put into different classes, ranked by the confidence of the less sure one.

    Args:
        number: at most so many.
    """
    apart = disagree(first, second)
    return _ranked(apart, np.minimum(first.max(1), second.max(1)), number)


def disagree(first: Probabilities, second: Others) -> Bool[np.ndarray, " jets"]:
    """True where the two put a jet into different classes.

    Raises:
        JepalibError: they have scored different numbers of jets or classes.
    """
    if first.shape != second.shape:
        raise JepalibError(f"picks: the models' scores have shapes {first.shape} and {second.shape}")
    return first.argmax(1) != second.argmax(1)


def confident_errors(probabilities: Probabilities, labels: Int[np.ndarray, " jets"], number: int) -> Rows:
    """Jets put into a wrong class, the surest mistake first; jets without a label (-1) are left out."""
    wrong = (probabilities.argmax(1) != labels) & (labels >= 0)
    return _ranked(wrong, probabilities.max(1), number)


def most_uncertain(probabilities: Probabilities, number: int) -> Rows:
    """Jets of the largest entropy of scores."""
    return _ranked(np.ones(len(probabilities), bool), entropy(probabilities), number)


def _ranked(chosen: Bool[np.ndarray, " jets"], value: Float[np.ndarray, " jets"], number: int) -> Rows:
    """The chosen rows, the largest value first; of equal ones the first row."""
    if number < 1:
        raise JepalibError(f"picks: {number} jets asked for; ask for at least 1")
    rows = np.flatnonzero(chosen)
    return rows[np.argsort(-value[rows], kind="stable")][:number]
