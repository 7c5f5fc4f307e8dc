"""The look of every figure: sizes, fonts, and a colour, dash and marker for each class."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from jepalib.schema import CLASSES

COLUMN, PAGE = 3.5, 7.2  # widths in inches of one column and of a page

# Ten colours, in the order of `schema.CLASSES`, that keep apart under colour-vision
# deficiency: those of M. Petroff (arXiv:2107.02270), its second grey made black.
PALETTE = (
    "#717581", "#ffa90e", "#bd1f01", "#a96b59", "#b9ac70",
    "#e76300", "#3f90da", "#832db6", "#000000", "#5cc4c9",
)  # fmt: skip
CONTEXT, TARGET, UNUSED = "#0072b2", "#d55e00", "#9a9a9a"  # blue, vermilion, grey (Okabe and Ito)

RC = {
    "figure.dpi": 110,
    "savefig.dpi": 220,
    "figure.facecolor": "white",
    "font.family": "sans-serif",
    "font.sans-serif": ["TeX Gyre Heros", "Helvetica", "Arial", "DejaVu Sans"],
    "mathtext.fontset": "stixsans",
    "font.size": 9,
    "axes.labelsize": 9.5,
    "axes.titlesize": 9.5,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "xtick.major.size": 4,
    "xtick.minor.size": 2,
    "ytick.major.size": 4,
    "ytick.minor.size": 2,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "xaxis.labellocation": "center",
    "yaxis.labellocation": "center",
    "savefig.bbox": "tight",
    "pdf.fonttype": 42,  # text stays text
}


@dataclass(frozen=True)
class Look:
    """How one class is drawn; no two classes share all of it."""

    color: str
    linestyle: str | tuple
    marker: str


LONG, DASH_DOT_DOT = (0, (8, 2)), (0, (5, 1, 1, 1, 1, 1))
DASHES = ("-", "-", "--", "-.", LONG, DASH_DOT_DOT, "--", ":", "-.", "-")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "*")
CLASS_LOOK = {
    name: Look(color, dash, marker) for name, color, dash, marker in zip(CLASSES, PALETTE, DASHES, MARKERS)
}


def use_style() -> None:
    """Set the style, once, at the top of a notebook; figures show as PNG in Jupyter."""
    import mplhep  # slow to import, and only needed here

    mpl.rcParams.update(mplhep.style.ROOT)
    mpl.rcParams.update(RC)
    if "IPython" in sys.modules:
        from IPython import get_ipython
        from IPython.core.pylabtools import select_figure_formats

        # Figures here are made without pyplot, so that none is drawn twice or kept alive;
        # Jupyter then has to be told how to show them.
        if get_ipython() is not None:
            select_figure_formats(get_ipython(), {"png"}, dpi=RC["figure.dpi"] * 1.4)


def new_figure(width: float = PAGE, height: float = 3.0) -> Figure:
    """An empty figure of the given size in inches whose parts never overlap."""
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, name: str, folder: str | Path = "figures") -> Path:
    """Write `folder`/`name`.png (220 dpi) and .pdf, and return the path of the PNG.

    The PDF is made of vectors and text alone, colour bars too, which matplotlib would make images.
    """
    for mesh in figure.findobj(QuadMesh):
        if mesh.get_rasterized():
            mesh.set(rasterized=False, edgecolor="face")  # edges close the seams between cells
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    figure.savefig(path, dpi=RC["savefig.dpi"])
    figure.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None})
    return path
