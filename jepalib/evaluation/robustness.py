"""How much is lost when something is missing or wrong: accuracy and AUC by condition, compared in pairs.

Scores come as one array (models, conditions, jets, classes) of the same jets, with two tables that
say what its first two axes are. The first condition is the clean one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy.stats import t as student

from jepalib.errors import JepalibError
from jepalib.evaluation.contrasts import CONFIDENCE, pooled_spread
from jepalib.evaluation.differences import Difference
from jepalib.evaluation.tagging import auc_ovo, checked

Scores = Float[np.ndarray, "models conditions jets classes"]
Labels = Int[np.ndarray, " jets"]
Right = Bool[np.ndarray, "models conditions jets"]
MEAN = "mean of removals"  # name in the column `what` of the mean over the single inputs


def robustness_table(
    scores: Scores, labels: Labels, models: pd.DataFrame, conditions: pd.DataFrame
) -> pd.DataFrame:
    """One row for each model and condition, and one for each model's mean over removed inputs.

    Args:
        scores: class probabilities, the first condition clean.
        models: arm, seed of each model.
        conditions: kind, what, size of each condition, and more columns that are kept.

    Returns:
        Columns of both tables, and accuracy, auc_ovo, auc_change, loss (of accuracy, clean minus
        this, on the same jets), loss_error (one standard deviation, from its scatter over jets)
        and jets. The mean has the kind "mean" and is that of the rows of the kind "input".

    Raises:
        JepalibError: the tables do not fit the scores, the first condition is not clean, or the
            scores are no probabilities.
    """
    _fitting(scores, models, conditions)
    right = is_right(scores, labels)
    removed = (conditions["kind"] == "input").to_numpy()
    rows = []
    for model, about in enumerate(models.to_dict("records")):
        auc = np.array([auc_ovo(np.asarray(p, np.float64), labels) for p in scores[model]])
        for place, condition in enumerate(conditions.to_dict("records")):
            numbers = _numbers(right[model, 0], right[model, place].astype(float))
            rows.append(
                {**about, **condition, **numbers, "auc_ovo": auc[place], "auc_change": auc[place] - auc[0]}
            )
        if removed.any():
            numbers = _numbers(right[model, 0], right[model, removed].mean(0))
            mean = auc[removed].mean()
            named = {"kind": "mean", "what": MEAN, "size": 0.0}
            rows.append({**about, **named, **numbers, "auc_ovo": mean, "auc_change": mean - auc[0]})
    return pd.DataFrame(rows)


def is_right(scores: Scores, labels: Labels) -> Right:
    """Whether the most probable class is the true one.

    Raises:
        JepalibError: what `tagging.checked` refuses.
    """
    names = [str(i) for i in range(scores.shape[-1])]
    return np.stack([[checked(p, labels, names)[0].argmax(1) == labels for p in model] for model in scores])


def by_arm(scores: Scores, labels: Labels, models: pd.DataFrame, conditions: pd.DataFrame) -> pd.DataFrame:
    """One row for each arm and condition: mean over its seeds, and both errors.

    Returns:
        arm, kind, what, size (and more of `conditions`), accuracy, spread (standard deviation over
        seeds; NaN with one), jet_error (of the mean of the seeds, from its scatter over jets),
        loss, loss_spread, loss_error (the same of the paired loss), auc_ovo, auc_spread, seeds, jets.

    Raises:
        JepalibError: as `robustness_table`.
    """
    table = robustness_table(scores, labels, models, conditions)
    right = is_right(scores, labels)
    removed = (conditions["kind"] == "input").to_numpy()
    rows = []
    for arm in models["arm"].unique():
        mine = (models["arm"] == arm).to_numpy()
        by_condition = [*right[mine].mean(0)] + (
            [right[mine][:, removed].mean((0, 1))] if removed.any() else []
        )
        seeds = table[table["arm"] == arm].groupby("seed", sort=False)
        groups = [group.reset_index(drop=True) for _, group in seeds]
        for place, share in enumerate(by_condition):
            repeated = pd.DataFrame([group.loc[place] for group in groups])
            about = repeated.iloc[0].drop(["seed", "accuracy", "loss", "loss_error", "auc_ovo", "auc_change"])
            rows.append({
                **about,
                "accuracy": repeated["accuracy"].mean(),
                "spread": repeated["accuracy"].std(),
                "jet_error": _jet_error(share),
                "loss": repeated["loss"].mean(),
                "loss_spread": repeated["loss"].std(),
                "loss_error": _jet_error(by_condition[0] - share),
                "auc_ovo": repeated["auc_ovo"].mean(),
                "auc_spread": repeated["auc_ovo"].std(),
                "seeds": len(repeated),
            })  # fmt: skip
    return pd.DataFrame(rows)


def compare_arms(
    right: Right,
    models: pd.DataFrame,
    conditions: pd.DataFrame,
    arms: Sequence[str],
    condition: tuple[str, str] = ("mean", ""),
    lost: bool = False,
) -> Difference:
    """The first of two arms against the second under one condition: accuracy, or what they lose of it.

    The error adds in squares that of the seeds, whose spread is pooled over all arms because one to
    three seeds of a single arm say little of it (`contrasts.pooled_spread`), and that of the finite
    number of jets, on which both are judged together. The interval is Student's t.

    Args:
        right: of `is_right`.
        models, conditions: as for `robustness_table`.
        arms: names of two arms.
        condition: kind and what; ("mean", "") is the mean over removed inputs, and an empty `what`
            any condition of the kind, of which there must be one.
        lost: compare clean minus this accuracy instead.

    Raises:
        JepalibError: there is no such arm, or the condition is none or several.
    """
    kind, what = condition
    same = (conditions["kind"] == ("input" if kind == "mean" else kind)).to_numpy()
    chosen = same & ((conditions["what"] == what).to_numpy() if what else True)
    names = list(models["arm"].unique())
    if not chosen.any() or (chosen.sum() > 1 and kind != "mean") or set(arms) - set(names):
        raise JepalibError(
            f"compare_arms: {int(chosen.sum())} conditions {kind} {what}, one is needed; "
            f"arms {list(arms)} of {names}"
        )
    now = right[:, chosen].mean(1)  # (models, jets)
    now = right[:, 0] - now if lost else now
    by_arm_and_seed = {name: now[(models["arm"] == name).to_numpy()] for name in names}
    spread, freedom = pooled_spread([group.mean(1).tolist() for group in by_arm_and_seed.values()])
    groups = [by_arm_and_seed[arm] for arm in arms]
    means = [float(group.mean()) for group in groups]
    spreads = [float(group.mean(1).std(ddof=1)) if len(group) > 1 else math.nan for group in groups]
    jets = _jet_error(groups[0].mean(0) - groups[1].mean(0))
    error = math.sqrt(spread**2 * sum(1 / len(group) for group in groups) + jets**2)
    reach = float(student.ppf(0.5 + CONFIDENCE / 2, freedom)) * error if freedom else math.nan
    return Difference(means[0], spreads[0], means[1], spreads[1], means[0] - means[1], error, reach)


def paired_gain(
    scores: Scores, labels: Labels, models: pd.DataFrame, conditions: pd.DataFrame, arms: Sequence[str]
) -> pd.DataFrame:
    """Accuracy of the first arm minus that of the second under each condition, jet by jet.

    Both arms are averaged over the seeds that they share, so that the same labelled jets and the
    same test jets stand on both sides.

    Args:
        arms: names of two arms.

    Returns:
        kind, what, size, gain, jet_error (from the scatter over jets: what other test jets would
        change), spread (standard deviation over shared seeds) and seeds; the mean over removed
        inputs last.

    Raises:
        JepalibError: the arms share no seed, or as `robustness_table`.
    """
    _fitting(scores, models, conditions)
    right = is_right(scores, labels).astype(float)
    rows_of = [np.flatnonzero(models["arm"] == arm) for arm in arms]
    seeds = models["seed"].to_numpy()
    shared = sorted(set(seeds[rows_of[0]]) & set(seeds[rows_of[1]]))
    if not shared:
        raise JepalibError(f"paired_gain: '{arms[0]}' and '{arms[1]}' share no seed")
    places = [[next(i for i in rows if seeds[i] == s) for s in shared] for rows in rows_of]
    gains = right[places[0]] - right[places[1]]  # (seeds, conditions, jets)
    table = conditions[["kind", "what", "size"]].copy()
    removed = (conditions["kind"] == "input").to_numpy()
    if removed.any():
        gains = np.concatenate([gains, gains[:, removed].mean(1, keepdims=True)], axis=1)
        table.loc[len(table)] = ["mean", MEAN, 0.0]
    by_seed = gains.mean(2)
    table["gain"] = by_seed.mean(0)
    table["jet_error"] = [_jet_error(g) for g in gains.mean(0)]
    table["spread"] = by_seed.std(0, ddof=1) if len(shared) > 1 else np.nan
    return table.assign(seeds=len(shared))


def _fitting(scores: Scores, models: pd.DataFrame, conditions: pd.DataFrame) -> None:
    if scores.shape[:2] != (len(models), len(conditions)):
        raise JepalibError(
            f"robustness: scores of {scores.shape[0]} models and {scores.shape[1]} conditions, tables of "
            f"{len(models)} and {len(conditions)}"
        )
    if conditions["kind"].iloc[0] != "clean":
        raise JepalibError("robustness: the first condition must be the clean one, to which all compare")


def _numbers(clean: Bool[np.ndarray, " jets"], now: Float[np.ndarray, " jets"]) -> dict[str, float | int]:
    """Accuracy and paired loss, from the share of right answers for each jet."""
    lost = clean - now
    return {
        "accuracy": float(now.mean()),
        "loss": float(lost.mean()),
        "loss_error": _jet_error(lost),
        "jets": len(now),
    }


def _jet_error(values: Float[np.ndarray, " jets"]) -> float:
    """Standard error of a mean over jets."""
    return float(np.std(values) / len(values) ** 0.5)
