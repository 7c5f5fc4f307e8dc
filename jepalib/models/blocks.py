"""Transformer blocks: those of the Particle Transformer, and the standard one."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from jepalib.errors import JepalibError
from jepalib.models.attention import attention
from jepalib.models.layout import Layout
from jepalib.models.linear import Linear


class Embed(nn.Module):
    """(LayerNorm, linear, GELU) for each width, particle by particle.

    The batch norm of the inputs is applied before it, on the whole packed batch.
    """

    def __init__(self, inputs: int, dims: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in zip((inputs, *dims[:-1]), dims, strict=True):
            layers += [nn.LayerNorm(a), Linear(a, b), nn.GELU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "particles inputs"]) -> Float[Tensor, "particles width"]:
        return self.layers(x)


class Attention(nn.Module):
    """Multi-head attention: one projection to queries, keys and values, and one out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise JepalibError(f"width {width} is not divisible by {heads} heads")
        self.heads = heads
        self.in_proj = Linear(width, 3 * width)
        self.out_proj = Linear(width, width)


class Block(nn.Module):
    """What particle and class attention blocks share (ParT, Fig. 3c, 3d).

    Pre-norm attention and feed-forward, with the extra norms after attention and
    inside the feed-forward, a scale per head and a scale per residual channel.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0, ffn_ratio: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.pre_attn_norm = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.post_attn_norm = nn.LayerNorm(width)
        self.pre_fc_norm = nn.LayerNorm(width)
        self.fc1 = Linear(width, ffn_ratio * width)
        self.post_fc_norm = nn.LayerNorm(ffn_ratio * width)
        self.fc2 = Linear(ffn_ratio * width, width)
        self.c_attn = nn.Parameter(torch.ones(heads))
        self.w_resid = nn.Parameter(torch.ones(width))

    def drop(self, x: Float[Tensor, "tokens dims"]) -> Float[Tensor, "tokens dims"]:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x

    def after_attention(
        self, attended: Float[Tensor, "tokens width"], residual: Float[Tensor, "tokens width"]
    ) -> Float[Tensor, "tokens width"]:
        """Output projection, head scales, residual and feed-forward."""
        x = self.attn.out_proj(attended)
        x = x * self.c_attn.repeat_interleave(x.shape[1] // self.heads)
        x = self.drop(self.post_attn_norm(x)) + residual
        hidden = F.gelu(self.fc1(self.pre_fc_norm(x)))
        hidden = self.post_fc_norm(self.drop(hidden))
        return self.drop(self.fc2(hidden)) + self.w_resid * x


class ParticleAttentionBlock(Block):
    """Self-attention among the particles of each jet, with the pairwise bias."""

    def forward(
        self,
        x: Float[Tensor, "tokens width"],
        layout: Layout,
        bias: Tensor | None,
    ) -> Float[Tensor, "tokens width"]:
        qkv = self.attn.in_proj(self.pre_attn_norm(x))
        rate = self.dropout if self.training else 0.0
        return self.after_attention(attention(qkv, bias, layout, self.heads, rate), x)


class ClassAttentionBlock(Block):
    """The class token attends to itself and to the particles of its jet (no bias).

    The single query is brought to the keys: scores = (W_k' q) . u and values are
    pooled before their projection, so that no particle is projected at all.
    """

    def forward(
        self, cls: Float[Tensor, "jets width"], x: Float[Tensor, "tokens width"], layout: Layout
    ) -> Float[Tensor, "jets width"]:
        u = self.keys(cls, x, layout)
        w_v = self.attn.in_proj.weight.chunk(3)[2]
        b_v = self.attn.in_proj.bias.chunk(3)[2]
        pooled = self.weights(cls, u, layout) @ u
        values = torch.einsum("jhw,hdw->jhd", pooled, w_v.unflatten(0, (self.heads, -1)).to(pooled.dtype))
        return self.after_attention(values.flatten(1) + b_v, cls)

    def keys(
        self, cls: Float[Tensor, "jets width"], x: Float[Tensor, "tokens width"], layout: Layout
    ) -> Float[Tensor, "jets places width"]:
        """What the class token attends to: itself, then the tokens of its jet, padded."""
        return self.pre_attn_norm(torch.cat([cls[:, None], layout.pad(x.to(cls.dtype))], dim=1))

    def weights(
        self, cls: Float[Tensor, "jets width"], u: Float[Tensor, "jets places width"], layout: Layout
    ) -> Float[Tensor, "jets heads places"]:
        """How much of each of `keys` every head takes; 0 on padding."""
        width, heads = cls.shape[1], self.heads
        w_q, w_k, _ = self.attn.in_proj.weight.chunk(3)
        b_q = self.attn.in_proj.bias.chunk(3)[0]  # a key bias shifts all scores alike
        q = F.linear(cls, w_q, b_q).unflatten(1, (heads, -1)) / math.sqrt(width // heads)
        query = torch.einsum("jhd,hdw->jhw", q, w_k.unflatten(0, (heads, -1)).to(q.dtype))
        scores = query.to(u.dtype) @ u.transpose(1, 2)
        padding = F.pad(layout.padding()[:, 0], (1, 0))
        return (scores.float() + padding).softmax(-1).to(u.dtype)


class Trunk(nn.Module):
    """Particle attention blocks, then a class token through class attention blocks."""

    def __init__(
        self,
        width: int,
        heads: int,
        blocks: int,
        cls_blocks: int,
        dropout: float = 0.0,
        ffn_ratio: int = 4,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ParticleAttentionBlock(width, heads, dropout, ffn_ratio) for _ in range(blocks)
        )
        self.cls_blocks = nn.ModuleList(
            ClassAttentionBlock(width, heads, ffn_ratio=ffn_ratio) for _ in range(cls_blocks)
        )
        self.cls_token = nn.Parameter(torch.zeros(width))
        self.norm = nn.LayerNorm(width)
        initialise(self)

    def forward(
        self,
        x: Float[Tensor, "tokens width"],
        layout: Layout,
        bias: Tensor | None,
    ) -> tuple[Float[Tensor, "tokens width"], Float[Tensor, "jets width"]]:
        for block in self.blocks:
            x = block(x, layout, bias)
        return x, self.aggregate(x, layout)

    def aggregate(self, x: Float[Tensor, "tokens width"], layout: Layout) -> Float[Tensor, "jets width"]:
        """The class token of each jet after the class attention blocks on the given tokens."""
        cls = self.cls_token.expand(layout.jets, -1)
        for block in self.cls_blocks:
            cls = block(cls, x, layout)
        return self.norm(cls)


class PlainBlock(nn.Module):
    """A standard transformer block: pre-norm self-attention within each jet, then feed-forward."""

    def __init__(self, width: int, heads: int, ffn_ratio: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ffn_norm = nn.LayerNorm(width)
        self.fc1 = Linear(width, ffn_ratio * width)
        self.fc2 = Linear(ffn_ratio * width, width)

    def forward(
        self, x: Float[Tensor, "tokens width"], layout: Layout, bias: Tensor | None
    ) -> Float[Tensor, "tokens width"]:
        qkv = self.attn.in_proj(self.attention_norm(x))
        x = x + self.attn.out_proj(attention(qkv, bias, layout, self.heads))
        return x + self.fc2(F.gelu(self.fc1(self.ffn_norm(x))))


class PlainTrunk(nn.Module):
    """Standard transformer blocks and a last norm, as HEP-JEPA has them.

    The norm has no gain: a JEPA could make its targets, and its loss, as small as it likes with one.
    """

    def __init__(self, width: int, heads: int, blocks: int, ffn_ratio: int = 4) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(PlainBlock(width, heads, ffn_ratio) for _ in range(blocks))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        initialise(self)

    def forward(
        self, x: Float[Tensor, "tokens width"], layout: Layout, bias: Tensor | None
    ) -> Float[Tensor, "tokens width"]:
        for block in self.blocks:
            x = block(x, layout, bias)
        return self.norm(x)


def initialise(module: nn.Module) -> None:
    """ParT's start: Xavier-uniform linear layers (queries, keys and values each on their
    own), zero biases, residual branches of particle block l divided by sqrt(2 l)."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear):
            parts = 3 if name.endswith("in_proj") else 1
            bound = math.sqrt(6.0 / (layer.out_features // parts + layer.in_features))
            nn.init.uniform_(layer.weight, -bound, bound)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    if isinstance(module, Trunk):
        nn.init.trunc_normal_(module.cls_token, std=0.02)
    if isinstance(module, Trunk | PlainTrunk):
        with torch.no_grad():
            for number, block in enumerate(module.blocks, start=1):
                block.attn.out_proj.weight.div_(math.sqrt(2 * number))
                block.fc2.weight.div_(math.sqrt(2 * number))
