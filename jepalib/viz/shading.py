"""What the colour of a particle shows: one of its columns, or any number that one has of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize, SymLogNorm
from matplotlib.figure import Figure

from jepalib.errors import JepalibError
from jepalib.jets import Jets

SEQUENTIAL, DIVERGING = "viridis_r", "coolwarm"


@dataclass(frozen=True)
class Shade:
    """A number for every particle of a batch, and how it becomes a colour.

    Attributes:
        values: of all particles of the batch, in its order.
        title: for the colour bar, with the unit.
        norm: from numbers to [0, 1]; from the least to the largest value if None.
        cmap: name of a matplotlib colour map.
    """

    values: Float[np.ndarray, " particles"]
    title: str
    norm: Normalize | None = None
    cmap: str = SEQUENTIAL

    def scale(self) -> ScalarMappable:
        """From numbers to colours."""
        values = self.values[np.isfinite(self.values)]
        low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
        return ScalarMappable(self.norm or Normalize(low, high if high > low else low + 1), self.cmap)

    def colors(self) -> Float[np.ndarray, "particles 4"]:
        """RGBA of every particle."""
        return self.scale().to_rgba(self.values).reshape(-1, 4)

    def of_jet(self, jets: Jets, row: int) -> Shade:
        """That of the particles of one jet, on the scale of all.

        Raises:
            JepalibError: as many values as the batch has particles are needed.
        """
        if len(self.values) != len(jets.particles):
            raise JepalibError(
                f"display: {len(self.values)} values of {self.title!r} for {len(jets.particles)} particles"
            )
        begin, end = jets.offsets[row : row + 2].tolist()
        return Shade(self.values[begin:end], self.title, self.scale().norm, self.cmap)


# What has a name: title, norm, colour map.
QUANTITIES = {
    "pt": (r"$p_T$ [GeV]", LogNorm(1, 300), SEQUENTIAL),
    "energy": (r"$E$ [GeV]", LogNorm(1, 600), SEQUENTIAL),
    "charge": ("charge", Normalize(-1, 1), DIVERGING),
    "d0val": (r"$d_0$ [mm]", SymLogNorm(0.01, vmin=-10, vmax=10), DIVERGING),
    "dzval": (r"$d_z$ [mm]", SymLogNorm(0.01, vmin=-10, vmax=10), DIVERGING),
    "d0sig": (r"$|d_0| / \sigma(d_0)$", SymLogNorm(1, vmin=0, vmax=100), SEQUENTIAL),
    "dzsig": (r"$|d_z| / \sigma(d_z)$", SymLogNorm(1, vmin=0, vmax=100), SEQUENTIAL),
}


def shade(jets: Jets, color_by: str | Shade) -> Shade:
    """What the colours of the particles of a batch show, by name or as it was given.

    Raises:
        JepalibError: a name that is not in `QUANTITIES`.
    """
    if isinstance(color_by, Shade):
        return color_by
    if color_by not in QUANTITIES:
        raise JepalibError(f"display: color_by is {color_by!r}; give one of {', '.join(QUANTITIES)}")
    return Shade(_values(jets, color_by).cpu().numpy(), *QUANTITIES[color_by])


def _values(jets: Jets, name: str) -> Float[torch.Tensor, " particles"]:
    if name == "pt":
        return torch.hypot(jets.column("px"), jets.column("py"))
    if name in ("d0sig", "dzsig"):
        value, error = jets.column(f"{name[:2]}val"), jets.column(f"{name[:2]}err")
        return torch.where(error > 0, value.abs() / error, 0)  # no track, no significance
    return jets.column(name)


def color_bar(figure: Figure, axes: list[Axes], shade: Shade) -> None:
    """The colour bar of a shade beside axes."""
    figure.colorbar(shade.scale(), ax=axes, pad=0.01, aspect=30).set_label(shade.title)
