"""The stored notebooks: equal to their text, without outputs, and written as notebooks should be."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import nbformat
import papermill
import pytest

from jepalib.workbook.parameters import read_parameters
from jepalib.workbook.profiles import profile_values

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))
TEXTS = sorted((FOLDER / "text").glob("[0-9][0-9]_*.py"))
POINTS = sorted((FOLDER / "points").glob("*.ipynb"))  # of sweeps
POINT_TEXTS = sorted((FOLDER / "text" / "points").glob("*.py"))

specification = importlib.util.spec_from_file_location("build", FOLDER / "build.py")
build = importlib.util.module_from_spec(specification)
specification.loader.exec_module(build)

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS + POINTS, ids=lambda p: p.stem)


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


def test_there_is_a_text_for_each_notebook() -> None:
    names = [path.stem for path in NOTEBOOKS]
    assert names == [path.stem for path in TEXTS]
    assert [name[:2] for name in names] == [f"{n:02d}" for n in range(len(names))]
    assert len(names) >= 8
    assert [path.stem for path in POINTS] == [path.stem for path in POINT_TEXTS] == ["ablation", "scaling"]


@pytest.mark.parametrize("path", TEXTS + POINT_TEXTS, ids=lambda p: p.stem)
def test_no_drift_between_text_and_notebook(path: Path) -> None:
    notebook = dict(build.pairs())[path]
    assert build.from_text(path) == notebook.read_text(), "edit notebooks/text and run `make notebooks`"
    assert build.to_text(notebook) == path.read_text()


def test_drift_is_seen(tmp_path: Path) -> None:
    text = TEXTS[0].read_text()
    changed = tmp_path / TEXTS[0].name
    changed.write_text(text.replace("seed: int = 0", "seed: int = 1"))
    assert build.from_text(changed) != build.from_text(TEXTS[0])


@each_notebook
def test_stored_clean(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code_cells(path))


@each_notebook
def test_opens_with_a_title_and_a_question_then_parameters(path: Path) -> None:
    first, second = nbformat.read(path, as_version=4).cells[:2]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert "?" in first.source
    assert second.metadata.tags == ["parameters"]


@each_notebook
def test_cells_are_short_and_define_no_classes(path: Path) -> None:
    for cell in code_cells(path):
        assert len(cell.source.splitlines()) <= 25, cell.source
        assert not any(isinstance(node, ast.ClassDef) for node in ast.walk(ast.parse(cell.source)))


@each_notebook
def test_every_parameter_is_typed_and_explained(path: Path) -> None:
    known = papermill.inspect_notebook(str(path))
    assert set(known) == set(read_parameters(nbformat.read(path, as_version=4), path.stem))
    for name, about in known.items():
        assert about["inferred_type_name"] not in ("None", ""), name
        assert about["help"], f"{name} needs a comment"


@each_notebook
def test_defaults_are_those_of_the_laptop(path: Path) -> None:
    laptop = profile_values("laptop") | {"run_dir": "runs/laptop"}
    for name, parameter in read_parameters(nbformat.read(path, as_version=4), path.stem).items():
        if name in laptop:
            assert parameter.default == laptop[name], name


@each_notebook
def test_ends_with_its_result(path: Path) -> None:
    cells = code_cells(path)
    own = "point" if path in POINTS else f'"{path.stem}"'
    assert f"notebook.start({own}, run_dir)" in "\n".join(c.source for c in cells)
    assert cells[-1].source.startswith("stage.finish(")


def test_every_profile_value_is_used() -> None:
    used = {
        name for path in NOTEBOOKS for name in read_parameters(nbformat.read(path, as_version=4), path.stem)
    }
    assert set(profile_values("laptop")) <= used
