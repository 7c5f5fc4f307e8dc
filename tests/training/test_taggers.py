"""The classifiers of an adaptation, found again by arm, labels and seed."""

import json

import numpy as np
import pytest
import torch

from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.training.adapt import adapt
from jepalib.training.taggers import scores, taggers, trained_with

SETTINGS = {
    "steps": 4, "checks": 1, "rates": (1e-3,), "encoder_scales": (1.0,), "val_jets": 40, "test_jets": 60,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(trained, store_path, tmp_path_factory):
    out = tmp_path_factory.mktemp("taggers") / "out"
    modes = ("frozen", "fine-tuned", "from-scratch")
    adapt(trained.path, store_path, out, [50, 100], modes, seeds=2, overrides=SETTINGS, workers=1, quiet=True)
    return out


def test_arms_come_in_the_order_asked_for_and_seeds_rise(folder):
    found = taggers(folder)
    assert [(t.arm, t.labels, t.seed) for t in found] == [
        ("fine-tuned", 100, 0), ("fine-tuned", 100, 1), ("from-scratch", 100, 0), ("from-scratch", 100, 1),
    ]  # fmt: skip
    (frozen,) = taggers(folder, 50, ("frozen",))[1:]
    assert frozen.name == "frozen, seed 1"
    assert not frozen.classifier.training


def test_scores_are_those_that_the_table_was_made_from(folder, store_path):
    found, store = taggers(folder), JetStore.open(store_path)
    rows = np.asarray(store.rows("test"))[:30]
    p = scores(found, store, rows, torch.device("cpu"))
    assert p.shape == (4, 30, 10)
    np.testing.assert_allclose(p.sum(2), 1, atol=1e-5)
    assert np.abs(p[0] - p[2]).max() > 1e-3  # pre-trained and from scratch are two networks
    alone = scores(found[2:3], store, rows[::-1], torch.device("cpu"))
    np.testing.assert_allclose(alone[0, ::-1], p[2], atol=1e-5)


def test_two_heads_are_not_mixed(trained, store_path, tmp_path):
    heads = ("mlp", "linear")
    adapt(
        trained.path, store_path, tmp_path, [50], ("fine-tuned",), 1, heads, SETTINGS, workers=1, quiet=True
    )
    with pytest.raises(JepalibError, match="heads linear, mlp"):
        taggers(tmp_path, arms=("fine-tuned",))


def test_what_is_not_there_is_said(folder, tmp_path):
    with pytest.raises(JepalibError, match="no classifiers; make them with jepalib adapt"):
        taggers(tmp_path)
    with pytest.raises(JepalibError, match="of 77 labels; it has those of 50, 100"):
        taggers(folder, 77)
    with pytest.raises(JepalibError, match="none of them"):
        taggers(folder, arms=("linear-probe",))
    with pytest.raises(JepalibError, match="no classifier linear-probe of 100"):
        taggers(folder, arms=("frozen", "linear-probe"))


def test_the_settings_of_an_arm_make_it_again(folder, trained, store_path, tmp_path):
    known = trained_with(folder, 50, ["from-scratch"])
    assert (known["steps"], known["rates"], known["encoder_scales"]) == (4, (1e-3,), (1.0,))
    out = tmp_path / "again"
    adapt(
        trained.path, store_path, out, [50], ["from-scratch"], seeds=1, overrides=known, workers=1, quiet=True
    )
    (again,) = taggers(out, arms=("from-scratch",))
    (first,) = (t for t in taggers(folder, 50, ("from-scratch",)) if t.seed == 0)
    ours, theirs = again.classifier.state_dict(), first.classifier.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_a_grid_is_kept_where_it_is_to_be_tuned_again(folder, tmp_path):
    about = json.loads((folder / "adapt.json").read_text())
    (tmp_path / "points").mkdir()
    (tmp_path / "adapt.json").write_text(
        json.dumps({"settings": {**about["settings"], "rates": [1e-3, 3e-3]}})
    )
    for mode, rate in (("fine-tuned", 1e-3), ("from-scratch", 3e-3)):
        point = json.loads((folder / "points" / f"{mode}_mlp_50_seed0.json").read_text())
        (tmp_path / "points" / f"{mode}_mlp_50_seed0.json").write_text(json.dumps({**point, "rate": rate}))
    assert trained_with(tmp_path, 50, ["from-scratch"])["rates"] == (3e-3,)
    assert trained_with(tmp_path, 50)["rates"] == (1e-3, 3e-3)
    assert trained_with(tmp_path, 50)["encoder_scales"] == (1.0,)
    assert trained_with(tmp_path, 50, ["fine-tuned"], tune=True)["rates"] == [1e-3, 3e-3]
    with pytest.raises(JepalibError, match="no table with frozen of 50 labels"):
        trained_with(tmp_path, 50, ["fine-tuned", "frozen"])
