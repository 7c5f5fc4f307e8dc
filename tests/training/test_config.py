"""Settings from text: every type, every mistake named."""

from dataclasses import asdict

import pytest

from jepalib.errors import JepalibError
from jepalib.training.config import PretrainConfig, config_from_dict, override
from jepalib.training.optim import warm_cosine
from jepalib.training.presets import pretrain_config


def test_overrides_by_leaf_and_dotted_name_and_of_every_type():
    config = pretrain_config(
        "jp-jepa",
        "nano",
        {
            "steps": "60",
            "lr": "1e-3",
            "precision": "float32",
            "objective.masks.targets": "4",
            "target_ratio": "0.15,0.2",
            "probes": "pid,td",
            "predictor_cls": "false",
            "regulariser": "sigreg",
        },
    )
    assert (config.steps, config.lr, config.precision) == (60, 1e-3, "float32")
    assert config.objective.masks.targets == 4
    assert config.objective.masks.target_ratio == (0.15, 0.2)
    assert config.objective.probes == ("pid", "td")
    assert config.objective.predictor_cls is False
    assert config.objective.regulariser == "sigreg"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stepps": "3"}, r"unknown setting 'stepps' \(did you mean 'steps'\?\)"),
        ({"steps": "many"}, "steps = 'many' is not of type int"),
        ({"steps": "1.5"}, "steps = '1.5' is not of type int"),
        ({"steps": "0"}, "steps = 0"),
        ({"lr": "fast"}, "lr = 'fast'"),
        ({"precision": "float16"}, "precision 'float16'"),
        ({"betas": "0.9"}, "betas"),
        ({"predictor_cls": "perhaps"}, "predictor_cls"),
        ({"batch_size": 1}, "normalisations compare jets"),
        ({"steps": "inf"}, "steps = 'inf' is not of type int"),
        ({"lr": -1}, "lr = -1.0: give a number above 0"),
        ({"clip": -1}, "clip = -1.0: give a number at least 0"),
        ({"betas": "0.9,1.5"}, "betas"),
        ({"seed": -1}, "seed = -1"),
        ({"classes": "QCD,Hxx"}, r"classes: unknown 'Hxx'.*there are H4q, Hbb"),
    ],
)
def test_mistakes_are_named(settings, message):
    with pytest.raises(JepalibError, match=message):
        pretrain_config("jp-jepa", "nano", settings)


def test_unknown_method_and_size_are_named():
    with pytest.raises(JepalibError, match="unknown method 'jepa'"):
        pretrain_config("jepa", "nano")
    with pytest.raises(JepalibError, match="size 'gigantic'"):
        pretrain_config("jp-jepa", "gigantic")


def test_config_survives_json_and_refuses_unknown_keys():
    config = pretrain_config("jp-jepa", "mini", {"targets": 2, "context_ratio": "None"})
    assert config_from_dict(PretrainConfig, asdict(config), "config.json") == config
    fewer = {k: v for k, v in asdict(config).items() if k != "lr"}
    with pytest.raises(JepalibError, match=r"config\.json: no 'lr'"):
        config_from_dict(PretrainConfig, fewer, "config.json")
    with pytest.raises(JepalibError, match=r"config\.json: unknown setting 'stepz'"):
        config_from_dict(PretrainConfig, {**asdict(config), "stepz": 3}, "config.json")


def test_classes_from_text_in_both_forms():
    for text in ("QCD,Hbb", "('QCD', 'Hbb')"):
        assert pretrain_config("jp-jepa", "nano", {"classes": text}).classes == ("QCD", "Hbb")
    assert pretrain_config("jp-jepa", "nano").classes == ()


def test_override_leaves_the_original_alone():
    config = pretrain_config("jp-jepa", "nano")
    assert override(config, {"steps": 3}).steps == 3
    assert config.steps != 3


def test_schedule_warms_up_then_follows_a_cosine():
    rate = lambda share: warm_cosine(share, peak=2.0, warmup=0.1, first=0.5, last=0.1)  # noqa: E731
    assert rate(0.0) == 0.5
    assert rate(0.05) == pytest.approx(1.25)
    assert rate(0.1) == pytest.approx(2.0)
    assert rate(0.55) == pytest.approx((2.0 + 0.1) / 2)
    assert rate(1.0) == pytest.approx(0.1)
