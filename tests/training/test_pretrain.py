"""Pre-training: the run folder, exact resumption, NaN, locks, several processes."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import load_file

from jepalib.data.convert import convert
from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.schema import CLASSES
from jepalib.training.collapse import diagnose
from jepalib.training.pretrain import pretrain
from jepalib.training.runs import Run

TIMING = ("jets_per_second", "seconds")


def lines(run):
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMING} for line in found]


def test_run_folder_is_complete_and_rebuilds_the_encoder(trained, store_path):
    assert {f.name for f in trained.path.iterdir()} >= {
        "config.json", "metrics.jsonl", "manifest.json", "resume.pt",
        "student.safetensors", "teacher.safetensors",
    }  # fmt: skip
    manifest = trained.manifest
    assert manifest["data_hash"] == JetStore.open(store_path).data_hash
    assert manifest["seed"] == 0
    assert manifest["torch"] == torch.__version__
    run = Run.open(trained.path)
    assert run.config == trained.config
    jets = JetStore.open(store_path).read(range(8))
    encoded = run.encoder()(jets)
    assert encoded.cls.shape == (8, 64)
    assert not torch.equal(run.encoder("student")(jets).cls, encoded.cls)


def test_metrics_lines_hold_what_a_reader_needs(trained):
    metrics = trained.metrics()
    assert metrics["step"].tolist() == [3, 6, 9, 12]
    assert metrics["jets_seen"].is_monotonic_increasing
    wanted = {
        "loss",
        "loss_particle",
        "loss_cls",
        "loss_koleo",
        "loss_pid",
        "loss_td",
        "loss_lmv",
        "pid_accuracy",
    }
    wanted |= {"rank_particles", "rank_cls", "spectrum_auc_particles", "spectrum_auc_cls", "std_cls"}
    wanted |= {"pid_accuracy", "lr", "grad_norm", "jets_per_second", "seconds"}
    assert wanted <= set(metrics.columns)
    total = metrics["loss_particle"] + metrics["loss_cls"] + 0.1 * metrics["loss_koleo"]
    assert metrics["loss"].tolist() == pytest.approx(total.tolist(), rel=1e-5)


def test_the_loss_falls_in_a_longer_run(store_path, quick, tmp_path):
    run = pretrain(quick(steps=60, batch_size=48, ema_start=0.99), store_path, tmp_path / "run", quiet=True)
    loss = run.metrics()["loss_particle"]
    assert loss.iloc[-3:].mean() < 0.8 * loss.iloc[0]


def test_calling_again_says_done_and_changes_nothing(trained, store_path, capsys):
    before = (trained.path / "teacher.safetensors").read_bytes()
    pretrain(trained.config, store_path, trained.path)
    assert "already done" in capsys.readouterr().err
    assert (trained.path / "teacher.safetensors").read_bytes() == before


def test_other_settings_on_the_same_folder_are_refused(trained, store_path):
    with pytest.raises(JepalibError, match=r"lr is 0\.001 there, 0\.5 asked for"):
        pretrain(replace(trained.config, lr=0.5), store_path, trained.path)


def test_snapshots_are_run_folders_of_their_own(trained, store_path, quick, tmp_path):
    seen = trained.metrics()["jets_seen"]
    marks = (1, int(seen[1]) - 1, int(seen[1]))  # the first step, and twice the sixth
    run = pretrain(quick(snapshots=marks), store_path, tmp_path / "run", quiet=True)
    taken = run.snapshots
    assert [s.path.name for s in taken] == [str(m) for m in sorted(marks)]
    assert [s.manifest["jets_seen"] for s in taken[1:]] == [seen[1], seen[1]]
    assert [len(s.metrics()) for s in taken] == [0, 2, 2]
    assert all(s.finished and s.config == run.config for s in taken)
    networks = [s.encoder().state_dict()["trunk.cls_token"] for s in (*taken, run)]
    assert torch.equal(networks[1], networks[2])
    assert not torch.equal(networks[0], networks[1])
    assert not torch.equal(networks[2], networks[3])
    assert lines(run.path) == lines(trained.path)  # taking them changes nothing


def test_of_some_classes_no_other_jet_is_read(store_path, quick, tmp_path, monkeypatch):
    read, labels = JetStore.read, []

    def spied(store, rows):
        jets = read(store, rows)
        labels.append(jets.labels)
        return jets

    monkeypatch.setattr(JetStore, "read", spied)
    classes = ("QCD", "Tbl")
    run = pretrain(quick(steps=6, classes=classes), store_path, tmp_path / "some", quiet=True)
    assert sorted(set(torch.cat(labels).tolist())) == [CLASSES.index(name) for name in classes]
    assert run.manifest["classes"] == list(classes)
    assert run.manifest["training_jets"] == 120 - run.manifest["left_out"]  # 60 % of 100 jets of each
    assert Run.open(run.path).config.classes == classes
    labels.clear()
    run = pretrain(quick(steps=3, classes=classes, max_jets=30), store_path, tmp_path / "few", quiet=True)
    assert set(torch.cat(labels).tolist()) <= {CLASSES.index(name) for name in classes}
    assert run.manifest["training_jets"] == 30 - run.manifest["left_out"]


def test_classes_that_are_not_there_are_named(store_path, quick, tmp_path):
    with pytest.raises(JepalibError, match="unknown 'gluon'; there are H4q"):
        pretrain(quick(classes=("QCD", "gluon")), store_path, tmp_path / "other", quiet=True)


def test_a_snapshot_beyond_the_run_is_said(store_path, quick, tmp_path, capsys):
    pretrain(quick(steps=2, snapshots=(10, 10_000)), store_path, tmp_path / "run")
    assert "no snapshots at [10000]: the run sees 48 jets" in capsys.readouterr().err


def test_a_snapshot_survives_a_kill_and_is_whole(store_path, quick, tmp_path, trained):
    config = quick(snapshots=(int(trained.metrics()["jets_seen"][1]),))
    run_killed(config, store_path, tmp_path / "run", 8, "SIGKILL")
    (early,) = Run.open(tmp_path / "run").snapshots
    before = (early.path / "teacher.safetensors").read_bytes()
    run = pretrain(config, store_path, tmp_path / "run", quiet=True)  # goes on at 5, comes by again
    assert (run.snapshots[0].path / "teacher.safetensors").read_bytes() == before
    assert not list((tmp_path / "run" / "snapshots").glob(".*"))


KILLED = """
import os, signal, sys
from pathlib import Path
from jepalib.training import pretrain as module
from jepalib.training.config import PretrainConfig, config_from_dict
import json
class Killed(module.Pretraining):
    def _after(self, result, stopped):
        if result.step == int(sys.argv[4]):
            os.kill(os.getpid(), signal.{signal})
        return super()._after(result, stopped)
module.Pretraining = Killed
config = config_from_dict(PretrainConfig, json.loads(sys.argv[1]), "argument")
module.pretrain(config, Path(sys.argv[2]), Path(sys.argv[3]), quiet=True)
"""


def run_killed(config, store_path, run, step, kind):
    code = KILLED.replace("{signal}", kind)
    arguments = [json.dumps(asdict(config)), str(store_path), str(run), str(step)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("step", [2, 8])  # before and after the first checkpoint
def test_after_kill_9_the_metrics_are_the_same_to_the_last_digit(trained, store_path, tmp_path, step):
    done = run_killed(trained.config, store_path, tmp_path / "run", step, "SIGKILL")
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / "manifest.json").exists()
    pretrain(trained.config, store_path, tmp_path / "run", quiet=True)
    assert lines(tmp_path / "run") == lines(trained.path)
    mine, theirs = (load_file(r / "teacher.safetensors") for r in (tmp_path / "run", trained.path))
    assert all(torch.equal(mine[k], theirs[k]) for k in theirs)


def test_sigterm_saves_the_step_and_says_how_to_go_on(trained, store_path, tmp_path):
    done = run_killed(trained.config, store_path, tmp_path / "run", 7, "SIGTERM")
    assert done.returncode == 128 + signal.SIGTERM
    assert "step 7 is saved" in done.stderr
    pretrain(trained.config, store_path, tmp_path / "run", quiet=True)
    assert lines(tmp_path / "run") == lines(trained.path)


def test_nan_names_step_and_batch_and_keeps_the_checkpoint(store_path, quick, tmp_path, monkeypatch):
    from jepalib.training.pretrain import Pretraining

    honest = Pretraining._loss

    def poisoned(self, jets, generator):
        loss, outputs = honest(self, jets, generator)
        return (loss * float("nan") if self.step == 7 else loss), outputs

    monkeypatch.setattr(Pretraining, "_loss", poisoned)
    with pytest.raises(JepalibError, match=r"step 8: the loss is nan .* batch 7 holds store rows \d+"):
        pretrain(quick(), store_path, tmp_path / "run", quiet=True)
    monkeypatch.undo()
    state = Run.open(tmp_path / "run").read_checkpoint()
    assert state["step"] == 5
    assert all(torch.isfinite(v).all() for v in state["method"].values())


def test_other_data_are_refused_when_going_on(trained, store_path, request, tmp_path):
    run_killed(trained.config, store_path, tmp_path / "run", 8, "SIGKILL")
    sample = sorted((request.config.rootpath / "data" / "sample").glob("*.root"))
    other = tmp_path / "other"
    convert(sample[:5], other, quiet=True)
    with pytest.raises(JepalibError, match="other data"):
        pretrain(trained.config, other, tmp_path / "run", quiet=True)


def test_a_first_try_that_failed_does_not_hold_the_folder(store_path, quick, tmp_path):
    with pytest.raises(JepalibError, match="does not exist"):
        pretrain(quick(lr=0.7), tmp_path / "nowhere", tmp_path / "run", quiet=True)
    run = pretrain(quick(steps=1), store_path, tmp_path / "run", quiet=True)
    assert Run.open(run.path).config.lr == 1e-3


def test_a_folder_of_other_things_is_not_taken_for_a_run(store_path, quick, tmp_path):
    before = sorted(store_path.iterdir())
    with pytest.raises(JepalibError, match="holds other files and no run"):
        pretrain(quick(), store_path, store_path, quiet=True)
    assert sorted(store_path.iterdir()) == before
    (tmp_path / "file").write_text("text")
    with pytest.raises(JepalibError, match="is a file"):
        pretrain(quick(), store_path, tmp_path / "file", quiet=True)


def test_a_finished_run_refuses_other_data(trained, request, tmp_path):
    sample = sorted((request.config.rootpath / "data" / "sample").glob("*.root"))
    convert(sample[:5], tmp_path / "other", quiet=True)
    with pytest.raises(JepalibError, match="made of other data"):
        pretrain(trained.config, tmp_path / "other", trained.path, quiet=True)


def test_two_writers_of_one_run_are_refused(trained, store_path, tmp_path):
    run = Run.create(tmp_path / "run", trained.config)
    with run.locked(), pytest.raises(JepalibError, match="another process is writing"):
        pretrain(trained.config, store_path, tmp_path / "run", quiet=True)


def test_a_folder_without_a_run_and_a_damaged_one_are_named(tmp_path):
    with pytest.raises(JepalibError, match="not a run folder"):
        Run.open(tmp_path)
    (tmp_path / "config.json").write_text('{"steps": ')
    with pytest.raises(JepalibError, match="not valid JSON"):
        Run.open(tmp_path)


def test_collapse_raises_an_alarm():
    generator = torch.Generator().manual_seed(0)
    healthy = torch.randn(64, 16, generator=generator)
    line = torch.randn(64, 1, generator=generator) * torch.ones(1, 16)
    point = torch.ones(64, 16) + 1e-5 * healthy
    figures, alarm = diagnose({"cls": healthy})
    assert alarm == ""
    assert figures["rank_cls"] > 10
    assert "cls (effective rank 1.0" in diagnose({"cls": line})[1]
    assert "collapsed" in diagnose({"particles": point})[1]


def test_bfloat16_trains(store_path, quick, tmp_path):
    run = pretrain(quick(precision="bfloat16", steps=6), store_path, tmp_path / "run", quiet=True)
    assert run.metrics()["loss"].notna().all()
    assert all(v.dtype != torch.bfloat16 for v in load_file(run.path / "teacher.safetensors").values())


def test_two_processes_begin_alike_stay_equal_and_log_once(store_path, trained, quick, tmp_path):
    code = (
        "import json, sys\nfrom pathlib import Path\nimport torch\n"
        "from jepalib.training import pretrain as m\n"
        "from jepalib.training.config import PretrainConfig, config_from_dict\n"
        "class Told(m.Pretraining):\n"
        "    def go(self):\n"
        "        super().go()\n"
        "        flat = torch.cat([v.double().flatten() for v in self.method.state_dict().values()])\n"
        "        Path(sys.argv[4], f'{self.world.rank}.txt').write_text(repr(float(flat.sum())))\n"
        "m.Pretraining = Told\n"
        "config = config_from_dict(PretrainConfig, json.loads(sys.argv[1]), 'argument')\n"
        "m.pretrain(config, Path(sys.argv[2]), Path(sys.argv[3]), quiet=True, start=Path(sys.argv[5]))\n"
    )
    script = tmp_path / "train.py"
    script.write_text(code)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        str(script),
    ]
    config = json.dumps(asdict(quick(steps=6)))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    arguments = [config, str(store_path), str(tmp_path / "run"), str(tmp_path), str(trained.path)]
    done = subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "0.txt").read_text() == (tmp_path / "1.txt").read_text()
    run = Run.open(tmp_path / "run")
    assert run.metrics()["step"].tolist() == [3, 6]
    assert run.manifest["start"]["teacher"] == trained.identity()["teacher"]
