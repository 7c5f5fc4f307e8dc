"""Reading JetClass ROOT files: what is read, what is dropped and counted, what is refused."""

from __future__ import annotations

import math
import re

import awkward as ak
import numpy as np
import pytest
import torch
import uproot
import vector_fixture
from hypothesis import given, settings
from hypothesis import strategies as st
from isal import isal_zlib
from made_jets import make_jets
from root_files import branches_of, write_jets, write_tree

from jepalib.data.accounts import BAD_LABELS, NO_PARTICLES, NOT_FINITE
from jepalib.data.readers import entries_of, iterate_jetclass, read_jetclass
from jepalib.errors import JepalibError

COUNTS = [2, 128, 5, 40, 33, 17, 60, 3, 25, 90, 12, 8]


def assert_same(read, jets, rows=None):
    """`read` holds exactly the jets of `rows`."""
    expected = jets if rows is None else jets.take(rows)
    for name in ("particles", "offsets", "observables", "labels", "index"):
        assert torch.equal(getattr(read, name), getattr(expected, name)), name


def test_counter_branches_come_back_exactly(tmp_path, jets):
    path = write_jets(tmp_path / "HToBB_000.root", jets)
    with uproot.open(path) as file:
        assert file["tree"]["part_px"].interpretation.header_bytes == 0  # float[], not std::vector
    read = read_jetclass(path)
    assert_same(read.jets, jets)
    assert entries_of(path) == len(jets) == read.account.entries == read.account.kept
    assert read.account.report() == ""


def test_vector_branches_of_root_itself_come_back_exactly():
    with uproot.open(vector_fixture.PATH) as file:
        tree = file["tree"]
        assert tree["part_px"].typename == "std::vector<float>"
        assert tree["part_isMuon"].typename == "std::vector<int32_t>"
        assert [tree[f"label_{c}"].typename for c in ("QCD", "Hbb", "Tbl")] == ["float", "bool", "int32_t"]
    read = read_jetclass(vector_fixture.PATH)
    counts = [min(count, 128) for count in vector_fixture.COUNTS]
    assert read.jets.counts.tolist() == counts
    assert read.account.cut_particles == sum(vector_fixture.COUNTS) - sum(counts) == 2
    assert read.jets.labels.tolist() == list(range(10))
    for jet, (first, last) in enumerate(zip(read.jets.offsets, read.jets.offsets[1:])):
        particles, observables = vector_fixture.values(jet)
        np.testing.assert_array_equal(read.jets.particles[first:last].numpy(), particles[:128])
        np.testing.assert_array_equal(read.jets.observables[jet].numpy(), observables)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 15), st.integers(0, 11), st.integers(1, 12))
def test_chunks_and_spans_agree_with_the_whole(tmp_path_factory, chunk, start, length):
    jets = make_jets(COUNTS)
    path = tmp_path_factory.mktemp("spans") / "a.root"
    write_jets(path, jets)
    stop = min(start + length, len(jets))
    parts = list(iterate_jetclass(path, start, stop, chunk=chunk))
    assert [part.stop - part.start for part in parts[:-1]] == [chunk] * (len(parts) - 1)
    index = torch.cat([part.jets.index for part in parts])
    assert index.tolist() == list(range(start, stop))
    assert_same(read_jetclass(path, start, stop).jets, jets, index)


def test_bad_jets_are_dropped_counted_and_named(tmp_path):
    jets = make_jets([5, 4, 3, 6, 2, 7, 3, 4])
    branches = branches_of(jets)
    energy = branches["part_energy"].to_list()
    energy[1][2], energy[6][0] = math.nan, math.inf
    branches["part_energy"] = ak.Array(energy)
    branches["jet_tau2"][4] = -math.inf
    branches["label_Hbb"][:] = [False, True, True, False, False, False, False, False]  # jet 2: two labels
    branches["label_QCD"][7], branches["label_Wqq"][7] = 2, -1  # they sum to one, but are no class
    path = write_tree(tmp_path / "bad.root", {k: _float32(v) for k, v in branches.items()})
    read = read_jetclass(path)
    assert read.account.dropped == {NO_PARTICLES: 0, NOT_FINITE: 3, BAD_LABELS: 2}
    assert read.account.examples[NOT_FINITE] == [1, 4, 6]
    assert read.account.examples[BAD_LABELS] == [2, 7]
    assert read.kept.tolist() == [True, False, False, True, False, True, False, False]
    assert_same(read.jets, jets, [0, 3, 5])
    assert read.account.kept + sum(read.account.dropped.values()) == read.account.entries == 8
    assert re.search(
        r"3 of 8 jets dropped: NaN or infinite values \(entries 1, 4, 6\)", read.account.report()
    )


def _float32(values):
    return ak.values_astype(values, np.float32) if isinstance(values, ak.Array) else values


def test_a_jet_without_particles_is_dropped_wherever_it_lies(tmp_path):
    jets = make_jets([0, 3, 0, 0, 4, 0])
    read = read_jetclass(write_jets(tmp_path / "a.root", jets))
    assert read.account.dropped[NO_PARTICLES] == 4
    assert_same(read.jets, jets, [1, 4])


def test_a_nan_beside_an_empty_jet_is_put_on_the_right_jet(tmp_path):
    jets = make_jets([3, 0, 4])
    jets.particles[3, 7] = math.nan  # first particle of jet 2
    read = read_jetclass(write_jets(tmp_path / "a.root", jets))
    assert read.account.examples == {NO_PARTICLES: [1], NOT_FINITE: [2], BAD_LABELS: []}


def test_particles_are_sorted_by_falling_pt_and_the_softest_cut(tmp_path):
    jets = make_jets([150, 10, 128])
    shuffled = jets.with_particles(jets.particles.clone())
    shuffled.particles[:150] = jets.particles[:150].flip(0)
    shuffled.particles[150:160] = jets.particles[150:160].roll(3, 0)
    read = read_jetclass(write_jets(tmp_path / "a.root", shuffled))
    assert read.account.cut_particles == 22
    hardest = torch.cat([torch.arange(128), torch.arange(150, 288)])
    assert torch.equal(read.jets.particles, jets.particles[hardest])
    assert "22 particles beyond 128 cut" in read.account.report()


def test_unlabelled_files_need_particles_and_axis_only(tmp_path, jets):
    branches = branches_of(jets)
    own = {name: v for name, v in branches.items() if name.startswith("part_")}
    own |= {f"jet_{name}": branches[f"jet_{name}"] for name in ("pt", "eta", "phi", "energy")}
    path = write_tree(tmp_path / "own.root", own)
    with pytest.raises(JepalibError, match=r"own.root: branch jet_nparticles, .*label_Tbl is missing"):
        read_jetclass(path)
    read = read_jetclass(path, allow_unlabelled=True)
    assert (read.jets.labels == -1).all()
    assert torch.equal(read.jets.particles, jets.particles)
    assert torch.equal(read.jets.observables[:, :4], jets.observables[:, :4])
    assert (read.jets.observables[:, 4:] == 0).all()
    assert "branches absent and filled: jet_nparticles" in read.account.report()
    assert "label_*" in read.account.report()


def test_unlabelled_mode_keeps_labels_that_are_there_and_marks_the_rest(tmp_path, jets):
    branches = branches_of(jets)
    branches["label_QCD"][1] = 1  # jet 1 now has two labels
    read = read_jetclass(write_tree(tmp_path / "a.root", branches), allow_unlabelled=True)
    assert len(read.jets) == len(jets)
    assert read.kept.all()
    expected = jets.labels.clone()
    expected[1] = -1
    assert torch.equal(read.jets.labels, expected)


@pytest.mark.parametrize("name", ["part_dzerr", "jet_tau4", "label_Tbl", "part_px"])
def test_a_missing_branch_is_named(tmp_path, jets, name):
    branches = branches_of(jets)
    del branches[name]
    path = write_tree(tmp_path / "lacking.root", branches)
    with pytest.raises(JepalibError, match=rf"lacking.root: branch {name} is missing"):
        read_jetclass(path)


def test_branches_that_disagree_in_length_are_an_error(tmp_path):
    branches = branches_of(make_jets([3, 4, 5]))
    branches["part_d0val"] = ak.Array([[0.0] * 3, [0.0] * 5, [0.0] * 4])
    path = write_tree(tmp_path / "odd.root", branches)
    with pytest.raises(JepalibError, match=r"odd.root: entry 1 has 5 values of part_d0val but 4 of part_px"):
        read_jetclass(path)


def test_a_branch_of_the_wrong_shape_is_an_error(tmp_path):
    branches = branches_of(make_jets([3, 4, 5]))
    flat = write_tree(tmp_path / "flat.root", branches | {"part_charge": branches["jet_pt"]})
    with pytest.raises(JepalibError, match=r"flat.root: branch part_charge holds no list of particles"):
        read_jetclass(flat)
    jagged = write_tree(tmp_path / "jagged.root", branches | {"jet_pt": branches["part_charge"]})
    with pytest.raises(JepalibError, match=r"jagged.root: branch jet_pt holds .*, not one number"):
        read_jetclass(jagged)


def test_files_that_are_none(tmp_path, jets):
    def refused(path, words):
        with pytest.raises(JepalibError, match=words) as caught:
            read_jetclass(path)
        assert str(path) in str(caught.value)

    refused(tmp_path / "absent.root", "no such file")
    refused(tmp_path, "is not a file")
    (tmp_path / "nothing.root").touch()
    refused(tmp_path / "nothing.root", r"is empty \(0 bytes\)")
    (tmp_path / "text.root").write_text("px, py, pz\n1, 2, 3\n")
    refused(tmp_path / "text.root", "is not a ROOT file")
    write_tree(tmp_path / "other.root", branches_of(jets), tree="Events")
    refused(tmp_path / "other.root", r"has no tree 'tree', only \['Events'\]")
    with uproot.recreate(tmp_path / "histogram.root") as file:
        file["tree"] = np.histogram([1.0, 2.0])
    refused(tmp_path / "histogram.root", "not a tree of jets")
    with uproot.recreate(tmp_path / "zero.root") as file:
        file.mktree("tree", {"jet_pt": np.float32})
    refused(tmp_path / "zero.root", "holds no jets")


@pytest.mark.parametrize("share", [0.001, 0.05, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path, jets, share):
    whole = write_jets(tmp_path / "whole.root", jets).read_bytes()
    cut = tmp_path / "cut.root"
    cut.write_bytes(whole[: max(8, int(share * len(whole)))])
    with pytest.raises(JepalibError, match=r"cut.root: .*truncated"):
        read_jetclass(cut)


def test_a_damaged_basket_is_refused(tmp_path):
    data = bytearray(vector_fixture.PATH.read_bytes())
    with uproot.open(vector_fixture.PATH) as file:
        branch = file["tree"]["part_px"]
        start = branch.member("fBasketSeek")[0]
        data[start + 90 : start + 190] = bytes(100)
    path = tmp_path / "damaged.root"
    path.write_bytes(bytes(data))
    with pytest.raises(JepalibError, match=r"damaged.root: cannot be read, truncated or damaged"):
        read_jetclass(path)


def test_a_file_of_which_nothing_can_be_used_is_an_error(tmp_path):
    path = write_jets(tmp_path / "empty_jets.root", make_jets([0, 0]))
    with pytest.raises(
        JepalibError, match=r"none of its jets can be used \(2 of 2 jets dropped: no particles"
    ):
        read_jetclass(path)


def test_a_span_outside_the_file_is_an_error(tmp_path, jets):
    path = write_jets(tmp_path / "a.root", jets)
    with pytest.raises(JepalibError, match=r"no entries 50 to None \(it holds 12\)"):
        read_jetclass(path, start=50)


def test_baskets_are_inflated_by_the_faster_library(tmp_path, monkeypatch):
    """uproot goes on without a word where the switch has moved; conversion would be a third slower."""
    inflated = []
    fast = isal_zlib.decompress

    def counted(data, **options):
        inflated.append(len(data))
        return fast(data, **options)

    monkeypatch.setattr(isal_zlib, "decompress", counted)
    read_jetclass(write_jets(tmp_path / "a.root", make_jets([9, 30, 4])))
    assert inflated
