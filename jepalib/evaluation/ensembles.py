"""Ways to make scores trustworthy, compared: one model, its temperature, many models, many passes.

B. Lakshminarayanan et al. (arXiv:1612.01474) for deep ensembles, Y. Gal and Z. Ghahramani
(arXiv:1506.02142) for Monte-Carlo dropout, C. Guo et al. (arXiv:1706.04599) for temperatures.
Members are the same network with other seeds, all judged on the same jets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from jepalib.errors import JepalibError
from jepalib.evaluation.calibration import (
    BINS,
    average,
    calibration_floor,
    confidence_bins,
    entropy,
    fit_temperature,
    tempered,
)
from jepalib.evaluation.tagging import checked

METRICS = ("accuracy", "log_loss", "ece")
RESAMPLES = 200  # of the bootstrap: an error is then known to 5 %

Members = Float[np.ndarray, "members jets classes"]
Labels = Int[np.ndarray, " jets"]
Validation = Float[np.ndarray, "members val_jets classes"]
ValidationLabels = Int[np.ndarray, " val_jets"]


@dataclass(frozen=True)
class Way:
    """Scores of the test jets, made in one way.

    Attributes:
        name: of the way.
        members: one set of scores for each seed, or a single one that was made of all seeds.
        temperatures: of each member, NaN where none could be fitted; empty if none was tried.
    """

    name: str
    members: Members
    temperatures: tuple[float, ...] = ()


def ways(
    validation: Validation,
    validation_labels: ValidationLabels,
    test: Members,
    dropout: Float[np.ndarray, "some jets classes"],
) -> list[Way]:
    """The models themselves, and what else can be made of them.

    In this order: "single model"; "temperature" (each member's own, fitted on validation jets); "MC
    dropout" (where it is given); "ensemble" (mean of the members' scores) where there are two members
    at least, and "ensemble, temperature" (fitted on the ensemble's validation scores).

    Args:
        validation, test: scores of the same members on validation and on test jets.
        dropout: mean of the passes of each member over the test jets; none (length 0) to leave it out.
    """
    found = [Way("single model", test), _at_temperature("temperature", validation, validation_labels, test)]
    if len(dropout):
        found.append(Way("MC dropout", dropout))
    if len(test) > 1:
        mean, mean_validation = average(test)[None], average(validation)[None]
        found.append(Way("ensemble", mean))
        found.append(_at_temperature("ensemble, temperature", mean_validation, validation_labels, mean))
    return found


def _at_temperature(name: str, validation: Validation, labels: ValidationLabels, test: Members) -> Way:
    """Each member at its own temperature; as it is where none can be fitted."""
    temperatures, members = [], []
    for of_validation, of_test in zip(validation, test, strict=True):
        try:
            temperatures.append(fit_temperature(of_validation, labels))
            members.append(tempered(of_test, temperatures[-1]))
        except JepalibError:  # no optimum: scores of hardly any training, or without a mistake
            temperatures.append(math.nan)
            members.append(np.asarray(of_test, np.float64))
    return Way(name, np.stack(members), tuple(temperatures))


def compare(found: Sequence[Way], labels: Labels, seed: int = 0) -> pd.DataFrame:
    """Accuracy, log loss and calibration of each way, and how they change against the first.

    Of each metric in `METRICS` there are, for metric x:
    x, the mean over members; x_spread, their standard deviation (NaN with one);
    x_error, that of the finite number of jets: the bootstrap's, of the mean over members;
    x_change, against the first way, and x_change_error, the paired bootstrap's: both ways are
    judged on the same resampled jets, so that what is common to them cancels.

    An ECE can only be pushed up by chance, so that a resampled one lies somewhat higher: its errors
    are a scale. Compare it with ece_floor, what so many jets show with perfect calibration.

    Returns:
        A row per way: way, models (members), jets, temperature (mean over members; NaN without),
        those of the metrics, ece_floor, entropy (mean of all jets and members, nats).

    Raises:
        JepalibError: what `tagging.checked` refuses.
    """
    weights = bootstrap_weights(len(labels), seed)
    rows, reference = [], None
    for way in found:
        members = _resampled(way, labels, weights)
        means = {metric: values.mean(0) for metric, values in members.items()}
        reference = reference or means
        rows.append(_about(way) | _numbers(members, means, reference) | {"jets": len(labels)})
    return pd.DataFrame(rows)


def by_member(way: Way, labels: Labels) -> pd.DataFrame:
    """Each metric (column) of each member (row), for comparing arms by their seeds.

    Raises:
        JepalibError: what `tagging.checked` refuses.
    """
    alone = _resampled(way, labels, np.ones((1, len(labels))))
    return pd.DataFrame({metric: values[:, 0] for metric, values in alone.items()})


def paired_difference(
    first: Way, second: Way, labels: Labels, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """First minus second way and its paired bootstrap error, by metric: for one number an arm.

    The error is that of the finite number of jets alone; seeds are not in it.

    Raises:
        JepalibError: what `tagging.checked` refuses.
    """
    weights = bootstrap_weights(len(labels), seed)
    a, b = ({m: v.mean(0) for m, v in _resampled(way, labels, weights).items()} for way in (first, second))
    return {m: (float(a[m][0] - b[m][0]), float((a[m] - b[m])[1:].std(ddof=1))) for m in METRICS}


def bootstrap_weights(jets: int, seed: int) -> Float[np.ndarray, "resamples jets"]:
    """How often each jet is in each of `RESAMPLES` samples with replacement; row 0 has each jet once."""
    rng = np.random.default_rng(seed)
    drawn = [np.bincount(rng.integers(0, jets, jets), minlength=jets) for _ in range(RESAMPLES)]
    return np.stack([np.ones(jets), *drawn]).astype(np.float64)


def _resampled(
    way: Way, labels: Labels, weights: Float[np.ndarray, "resamples jets"]
) -> dict[str, Float[np.ndarray, "members resamples"]]:
    """Each metric of each member on all jets (place 0) and on each resample."""
    found: dict[str, list[np.ndarray]] = {metric: [] for metric in METRICS}
    for member in way.members:
        p, y = checked(member, labels, [str(i) for i in range(member.shape[1])])
        _, confidence, cell = confidence_bins(p)
        right = p.argmax(1) == y
        gaps = np.zeros((len(y), BINS))
        gaps[np.arange(len(y)), cell] = right - confidence
        surprise = -np.log(np.maximum(p[np.arange(len(y)), y], np.finfo(np.float32).eps))
        found["accuracy"].append(weights @ right / len(y))
        found["log_loss"].append(weights @ surprise / len(y))
        found["ece"].append(np.abs(weights @ gaps).sum(1) / len(y))
    return {metric: np.stack(values) for metric, values in found.items()}


def _about(way: Way) -> dict[str, object]:
    """What does not ask for the labels."""
    known = [temperature for temperature in way.temperatures if math.isfinite(temperature)]
    return {
        "way": way.name, "models": len(way.members),
        "temperature": float(np.mean(known)) if known else math.nan,
        "ece_floor": float(np.mean([calibration_floor(member) for member in way.members])),
        "entropy": float(np.mean([entropy(member).mean() for member in way.members])),
    }  # fmt: skip


def _numbers(
    members: dict[str, np.ndarray], means: dict[str, np.ndarray], reference: dict[str, np.ndarray]
) -> dict[str, float]:
    """Of each metric the value, its spread and error, and the change against the reference."""
    found = {}
    for metric, values in means.items():
        of_members, change = members[metric][:, 0], values - reference[metric]
        found[metric] = float(values[0])
        found[f"{metric}_spread"] = float(of_members.std(ddof=1)) if len(of_members) > 1 else math.nan
        found[f"{metric}_error"] = float(values[1:].std(ddof=1))
        found[f"{metric}_change"] = float(change[0])
        found[f"{metric}_change_error"] = float(change[1:].std(ddof=1))
    return found
