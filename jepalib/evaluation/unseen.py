"""Does a search lose on signals that a pre-training has not seen? Two kinds of pre-training compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from scipy.stats import t as student

from jepalib.errors import JepalibError
from jepalib.evaluation.contrasts import CONFIDENCE
from jepalib.evaluation.differences import verdict
from jepalib.evaluation.scan import NOT_QUOTED

MORE = "the first less the second"


def gaps(
    table: pd.DataFrame, arms: tuple[str, str], groups: Mapping[str, Sequence[str]], metric: str
) -> pd.DataFrame:
    """First minus second kind of pre-training, mean over the signals of each group.

    Args:
        table: `evaluation.scan.scan` with the kind of pre-training as `arm` and, in a column
            `pretraining`, which of its repetitions it is.
        groups: signals by title; where there are two, the column `MORE` has what the first group
            loses or gains beyond the second.

    Returns:
        A row for each pair of pre-trainings and seed of the search; NaN where a signal has no value.

    Raises:
        JepalibError: one kind has other pre-trainings, seeds or signals than the other.
    """
    parts = {}
    for title, names in groups.items():
        own = table[table["signal"].isin(names)].set_index(["pretraining", "seed", "signal"])
        first, second = (own[own["arm"] == arm][metric].sort_index() for arm in arms)
        if first.empty or not first.index.equals(second.index):
            raise JepalibError(f"{title}: {' and '.join(arms)} were not searched with alike")
        each = (first - second).groupby(["pretraining", "seed"])
        parts[title] = each.agg(lambda values: values.mean(skipna=False))
    frame = pd.DataFrame(parts)
    if len(groups) == 2:
        frame[MORE] = frame.iloc[:, 0] - frame.iloc[:, 1]
    return frame


def gap_in_words(gap: pd.Series) -> str:
    """A column of `gaps` with its spread, and with a verdict where there are several pre-trainings.

    The verdict (Student's t over pairs of pre-trainings, each the mean of its seeds of the search) is
    about pre-trainings; seeds of the search alone say nothing of the luck of one.
    """
    if gap.isna().any():
        return NOT_QUOTED
    each = gap.groupby("pretraining").mean()
    if len(each) == 1:
        spread = f" ± {gap.std():.3f}" if len(gap) > 1 else ""
        return f"{gap.mean():+.3f}{spread} (mean and spread of {len(gap)} seeds of the search)"
    reach = student.ppf(0.5 + CONFIDENCE / 2, len(each) - 1) * each.std() / len(each) ** 0.5
    told = f"mean and spread of {len(each)} pairs of pre-trainings"
    return f"{each.mean():+.3f} ± {each.std():.3f} ({told}), {verdict(each.mean(), reach)}"
