"""The style: ten looks that differ, also for the colour-blind, and files where they are wanted."""

from __future__ import annotations

import itertools

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from jepalib.schema import CLASSES
from jepalib.viz.plots import HIGGS, OTHERS
from jepalib.viz.style import CLASS_LOOK, CONTEXT, TARGET, UNUSED, new_figure, save_figure, use_style

# Linear RGB as dichromats see it (Machado, Oliveira and Fernandes, IEEE TVCG 15 (2009) 1291).
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "deuteranopia": [[0.3673, 0.8607, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "tritanopia": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(color: str, vision: str) -> np.ndarray:
    """CIELAB of a colour as it is seen; a distance of 2 is just noticeable."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = XYZ @ np.clip(np.asarray(VISION[vision]) @ linear, 0, 1) / [0.9505, 1, 1.089]
    f = np.where(seen > 0.008856, np.cbrt(seen), 7.787 * seen + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
def test_colours_keep_apart(vision):
    palettes = [[look.color for look in CLASS_LOOK.values()], [CONTEXT, TARGET, UNUSED]]
    for palette in palettes:
        distances = [
            np.linalg.norm(lab(a, vision) - lab(b, vision)) for a, b in itertools.combinations(palette, 2)
        ]
        assert min(distances) > 15


def test_classes_differ_in_more_than_colour():
    assert list(CLASS_LOOK) == list(CLASSES)
    assert len({look.marker for look in CLASS_LOOK.values()}) == 10
    for panel in (HIGGS, OTHERS):  # QCD is filled there
        assert len({str(CLASS_LOOK[name].linestyle) for name in panel[1:]}) == len(panel) - 1


def test_text_stays_legible_at_column_width():
    use_style()
    sizes = [mpl.rcParams[f"{k}"] for k in ("axes.labelsize", "xtick.labelsize", "legend.fontsize")]
    assert min(sizes) >= 8


def test_figures_are_saved_as_png_and_pdf(tmp_path):
    figure = new_figure(3.0, 2.0)
    figure.subplots().plot([0, 1], [0, 1])
    path = save_figure(figure, "line", tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "line.png"
    with Image.open(path) as image:
        assert image.info["dpi"][0] >= 150
    assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")


def test_pdfs_are_vectors_and_text(tmp_path):
    use_style()
    figure = new_figure(3.0, 2.0)
    ax = figure.subplots()
    points = ax.scatter([0, 1], [0, 1], c=[0, 1])
    figure.colorbar(points, ax=ax).set_label("some words")
    pdf = save_figure(figure, "bar", tmp_path).with_suffix(".pdf").read_bytes()
    assert b"/Subtype /Image" not in pdf
    assert b"/Type3" not in pdf
    assert b"/Subtype /Type0" in pdf  # the letters are TrueType, as fonttype 42 makes them
