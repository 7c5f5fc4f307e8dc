"""The ten hard processes of JetClass: Pythia settings, the resonance to look for, where it is sampled.

All at 13 TeV, leading order, with multiparton interactions (Pythia 8's default tune).
The resonance that becomes the jet recoils against another boson or top; the threshold
on the hard-scattering pT saves time and must not shape the jets' pT spectrum.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from jepalib.errors import JepalibError
from jepalib.schema import CLASSES

PT_HAT_MAX = 1300.0  # GeV; above it hardly any jet is still below 1 TeV

Z_JET = (  # recoiling against a gluon, against a quark
    "WeakBosonAndParton:qqbar2gmZg = on",
    "WeakBosonAndParton:qg2gmZq = on",
    "WeakZ0:gmZmode = 2",
    "23:onMode = off",
    "23:onIfAny = 12 14 16",
)
_Z_PAIR = ("WeakDoubleBoson:ffbar2gmZgmZ = on", "WeakZ0:gmZmode = 2")
_HIGGS = ("HiggsSM:ffbar2HZ = on", "23:onMode = off", "23:onIfAny = 12 14 16", "25:onMode = off")
TOP_PAIR = ("Top:gg2ttbar = on", "Top:qqbar2ttbar = on")
HADRONIC_W = ("24:onMode = off", "24:onIfAny = 1 2 3 4 5")
_LEPTONIC_W = ("24:onMode = off", "24:onIfAny = 11 13")
_MINUS_LEPTONIC = ("24:onMode = off", "24:onPosIfAny = 1 2 3 4 5", "24:onNegIfAny = 11 13")
_PLUS_LEPTONIC = ("24:onMode = off", "24:onPosIfAny = 11 13", "24:onNegIfAny = 1 2 3 4 5")


@dataclass(frozen=True)
class Process:
    """How the jets of one class are made.

    Attributes:
        settings: Pythia settings of the hard process and its decays.
        pt_hat_min: lower edge of the hard scattering's pT, GeV.
        resonance: |PDG id| of the particle whose decay is the jet; 0 for QCD, where
            the jet comes from the hard parton.
        variants: settings that alternate from batch to batch (one empty set if none).
        ecm: energy of the collisions, GeV.
        pt_hat_max: upper edge of the hard scattering's pT, GeV.
    """

    settings: tuple[str, ...]
    pt_hat_min: float
    resonance: int
    variants: tuple[tuple[str, ...], ...] = ((),)
    ecm: float = 13000.0
    pt_hat_max: float = PT_HAT_MAX


RECIPES = {
    "QCD": Process(Z_JET, 440.0, 0),
    "Hbb": Process((*_HIGGS, "25:onIfMatch = 5 -5"), 450.0, 25),
    "Hcc": Process((*_HIGGS, "25:onIfMatch = 4 -4"), 440.0, 25),
    "Hgg": Process((*_HIGGS, "25:onIfMatch = 21 21"), 440.0, 25),
    "H4q": Process((*_HIGGS, "25:onIfMatch = 24 -24", *HADRONIC_W), 440.0, 25),
    "Hqql": Process(
        (*_HIGGS, "25:onIfMatch = 24 -24"), 490.0, 25, variants=(_MINUS_LEPTONIC, _PLUS_LEPTONIC)
    ),
    "Zqq": Process((*_Z_PAIR, "23:onMode = off", "23:onIfAny = 1 2 3 4 5"), 430.0, 23),
    "Wqq": Process(("WeakDoubleBoson:ffbar2WW = on", *HADRONIC_W), 430.0, 24),
    "Tbqq": Process((*TOP_PAIR, *HADRONIC_W), 450.0, 6),
    "Tbl": Process((*TOP_PAIR, *_LEPTONIC_W), 530.0, 6),
}
assert tuple(RECIPES) == CLASSES


def require(module: str) -> ModuleType:
    """The optional module, imported.

    Raises:
        JepalibError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise JepalibError(
            f"this needs the package {module}: pip install 'jepalib[sim]' ({error})"
        ) from error


def generator(recipe: Process, seed: int, veto: Any = None) -> Any:
    """An initialised Pythia, silent, with its own random seed (1 to 900,000,000).

    Args:
        recipe: what to generate.
        seed: Pythia's.
        veto: user hook (`veto.early_veto`) that the caller keeps alive.

    Raises:
        JepalibError: pythia8mc is missing, or Pythia refuses a setting or its start.
    """
    pythia = require("pythia8mc").Pythia("", False)
    common = (
        "Print:quiet = on",
        f"Beams:eCM = {recipe.ecm}",
        f"PhaseSpace:pTHatMin = {recipe.pt_hat_min}",
        f"PhaseSpace:pTHatMax = {recipe.pt_hat_max}",
        "Random:setSeed = on",
        f"Random:seed = {seed}",
    )
    apply(pythia, (*common, *recipe.settings, *recipe.variants[0]))
    if veto is not None:
        pythia.setUserHooksPtr(veto)
    if not pythia.init():
        raise JepalibError(f"simulate: Pythia could not be initialised with {recipe.settings}")
    return pythia


def apply(pythia: Any, settings: tuple[str, ...]) -> None:
    """Give Pythia the settings, in order.

    Raises:
        JepalibError: one of them is unknown to this Pythia.
    """
    for line in settings:
        if not pythia.readString(line):
            raise JepalibError(
                f"simulate: this Pythia refuses the setting {line!r}; is pythia8mc 8.317.2 in?"
            )
