"""The set-up agrees with itself: one list of packages, pins for all of it, one order of rooms."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import uproot
import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def wanted() -> list[str]:
    """All requirements of pyproject.toml, extras included."""
    extras = [line for extra in PROJECT["optional-dependencies"].values() for line in extra]
    return PROJECT["dependencies"] + extras


def package(line: str) -> str:
    return re.split(r"[<>=!~ \[;]", line)[0].lower().replace("_", "-")


def test_conda_installs_the_same_set() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, installed = environment["dependencies"]
    assert python == "python" + PROJECT["requires-python"]
    assert pip == "pip"
    options = [line for line in installed["pip"] if line.startswith("--")]
    assert options == ["--constraint constraints.txt", "--editable ."]
    assert sorted(set(installed["pip"]) - set(options)) == sorted(wanted())


def test_everything_wanted_is_pinned_by_name_and_version() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.!]+", line) for line in lines), (
        "no paths, no ranges"
    )
    pinned = {package(line) for line in lines}
    assert {package(line) for line in wanted()} <= pinned
    assert "torch==2.13.0" in lines


def test_imports_point_down() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    command = [linter, "--no-cache"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stdout


def run_setup(folder: Path, python: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(ROOT / "setup.sh", folder)
    environment = {"PATH": os.environ["PATH"], "PYTHON": python}
    command = ["bash", "setup.sh"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def test_setup_says_what_is_missing_without_a_python(tmp_path: Path) -> None:
    answer = run_setup(tmp_path, "python9.9")
    assert answer.returncode == 1
    assert "Python 3.11 or newer" in answer.stderr


def test_setup_says_what_is_missing_without_venv(tmp_path: Path) -> None:
    bare = (
        tmp_path / "bare-python"
    )  # a new enough Python that lacks ensurepip, as Debian's without python3-venv
    bare.write_text(
        f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"\n',
    )
    bare.chmod(0o755)
    answer = run_setup(tmp_path, str(bare))
    assert answer.returncode == 1
    assert "apt-get install python3." in answer.stderr
    assert not (tmp_path / ".venv").exists()


def test_ci_runs_lint_and_tests_and_hides_nothing() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert "set -euo pipefail" in script
    assert "make lint" in script
    assert "make test" in script
    assert "||" not in script


@pytest.mark.parametrize(
    "target", ["workbook", "test", "test-all", "test-browser", "lint", "lab", "notebooks"]
)
def test_every_target_sets_itself_up(target: str) -> None:
    answer = subprocess.run(
        ["make", "--dry-run", "--always-make", target], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.index("setup.sh") < answer.stdout.index(".venv/bin/")


def test_the_file_map_names_every_file() -> None:
    readme = (ROOT / "README.md").read_text()
    modules = [p for p in (ROOT / "jepalib").rglob("*.py") if p.name != "__init__.py"]
    missing = [str(p.relative_to(ROOT)) for p in modules if f" {p.name} " not in readme]
    assert not missing, f"add a line to README.md for {missing}"


def test_the_note_on_the_sample_has_its_seed() -> None:
    command = re.search(r"--jets-per-class (\d+) --seed (\d+)", (ROOT / "data" / "README.md").read_text())
    files = sorted((ROOT / "data" / "sample").glob("*.root"))
    assert len(files) == 10
    for path in files:
        made = json.loads(str(uproot.open(path)["parameters"]))
        assert (made["jets"], made["seed"]) == (int(command[1]), int(command[2])), path.name
