"""What a run folder tells of each notebook: state, findings, figures and tables, whatever is missing.

Folders of partial, failed and older runs are read too: a key that is not there has a default,
and a file that is gone is said to be.
"""

from __future__ import annotations

import base64
import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
from nbformat import NotebookNode
from pandas.errors import EmptyDataError, ParserError
from PIL import Image, UnidentifiedImageError

from jepalib.workbook.notebook import RESULT

HEADLINES = 2  # findings of a notebook on the front page where it marks none
PIXELS_PER_INCH = 121  # CSS pixels for an inch of a figure: all in one scale, a page's width 870 pixels
DONE, FAILED, UNFINISHED, NOT_RUN = "done", "failed", "unfinished", "not run"


@dataclass(frozen=True)
class Picture:
    """A figure with its caption; `data` is a data URI, empty where the file is gone."""

    file: str
    caption: str
    anchor: str
    data: str = ""
    width: int = 0
    height: int = 0
    pdf: str = ""


@dataclass(frozen=True)
class Table:
    """A table with its caption as texts; `numbers` says which columns are aligned as numbers."""

    file: str
    caption: str
    anchor: str
    columns: Sequence[str] = ()
    numbers: Sequence[bool] = ()
    rows: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Reported:
    """One notebook of a run; `notebook` is None where it never ran."""

    name: str
    status: str
    title: str
    question: str
    manifest: dict[str, Any]
    result: dict[str, Any]
    notebook: NotebookNode | None = None
    headlines: list[str] = field(default_factory=list)
    figures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    main_figure: Picture | None = None
    main_table: Table | None = None

    @property
    def number(self) -> str:
        return self.name.split("_")[0]

    @property
    def findings(self) -> list[str]:
        return self.result.get("findings", [])

    @property
    def more_findings(self) -> list[str]:
        """Those that are no headlines."""
        return [text for text in self.findings if text not in self.headlines]

    @property
    def seconds(self) -> float:
        return float(self.manifest.get("seconds") or 0)

    @property
    def started(self) -> str:
        """When it began, as ISO 8601 in UTC; empty where that is not known."""
        return self.manifest.get("started") or ""

    @property
    def parameters(self) -> dict[str, Any]:
        return self.manifest.get("parameters") or {}

    @property
    def environment(self) -> dict[str, str]:
        return self.manifest.get("environment") or {}


def read_run(run_dir: Path, planned: Sequence[str] = ()) -> list[Reported]:
    """All notebooks of a run in number order; `planned` names those that were to run as well."""
    there = {path.stem for path in run_dir.glob("[0-9][0-9]_*.ipynb")}
    return [_read(run_dir, name) for name in sorted(there | set(planned))]


def _read(run_dir: Path, name: str) -> Reported:
    folder, page = run_dir / name, run_dir / f"{name}.ipynb"
    notebook = nbformat.read(page, as_version=4) if page.is_file() else None
    manifest, result = _json(folder / "manifest.json"), _json(folder / RESULT)
    status = manifest.get("status") or (UNFINISHED if notebook else NOT_RUN)
    title, question = opening(notebook) if notebook else (name, "")
    shown, listed = result.get("figures", []), result.get("tables", [])
    figures = [_picture(run_dir, name, f) for f in shown]
    tables = [_table(run_dir, name, t) for t in listed]
    return Reported(
        name=name,
        status=status,
        title=title,
        question=question,
        manifest=manifest,
        result=result,
        notebook=notebook,
        headlines=result.get("headlines") or result.get("findings", [])[:HEADLINES],
        figures=figures,
        tables=tables,
        main_figure=_main(figures, shown),
        main_table=_main(tables, listed),
    )


def _json(path: Path) -> dict[str, Any]:
    """A JSON file's object; empty where the file is missing or broken off."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _main(items: Sequence[Any], records: Sequence[dict[str, Any]]) -> Any:
    """The item that is marked as the main one, else the first, else None."""
    marked = [item for item, record in zip(items, records, strict=True) if record.get("main")]
    return (marked or [*items, None])[0]


def opening(notebook: NotebookNode) -> tuple[str, str]:
    """Title and first paragraph of a notebook, without markup."""
    written = [c for c in notebook.cells if c.cell_type == "markdown" and not by_papermill(c)]
    paragraphs = [p.strip() for p in written[0].source.split("\n\n") if p.strip()] if written else []
    title = paragraphs[0].lstrip("# ") if paragraphs else "Untitled"
    question = paragraphs[1] if len(paragraphs) > 1 else ""
    return title, re.sub(r"[*_`]{1,2}(\S[^*_`]*)[*_`]{1,2}", r"\1", " ".join(question.split()))


def by_papermill(cell: NotebookNode) -> bool:
    """Whether papermill put the cell there, to point at an error."""
    return "papermill-error-cell-tag" in cell.metadata.get("tags", ())


def css_size(png: bytes) -> tuple[int, int]:
    """Width and height in CSS pixels of a picture, by the inches it was drawn for.

    Raises:
        UnidentifiedImageError: this is no picture.
    """
    with Image.open(io.BytesIO(png)) as image:
        scale = PIXELS_PER_INCH / image.info.get("dpi", (PIXELS_PER_INCH, 0))[0]
        return round(image.width * scale), round(image.height * scale)


def _anchor(name: str, file: str) -> str:
    return f"{name}-{Path(file).stem}"


def _picture(run_dir: Path, name: str, record: dict[str, Any]) -> Picture:
    """A figure as lossless WebP, which takes a third of the PNG's bytes."""
    path, caption = run_dir / record["file"], record.get("caption", "")
    anchor, pdf = _anchor(name, record["file"]), Path(record["file"]).with_suffix(".pdf")
    try:
        png = path.read_bytes()
        width, height = css_size(png)
    except (OSError, UnidentifiedImageError):
        return Picture(record["file"], caption, anchor)
    packed = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.save(packed, "WEBP", lossless=True, quality=50, method=2)
    data = "data:image/webp;base64," + base64.b64encode(packed.getvalue()).decode()
    vector = pdf.as_posix() if (run_dir / pdf).is_file() else ""
    return Picture(record["file"], caption, anchor, data, width, height, vector)


def _table(run_dir: Path, name: str, record: dict[str, Any]) -> Table:
    caption, anchor = record.get("caption", ""), _anchor(name, record["file"])
    try:
        frame = pd.read_csv(run_dir / record["file"])
    except (OSError, EmptyDataError, ParserError):
        return Table(record["file"], caption, anchor)
    columns = [column_texts(frame[column]) for column in frame]
    numbers = [pd.api.types.is_numeric_dtype(frame[c]) and frame[c].dtype != bool for c in frame]
    rows = [list(row) for row in zip(*columns, strict=True)]
    return Table(record["file"], caption, anchor, list(frame.columns), numbers, rows)


def column_texts(column: pd.Series) -> list[str]:
    """The cells of a column, numbers with as many decimals as the largest needs for three digits."""
    if not pd.api.types.is_numeric_dtype(column) or column.dtype == bool:
        return ["–" if pd.isna(value) else str(value) for value in column]
    sizes = [abs(float(v)) for v in column if math.isfinite(v)]
    finite = [v for v in sizes if v > 1e-9 * max(sizes)]  # less is rounding
    whole = all(v.is_integer() for v in finite)
    spread = max(finite) / min(finite) if finite else 1
    decimals = 0 if whole or not finite else max(0, 2 - math.floor(math.log10(max(finite))))
    by_cell = not whole and (spread > 1e3 or decimals > 6)
    return [_number(float(value), ".3g" if by_cell else f"z,.{decimals}f") for value in column]


def _number(value: float, form: str) -> str:
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return format(value, form).replace("-", "−")
