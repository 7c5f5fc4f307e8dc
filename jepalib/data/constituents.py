"""From bare constituents to the columns of `Jets`: directions, jet axis, substructure.

Data sets that give only the particles of a jet (top tagging, quark–gluon) have their jet
observables computed here, from all particles, before any is cut.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from jepalib.data.simulation.angles import pt_eta_phi, wrapped
from jepalib.data.simulation.clustering import substructure
from jepalib.schema import JET_COLUMN, JET_FIELDS, PARTICLE_COLUMN, PARTICLE_FIELDS

SUBSTRUCTURE = ("sdmass", "tau1", "tau2", "tau3", "tau4")


def jet_columns(
    p4: Float[np.ndarray, "particles 4"],
    pid: Float[np.ndarray, "particles 6"] | None,
    counts: Int[np.ndarray, " jets"],
    radius: float | None,
) -> tuple[Float[np.ndarray, "particles 16"], Float[np.ndarray, "jets 10"]]:
    """Columns of `schema.PARTICLE_FIELDS` and `schema.JET_FIELDS` of jets given by their particles.

    The axis is that of the summed four-vector; deta is positive towards larger |eta|, as
    in JetClass. Displacements, and the identity where `pid` is None, are zero.

    Args:
        p4: (px, py, pz, E) in GeV, one jet after another.
        pid: columns `schema.PID_FIELDS`.
        counts: particles of each jet; jets may be empty, and are zero then.
        radius: of the jets, for soft drop (z_cut 0.1, beta 0) and N-subjettiness; None
            leaves the five observables of substructure at zero and needs no FastJet.

    Raises:
        JepalibError: substructure is asked for and FastJet is not installed.
    """
    jet = np.repeat(np.arange(len(counts)), counts)
    sums = [np.bincount(jet, p4[:, i], len(counts)) for i in range(4)]
    total = np.stack(sums, axis=1).astype(np.float64)  # bincount of nothing gives integers
    particles = np.zeros((len(p4), len(PARTICLE_FIELDS)), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite stays so, for the reader to drop
        _, own_eta, own_phi = pt_eta_phi(p4)
        pt, eta, phi = pt_eta_phi(total)
        particles[:, :4] = p4
        particles[:, PARTICLE_COLUMN["deta"]] = np.where(eta[jet] >= 0, 1.0, -1.0) * (own_eta - eta[jet])
        particles[:, PARTICLE_COLUMN["dphi"]] = wrapped(own_phi - phi[jet])
    if pid is not None:
        particles[:, PARTICLE_COLUMN["charge"] :] = pid
    observables = np.zeros((len(counts), len(JET_FIELDS)), np.float32)
    for name, values in (("pt", pt), ("eta", eta), ("phi", phi), ("energy", total[:, 3])):
        observables[:, JET_COLUMN[name]] = values
    observables[:, JET_COLUMN["nparticles"]] = counts
    if radius is not None:
        whole = (counts > 0) & np.isfinite(total).all(1)
        mass, taus = substructure(p4[whole[jet]], counts[whole], radius)
        observables[whole, JET_COLUMN["sdmass"]] = mass
        observables[whole, JET_COLUMN["tau1"] :] = taus
    return particles, observables
