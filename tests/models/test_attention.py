"""The packed kernels against plain torch, and every hand-written gradient in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jepalib.models import kernels
from jepalib.models.attention import _dense_pairs, _padded_attention, attention, bias_of_pairs, dense_bias
from jepalib.models.layout import Layout, make_layout, offsets_of, row_length
from jepalib.models.linear import linear


def layout_of(counts: list[int]) -> Layout:
    return make_layout(offsets_of(torch.tensor(counts)))


def random_case(counts: list[int], heads: int, width: int, dtype: torch.dtype, lead: int = 0):
    layout = layout_of(counts)
    rng = torch.Generator().manual_seed(0)
    qkv = torch.randn(sum(counts), 3 * width, dtype=dtype, generator=rng)
    pairs = int(layout.pair_offsets(lead)[-1])
    values = 2 * torch.randn(pairs, heads, dtype=dtype, generator=rng)
    return layout, qkv.requires_grad_(), values.requires_grad_()


@settings(deadline=None, max_examples=25)
@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=5).filter(sum),
    heads=st.sampled_from([1, 3, 8]),
    per_head=st.sampled_from([1, 6, 16, 24]),
    lead=st.integers(0, 1),
    with_bias=st.booleans(),
)
def test_packed_equals_padded(counts, heads, per_head, lead, with_bias):
    layout, qkv, values = random_case(counts, heads, heads * per_head, torch.float32, lead)

    def both(attend):
        bias = bias_of_pairs(values, layout, lead) if with_bias else None
        out = attend(qkv, bias, layout, heads)
        wanted = [qkv, values] if with_bias else [qkv]
        weight = torch.linspace(-1, 1, out.numel()).reshape(out.shape)
        return out, *torch.autograd.grad((out * weight).sum(), wanted)

    packed = both(attention)
    padded = both(lambda *args: _padded_attention(*args, 0.0))
    for a, b in zip(packed, padded, strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("with_bias", [True, False])
def test_bfloat16_is_computed_in_float32(with_bias: bool):
    """Both results come from the same bfloat16 numbers; they differ by the rounding of the output."""
    layout, qkv, values = random_case([3, 0, 20], 2, 8, torch.float32)
    results = []
    for dtype in (torch.bfloat16, torch.float32):
        low = qkv.detach().bfloat16().to(dtype).requires_grad_()
        out = attention(low, bias_of_pairs(values, layout) if with_bias else None, layout, 2)
        assert out.dtype == dtype
        results += [(out.float(), torch.autograd.grad(out.float().sum(), low)[0].float())]
    torch.testing.assert_close(results[0], results[1], atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("with_bias", [True, False])
def test_gradients_in_float64(with_bias: bool):
    layout, qkv, values = random_case([3, 0, 1, 5], 2, 6, torch.float64, lead=1)

    def run(qkv: Tensor, values: Tensor) -> Tensor:
        bias = bias_of_pairs(values, layout, 1) if with_bias else None
        return attention(qkv, bias, layout, 2)

    wanted = (qkv, values) if with_bias else (qkv, values.detach())
    assert torch.autograd.gradcheck(run, wanted)


@pytest.mark.parametrize("bias", [True, False])
def test_linear_gradients_in_float64(bias: bool):
    rng = torch.Generator().manual_seed(1)
    shapes = (5, 3), (4, 3), (4,)
    x, w, b = (torch.randn(s, dtype=torch.float64, generator=rng).requires_grad_() for s in shapes)
    assert torch.autograd.gradcheck(linear, (x, w, b) if bias else (x, w))


@pytest.mark.parametrize("rows", [0, 1, 2, 300])
def test_linear_is_torchs(rows: int):
    layer = torch.nn.Linear(48, 80)
    x = torch.randn(rows, 48)
    expected = torch.nn.functional.linear(x, layer.weight, layer.bias)
    torch.testing.assert_close(linear(x, layer.weight, layer.bias), expected, atol=1e-5, rtol=1e-5)


def test_weight_gradients_of_micro_batches_are_summed_in_float32():
    layer = torch.nn.Linear(16, 16)
    x = torch.randn(4096, 16)

    def gradient(parts: int) -> Tensor:
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            outputs = [linear(part, layer.weight, layer.bias) for part in x.chunk(parts)]
        sum((o.float() ** 2).sum() for o in outputs).backward()
        return layer.weight.grad

    one, many = gradient(1).clone(), gradient(64).clone()
    assert many.dtype == torch.float32
    assert (one - many).norm() < 4e-3 * one.norm()


def test_threads_change_nothing():
    layout, qkv, values = random_case([2, 30, 0, 7, 41, 5], 8, 48, torch.float32)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            bias = bias_of_pairs(values, layout)
            out = attention(qkv, bias, layout, 8)
            results.append((out, *torch.autograd.grad(out.square().sum(), (qkv, values))))
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        for a, b in zip(results[0], result, strict=True):
            torch.testing.assert_close(a, b, atol=0, rtol=0)


def test_row_lengths_are_those_of_the_kernels():
    counts = torch.arange(0, 130)
    assert row_length(counts).tolist() == [kernels.row_length(int(n)) for n in counts]


@pytest.mark.parametrize("lead", [0, 1])
def test_bias_of_a_gpu_is_that_of_a_cpu(lead: int):
    layout, _, values = random_case([4, 0, 1, 6], 2, 4, torch.float32, lead)
    packed = dense_bias(bias_of_pairs(values, layout, lead), layout, 2)
    dense = _dense_pairs(values, layout, lead)
    torch.testing.assert_close(packed, dense, rtol=0, atol=0)
    weight = torch.randn(dense.shape)
    a, b = (torch.autograd.grad((bias * weight).sum(), values)[0] for bias in (packed, dense))
    torch.testing.assert_close(a, b)


def test_bias_is_symmetric_and_zero_for_leading_tokens():
    layout, _, values = random_case([4, 1, 6], 2, 4, torch.float32, lead=1)
    dense = dense_bias(bias_of_pairs(values, layout, 1), layout, 2).detach()
    torch.testing.assert_close(dense, dense.transpose(2, 3))
    assert (dense[:, :, 0] == 0).all()
    jet, i, j = layout.pairs(1)
    torch.testing.assert_close(dense[jet, :, i, j], values.detach())


def test_extreme_scores_stay_finite_and_nan_is_not_hidden():
    layout = layout_of([3, 4])
    qkv = torch.randn(7, 24) * 100
    assert attention(qkv, None, layout, 1).isfinite().all()
    qkv[1, 0] = float("nan")
    out = attention(qkv, None, layout, 1)
    assert out[1].isnan().any()
    assert out[3:].isfinite().all()


def test_what_is_not_finite_reaches_the_gradients_of_its_jet_alone():
    layout, qkv, values = random_case([3, 20, 5], 2, 16, torch.float32)
    with torch.no_grad():
        qkv[4, 0] = float("inf")
    attention(qkv, bias_of_pairs(values, layout), layout, 2).sum().backward()
    pairs = layout.pair_offsets(0)[1:3].tolist()
    for grad, begin, end in ((qkv.grad, 3, 23), (values.grad, *pairs)):
        assert grad[begin:end].isnan().any()
        assert grad[:begin].isfinite().all()
        assert grad[end:].isfinite().all()


def test_places_beyond_a_jets_tokens_get_no_gradient():
    layout, qkv, values = random_case([3, 20, 5], 2, 16, torch.float32)
    bias = bias_of_pairs(20 * values, layout).detach().requires_grad_()
    attention(20 * qkv, bias, layout, 2).square().sum().backward()
    rows = row_length(layout.counts).repeat_interleave(2 * layout.counts)
    place = torch.cat([torch.arange(length) for length in rows.tolist()])
    beyond = place >= layout.counts.repeat_interleave(layout.bias_offsets(2).diff())
    assert bias.grad.isfinite().all()
    assert (bias.grad[beyond] == 0).all()
    assert (bias.grad[~beyond] != 0).any()
