"""ParT on packed jets: symmetries, independence of batch and micro-batch, precision, names."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_jets import make_jets

from jepalib.errors import JepalibError
from jepalib.jets import Jets, concatenate
from jepalib.models.heads import ClassAttentionHead, LinearHead, MLPHead
from jepalib.models.particle_transformer import ParticleTransformer
from jepalib.models.predictors import ParticlePredictor
from jepalib.models.sizes import SIZES, Size

LITTLE = Size(32, (32, 64, 32), 4, 2, 1, (16, 16), 16, 4, 1, 1)
counts_of_jets = st.lists(st.integers(1, 40), min_size=1, max_size=6)


def encoder(seed: int = 0, **options: object) -> ParticleTransformer:
    torch.manual_seed(seed)
    model = ParticleTransformer(LITTLE, **options)
    for norm in [model.input_bn, *model.pair_embed.norms]:
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return model


def shuffled_within_jets(jets: Jets, seed: int) -> torch.Tensor:
    noise = torch.rand(len(jets.particles), generator=torch.Generator().manual_seed(seed))
    return torch.argsort(jets.jet_of_particle + noise)


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-4) -> None:
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


@settings(deadline=None, max_examples=15)
@given(counts=counts_of_jets, seed=st.integers(0, 99))
def test_permutation_of_particles(counts: list[int], seed: int):
    jets, model = make_jets(counts, seed), encoder().eval()
    order = shuffled_within_jets(jets, seed)
    with torch.no_grad():
        plain, other = model(jets), model(jets.with_particles(jets.particles[order]))
    close(other.tokens, plain.tokens[order])
    close(other.cls, plain.cls)


@settings(deadline=None, max_examples=15)
@given(counts=counts_of_jets, extra=counts_of_jets, seed=st.integers(0, 99))
def test_other_jets_of_the_batch_do_not_matter(counts: list[int], extra: list[int], seed: int):
    jets, others, model = make_jets(counts, seed), make_jets(extra, seed + 1), encoder().eval()
    with torch.no_grad():
        alone, together = model(jets), model(concatenate([others, jets]))
    close(together.tokens[len(others.particles) :], alone.tokens)
    close(together.cls[len(others) :], alone.cls)


def trained_once(micro_batch: int) -> dict[str, torch.Tensor]:
    model = encoder(micro_batch=micro_batch).train()
    encoded = model(make_jets([3, 40, 1, 0, 17, 9, 25], seed=1))
    (encoded.tokens.square().mean() + encoded.cls[:, 0].square().sum()).backward()
    values = {"particles": encoded.tokens.detach(), "cls": encoded.cls.detach(), **model.state_dict()}
    return values | {f"gradient of {name}": p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("micro_batch", [1, 3])
def test_micro_batch_changes_neither_values_nor_gradients_nor_statistics(micro_batch: int):
    reference, found = trained_once(100), trained_once(micro_batch)
    for name, value in reference.items():
        torch.testing.assert_close(
            found[name], value, atol=2e-5, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_statistics_do_not_know_of_padding():
    """A batch of equal jets and the same jets beside a long one of equal particles: the same running
    statistics as a plain batch norm over the packed particles."""
    jets = make_jets([2, 90, 4], seed=3)
    model = encoder().train()
    plain = torch.nn.BatchNorm1d(17)
    plain.load_state_dict(model.input_bn.state_dict())
    from jepalib.kinematics import model_inputs

    plain(model_inputs(jets))
    model(jets)
    close(model.input_bn.running_mean, plain.running_mean, 1e-6)
    close(model.input_bn.running_var, plain.running_var, 1e-6)


@pytest.mark.parametrize("counts", [[0], [0, 0, 0], [1], [0, 1], [0, 5, 128, 0]])
@pytest.mark.parametrize("training", [True, False])
def test_empty_and_tiny_jets(counts: list[int], training: bool):
    model = encoder().train(training)
    encoded = model(make_jets(counts))
    assert encoded.tokens.shape == (sum(counts), 32)
    assert encoded.cls.shape == (len(counts), 32)
    assert encoded.tokens.isfinite().all()
    assert encoded.cls.isfinite().all()
    (encoded.tokens.sum() + encoded.cls.square().sum()).backward()
    for parameter in model.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


def test_empty_jets_are_all_alike_and_others_are_not():
    model = encoder().eval()
    cls = model(make_jets([0, 7, 0, 9])).cls
    close(cls[0], cls[2])
    assert (cls[1] - cls[3]).abs().max() > 1e-2
    assert (cls[0] - cls[1]).abs().max() > 1e-2


def test_bfloat16_is_close(jets: Jets):
    model = encoder().train()
    exact = model(jets)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(jets)
    for a, b in ((exact.tokens, rough.tokens.float()), (exact.cls, rough.cls.float())):
        assert (a - b).norm() < 0.03 * a.norm()
        assert not torch.equal(a, b)

    def gradient(encoded) -> torch.Tensor:
        model.zero_grad()
        (encoded.cls.float()[:, :8].square().mean() + encoded.tokens.float().mean()).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    a, b = gradient(exact), gradient(rough)
    assert torch.nn.functional.cosine_similarity(a, b, dim=0) > 0.99


def test_dropout_only_in_training(jets: Jets):
    model, plain = encoder(dropout=0.3), encoder()
    with torch.no_grad():
        close(model.eval()(jets).cls, plain.eval()(jets).cls, 0)
        a, b = model.train()(jets).cls, model(jets).cls
    assert (a - b).abs().max() > 1e-3


def test_input_sets_are_nested():
    """A kin model does not see identification or displacement, a kinpid one not displacement."""
    jets = make_jets([10, 20])
    for inputs, blind in (("kin", slice(6, 16)), ("kinpid", slice(6, 10))):
        changed = jets.particles.clone()
        changed[:, blind] = torch.rand_like(changed[:, blind])
        model = encoder(inputs=inputs).eval()
        close(model(jets).cls, model(jets.with_particles(changed)).cls, 0)
        assert (
            encoder().eval()(jets).cls - encoder().eval()(jets.with_particles(changed)).cls
        ).abs().max() > 1e-3


def test_published_sizes():
    millions = {}
    for name, size in SIZES.items():
        with torch.device("meta"):
            millions[name] = sum(p.numel() for p in ParticleTransformer(size).parameters()) / 1e6
    assert millions["mini"] == pytest.approx(2.14, abs=0.01)  # ParT: 2.14 M
    assert millions["small"] == pytest.approx(27, abs=1)
    assert millions["p-jepa"] == pytest.approx(76, abs=0.5)  # the slides: 76 M
    assert sorted(millions.values()) == list(millions.values())


def test_state_dict_names_are_stable():
    names = set(ParticleTransformer(LITTLE).state_dict())
    block = ["attn.in_proj", "attn.out_proj", "fc1", "fc2"]
    block += ["pre_attn_norm", "post_attn_norm", "pre_fc_norm", "post_fc_norm"]
    layers = [f"trunk.{kind}.{part}" for kind in ("blocks.0", "blocks.1", "cls_blocks.0") for part in block]
    layers += ["trunk.norm", *(f"embed.layers.{n}" for n in (0, 1, 3, 4, 6, 7))]
    layers += [f"pair_embed.linears.{n}" for n in range(3)]
    norms = ["input_bn", *(f"pair_embed.norms.{n}" for n in range(4))]
    expected = {f"{layer}.{kind}" for layer in layers + norms for kind in ("weight", "bias")}
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    expected |= {f"{norm}.{kind}" for norm in norms for kind in buffers}
    scales = [f"trunk.{kind}" for kind in ("blocks.0", "blocks.1", "cls_blocks.0")]
    expected |= {f"{scale}.{kind}" for scale in scales for kind in ("c_attn", "w_resid")} | {
        "trunk.cls_token"
    }
    assert names == expected


def test_bad_parameters_are_refused():
    with pytest.raises(JepalibError, match="kinpid"):
        ParticleTransformer(LITTLE, inputs="pid")
    with pytest.raises(JepalibError, match="micro_batch=0"):
        ParticleTransformer(LITTLE, micro_batch=0)
    with pytest.raises(JepalibError, match="5 heads"):
        ParticleTransformer(Size(32, (32,), 5, 1, 1, (8,), 16, 4, 1, 1))


@pytest.mark.parametrize(("training", "dropout"), [(False, 0.0), (True, 0.0), (True, 0.1)])
def test_a_batch_without_jets_gives_empty_answers(training: bool, dropout: float):
    """Encoder, heads and predictor; running statistics stay finite."""
    none = make_jets([5, 2]).take([])
    encoder = ParticleTransformer(LITTLE, dropout=dropout).train(training)
    encoded = encoder(none)
    assert encoded.tokens.shape == encoded.cls.shape == (0, LITTLE.width)
    for head in (LinearHead(LITTLE.width), ClassAttentionHead(LITTLE.width), MLPHead(LITTLE.width).eval()):
        assert head(encoded).shape == (0, 10)
    predicted = ParticlePredictor(LITTLE)(encoded, none, none, encoder.pair_embed)
    assert predicted.tokens.shape == predicted.cls.shape == (0, LITTLE.width)
    (encoded.cls.sum() + predicted.cls.sum()).backward()
    assert all(value.isfinite().all() for value in encoder.state_dict().values())
