"""Published figures that stand beside one's own, each with its source."""

from __future__ import annotations

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

    Columns: dataset, model, mode ("from-scratch", "fine-tuned", "frozen" or "linear-probe"),
    pretrained_on, inputs, labels (number of labelled jets trained on), metric, value,
    uncertainty, source, status ("verified" against the source's own table, or
    "secondary": quoted by another).

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
