"""Six against ten classes: what the gaps are, and when there is a verdict."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from jepalib.errors import JepalibError
from jepalib.evaluation.unseen import MORE, gap_in_words, gaps

ARMS = ("six", "ten")
GROUPS = {"new": ["Tbl", "Wqq"], "seen": ["Hbb"]}


def searched(pretrainings: int, seeds: int) -> pd.DataFrame:
    """The six-class encoder loses 0.5 on what is new to it and 0.1 elsewhere, give or take the repetition."""
    rows = []
    for signal, lost in (("Tbl", 0.6), ("Wqq", 0.4), ("Hbb", 0.1)):
        for pretraining in range(pretrainings):
            for seed in range(seeds):
                luck = 0.01 * (pretraining + seed)
                common = {"signal": signal, "pretraining": str(pretraining), "seed": seed}
                rows.append(common | {"arm": "ten", "max_sic": 2 + seed})
                rows.append(common | {"arm": "six", "max_sic": 2 + seed - lost - luck * (signal != "Hbb")})
    return pd.DataFrame(rows)


def test_gaps_are_those_of_each_pair_and_seed():
    found = gaps(searched(2, 3), ARMS, GROUPS, "max_sic")
    assert list(found.columns) == ["new", "seen", MORE]
    assert len(found) == 6
    assert found["new"].loc["0"].tolist() == pytest.approx([-0.5, -0.51, -0.52])
    assert found["seen"].tolist() == pytest.approx([-0.1] * 6)
    assert found[MORE].loc["1", 2] == pytest.approx(-0.43)
    assert list(gaps(searched(1, 2), ARMS, {"new": ["Tbl"]}, "max_sic").columns) == ["new"]


def test_one_pretraining_has_a_spread_and_no_verdict():
    words = gap_in_words(gaps(searched(1, 3), ARMS, GROUPS, "max_sic")["new"])
    assert words == "-0.510 ± 0.010 (mean and spread of 3 seeds of the search)"
    assert gap_in_words(gaps(searched(1, 1), ARMS, GROUPS, "max_sic")["new"]).startswith("-0.500 (mean")


def test_several_pretrainings_have_a_verdict_of_their_own():
    found = gaps(searched(3, 2), ARMS, GROUPS, "max_sic")
    assert gap_in_words(found["new"]).endswith(
        "± 0.010 (mean and spread of 3 pairs of pre-trainings), a loss"
    )
    assert gap_in_words(-found["new"]).endswith("a gain")
    assert gap_in_words(found["new"] - found["new"].mean()).endswith("no difference beyond the spread")


def test_what_is_not_quoted_or_not_alike_is_said():
    table = searched(1, 2)
    table.loc[0, "max_sic"] = np.nan
    found = gaps(table, ARMS, GROUPS, "max_sic")
    assert gap_in_words(found["new"]) == "not quoted"
    assert gap_in_words(found["seen"]) != "not quoted"
    with pytest.raises(JepalibError, match="new: six and ten were not searched with alike"):
        gaps(table.drop(index=0), ARMS, GROUPS, "max_sic")
