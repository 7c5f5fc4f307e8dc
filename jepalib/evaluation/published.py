"""Published figures that stand beside one's own, each with its source."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

import pandas as pd

from jepalib.errors import JepalibError


@cache
def _table() -> pd.DataFrame:
    with resources.files("jepalib.evaluation").joinpath("reference_numbers.csv").open() as file:
        return pd.read_csv(file, keep_default_na=True, dtype={"labels": "Int64"})


def published(dataset: str, metric: str, model: str | None = None) -> pd.DataFrame:
    """Rows of the table of published numbers.

    Columns: dataset ("JetClass", "top", "quark-gluon", "JetClass ablation" or "JetClass
    robustness"), model, mode ("from-scratch", "fine-tuned", "frozen" or "linear-probe"),
    pretrained_on, inputs, labels (number of labelled jets trained on), metric (as
    `tagging_metrics` names it), value, uncertainty, source, status ("verified" against the
    source's own table, or "secondary": quoted by another), setting (what an ablation changes, or
    which input or group is removed).

    Raises:
        JepalibError: no such rows; the message lists what there is.
    """
    table = _table()
    for column, value in (("dataset", dataset), ("metric", metric), ("model", model)):
        if value is None:
            continue
        chosen = table[table[column] == value]
        if chosen.empty:
            known = ", ".join(sorted(table[column].unique()))
            raise JepalibError(f"published: no {column} {value!r}; there are: {known}")
        table = chosen
    return table.reset_index(drop=True).copy()


def published_table(paper: str, number: int) -> pd.DataFrame:
    """All rows of one table of a paper, in its order; columns that are empty there are left out.

    ``published_table("2502.03933", 4)`` is Table 4 of HEP-JEPA. Tables 5 to 8 are its other
    ablations: a linear SVM on 50,000 jets after one epoch of pre-training.

    Args:
        paper: the arXiv number, without a version.
        number: of the table.

    Raises:
        JepalibError: the table is not there; the message lists those of the paper.
    """
    table = _table()
    of_paper = table.source.str.extract(rf"^arXiv:{re.escape(paper)}(?:v\d+)? Tab\. ?(\d+)")[0]
    chosen = table[of_paper == str(number)]
    if chosen.empty:
        known = ", ".join(sorted(of_paper.dropna().unique(), key=int)) or "none"
        raise JepalibError(f"published_table: no Table {number} of arXiv:{paper}; there are: {known}")
    return chosen.dropna(axis=1, how="all").reset_index(drop=True)
