"""The twins against what is known of the public data sets, with many jets (minutes).

Tolerance of every entry: three statistical standard errors plus the systematic difference
that is allowed and stated beside the value. The quark–gluon numbers belong to the public
sample: mean multiplicities of quark and gluon jets, and the AUC of the multiplicity alone
(arXiv:1810.05165). For top tagging no such numbers of the sample itself are at hand: the
peak is that of JetClass tops after a detector and without multiparton interactions, and
tau_32 is held against the published cut on another sample (arXiv:1108.2701: half of the
tops with jet mass near the top's at a fake rate of 4.1 %, particle level, R = 1).
"""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from jepalib.data.datasets import iterate_files
from jepalib.data.simulation import simulate
from jepalib.jets import Jets, concatenate

pytestmark = pytest.mark.slow


def sample(folder, dataset: str, jets: int) -> Jets:
    paths = simulate(folder, "test", jets, seed=11, files_per_class=2, quiet=True, dataset=dataset)
    return concatenate([part.jets for path in paths for part in iterate_files(path)])


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Jets:
    return sample(tmp_path_factory.mktemp("top"), "top", 1500)


@pytest.fixture(scope="module")
def quark_gluon(tmp_path_factory: pytest.TempPathFactory) -> Jets:
    return sample(tmp_path_factory.mktemp("quark-gluon"), "quark-gluon", 600)


def auc_error(auc: float, jets: int) -> float:
    """Hanley and McNeil's standard error for `jets` of each class."""
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    return np.sqrt((auc * (1 - auc) + (jets - 1) * (q1 + q2 - 2 * auc**2)) / jets**2)


def test_top_mass_peak(top: Jets) -> None:
    mass = top.observable("sdmass").numpy()[top.labels.numpy() == 1]
    inside = mass[np.abs(mass - 170) < 25]
    assert len(inside) > 0.6 * len(mass)
    assert 166 < np.median(inside) < 175


def test_top_multiplicities(top: Jets) -> None:
    counts, signal = top.observable("nparticles").numpy(), top.labels.numpy() == 1
    assert counts[signal].mean() > counts[~signal].mean() + 8
    assert 30 < counts[~signal].mean() < counts[signal].mean() < 65


def test_mass_and_tau32_tag_tops(top: Jets) -> None:
    mass, signal = top.observable("sdmass").numpy(), top.labels.numpy() == 1
    tau2, tau3 = top.observable("tau2").numpy(), top.observable("tau3").numpy()
    tau32 = np.divide(tau3, tau2, out=np.ones_like(tau3), where=tau2 > 0)
    assert roc_auc_score(signal, -tau32) > 0.8
    score = np.where((mass > 140) & (mass < 210), 1 - tau32, -1)
    assert 0.9 < roc_auc_score(signal, score) < 0.97
    cut = np.quantile(score[signal], 0.5)
    assert 0.005 < (score[~signal] >= cut).mean() < 0.041


def test_quark_gluon_multiplicities(quark_gluon: Jets) -> None:
    counts, quark = quark_gluon.observable("nparticles").numpy(), quark_gluon.labels.numpy() == 1
    for chosen, expected in ((quark, 33.4), (~quark, 53.0)):
        error = counts[chosen].std() / np.sqrt(chosen.sum())
        assert abs(counts[chosen].mean() - expected) < 3 * error + 1.0


def test_quark_gluon_multiplicity_auc(quark_gluon: Jets) -> None:
    counts, gluon = quark_gluon.observable("nparticles").numpy(), quark_gluon.labels.numpy() == 0
    auc = roc_auc_score(gluon, counts)
    assert abs(auc - 0.840) < 3 * auc_error(0.84, 600) + 0.01
