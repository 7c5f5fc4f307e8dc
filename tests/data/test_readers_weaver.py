"""The 17 inputs, four-vectors and pairwise features against weaver's own pipeline on the same file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import uproot
from made_jets import make_jets
from root_files import write_jets
from weaver.nn.model.ParticleTransformer import pairwise_lv_fts_pp
from weaver.utils.data.config import DataConfig
from weaver.utils.data.preprocess import _build_new_variables
from weaver.utils.dataset import _finalize_inputs

from jepalib.data.readers import read_jetclass
from jepalib.jets import pad
from jepalib.kinematics import four_vectors, model_inputs, pair_features
from jepalib.schema import INPUT_SETS, INPUTS, LABEL_BRANCHES

# The constants of the published JetClass_full.yaml (jet-universe/particle_transformer).
PUBLISHED = {
    "log_pt": ["part_pt_log", 1.7, 0.7],
    "log_energy": ["part_e_log", 2.0, 0.7],
    "log_pt_rel": ["part_logptrel", -4.7, 0.7],
    "log_energy_rel": ["part_logerel", -4.7, 0.7],
    "delta_r": ["part_deltaR", 0.2, 4.0],
    "deta": ["part_deta", None],
    "dphi": ["part_dphi", None],
    "charge": ["part_charge", None],
    "isChargedHadron": ["part_isChargedHadron", None],
    "isNeutralHadron": ["part_isNeutralHadron", None],
    "isPhoton": ["part_isPhoton", None],
    "isElectron": ["part_isElectron", None],
    "isMuon": ["part_isMuon", None],
    "tanh_d0": ["part_d0", None],
    "d0err": ["part_d0err", 0, 1, 0, 1],
    "tanh_dz": ["part_dz", None],
    "dzerr": ["part_dzerr", 0, 1, 0, 1],
}
DERIVED = {
    "part_pt": "np.hypot(part_px, part_py)",
    "part_pt_log": "np.log(part_pt)",
    "part_e_log": "np.log(part_energy)",
    "part_logptrel": "np.log(part_pt/jet_pt)",
    "part_logerel": "np.log(part_energy/jet_energy)",
    "part_deltaR": "np.hypot(part_deta, part_dphi)",
    "part_d0": "np.tanh(part_d0val)",
    "part_dz": "np.tanh(part_dzval)",
}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Our jets, and weaver's padded inputs (jets, features, 128), of one file."""
    jets = make_jets([1, 128, 5, 40, 33, 17, 60, 3], seed=3)
    jets.particles[:4, 6] = torch.tensor([30.0, -30.0, 0.01, 5.0])  # into the tails of tanh and clip
    jets.particles[:4, 7] = torch.tensor([3.0, 0.5, 1.0, 0.0])
    jets.particles[128, :4] *= 1e-4  # the softest of jet 1, below the clip at -5
    path = write_jets(tmp_path_factory.mktemp("weaver") / "a.root", jets)
    with uproot.open(path) as file:
        table = file["tree"].arrays(filter_name=["part_*", "jet_*", "label_*"])
    vectors = [[f"part_{name}", None] for name in ("px", "py", "pz", "energy")]
    inputs = {
        "features": {"length": 128, "pad_mode": "constant", "vars": list(PUBLISHED.values())},
        "vectors": {"length": 128, "pad_mode": "constant", "vars": vectors},
    }
    labels = {"type": "simple", "value": list(LABEL_BRANCHES)}
    config = DataConfig(print_info=False, new_variables=DERIVED, inputs=inputs, labels=labels)
    table = _build_new_variables(table, config.var_funcs)
    return read_jetclass(path).jets, _finalize_inputs(table, config)


def test_the_17_inputs_are_those_of_weaver(both):
    jets, weaver = both
    assert tuple(PUBLISHED) == INPUTS
    ours, _ = pad(model_inputs(jets), jets.offsets, 128)
    np.testing.assert_allclose(ours.transpose(1, 2).numpy(), weaver["_features"], atol=2e-6)
    assert weaver["_features"].min() == -5.0  # the clip was reached
    np.testing.assert_array_equal(jets.labels.numpy(), weaver["_label_"])


def test_the_nested_sets_are_the_published_ones():
    names = {name: INPUTS[:count] for name, count in INPUT_SETS.items()}
    kin = [column[0] for key, column in PUBLISHED.items() if key in names["kin"]]
    assert kin == [
        "part_pt_log",
        "part_e_log",
        "part_logptrel",
        "part_logerel",
        "part_deltaR",
        "part_deta",
        "part_dphi",
    ]
    assert names["kinpid"][7:] == INPUTS[7:13]
    assert INPUTS[7] == "charge"
    assert names["full"][13:] == ("tanh_d0", "d0err", "tanh_dz", "dzerr")


def test_four_vectors_and_pairwise_features_are_those_of_weaver(both):
    jets, weaver = both
    ours, mask = pad(four_vectors(jets), jets.offsets, 128)
    np.testing.assert_array_equal(ours.transpose(1, 2).numpy(), weaver["_vectors"])
    theirs = torch.from_numpy(weaver["_vectors"])
    expected = pairwise_lv_fts_pp(theirs[..., :, None], theirs[..., None, :], num_outputs=4)
    a, b = torch.broadcast_tensors(ours[:, :, None], ours[:, None, :])
    found = pair_features(a, b).permute(0, 3, 1, 2)
    valid = mask[:, None, :, None] & mask[:, None, None, :]
    apart = valid & ~torch.eye(128, dtype=torch.bool)
    assert apart.sum() > 20_000
    np.testing.assert_allclose(*(x.movedim(1, -1)[apart[:, 0]].numpy() for x in (found, expected)), atol=1e-5)
