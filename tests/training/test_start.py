"""Pre-training that begins with the encoder of another run."""

import shutil

import pytest
import torch
from typer.testing import CliRunner

from jepalib.errors import JepalibError
from jepalib.training.presets import pretrain_config
from jepalib.training.pretrain import Pretraining, pretrain
from jepalib.training.runs import Run
from jepalib.training.start import jets_in_all, started_from
from jepalib.workbook import cli

SHORT = {"steps": 2, "batch_size": 16, "micro_batch": 16, "seed": 1}
STILL = {"lr": 1e-12, "lr_start": 1e-12, "lr_final": 1e-12}  # no step moves anything


@pytest.fixture(scope="module")
def second(trained, store_path, tmp_path_factory):
    """Another method after the run of the session, without moving."""
    config = pretrain_config("jet-targets", "nano", {**SHORT, **STILL})
    folder = tmp_path_factory.mktemp("second") / "run"
    return pretrain(config, store_path, folder, quiet=True, start=trained.path)


def largest_difference(mine: Run, theirs: Run, which: str) -> float:
    """Of the learned weights; running statistics go on anyway."""
    other = dict(theirs.encoder(which).named_parameters())
    return max(
        float((weight - other[name]).detach().abs().max())
        for name, weight in mine.encoder(which).named_parameters()
    )


def test_it_begins_where_the_other_ended(second, trained, store_path, tmp_path):
    for which in ("student", "teacher"):
        mine = dict(second.encoder(which).named_parameters())
        assert all(
            torch.allclose(weight, mine[name], atol=1e-6)
            for name, weight in trained.encoder("teacher").named_parameters()
        )
    fresh = pretrain(second.config, store_path, tmp_path / "fresh", quiet=True)
    assert largest_difference(fresh, second, "teacher") > 1e-3


def test_the_manifest_says_where_it_began(second, trained):
    assert second.manifest["start"]["method"] == "jp-jepa"
    assert second.manifest["start"]["teacher"] == trained.identity()["teacher"]
    assert trained.manifest["start"] is None


def test_another_start_on_the_same_folder_is_refused(second, trained, store_path):
    again = pretrain(second.config, store_path, second.path, quiet=True, start=trained.path)
    assert again.path == second.path
    with pytest.raises(JepalibError, match=r"began with run \(jp-jepa.*not with random weights"):
        pretrain(second.config, store_path, second.path, quiet=True)
    with pytest.raises(JepalibError, match="began with random weights, not with run"):
        pretrain(trained.config, store_path, trained.path, quiet=True, start=second.path)


def test_a_start_that_was_moved_is_the_same(second, trained, store_path, tmp_path):
    shutil.copytree(trained.path, tmp_path / "elsewhere")
    again = pretrain(second.config, store_path, second.path, quiet=True, start=tmp_path / "elsewhere")
    assert again.path == second.path


def test_jets_add_up_over_stages_and_are_known_of_a_snapshot(trained, store_path, tmp_path):
    config = pretrain_config("jet-targets", "nano", {**SHORT, "steps": 4, "snapshots": (20,)})
    run = pretrain(config, store_path, tmp_path / "run", quiet=True, start=trained.path)
    (early,) = run.snapshots
    before = trained.manifest["jets_seen"]
    assert jets_in_all(trained) == before
    assert jets_in_all(run) == before + run.manifest["jets_seen"]
    assert jets_in_all(early) == before + early.manifest["jets_seen"] < jets_in_all(run)
    third = pretrain_config("jp-jepa", "nano", SHORT)
    last = pretrain(third, store_path, tmp_path / "third", quiet=True, start=early.path)
    assert jets_in_all(last) == jets_in_all(early) + last.manifest["jets_seen"]
    assert started_from(last)["seconds"] >= early.manifest["seconds"] + trained.manifest["seconds"]


def test_a_first_try_with_another_start_does_not_hold_the_folder(trained, store_path, tmp_path, monkeypatch):
    config = pretrain_config("jet-targets", "nano", SHORT)
    with monkeypatch.context() as patched:
        patched.setattr(Pretraining, "go", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pretrain(config, store_path, tmp_path / "run", quiet=True, start=trained.path)
    run = pretrain(config, store_path, tmp_path / "run", quiet=True)
    assert started_from(run) is None


def test_the_command_line_begins_with_a_run_and_refuses_another_in_words(trained, store_path, tmp_path):
    folder = tmp_path / "run"
    given = ["pretrain", "--method", "jet-targets", "--data", str(store_path), "--run", str(folder)]
    given += ["--quiet", "--set", "steps=2", "--set", "batch_size=16"]
    answer = CliRunner().invoke(cli.app, [*given, "--start", str(trained.path)])
    assert answer.exit_code == 0, answer.output
    assert started_from(Run.open(folder))["method"] == "jp-jepa"
    answer = CliRunner().invoke(cli.app, given)
    assert answer.exit_code != 0
    assert "began with run (jp-jepa" in " ".join(answer.output.split())
    assert not (folder / "failure.txt").exists()


def test_another_encoder_is_refused(trained, store_path, tmp_path):
    for method, size, word in (("hep-jepa", "nano", "kind"), ("jp-jepa", "mini", "size")):
        config = pretrain_config(method, size, SHORT)
        with pytest.raises(JepalibError, match=f"another encoder than this run's.*{word} is"):
            pretrain(config, store_path, tmp_path / f"{method}-{size}", quiet=True, start=trained.path)


def test_a_stage_that_was_stopped_goes_on_from_its_own_checkpoint(trained, store_path, tmp_path, monkeypatch):
    config = pretrain_config("jet-targets", "nano", {**SHORT, "steps": 6, "checkpoint_every": 3})
    whole = pretrain(config, store_path, tmp_path / "whole", quiet=True, start=trained.path)
    after = Pretraining._after

    def killed(self, result, stopped):
        if result.step == 5:
            raise KeyboardInterrupt
        return after(self, result, stopped)

    with monkeypatch.context() as patched:
        patched.setattr(Pretraining, "_after", killed)
        with pytest.raises(KeyboardInterrupt):
            pretrain(config, store_path, tmp_path / "stopped", quiet=True, start=trained.path)
    assert torch.load(tmp_path / "stopped" / "resume.pt", weights_only=True)["step"] == 3
    again = pretrain(config, store_path, tmp_path / "stopped", quiet=True, start=trained.path)
    assert again.manifest["start"] == whole.manifest["start"]
    assert largest_difference(again, whole, "teacher") == 0
