"""The nine-class table of background rejection with the errors that few passing jets allow.

ParT (arXiv:2202.03772, Table 1) quotes 1/FPR of QCD at one signal efficiency a class, from two million
QCD jets. With fewer, only a handful pass, or none: an interval or a limit then says what is known.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from jepalib.errors import JepalibError
from jepalib.evaluation.calibration import binomial_interval
from jepalib.evaluation.tagging import SIGNAL_EFFICIENCY, checked, discriminant, passing_background
from jepalib.schema import CLASSES

LIMIT = 0.95  # confidence of "larger than", where no background jet passes


def rejection_table(
    members: Float[np.ndarray, "members jets classes"], labels: Int[np.ndarray, " jets"]
) -> pd.DataFrame:
    """QCD rejection 1/FPR of each signal class at its `SIGNAL_EFFICIENCY`, one member or several.

    The score is p_s/(p_s + p_QCD). FPR is the mean over members, each at its own threshold. Its
    error is binomial, for as many background jets as there are: members are judged on the same
    jets, so that more of them do not make it smaller. It is Wilson's interval of one standard deviation,
    which lies above zero with any passing jet, so that no rejection is infinite; the noise of the
    threshold, from few signal jets, is not in it. Where no jet passes, the rejection is larger than
    `low` with a confidence of 95 % (exact binomial: FPR < 1 - 0.05^(1/n)).

    Returns:
        A row per signal class: signal, efficiency, signal_jets, background_jets, passing (mean over
        members), passing_spread (standard deviation over members, NaN with one), rejection, low, high
        (NaN where there is none), text: "48 (+21 -13)", "> 167", or why there is none.

    Raises:
        JepalibError: what `tagging.checked` refuses, or there are no background jets.
    """
    background_jets = int((labels == 0).sum())
    if background_jets == 0:
        raise JepalibError(f"rejection_table: none of the {len(labels)} jets is {CLASSES[0]}, the background")
    scores = [checked(member, labels)[0] for member in members]
    rows = []
    for name, efficiency in SIGNAL_EFFICIENCY.items():
        of_class = labels == CLASSES.index(name)
        passing, reason = [], ""
        for member in scores:
            score = discriminant(member, name)
            count, reason = passing_background(score[of_class], score[labels == 0], efficiency)
            passing.append(count)
        about = {
            "signal": name, "efficiency": efficiency, "signal_jets": int(of_class.sum()),
            "background_jets": background_jets, "passing": math.nan, "passing_spread": math.nan,
        }  # fmt: skip
        if not reason:
            about["passing"] = float(np.mean(passing))
            about["passing_spread"] = float(np.std(passing, ddof=1)) if len(passing) > 1 else math.nan
        rows.append(about | _rejection(about["passing"], background_jets, reason))
    return pd.DataFrame(rows)


def _rejection(passing: float, jets: int, reason: str) -> dict[str, float | str]:
    """Value, interval and text of one entry; `passing` need not be a whole number."""
    if reason:
        return {"rejection": math.nan, "low": math.nan, "high": math.nan, "text": reason}
    if passing == 0:
        low = 1 / (1 - (1 - LIMIT) ** (1 / jets))
        return {"rejection": math.nan, "low": low, "high": math.nan, "text": f"> {low:.0f}"}
    (rate_low,), (rate_high,) = binomial_interval(np.array([passing]), np.array([jets]))
    value, low, high = jets / passing, 1 / float(rate_high), 1 / float(rate_low)
    digits = 0 if value >= 20 else 1
    text = f"{value:.{digits}f} (+{high - value:.{digits}f} -{value - low:.{digits}f})"
    return {"rejection": value, "low": low, "high": high, "text": text}
