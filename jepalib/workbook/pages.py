"""An executed notebook as the body of a page: code folded, figures captioned, sections to jump to."""

from __future__ import annotations

import base64
import copy
import re
from dataclasses import dataclass
from html import unescape
from importlib.resources import files

from markupsafe import Markup
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from PIL import UnidentifiedImageError
from pygments.formatters import HtmlFormatter

from jepalib.workbook.reported import css_size

HEADING = re.compile(r'<h([23]) id="([^"]+)">(.*?)<a class="anchor-link"')
TAG = re.compile(r"<[^>]+>")


@dataclass(frozen=True)
class Section:
    """A heading of a notebook page."""

    level: int
    anchor: str
    title: Markup


def body(notebook: NotebookNode) -> tuple[Markup, list[Section]]:
    """The cells of an executed notebook as HTML that needs nothing else, and its headings."""
    template = files("jepalib.workbook").joinpath("templates", "cells.html").read_text()
    exporter = HTMLExporter(
        template_name="basic", raw_template=template, exclude_input_prompt=True, exclude_output_prompt=True
    )
    html, _ = exporter.from_notebook_node(described(notebook))
    sections = [
        Section(int(n), unescape(anchor), Markup(TAG.sub("", text)))
        for n, anchor, text in HEADING.findall(html)
    ]
    return Markup(html), sections


def described(notebook: NotebookNode) -> NotebookNode:
    """A copy in which every picture has its size, and a text that says what it shows."""
    notebook, heading = copy.deepcopy(notebook), "this notebook"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = ([*re.findall(r"^#+ +(.+)$", cell.source, re.M)] or [heading])[-1]
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                _describe(output, heading)
    return notebook


def _describe(output: NotebookNode, heading: str) -> None:
    shown = output.setdefault("metadata", NotebookNode()).setdefault("image/png", NotebookNode())
    shown.setdefault("alt", f"Figure of the section “{heading}”")
    try:
        shown["width"], shown["height"] = css_size(base64.b64decode(output["data"]["image/png"]))
    except (UnidentifiedImageError, ValueError):
        shown["alt"] = f"{shown['alt']} (unreadable)"


def code_colours() -> Markup:
    """The styles of code: light, dark where the system or the reader asks for it."""
    system = _colours("github-dark", ":root:not([data-theme=light]) ")
    chosen = _colours("github-dark", ":root[data-theme=dark] ")
    return Markup(
        f"{_colours('default')}\n@media (prefers-color-scheme: dark) {{\n{system}\n}}\n"
        f"@media screen {{\n{chosen}\n}}"
    )


def _colours(style: str, where: str = "") -> str:
    """Colours of single tokens; the background is the page's own."""
    rules = HtmlFormatter(style=style).get_style_defs(f"{where}.highlight").splitlines()
    return "\n".join(rule for rule in rules if rule.startswith(f"{where}.highlight ."))
