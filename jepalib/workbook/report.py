"""The report of a run: one page with findings, figures, tables, versions and times.

Everything is inside the pages themselves, so that they open from disk and can be sent.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter

from jepalib.workbook.notebook import RESULT, write_json

CSS_PIXELS_PER_DOT = 0.55  # figures are saved with 220 dots per inch


def write(run_dir: Path, profile: str) -> Path:
    """Writes `index.html` and a page per executed notebook; returns the index.

    What lies in the run folder is reported, whichever call made it.
    """
    templates = Environment(
        loader=PackageLoader("jepalib.workbook", "templates"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    stages = [_stage(path) for path in sorted(run_dir.glob("[0-9][0-9]_*.ipynb"))]
    stages = [stage for stage in stages if stage]
    colours = Markup(_code_colours())
    for stage in stages:
        page = templates.get_template("notebook.html").render(stage=stage, profile=profile, code_css=colours)
        (run_dir / f"{stage['name']}.html").write_text(page)
    index = run_dir / "index.html"
    newest = max(stages, key=lambda s: s["manifest"]["started"])["manifest"] if stages else None
    index.write_text(
        templates.get_template("index.html").render(
            profile=profile,
            stages=stages,
            environment=newest["environment"] if newest else {},
            seconds=sum(stage["manifest"]["seconds"] for stage in stages),
            failed=[stage["name"] for stage in stages if stage["manifest"]["status"] != "done"],
        )
    )
    summary = {s["name"]: {k: s["manifest"][k] for k in ("status", "seconds")} for s in stages}
    write_json(run_dir / "summary.json", {"profile": profile, "notebooks": summary})
    return index


def _stage(path: Path) -> dict[str, Any] | None:
    """What is known of one notebook, or None when the runner has not ended with it."""
    folder = path.with_suffix("")
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return None
    notebook = nbformat.read(path, as_version=4)
    result = json.loads((folder / RESULT).read_text()) if (folder / RESULT).is_file() else {}
    title, question = _opening(notebook)
    return {
        "name": path.stem,
        "title": title,
        "question": question,
        "manifest": json.loads(manifest.read_text()),
        "findings": result.get("findings", []),
        "figures": [f | _embedded(path.parent / f["file"]) for f in result.get("figures", [])],
        "tables": [t | _table(path.parent / t["file"]) for t in result.get("tables", [])],
        "body": Markup(_body(notebook)),
    }


def _opening(notebook: NotebookNode) -> tuple[str, str]:
    """Title and first paragraph of a notebook."""
    written = [c for c in notebook.cells if c.cell_type == "markdown" and not _by_papermill(c)]
    text = written[0].source if written else ""
    paragraphs = [p.strip() for p in text.split("\n\n") if p.strip()]
    title = paragraphs[0].lstrip("# ") if paragraphs else "Untitled"
    question = paragraphs[1] if len(paragraphs) > 1 else ""
    return title, re.sub(r"[*_`]{1,2}(\S[^*_`]*)[*_`]{1,2}", r"\1", " ".join(question.split()))


def _by_papermill(cell: NotebookNode) -> bool:
    """Whether papermill put the cell there, to point at an error."""
    return "papermill-error-cell-tag" in cell.metadata.get("tags", ())


def _embedded(figure: Path) -> dict[str, str | int]:
    """The picture as a data URI, and its width in CSS pixels: all figures in the same scale."""
    png = figure.read_bytes()
    pixels = int.from_bytes(png[16:20])  # the width in a PNG's header
    return {
        "data": "data:image/png;base64," + base64.b64encode(png).decode(),
        "width": round(pixels * CSS_PIXELS_PER_DOT),
    }


def _table(path: Path) -> dict[str, list]:
    """Names of the columns, and rows of (text, whether it is a number)."""
    frame = pd.read_csv(path)
    rows = [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
    return {"columns": list(frame.columns), "rows": rows}


def _cell(value: object) -> tuple[str, bool]:
    if pd.isna(value):
        return "–", True
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.4g}", True
    if isinstance(value, int | float):
        return f"{value:,.0f}", True
    return str(value), False


def _body(notebook: NotebookNode) -> str:
    """An executed notebook as plain HTML with embedded images."""
    exporter = HTMLExporter(template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True)
    body, _ = exporter.from_notebook_node(notebook)
    return body


def _code_colours() -> str:
    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}"
