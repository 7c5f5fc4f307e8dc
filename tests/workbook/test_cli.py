"""The command line: options, exit statuses, and no tracebacks for a user's mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jepalib.errors import JepalibError
from jepalib.workbook import cli

runner = CliRunner()


def call(monkeypatch: pytest.MonkeyPatch, target: str, *arguments: str):
    """Runs a command with the library function behind it replaced; returns what it was given."""
    seen = {}

    def record(*args, **kwargs):
        seen["args"], seen["kwargs"] = args, kwargs
        return []

    monkeypatch.setattr(target, record)
    answer = runner.invoke(cli.app, list(arguments))
    assert answer.exit_code == 0, answer.output
    return seen["args"], seen["kwargs"]


def test_help_is_quick_and_names_every_command() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "jepalib.workbook.cli", "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    for name in ("simulate", "convert", "pretrain", "adapt", "embed", "predict", "run"):
        assert f" {name} " in ended.stdout
    for heavy in ("torch", "numpy", "papermill", "uproot"):
        assert f"| {heavy}\n" not in ended.stderr


def test_simulate(monkeypatch: pytest.MonkeyPatch) -> None:
    options = "--split train --jets-per-class 5 --classes Hbb,QCD --files-per-class 2 --seed 3 --workers 1"
    args, kwargs = call(
        monkeypatch, "jepalib.data.simulation.simulate", "simulate", "out", *options.split(), "--quiet"
    )
    assert args == (Path("out"), "train", 5)
    assert kwargs == {
        "classes": ["Hbb", "QCD"],
        "files_per_class": 2,
        "seed": 3,
        "workers": 1,
        "quiet": True,
        "dataset": "jetclass",
    }


def test_convert_takes_many_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    args, kwargs = call(monkeypatch, "jepalib.data.convert.convert", "convert", "a.root", "folder", "store")
    assert args == ([Path("a.root"), Path("folder")], Path("store"))
    assert kwargs["dataset"] is None


def test_the_data_set_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["convert", "jets.hdf5", "store", "--dataset", "top"]
    _, kwargs = call(monkeypatch, "jepalib.data.convert.convert", *options)
    assert kwargs["dataset"] == "top"
    options = ["simulate", "out", "--split", "val", "--jets-per-class", "5", "--dataset", "quark-gluon"]
    _, kwargs = call(monkeypatch, "jepalib.data.simulation.simulate", *options)
    assert (kwargs["dataset"], kwargs["classes"]) == ("quark-gluon", None)


def test_a_mistake_is_a_message_and_status_2(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args, **kwargs):
        raise JepalibError("folder: not there")

    monkeypatch.setattr("jepalib.data.convert.convert", refuse)
    answer = runner.invoke(cli.app, ["convert", "folder", "store"])
    assert answer.exit_code == 2
    assert answer.stderr == "jepalib: folder: not there\n"


def test_an_interrupt_is_status_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("jepalib.data.convert.convert", interrupted)
    assert runner.invoke(cli.app, ["convert", "folder", "store"]).exit_code == 130


def test_other_errors_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args, **kwargs):
        raise RuntimeError("a defect")

    monkeypatch.setattr("jepalib.data.convert.convert", broken)
    assert isinstance(runner.invoke(cli.app, ["convert", "folder", "store"]).exception, RuntimeError)


def test_run_passes_its_options_on_and_fails_with_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("jepalib.workbook.runner.run_notebooks", lambda *args: seen.append(args))
    answer = runner.invoke(
        cli.app, ["run", "01", "03", "--profile", "smoke", "-p", "a=1", "-p", "b=2", "--force"]
    )
    assert answer.exit_code == 1  # None is not True
    assert seen == [(["01", "03"], "smoke", ["a=1", "b=2"], None, True, False)]


@pytest.mark.parametrize("text", ["", "5.5", "0", "-3", "many", "500;2000"])
def test_label_counts_are_whole_numbers(text: str) -> None:
    with pytest.raises(JepalibError, match="--labels takes whole numbers"):
        cli.whole_numbers(text, "--labels")


def test_label_counts() -> None:
    assert cli.whole_numbers("500, 2_000,1e4", "--labels") == [500, 2000, 10_000]


def test_label_counts_may_be_shares_of_the_training_jets(store_path: Path) -> None:
    assert cli.label_counts("500, 2%, 0.05 %", store_path) == [
        500,
        12,
        10,
    ]  # of 600
    for text, message in (("x%", "no share"), ("0%", "above 0"), ("150%", "at most 100"), ("", "whole")):
        with pytest.raises(JepalibError, match=message):
            cli.label_counts(text, store_path)
