"""Writes the notebooks from their reviewed text, or the text from the notebooks.

python notebooks/build.py             notebooks/text/*.py  ->  notebooks/*.ipynb (without outputs)
python notebooks/build.py --text      the other way, after editing in JupyterLab

The points of sweeps are in points/ of both folders.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jupytext
import nbformat

HERE = Path(__file__).resolve().parent
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def clean(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """The notebook with nothing in it that running or opening it changes."""
    cells = []
    for number, cell in enumerate(notebook.cells):
        tags = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        kept = {"id": f"{name[:2]}-{number:02d}", "cell_type": cell.cell_type, "metadata": tags}
        kept["source"] = cell.source
        if cell.cell_type == "code":
            kept |= {"execution_count": None, "outputs": []}
        cells.append(kept)
    metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    whole = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    nbformat.validate(checked := nbformat.from_dict(whole))
    return checked


def from_text(source: Path) -> str:
    """The .ipynb that belongs to a text."""
    notebook = clean(jupytext.read(source, fmt="py:percent"), source.stem)
    return nbformat.writes(notebook) + "\n"


def to_text(source: Path) -> str:
    """The text that belongs to a notebook."""
    notebook = clean(nbformat.read(source, as_version=4), source.stem)
    notebook.metadata = {
        "jupytext": {"notebook_metadata_filter": "-all", "cell_metadata_filter": "tags,-all"}
    }
    return jupytext.writes(notebook, fmt="py:percent")


def pairs() -> list[tuple[Path, Path]]:
    """Every text with its notebook, whichever of the two is there."""
    both = []
    for folder, names in (("", "[0-9][0-9]_*"), ("points", "*")):
        texts, notebooks = HERE / "text" / folder, HERE / folder
        stems = {p.stem for p in (*texts.glob(f"{names}.py"), *notebooks.glob(f"{names}.ipynb"))}
        both += [(texts / f"{stem}.py", notebooks / f"{stem}.ipynb") for stem in sorted(stems)]
    return both


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", action="store_true", help="write the text from the notebooks")
    to_texts = parser.parse_args().text
    for text, notebook in pairs():
        if to_texts and notebook.is_file():
            text.write_text(to_text(notebook))
        elif not to_texts and text.is_file():
            notebook.write_text(from_text(text))


if __name__ == "__main__":
    main()
