"""What a run folder says of itself, at every moment of its life."""

import json
import math
import os
from pathlib import Path

import pytest

from jepalib.errors import JepalibError
from jepalib.run_status import FAILURE, read_metrics, read_status
from jepalib.training.runs import Run


def write(folder: Path, lines: int, steps: int = 100, tail: str = "") -> float:
    """A run with a line every 5 steps, each of 2 seconds and 1,000 jets; when it was written last."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"steps": steps}))
    rows = [
        {"step": 5 * i, "loss": 3 / i, "jets_seen": 1000 * i, "seconds": 2.0 * i} for i in range(1, lines + 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + tail)
    return (folder / "metrics.jsonl").stat().st_mtime


def test_waiting_then_started_then_running(tmp_path):
    status = read_status(tmp_path / "none")
    assert (status.state, status.sentence) == ("waiting", "not there yet")
    now = write(tmp_path, 0)
    assert read_status(tmp_path, now).sentence == "started, no metrics yet"
    now = write(tmp_path, 12)
    status = read_status(tmp_path, now + 1)
    assert (status.state, status.step, status.steps) == ("running", 60, 100)
    assert status.jets_per_second == pytest.approx(500)
    assert status.seconds_left == pytest.approx(40 * 0.4)
    assert status.quiet == pytest.approx(1, abs=0.01)
    assert status.sentence == "step 60 of 100, 500 jets/s, 16 s left"
    assert len(status.metrics) == 12


def test_the_rate_is_that_of_the_last_lines(tmp_path):
    write(tmp_path, 20)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    slow = [{"step": 100 + i, "jets_seen": 20_000 + 100 * i, "seconds": 40 + 10.0 * i} for i in range(1, 11)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines + [json.dumps(row) for row in slow]) + "\n")
    assert read_status(tmp_path).jets_per_second == pytest.approx(10)


@pytest.mark.parametrize(("lines", "patience"), [(0, 900), (1, 60), (12, 60)])
def test_a_run_that_says_nothing_for_long_has_stalled(tmp_path, lines, patience):
    now = write(tmp_path, lines)
    assert read_status(tmp_path, now + patience - 5).state == "running"
    status = read_status(tmp_path, now + patience + 5)
    assert status.state == "stalled"
    assert "nothing written for" in status.sentence


def test_patience_grows_with_the_distance_of_lines(tmp_path):
    write(tmp_path, 3)
    rows = [{"step": i, "jets_seen": i, "seconds": 300.0 * i} for i in (1, 2, 3)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    now = (tmp_path / "metrics.jsonl").stat().st_mtime
    assert read_status(tmp_path, now + 2900).state == "running"
    assert read_status(tmp_path, now + 3100).state == "stalled"
    assert read_status(tmp_path, now).sentence == "step 3 of 100, 0 jets/s, 8 h 05 min left"


def test_half_a_line_and_half_a_configuration_are_survived(tmp_path):
    write(tmp_path, 3, tail='{"step": 20, "lo')
    assert read_metrics(tmp_path / "metrics.jsonl").step.tolist() == [5, 10, 15]
    (tmp_path / "config.json").write_text('{"ste')
    status = read_status(tmp_path)
    assert (status.step, status.steps) == (15, 0)
    assert math.isnan(status.seconds_left)


def test_finished_runs_stay_so(trained):
    os.utime(trained.path / "metrics.jsonl", (0, 0))
    status = read_status(trained.path)
    assert (status.state, status.step, status.seconds_left) == ("finished", 12, 0)
    assert status.sentence == "finished, step 12 of 12"
    assert status.metrics.equals(trained.metrics())


def test_a_failure_is_written_for_those_who_watch_and_forgotten_by_the_next_attempt(tmp_path, quick):
    run = Run.create(tmp_path / "run", quick())
    with pytest.raises(JepalibError, match="not finite"), run.locked():
        raise JepalibError("the loss is not finite at step 7")
    assert read_status(run.path).state == "failed"
    assert read_status(run.path).sentence == "failed at step 0 of 12: the loss is not finite at step 7"
    with run.locked():
        assert not (run.path / FAILURE).exists()
    assert read_status(run.path).state == "running"
    with pytest.raises(MemoryError), run.locked():
        raise MemoryError  # which says nothing of itself
    assert read_status(run.path).reason == "MemoryError"
    with pytest.raises(KeyboardInterrupt), run.locked():
        raise KeyboardInterrupt
    assert read_status(run.path).state == "running"  # who stops a run needs not be told
