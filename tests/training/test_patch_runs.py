"""HEP-JEPA and supervised runs through everything after pre-training: adapt, transfer, embed."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from public_files import top_frame, write_top

from jepalib.data.convert import convert
from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.methods.hep_jepa import HEPJEPA
from jepalib.models.patch_transformer import PatchTransformer
from jepalib.training.adapt import adapt
from jepalib.training.classifiers import load_classifier
from jepalib.training.embed import embed, predict
from jepalib.training.presets import pretrain_config
from jepalib.training.pretrain import pretrain

QUICK = {"batch_size": 24, "steps": 6, "log_every": 2, "checkpoint_every": 3, "lr": 1e-3}
SETTINGS = {
    "steps": 6, "checks": 2, "rates": (1e-3,), "encoder_scales": (1.0,), "val_jets": 20, "test_jets": 40,
}  # fmt: skip


@pytest.fixture(scope="module")
def hep(store_path, tmp_path_factory):
    config = pretrain_config("hep-jepa", "nano", QUICK)
    return pretrain(config, store_path, tmp_path_factory.mktemp("hep") / "run", quiet=True)


@pytest.fixture(scope="module")
def top_store(tmp_path_factory):
    """A hundred jets of the public top-tagging layout, divided by file names."""
    folder = tmp_path_factory.mktemp("top")
    rng = np.random.default_rng(0)
    for number, (name, jets) in enumerate({"train": 60, "val": 20, "test": 40}.items()):
        counts = rng.integers(3, 40, jets).tolist()
        write_top(folder / f"{name}.h5", top_frame(counts, 60, number))
    return convert([folder], folder / "store", quiet=True)


def test_the_encoder_is_rebuilt_from_the_folder(hep, store_path):
    encoder = hep.encoder()
    assert isinstance(encoder, PatchTransformer)
    assert encoder.width == 64
    jets = JetStore.open(store_path).read(np.array([3, 500]))
    assert encoder(jets).cls is None
    assert not torch.equal(hep.encoder("teacher")(jets).tokens, encoder(jets).tokens)
    metrics = hep.metrics()
    assert {"loss_patch", "rank_patches", "jets_per_second"} <= set(metrics.columns)
    assert metrics.loss.notna().all()


def test_a_stopped_run_goes_on_to_the_same_metrics(store_path, tmp_path, monkeypatch):
    """Killed in its fifth step and begun again: patches, masks and augmentation are drawn as before."""
    config = pretrain_config("hep-jepa", "nano", QUICK | {"augment.rotation": 3.0})
    whole = pretrain(config, store_path, tmp_path / "a", quiet=True)
    after_step = HEPJEPA.after_step

    def killed(self, progress):
        if progress > 0.75:
            raise KeyboardInterrupt
        after_step(self, progress)

    with monkeypatch.context() as patch:
        patch.setattr(HEPJEPA, "after_step", killed)
        with pytest.raises(KeyboardInterrupt):
            pretrain(config, store_path, tmp_path / "b", quiet=True)
    assert torch.load(tmp_path / "b" / "resume.pt", weights_only=True)["step"] == 3
    again = pretrain(config, store_path, tmp_path / "b", quiet=True)
    for column in ("step", "loss", "rank_patches"):
        assert again.metrics()[column].tolist() == whole.metrics()[column].tolist()
    for name, value in whole.encoder("teacher").state_dict().items():
        assert torch.equal(again.encoder("teacher").state_dict()[name], value)


def test_every_mode_and_head_on_a_two_class_data_set(hep, top_store, tmp_path):
    modes = ["linear-probe", "frozen", "fine-tuned", "from-scratch"]
    heads = ["class-attention", "mlp"]
    table = adapt(hep.path, top_store.path, tmp_path, [60], modes, 1, heads, SETTINGS, 1, True)
    assert len(table) == 1 + 3 * 2
    assert {"accuracy", "auc_ovo", "rej_50", "rej_30"} <= set(table.columns)
    assert table.auc_ovo.between(0, 1).all()
    classifier, config = load_classifier(tmp_path / "models" / "frozen_mlp_60_seed0")
    assert config.classes == ("QCD", "top")
    assert config.encoder.kind == "patches"
    scores = classifier(top_store.read(np.arange(3)))
    assert scores.shape == (3, 2)


def test_embed_and_predict_read_public_files(hep, top_store, tmp_path):
    file = write_top(tmp_path / "mine.h5", top_frame([5, 30, 12], 60))
    assert embed(hep.path, [file], tmp_path / "jets.parquet", quiet=True) == 3
    names = pq.read_table(tmp_path / "jets.parquet").column_names
    assert len(names) == 2 + 2 * 64
    assert "cls_000" not in names
    settings = dict(SETTINGS)
    adapt(hep.path, top_store.path, tmp_path / "out", [60], ["frozen"], 1, ["mlp"], settings, 1, True)
    model = tmp_path / "out" / "models" / "frozen_mlp_60_seed0"
    predict(model, [file], tmp_path / "scores.parquet", quiet=True)
    scores = pq.read_table(tmp_path / "scores.parquet").to_pandas()
    np.testing.assert_allclose(scores.prob_QCD + scores.prob_top, 1, atol=1e-5)


def test_supervised_pre_training_serves_as_any_other_run(store_path, top_store, tmp_path):
    config = pretrain_config("supervised", "nano", QUICK)
    run = pretrain(config, store_path, tmp_path / "run", quiet=True)
    assert run.metrics().accuracy.between(0, 1).all()
    table = adapt(
        run.path,
        top_store.path,
        tmp_path / "out",
        [60],
        ["frozen"],
        1,
        ["class-attention"],
        SETTINGS,
        1,
        True,
    )
    assert table.loc[0, "method"] == "supervised"


def test_runs_of_another_method_are_refused(hep):
    hep.check_method("hep-jepa")
    with pytest.raises(JepalibError, match="pre-trained by hep-jepa, not jp-jepa"):
        hep.check_method("jp-jepa")
