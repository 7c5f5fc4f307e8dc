"""The table of published numbers is whole, sourced and consistent with itself."""

from __future__ import annotations

import pytest

from jepalib.errors import JepalibError
from jepalib.evaluation.published import published
from jepalib.evaluation.tagging import SIGNAL_EFFICIENCY

METRICS = ["accuracy", "auc_ovo", *(f"rej_{name}" for name in SIGNAL_EFFICIENCY)]


@pytest.mark.parametrize("metric", METRICS)
def test_every_row_has_value_source_and_labels(metric):
    table = published("JetClass", metric)
    assert len(table) >= 10
    assert (table.value > (1 if metric.startswith("rej") else 0.5)).all()
    assert table.source.str.startswith("arXiv:").all()
    assert table.status.isin(["verified", "secondary"]).all()
    assert table.labels.notna().all()
    assert not table.duplicated(["model", "mode", "pretrained_on", "inputs", "labels"]).any()


def test_few_shot_rows_are_those_of_the_papers():
    table = published("JetClass", "accuracy", "HEP-JEPA").set_index(["mode", "labels"]).value
    assert table["from-scratch", 5000] == 0.505
    assert table["fine-tuned", 5000] == 0.564
    table = published("JetClass", "accuracy", "JP-JEPA Small")
    assert dict(zip(table.labels, table.value))[100_000_000] == 0.8611


def test_unknown_names_list_the_known():
    with pytest.raises(JepalibError, match="there are: JetClass"):
        published("JetClass-10", "accuracy")
    with pytest.raises(JepalibError, match=r"model 'ParticleT'.*ParT"):
        published("JetClass", "accuracy", "ParticleT")


def test_the_table_cannot_be_changed_by_its_readers():
    mine = published("JetClass", "accuracy")
    mine["value"] = 0.0
    assert published("JetClass", "accuracy").value.min() > 0.5
