"""Fixtures that many tests share: small random jets, the sample as a store, a short training."""

from __future__ import annotations

import pytest
from made_jets import make_jets

from jepalib.data.convert import convert
from jepalib.jets import Jets
from jepalib.training.presets import pretrain_config
from jepalib.training.pretrain import pretrain


@pytest.fixture
def jets() -> Jets:
    """A dozen jets of 2 to 128 particles."""
    return make_jets([2, 128, 5, 40, 33, 17, 60, 3, 25, 90, 12, 8])


QUICK = {
    "batch_size": 24,
    "steps": 12,
    "log_every": 3,
    "checkpoint_every": 5,
    "precision": "float32",
    "lr": 1e-3,
    "clip": 1.0,
}


@pytest.fixture(scope="session")
def store_path(tmp_path_factory, request):
    """The committed sample as a store (1,000 jets without splits)."""
    folder = tmp_path_factory.mktemp("data") / "store"
    sample = request.config.rootpath / "data" / "sample"
    convert([sample], folder, quiet=True)
    return folder


@pytest.fixture(scope="session")
def quick():
    """A factory of complete configs that make a dozen small steps."""
    return lambda **settings: pretrain_config("jp-jepa", "nano", {**QUICK, **settings})


@pytest.fixture(scope="session")
def trained(store_path, quick, tmp_path_factory):
    """A finished run of a dozen steps."""
    return pretrain(quick(), store_path, tmp_path_factory.mktemp("runs") / "run", quiet=True)
