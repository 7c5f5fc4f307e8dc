"""The table of published numbers is whole, sourced and consistent with itself."""

from __future__ import annotations

import pytest

from jepalib.errors import JepalibError
from jepalib.evaluation.published import published, published_table
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


HEP_JEPA_TABLES = {  # as printed, from the first row to the last
    1: (0.505, 0.564, 0.586, 0.624, 0.668, 0.669, 0.683, 0.685, 0.698, 0.698),
    2: (0.927, 0.928, 0.938, 0.928, 0.929, 0.940, 0.944),
    3: (0.819, 0.823, 0.821, 0.840, 0.843),
    4: (0.579, 0.581, 0.557, 0.562),
    5: (0.557, 0.563),
    6: (0.570, 0.557),
    7: (0.576, 0.557),
    8: (0.553, 0.557),
}


@pytest.mark.parametrize("number", HEP_JEPA_TABLES)
def test_the_tables_of_hep_jepa_are_whole(number):
    table = published_table("2502.03933", number)
    expected = HEP_JEPA_TABLES[number]
    if number == 1:  # the file has the modes one after another, the paper the numbers of labels
        table, expected = table.sort_values("value"), sorted(expected)
    assert tuple(table.value) == tuple(expected)
    assert table.source.str.startswith(f"arXiv:2502.03933 Tab. {number}").all()
    assert not table.columns[table.isna().all()].size
    assert ("setting" in table) == (number not in (2, 3))


def test_the_transfer_tables_tell_supervised_from_self_supervised():
    top = published_table("2502.03933", 2)
    ours = top[top.model == "HEP-JEPA"].set_index(["mode", "pretrained_on"]).value
    assert ours["fine-tuned", "JetClass (labels)"] == 0.938
    assert ours["fine-tuned", "JetClass (SSL)"] == 0.929
    assert (top.labels == 1_200_000).all()
    assert top[top.model != "HEP-JEPA"].status.eq("secondary").all()


@pytest.mark.parametrize("dataset", ["top", "quark-gluon"])
@pytest.mark.parametrize("metric", ["accuracy", "auc_ovo", "rej_50", "rej_30"])
def test_transfer_rows_are_sound_and_differ(dataset, metric):
    table = published(dataset, metric)
    assert len(table) >= 2
    assert (table.value > 1 if metric.startswith("rej") else table.value.between(0.8, 1)).all()
    assert table.status.isin(["verified", "secondary"]).all()
    assert not table.duplicated(["model", "mode", "pretrained_on", "inputs"]).any()


def test_robustness_is_that_of_the_text_of_jp_jepa():
    table = published("JetClass robustness", "accuracy").set_index(["model", "setting"]).value
    assert table["JP-JEPA Small"].to_dict() == {"clean": 0.8611, "mean of removals": 0.7229, "pid": 0.5355}
    assert table["ParT", "mean of removals"] == 0.6652
    assert table["ParT"].drop(["clean", "mean of removals"]).to_dict() == {
        "pid": 0.1361, "isMuon": 0.3187, "isChargedHadron": 0.4009,
    }  # fmt: skip


def test_calibration_is_that_of_the_text_of_jp_jepa():
    for metric, ours, part in (
        ("ece", 0.0092, 0.0058),
        ("log_loss", 0.3934, 0.3919),
        ("entropy", 0.3574, 0.3734),
    ):
        values = published("JetClass", metric).set_index("model").value
        assert values.to_dict() == {"JP-JEPA Small": ours, "ParT": part}


def test_unknown_tables_list_the_known():
    with pytest.raises(JepalibError, match="there are: 1, 2, 3, 4, 5, 6, 7, 8"):
        published_table("2502.03933", 9)
    with pytest.raises(JepalibError, match="there are: none"):
        published_table("2502.0393", 1)


def test_unknown_names_list_the_known():
    known = "JetClass, JetClass ablation, JetClass robustness, quark-gluon, top"
    with pytest.raises(JepalibError, match=f"there are: {known}"):
        published("JetClass-10", "accuracy")
    with pytest.raises(JepalibError, match=r"model 'ParticleT'.*ParT"):
        published("JetClass", "accuracy", "ParticleT")


def test_the_table_cannot_be_changed_by_its_readers():
    mine = published("JetClass", "accuracy")
    mine["value"] = 0.0
    assert published("JetClass", "accuracy").value.min() > 0.5
