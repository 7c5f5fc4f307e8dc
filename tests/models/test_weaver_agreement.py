"""weaver-core's Particle Transformer and ours, given the same weights."""

from __future__ import annotations

import math
import pickle

import pytest
import torch
from made_jets import make_jets
from safetensors.torch import save_file
from torch import Tensor, nn

from jepalib.errors import JepalibError
from jepalib.jets import Jets, pad
from jepalib.kinematics import model_inputs
from jepalib.models.heads import Classifier
from jepalib.models.official import from_weaver_state, load_part_checkpoint, weaver_columns
from jepalib.models.particle_transformer import ParticleTransformer
from jepalib.models.sizes import SIZES
from jepalib.schema import INPUT_SETS


def weaver_part(inputs: int, seed: int = 0, **options: object) -> nn.Module:
    """A weaver model whose every parameter and running statistic is random."""
    from weaver.nn.model.ParticleTransformer import ParticleTransformer as Weaver

    torch.manual_seed(seed)
    model = Weaver(inputs, 10, **{"use_pre_activation_pair": False, "trim": False, **options}).eval()
    for name, value in model.state_dict().items():
        if "running_var" in name:
            value.uniform_(0.5, 2.0)
        elif value.dtype.is_floating_point and (value.ndim == 1 or "norm" in name):
            value.add_(0.2 * torch.randn_like(value))
    return model


def weaver_output(model: nn.Module, jets: Jets, inputs: int, padding: int = 0) -> Tensor:
    length = int(jets.counts.max()) + padding
    order = torch.empty(inputs, dtype=torch.long)
    order[weaver_columns(inputs)] = torch.arange(inputs)
    x, mask = pad(model_inputs(jets)[:, :inputs][:, order], jets.offsets, length)
    p4, _ = pad(jets.particles[:, :4], jets.offsets, length)
    with torch.no_grad():
        return model(x.transpose(1, 2), v=p4.transpose(1, 2), mask=mask[:, None])


def loaded(model: nn.Module, tmp_path, pre_activation_pair: bool = False, prefix: str = "mod.") -> Classifier:
    path = tmp_path / "model.pt"
    torch.save({prefix + name: value for name, value in model.state_dict().items()}, path)
    return load_part_checkpoint(path, pre_activation_pair)


@pytest.mark.parametrize("pre_activation", [False, True])
@pytest.mark.parametrize("inputs", INPUT_SETS)
def test_logits_agree(inputs: str, pre_activation: bool, tmp_path, jets: Jets):
    n = INPUT_SETS[inputs]
    model = weaver_part(n, use_pre_activation_pair=pre_activation)
    ours = loaded(model, tmp_path, pre_activation)
    assert ours.encoder.inputs == inputs
    reference = weaver_output(model, jets, n)
    assert reference.std() > 0.3
    with torch.no_grad():
        torch.testing.assert_close(ours(jets), reference, atol=1e-4, rtol=1e-4)


def test_cls_and_particles_agree_at_every_length(tmp_path):
    jets = make_jets(list(range(1, 129)), seed=1)
    model = weaver_part(17, seed=1, num_layers=3, num_cls_layers=2, embed_dims=(64, 256, 64))
    ours = loaded(model, tmp_path).encoder
    model.fc = None
    with torch.no_grad():
        encoded = ours(jets)
    torch.testing.assert_close(encoded.cls, weaver_output(model, jets, 17, padding=9), atol=1e-4, rtol=1e-4)
    model.cls_blocks = None  # then weaver returns the particles and its padding mask
    particles, padding = weaver_output(model, jets, 17)
    torch.testing.assert_close(encoded.tokens, particles[~padding], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("padding", [0, 1, 40])
def test_padding_of_weaver_does_not_matter(padding: int, tmp_path):
    jets = make_jets([1, 7, 30, 2], seed=2)
    model = weaver_part(7, seed=2, num_layers=2)
    with torch.no_grad():
        ours = loaded(model, tmp_path)(jets)
    torch.testing.assert_close(ours, weaver_output(model, jets, 7, padding), atol=1e-4, rtol=1e-4)


def test_gradients_agree(tmp_path):
    """In evaluation mode (weaver's batch statistics count its padding) all gradients agree."""
    jets = make_jets([5, 17, 40, 1, 33], seed=3)
    model = weaver_part(17, seed=3, num_layers=2, num_cls_layers=1)
    ours = loaded(model, tmp_path)
    x, mask = pad(model_inputs(jets), jets.offsets)
    order = torch.empty(17, dtype=torch.long)
    order[weaver_columns(17)] = torch.arange(17)
    p4, _ = pad(jets.particles[:, :4], jets.offsets)
    reference = model(x[..., order].transpose(1, 2), v=p4.transpose(1, 2), mask=mask[:, None])
    reference.square().mean().backward()
    ours(jets).square().mean().backward()
    expected = from_weaver_state({name: p.grad for name, p in model.named_parameters()})
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=2e-5, rtol=2e-3, msg=name)


def test_checkpoint_formats(tmp_path):
    """Prefixes, trimmer counters and safetensors all load alike."""
    model = weaver_part(13, seed=4, num_layers=1, num_cls_layers=1)
    jets = make_jets([3, 20], seed=4)
    reference = loaded(model, tmp_path)(jets)
    counted = model.state_dict() | {"trimmer._counter": torch.zeros(1, dtype=torch.long)}
    path = tmp_path / "other.safetensors"
    save_file({f"module.mod.{name}": value for name, value in counted.items()}, path)
    torch.testing.assert_close(load_part_checkpoint(path)(jets), reference, rtol=0, atol=0)


class LegacyBlock(nn.Module):
    """The block of weaver before 0.5 and of the published checkpoints, written from its arithmetic."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        for name, part in block.named_children():
            setattr(self, name, part)
        self.c_attn, self.w_resid = block.c_attn, block.w_resid
        self.attn = nn.MultiheadAttention(block.embed_dim, block.num_heads, batch_first=True)
        nn.init.normal_(self.attn.in_proj_bias)
        nn.init.normal_(self.attn.out_proj.bias)

    def forward(self, x, x_cls=None, padding_mask=None, attn_mask=None):
        residual, query = (x, x) if x_cls is None else (x_cls, torch.cat([x_cls, x], 1))
        keys = self.pre_attn_norm(query)
        if x_cls is not None:
            padding_mask = torch.nn.functional.pad(padding_mask, (1, 0))
        if attn_mask is not None:  # one number for both masks, as torch wants it
            attn_mask = attn_mask.reshape(-1, *attn_mask.shape[-2:])
        padding = torch.zeros(padding_mask.shape).masked_fill(padding_mask, -math.inf)
        x = self.attn(keys if x_cls is None else x_cls, keys, keys, padding, attn_mask=attn_mask)[0]
        scaled = x.unflatten(2, (self.attn.num_heads, -1)) * self.c_attn[:, None]  # (…, head, channel)
        x = self.post_attn_norm(scaled.transpose(2, 3).flatten(2)) + residual
        hidden = self.post_fc_norm(torch.nn.functional.gelu(self.fc1(self.pre_fc_norm(x))))
        return self.fc2(hidden) + self.w_resid * x


@pytest.mark.parametrize("size", [(128, 8), (48, 4)])  # heads as many as their channels are, and not
def test_published_checkpoints_agree(tmp_path, jets: Jets, size: tuple[int, int]):
    """torch's older attention names mark the older order of channels: (channel, head)."""
    width, heads = size
    options = {"num_layers": 2, "num_cls_layers": 1, "embed_dims": (64, width), "num_heads": heads}
    model = weaver_part(17, seed=5, **options)
    model.blocks = nn.ModuleList(map(LegacyBlock, model.blocks))
    model.cls_blocks = nn.ModuleList(map(LegacyBlock, model.cls_blocks))
    model.eval()
    assert "blocks.0.attn.in_proj_weight" in model.state_dict()
    reference = weaver_output(model, jets, 17)
    with torch.no_grad():
        torch.testing.assert_close(loaded(model, tmp_path)(jets), reference, atol=1e-4, rtol=1e-4)


class Code:
    def __reduce__(self):
        return (print, ("code ran",))


def test_code_is_refused(tmp_path, capsys):
    path = tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps({"mod.cls_token": Code()}, protocol=2))
    with pytest.raises(JepalibError, match=r"evil\.pt"):
        load_part_checkpoint(path)
    torch.save({"mod.cls_token": Code()}, path)
    with pytest.raises(JepalibError, match="tensors only"):
        load_part_checkpoint(path)
    assert "code ran" not in capsys.readouterr().out


def test_foreign_files_are_refused(tmp_path):
    with pytest.raises(JepalibError, match="no such file"):
        load_part_checkpoint(tmp_path / "none.pt")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(b"\x08\x00")
    with pytest.raises(JepalibError, match=r"cut\.safetensors"):
        load_part_checkpoint(cut)
    path = tmp_path / "other.pt"
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(JepalibError, match="input_bn"):
        load_part_checkpoint(path)
    torch.save([torch.zeros(3)], path)
    with pytest.raises(JepalibError, match="state dict"):
        load_part_checkpoint(path)
    torch.save(weaver_part(12, num_layers=1).state_dict(), path)
    with pytest.raises(JepalibError, match="12 inputs"):
        load_part_checkpoint(path)
    state = weaver_part(7, num_layers=1).state_dict()
    del state["blocks.0.fc1.weight"]
    torch.save(state, path)
    with pytest.raises(JepalibError, match="fc1"):
        load_part_checkpoint(path)


def test_mapping_is_one_to_one():
    """Every value of weaver's state arrives at exactly one of our names, and none is left."""
    model = weaver_part(17)
    mapped = from_weaver_state(model.state_dict())
    assert sum(v.numel() for v in mapped.values()) == sum(v.numel() for v in model.state_dict().values())
    encoder = ParticleTransformer(SIZES["mini"]).state_dict()
    ours = {name.removeprefix("encoder.") for name in mapped if name.startswith("encoder.")}
    assert ours == set(encoder)
