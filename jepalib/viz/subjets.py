"""Outlines around the subjets of a jet, the prongs of its decay."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from scipy.spatial import ConvexHull

from jepalib.data.simulation.clustering import subjets
from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.kinematics import four_vectors

MARGIN = 0.03  # between a particle and the outline, in Δη and Δφ
LOOKS = (("#0072b2", "-"), ("#d55e00", "--"), ("#009e73", "-."), ("#cc79a7", ":"))  # of Okabe and Ito


def draw_subjets(ax: Axes, jet: Jets, number: int, algorithm: str = "kt") -> tuple[Line2D, ...]:
    """Outlines of the exclusive subjets of one jet; returns their legend handles, with the pT of each.

    Args:
        number: of subjets, 1 to 4; a jet of fewer particles has fewer.
        algorithm: "kt" or "ca" (see `clustering.subjets`).

    Raises:
        JepalibError: another number or algorithm, or FastJet is not installed.
    """
    if not 1 <= number <= len(LOOKS):
        raise JepalibError(f"display: {number} subjets; outlines keep apart for 1 to {len(LOOKS)}")
    p4, places = four_vectors(jet).double().numpy(), jet.particles[:, 4:6].double().numpy()
    subjet, handles = subjets(p4, number, algorithm), []
    for n in range(subjet.max(initial=-1) + 1):
        color, dash = LOOKS[n]
        corners = outline(places[subjet == n])
        ax.add_patch(Polygon(corners, fill=False, edgecolor=color, linestyle=dash, linewidth=1.3, zorder=4))
        pt = np.hypot(*p4[subjet == n, :2].sum(0))
        label = f"subjet {n + 1}, {pt:.0f} GeV"
        handles.append(Line2D([], [], color=color, linestyle=dash, linewidth=1.3, label=label))
    return tuple(handles)


def outline(places: Float[np.ndarray, "particles 2"]) -> Float[np.ndarray, "corners 2"]:
    """The convex hull of a small circle around each place; one is enough to have an outline."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    points = (places[:, None] + MARGIN * np.stack([np.cos(angle), np.sin(angle)], 1)).reshape(-1, 2)
    return points[ConvexHull(points).vertices]
