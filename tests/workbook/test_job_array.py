"""`jepalib sweep`: the right points, every one in exactly one share, and mistakes told at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from jepalib.errors import JepalibError
from jepalib.workbook import cli
from jepalib.workbook.job_array import SWEEPS, chosen, planned
from jepalib.workbook.sweeps import PointJob

ROOT = Path(__file__).resolve().parents[2]


def some(count: int) -> list[PointJob]:
    return [PointJob(Path("x.ipynb"), {}, Path("runs"), f"09_x/points/p{i}") for i in range(count)]


@settings(deadline=None)
@given(points=st.integers(0, 60), count=st.integers(1, 70))
def test_shares_cover_every_point_once(points: int, count: int) -> None:
    jobs = some(points)
    shares = [chosen(jobs, [], f"{index}/{count}") for index in range(count)]
    assert sorted(job.name for share in shares for job in share) == sorted(job.name for job in jobs)
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("share", ["3", "a/b", "1/", "-1/3", "1.5/3", "/"])
def test_a_share_is_two_numbers(share: str) -> None:
    with pytest.raises(JepalibError, match="give I/N, such as"):
        chosen(some(3), [], share)


@pytest.mark.parametrize(("share", "array"), [("3/3", "0-2"), ("4/3", "0-2"), ("0/0", "0-0")])
def test_shares_are_counted_from_0(share: str, array: str) -> None:
    with pytest.raises(JepalibError, match=rf"counted from 0 \(#SBATCH --array={array}\)"):
        chosen(some(3), [], share)


def test_points_by_name() -> None:
    assert [job.short for job in chosen(some(4), ["p2", "p0"], "")] == ["p2", "p0"]
    with pytest.raises(JepalibError, match="no point 'point-9' among the 4 of this sweep; --list shows all"):
        chosen(some(4), ["point-9"], "")
    with pytest.raises(JepalibError, match="give one of them"):
        chosen(some(4), ["p1"], "0/2")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """In the checkout, with another run folder: the options that say so."""
    monkeypatch.chdir(ROOT)
    return ["--profile", "smoke", "--out", str(tmp_path), "-p", "data_dir=data/sample"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["08"], "no sweep '08'; there are: 07_ablations"),
        (["07", "-p", "ablation_step=3"], "did you mean ablation_steps?"),
        (["07", "-p", "ablation_rows=basline"], "did you mean baseline?"),
        (["07", "-p", "ablation_seeds=0"], "ablation_seeds = 0: give at least 1"),
        (["07", "--profile", "huge"], "no profile 'huge'"),
        (["07", "--point", "baseline-seed9"], "did you mean baseline-seed0?"),
        (["07", "--share", "1:2"], "--share 1:2: give I/N"),
        (["07", "--workers", "0"], "--workers 0: give a whole number"),
    ],
)
def test_mistakes_are_one_message(elsewhere: list[str], arguments: list[str], message: str) -> None:
    answer = CliRunner().invoke(cli.app, ["sweep", *elsewhere, *arguments])
    assert answer.exit_code == 2, answer.output
    assert message in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def test_it_says_what_must_run_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    answer = CliRunner().invoke(cli.app, ["sweep", "07", "--out", str(tmp_path), "--list"])
    assert answer.exit_code == 2
    assert "01_explore" in answer.stderr
    assert "run it first" in answer.stderr


def test_list_tells_the_points_of_a_share(elsewhere: list[str]) -> None:
    arguments = ["07_ablations", "-p", "ablation_rows=baseline,random", "-p", "ablation_seeds=2", "--list"]
    whole = CliRunner().invoke(cli.app, ["sweep", *elsewhere, *arguments])
    names = ["baseline-seed0", "random-seed0", "baseline-seed1", "random-seed1"]
    assert [line.split(maxsplit=1) for line in whole.stdout.splitlines()] == [[n, "to do"] for n in names]
    share = CliRunner().invoke(cli.app, ["sweep", *elsewhere, *arguments, "--share", "1/3"])
    assert share.stdout.split() == ["random-seed0", "to", "do"]


def test_it_makes_what_was_chosen(elsewhere: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("jepalib.workbook.sweeps.make_points", lambda *args: seen.append(args))
    options = ["--point", "registers-seed0", "--workers", "3", "--force", "--quiet"]
    answer = CliRunner().invoke(cli.app, ["sweep", "07", *elsewhere, *options])
    assert answer.exit_code == 0, answer.output
    ((jobs, workers, force, quiet),) = seen
    assert [job.short for job in jobs] == ["registers-seed0"]
    assert (workers, force, quiet) == (3, True, True)


def test_the_sweeps_of_the_workbook_have_their_notebooks(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    for name in SWEEPS:
        for profile in ("smoke", "laptop", "paper"):
            assert planned(name, profile, ["data_dir=data/sample"], tmp_path)
