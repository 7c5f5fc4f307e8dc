"""Few-shot adaptation: the table, its caching, what is frozen, and the files of a user."""

import json

import awkward as ak
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import uproot

from jepalib.data.store import JetStore, load_rows
from jepalib.errors import JepalibError
from jepalib.training.adapt import adapt
from jepalib.training.classifiers import load_classifier
from jepalib.training.embed import embed, predict
from jepalib.training.few_shot import AdaptConfig

SETTINGS = {
    "steps": 8,
    "checks": 2,
    "rates": (1e-3,),
    "encoder_scales": (1.0,),
    "val_jets": 60,
    "test_jets": 100,
}
MODES = ("linear-probe", "frozen", "fine-tuned", "from-scratch")


def make(run, store, out, labels=(50, 100), modes=MODES, seeds=2, **settings):
    """`adapt` at the scale of a test, in this process."""
    settings = {"overrides": SETTINGS, "workers": 1, **settings}
    return adapt(run.path if run else None, store, out, labels, modes, seeds, quiet=True, **settings)


@pytest.fixture(scope="module")
def adapted(trained, store_path, tmp_path_factory):
    """Folder and table of one small call with every mode."""
    out = tmp_path_factory.mktemp("adapted") / "out"
    table = adapt(
        trained.path, store_path, out, [50, 100], MODES, seeds=2, overrides=SETTINGS, workers=1, quiet=True
    )
    return out, table


def test_table_is_tidy_and_complete(adapted):
    out, table = adapted
    assert len(table) == len(MODES) * 2 * 2
    written = pd.read_csv(out / "few_shot.csv")
    assert written["accuracy"].tolist() == pytest.approx(table["accuracy"].tolist())
    wanted = {
        "mode",
        "head",
        "labels",
        "seed",
        "accuracy",
        "auc_ovo",
        "log_loss",
        "rej_Hbb",
        "steps",
        "seconds",
    }
    assert wanted <= set(table.columns)
    assert sum(c.startswith("rej_") and not c.endswith("_err") for c in table.columns) == 9
    assert table["accuracy"].between(0, 1).all()
    assert (table["test_jets"] == 100).all()


def test_label_subsets_are_saved_stratified_and_disjoint_from_the_test(adapted, store_path):
    out, _ = adapted
    store = JetStore.open(store_path)
    rows = load_rows(out / "subsets" / "labels_100_seed1.npy")
    assert np.bincount(store.labels[rows]).tolist() == [10] * 10
    assert not set(rows) & set(store.rows("test"))
    assert not set(rows) & set(store.rows("val"))


def test_frozen_keeps_the_encoder_and_fine_tuning_moves_it(adapted, trained):
    out, _ = adapted
    pretrained = trained.encoder().state_dict()
    frozen, _ = load_classifier(out / "models" / "frozen_mlp_100_seed0")
    tuned, _ = load_classifier(out / "models" / "fine-tuned_mlp_100_seed0")
    assert all(torch.equal(v, pretrained[k]) for k, v in frozen.encoder.state_dict().items())
    assert not all(torch.equal(v, pretrained[k]) for k, v in tuned.encoder.state_dict().items())


def test_a_second_call_makes_nothing_again(adapted, trained, store_path):
    out, table = adapted
    times = {f: f.stat().st_mtime_ns for f in (out / "points").iterdir()}
    again = adapt(
        trained.path, store_path, out, [50, 100], MODES, seeds=2, overrides=SETTINGS, workers=1, quiet=True
    )
    assert {f: f.stat().st_mtime_ns for f in (out / "points").iterdir()} == times
    pd.testing.assert_frame_equal(again, table)


def test_a_lost_point_is_made_again_the_same(adapted, trained, store_path):
    out, table = adapted
    (out / "points" / "fine-tuned_mlp_50_seed1.json").unlink()
    again = adapt(
        trained.path, store_path, out, [50, 100], MODES, seeds=2, overrides=SETTINGS, workers=1, quiet=True
    )
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), table.drop(columns="seconds"))


def test_other_settings_in_the_same_folder_are_refused(adapted, trained, store_path):
    out, _ = adapted
    with pytest.raises(JepalibError, match="another run, data set or settings"):
        adapt(trained.path, store_path, out, [50], ["frozen"], overrides={**SETTINGS, "steps": 9}, quiet=True)


def test_both_arms_get_the_same_tuning_grid(trained, store_path, tmp_path):
    settings = {**SETTINGS, "steps": 2, "checks": 1, "rates": (1e-3, 3e-3), "encoder_scales": (0.3, 1.0)}
    settings |= {"lengths": (1.0, 2.0), "weight_decays": (0.01, 0.1)}
    adapt(
        trained.path, store_path, tmp_path, [50], ["fine-tuned", "from-scratch"], seeds=1, overrides=settings,
        quiet=True,
    )  # fmt: skip
    grids = []
    for mode in ("fine-tuned", "from-scratch"):
        trials = json.loads((tmp_path / "tuning" / f"{mode}_mlp_50.json").read_text())["trials"]
        grids.append([(t["rate"], t["encoder_scale"], t["steps"], t["weight_decay"]) for t in trials])
    assert grids[0] == grids[1]
    assert len(set(grids[0])) == 16
    assert {steps for _, _, steps, _ in grids[0]} == {1, 2}


def test_a_single_setting_is_not_tuned_and_all_its_seeds_go_side_by_side(adapted):
    out, table = adapted
    assert not (out / "tuning").exists()
    tuned = table["mode"].isin(["fine-tuned", "from-scratch"])
    assert table.loc[tuned, ["rate", "encoder_scale"]].drop_duplicates().to_numpy().tolist() == [[1e-3, 1.0]]


def test_feature_dropout_trains_another_network_and_spares_the_test_jets(trained, store_path, tmp_path):
    tables = {
        rate: make(
            trained, store_path, tmp_path / str(rate), [50], ["from-scratch"], seeds=1,
            overrides={**SETTINGS, "pid_dropout": rate, "td_dropout": rate},
        )
        for rate in (0.0, 1.0)
    }  # fmt: skip
    assert tables[0.0]["log_loss"].item() != tables[1.0]["log_loss"].item()
    blind, _ = load_classifier(tmp_path / "1.0" / "models" / "from-scratch_mlp_50_seed0")
    plain, _ = load_classifier(tmp_path / "0.0" / "models" / "from-scratch_mlp_50_seed0")
    # The batch norm of the inputs has only seen zeros of pid and td, never of the kinematics.
    seen = [c.encoder.input_bn.running_mean.abs() > 1e-6 for c in (blind, plain)]
    assert seen[0].tolist() == [True] * 7 + [False] * 10
    assert seen[1].sum() > 12


def test_a_frozen_encoder_takes_no_feature_dropout(trained, store_path, tmp_path):
    for mode in ("linear-probe", "frozen"):
        with pytest.raises(JepalibError, match=f"td_dropout = 0.5: mode '{mode}' runs its encoder once"):
            make(trained, store_path, tmp_path, [50], [mode], overrides={**SETTINGS, "td_dropout": 0.5})
    with pytest.raises(JepalibError, match=r"pid_dropout = 2\.0 is not between"):
        AdaptConfig(pid_dropout=2.0)


def test_a_table_of_before_a_setting_was_there_had_its_default(adapted, trained, store_path):
    out, table = adapted
    about = json.loads((out / "adapt.json").read_text())
    del about["settings"]["pid_dropout"], about["settings"]["lengths"]
    (about["settings"]["weight_decay"],) = about["settings"].pop("weight_decays")  # as it was called
    (out / "adapt.json").write_text(json.dumps(about))
    again = make(trained, store_path, out)
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), table.drop(columns="seconds"))
    with pytest.raises(JepalibError, match=r"pid_dropout is 0.0 there, 0.5 asked for"):
        make(trained, store_path, out, modes=["fine-tuned"], overrides={**SETTINGS, "pid_dropout": 0.5})


@pytest.mark.parametrize("head", ["linear", "class-attention"])
def test_other_heads_train(trained, store_path, tmp_path, head):
    table = adapt(
        trained.path, store_path, tmp_path, [50], ["frozen", "fine-tuned"], seeds=1, heads=[head],
        overrides=SETTINGS, quiet=True,
    )  # fmt: skip
    assert table["head"].tolist() == [head, head]


def test_from_scratch_needs_no_run_and_other_modes_do(store_path, tmp_path):
    table = adapt(
        None, store_path, tmp_path, [50], ["from-scratch"], seeds=1, overrides=SETTINGS, workers=1, quiet=True
    )
    assert table["mode"].tolist() == ["from-scratch"]
    with pytest.raises(JepalibError, match="mode 'frozen' needs a pre-training run"):
        adapt(None, store_path, tmp_path, [50], ["frozen"])
    with pytest.raises(JepalibError, match="mode 'finetuned' is not one of"):
        adapt(None, store_path, tmp_path, [50], ["finetuned"])
    with pytest.raises(JepalibError, match="head 'cnn' is not one of"):
        adapt(None, store_path, tmp_path, [50], ["from-scratch"], heads=["cnn"])


def test_two_workers_make_the_same_table(adapted, trained, store_path, tmp_path):
    _, table = adapted
    arguments = {"seeds": 2, "overrides": SETTINGS, "quiet": True, "workers": 2}
    threads = torch.get_num_threads()
    other = adapt(trained.path, store_path, tmp_path, [50, 100], ["from-scratch"], **arguments)
    mine = table[table["mode"] == "from-scratch"].reset_index(drop=True)
    assert other[["labels", "seed"]].equals(mine[["labels", "seed"]])
    # Threads share the sums of a product in another way, so equal to rounding only.
    assert np.allclose(other["log_loss"], mine["log_loss"], atol=1e-3)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "bf16"}, "precision 'bf16'"),
        ({"size": "foo"}, "size 'foo'"),
        ({"rates": (-1.0,)}, "rates .* must be positive"),
        ({"lengths": (1.0, 0.0)}, "lengths .* must be positive"),
        ({"weight_decays": (-0.1,)}, "weight_decays .* must be at least 0"),
        ({"weight_decays": ()}, "weight_decays: give at least one"),
        ({"micro_batch": 0}, "micro_batch = 0"),
        ({"warmup": 1.0}, "warmup = 1.0"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(JepalibError, match=message):
        AdaptConfig(**settings)


def test_a_diverging_trial_is_the_worst_and_does_not_end_the_call(trained, store_path, tmp_path):
    settings = {**SETTINGS, "rates": (1e-3, 1e30), "clip": 0.0}
    table = make(trained, store_path, tmp_path, [50], ["from-scratch"], seeds=1, overrides=settings)
    assert table["rate"].tolist() == [1e-3]


def test_rows_from_scratch_name_no_pre_training(adapted, trained):
    _, table = adapted
    scratch = table["mode"] == "from-scratch"
    assert (table.loc[scratch, "jets_pretrained"] == 0).all()
    assert table.loc[scratch, "run"].isna().all()
    assert (table.loc[~scratch, "jets_pretrained"] == trained.manifest["jets_seen"]).all()


def test_steps_grow_with_the_square_root_of_the_labels():
    assert AdaptConfig(steps=400).steps_for(500) == 400
    assert AdaptConfig(steps=400).steps_for(2000) == 800
    assert AdaptConfig(steps=400).steps_for(2000, length=3.0) == 2400
    assert AdaptConfig(steps=400).steps_for(10) == 200
    assert AdaptConfig(steps=400, batch_size=50).passes(2000, length=3.0) == 60
    assert AdaptConfig(steps=400).passes(10) == 200  # a batch is never more than all jets
    assert AdaptConfig(steps=400).passes(100) == 100  # two batches of 50


@pytest.fixture
def own_file(tmp_path, request):
    """Five jets without labels, one of them empty, one with a NaN."""
    source = request.config.rootpath / "data" / "sample" / "HToBB_000.root"
    with uproot.open(source) as file:
        arrays = file["tree"].arrays(filter_name=["part_*", "jet_*"], entry_stop=5)
    columns = {}
    for name in arrays.fields:
        values = ak.to_list(arrays[name])
        if name.startswith("part_"):
            values[1] = []
        if name == "part_px":
            values[3][0] = float("nan")
        columns[name] = ak.values_astype(ak.Array(values), np.float32)
    path = tmp_path / "own.root"
    with uproot.recreate(path) as out:
        out.mktree("tree", {k: ("var * float32" if k.startswith("part_") else "float32") for k in columns})
        out["tree"].extend(columns)
    return path


def test_embed_keeps_row_order_and_count(trained, own_file, request, tmp_path):
    sample = request.config.rootpath / "data" / "sample" / "TTBar_000.root"
    assert embed(trained.path, [own_file, sample], tmp_path / "x.parquet", quiet=True) == 105
    table = pd.read_parquet(tmp_path / "x.parquet")
    assert table["row"].tolist() == [*range(5), *range(100)]
    assert table["file"].tolist() == [str(own_file)] * 5 + [str(sample)] * 100
    values = table.drop(columns=["file", "row"])
    assert values.shape[1] == 3 * 64
    assert values.isna().all(axis=1).tolist() == [False, True, False, True, False] + [False] * 100
    from jepalib.data.readers import read_jetclass

    jets = read_jetclass(sample).jets
    with torch.no_grad():
        one = trained.encoder()(jets.take([17])).cls[0].numpy()
    assert np.allclose(table.filter(like="cls_").iloc[5 + 17], one, atol=1e-5)


def test_a_file_without_one_readable_jet_is_refused_with_the_reason(trained, own_file, tmp_path):
    with uproot.open(own_file) as file:
        arrays = file["tree"].arrays()
    columns = {name: arrays[name][[1, 1, 1]] for name in arrays.fields if not name.startswith("n")}
    path = tmp_path / "empty.root"
    with uproot.recreate(path) as out:
        kinds = {k: ("var * float32" if k.startswith("part_") else "float32") for k in columns}
        out.mktree("tree", kinds)
        out["tree"].extend(columns)
    with pytest.raises(JepalibError, match=r"empty\.root: none of its jets can be used .*no particles"):
        embed(trained.path, [path], tmp_path / "x.parquet", quiet=True)
    assert not list(tmp_path.glob("*.parquet"))


def test_predict_gives_probabilities_in_class_order(adapted, own_file, tmp_path, capsys):
    out, _ = adapted
    predict(out / "models" / "fine-tuned_mlp_50_seed0", [own_file], tmp_path / "p.parquet", quiet=True)
    assert "2 of 5 jets cannot be read; their rows are NaN" in capsys.readouterr().err
    table = pq.read_table(tmp_path / "p.parquet").to_pandas()
    assert table.columns[2] == "prob_QCD"
    assert table.filter(like="prob_").sum(axis=1)[[0, 2, 4]].tolist() == pytest.approx([1, 1, 1], abs=1e-5)


def test_predict_names_the_models_that_are_there(adapted, own_file, tmp_path):
    out, _ = adapted
    with pytest.raises(JepalibError, match="fine-tuned_mlp_50_seed0"):
        predict(out, [own_file], tmp_path / "p.parquet")
    with pytest.raises(JepalibError, match="does not exist"):
        predict(out / "models" / "fine-tuned_mlp_50_seed0", [own_file], tmp_path / "nowhere" / "p.parquet")
