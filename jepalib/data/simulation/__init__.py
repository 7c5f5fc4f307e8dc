"""Simulated JetClass: Pythia 8, a parametrised CMS-like detector and FastJet.

Jets in the schema of JetClass (arXiv:2202.03772) from parts that pip installs. The way
of one batch: `events` (generator records) -> `propagation`, `tracking`, `calorimeter`,
`energy_flow` (put together in `detector`) -> `clustering` -> `truth` -> `branches`;
`produce` makes one file of it, `driver` many. `twins` makes the top tagging and
quark–gluon data sets by the same chain.
"""

from jepalib.data.simulation.driver import simulate

__all__ = ["simulate"]
