"""GPT-2, Llama, Mixtral and Qwen3 in plain PyTorch, and Megatron's layout of their parameters."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

VOCABULARY, PADDED_VOCABULARY = 61, 64
EPSILON, ROTARY_BASE = 1e-5, 10000.0


@dataclass(frozen=True)
class Shape:
    """A model's shape, and the batch it is tried on."""

    name: str
    seed: int
    batch: int
    seq: int
    ffn: int
    layers: int = 2
    hidden: int = 32
    heads: int = 4
    groups: int = 4
    channels: int = 8
    max_positions: int = 20
    gpt2: bool = False  # learned positions, LayerNorm, GELU, biases, tied; else Llama's choices
    qk_norm: bool = False
    experts: int = 0
    topk: int = 2
    aux_coeff: float = 0.01
    z_coeff: float = 1e-3

    def flags(self):
        """Megatron's flags for this model."""
        flags = [
            f"--num-layers {self.layers} --hidden-size {self.hidden}",
            f"--num-attention-heads {self.heads} --kv-channels {self.channels}",
            f"--seq-length {self.seq} --max-position-embeddings {self.max_positions}",
            f"--ffn-hidden-size {2 * self.ffn if self.experts else self.ffn}",
            "--make-vocab-size-divisible-by 64 --norm-epsilon 1e-5",
            "--attention-dropout 0 --hidden-dropout 0",
        ]
        if self.groups != self.heads:
            flags.append(f"--group-query-attention --num-query-groups {self.groups}")
        if self.gpt2:
            flags.append("--position-embedding-type learned_absolute --normalization LayerNorm")
        else:
            flags.append("--position-embedding-type rope --rotary-base 10000 --rotary-percent 1.0")
            flags.append("--normalization RMSNorm --swiglu --disable-bias-linear")
            flags.append("--untie-embeddings-and-output-weights")
        if self.qk_norm:
            flags.append("--qk-layernorm")
        if self.experts:
            flags.append(f"--num-experts {self.experts} --moe-router-topk {self.topk}")
            flags.append(f"--moe-ffn-hidden-size {self.ffn}")
            flags.append(f"--moe-aux-loss-coeff {self.aux_coeff} --moe-z-loss-coeff {self.z_coeff}")
        return " ".join(flags)


class RmsNorm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPSILON) * self.weight


def norm(shape, size):
    return nn.LayerNorm(size, eps=EPSILON) if shape.gpt2 else RmsNorm(size)


def rotate(x):
    """Rotary positions (Su et al. 2021) on [B, n, S, d]; channel i turns with channel i + d/2."""
    seq, channels = x.shape[-2:]
    exponents = torch.arange(0, channels, 2, dtype=torch.float32) / channels
    angles = torch.arange(seq, dtype=torch.float32)[:, None] / ROTARY_BASE**exponents
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class Attention(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        h, q, kv = shape.hidden, shape.heads * shape.channels, shape.groups * shape.channels
        self.query = nn.Linear(h, q, bias=shape.gpt2)
        self.key = nn.Linear(h, kv, bias=shape.gpt2)
        self.value = nn.Linear(h, kv, bias=shape.gpt2)
        self.proj = nn.Linear(q, h, bias=shape.gpt2)
        if shape.qk_norm:
            self.query_norm = RmsNorm(shape.channels)
            self.key_norm = RmsNorm(shape.channels)

    def forward(self, x):
        shape = self.shape
        batch, seq, _ = x.shape

        def heads(projected):
            return projected.view(batch, seq, -1, shape.channels)

        query, key, value = heads(self.query(x)), heads(self.key(x)), heads(self.value(x))
        if shape.qk_norm:
            query, key = self.query_norm(query), self.key_norm(key)
        query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
        if not shape.gpt2:
            query, key = rotate(query), rotate(key)
        key = key.repeat_interleave(shape.heads // shape.groups, dim=1)
        value = value.repeat_interleave(shape.heads // shape.groups, dim=1)
        scores = query @ key.transpose(-1, -2) / math.sqrt(shape.channels)
        future = torch.ones(seq, seq, dtype=torch.bool).triu(1)
        weights = scores.masked_fill(future, -math.inf).softmax(-1)
        return self.proj((weights @ value).transpose(1, 2).reshape(batch, seq, -1))


class Gelu(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.fc1 = nn.Linear(shape.hidden, shape.ffn)
        self.fc2 = nn.Linear(shape.ffn, shape.hidden)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class SwiGlu(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.gate = nn.Linear(shape.hidden, shape.ffn, bias=False)
        self.up = nn.Linear(shape.hidden, shape.ffn, bias=False)
        self.fc2 = nn.Linear(shape.ffn, shape.hidden, bias=False)

    def forward(self, x):
        return self.fc2(F.silu(self.gate(x)) * self.up(x))


def switch_loss(logits, topk, coeff):
    """The load-balancing loss of Switch Transformer as Megatron has it, of [T, E] logits."""
    count, experts = logits.shape
    chosen = F.one_hot(logits.topk(topk).indices, experts).sum((0, 1))
    return (logits.softmax(-1).sum(0) * chosen).sum() * experts * coeff / (topk * count * count)


def z_loss(logits, coeff):
    return logits.logsumexp(-1).square().mean() * coeff


class Moe(nn.Module):
    """Softmax over the chosen experts, every token computed (Jiang et al. 2024)."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.router = nn.Linear(shape.hidden, shape.experts, bias=False)
        self.experts = nn.ModuleList(SwiGlu(shape) for _ in range(shape.experts))

    def forward(self, x):
        rows = x.reshape(-1, self.shape.hidden)
        self.logits = self.router(rows)
        best, self.chosen = self.logits.topk(self.shape.topk)
        weights = best.softmax(-1)
        out = torch.zeros_like(rows)
        for index, expert in enumerate(self.experts):
            token, slot = torch.where(self.chosen == index)
            out = out.index_add(0, token, expert(rows[token]) * weights[token, slot, None])
        return out.view_as(x)


class Layer(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.input_norm = norm(shape, shape.hidden)
        self.attention = Attention(shape)
        self.mlp_norm = norm(shape, shape.hidden)
        self.mlp = Moe(shape) if shape.experts else Gelu(shape) if shape.gpt2 else SwiGlu(shape)

    def forward(self, x):
        x = x + self.attention(self.input_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class Gpt(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.words = nn.Embedding(PADDED_VOCABULARY, shape.hidden)
        if shape.gpt2:
            self.positions = nn.Embedding(shape.max_positions, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.final_norm = norm(shape, shape.hidden)
        if not shape.gpt2:
            self.output = nn.Linear(shape.hidden, PADDED_VOCABULARY, bias=False)

    def forward(self, tokens):
        x = self.words(tokens)
        if self.shape.gpt2:
            x = x + self.positions(torch.arange(tokens.shape[1]))
        for layer in self.layers:
            x = layer(x)
        return F.linear(self.final_norm(x), (self.words if self.shape.gpt2 else self.output).weight)

    def router_logits(self):
        return [layer.mlp.logits for layer in self.layers] if self.shape.experts else []


def initialise(model, generator):
    """Weights far from the usual initial ones, so that no parameter is without effect."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * noise)
            elif name.endswith("bias"):
                parameter.copy_(0.1 * noise)
            else:
                parameter.copy_((0.5 if "router" in name else 0.2) * noise)


def losses(shape, logits, router_logits, labels, mask):
    """Per-token loss, its masked mean, and the two losses of the routers."""
    token_loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    token_loss = token_loss.view_as(labels)
    loss = (token_loss * mask).sum() / mask.sum()
    zero = torch.zeros(())
    aux = sum((switch_loss(one, shape.topk, shape.aux_coeff) for one in router_logits), zero)
    z = sum((z_loss(one, shape.z_coeff) for one in router_logits), zero)
    return token_loss, loss, aux, z


def named(prefix, module, pick):
    """A module's weight and, where it has one, bias."""
    return {f"{prefix}.{name}": pick(value) for name, value in module.named_parameters()}


def fc1(expert, pick):
    """Megatron's first layer of SwiGLU: the gate's rows, then the linear half's."""
    return torch.cat([pick(expert.gate.weight), pick(expert.up.weight)])


def interleave(shape, query, key, value):
    """Megatron's fused projection: group by group, its query heads, its key, its value."""
    grouped = [part.view(shape.groups, -1, *part.shape[1:]) for part in (query, key, value)]
    return torch.cat(grouped, dim=1).flatten(0, 1)


def megatron_tensors(model, pick):
    """Megatron-Core's names and layouts; pick gives a parameter's value, or its gradient."""
    shape = model.shape
    tensors = named("embedding.word_embeddings", model.words, pick)
    if shape.gpt2:
        tensors |= named("embedding.position_embeddings", model.positions, pick)
    for index, layer in enumerate(model.layers):
        prefix = f"decoder.layers.{index}"
        tensors |= named(f"{prefix}.input_layernorm", layer.input_norm, pick)
        attention, parts = layer.attention, ("query", "key", "value")
        for kind in ("weight", "bias") if shape.gpt2 else ("weight",):
            tensors[f"{prefix}.self_attention.linear_qkv.{kind}"] = interleave(
                shape, *(pick(getattr(getattr(attention, part), kind)) for part in parts)
            )
        if shape.qk_norm:
            tensors |= named(f"{prefix}.self_attention.q_layernorm", attention.query_norm, pick)
            tensors |= named(f"{prefix}.self_attention.k_layernorm", attention.key_norm, pick)
        tensors |= named(f"{prefix}.self_attention.linear_proj", attention.proj, pick)
        tensors |= named(f"{prefix}.pre_mlp_layernorm", layer.mlp_norm, pick)
        if shape.experts:
            tensors |= named(f"{prefix}.mlp.router", layer.mlp.router, pick)
            for number, expert in enumerate(layer.mlp.experts):
                local = f"{prefix}.mlp.experts.local_experts.{number}"
                tensors[f"{local}.linear_fc1.weight"] = fc1(expert, pick)
                tensors |= named(f"{local}.linear_fc2", expert.fc2, pick)
        elif shape.gpt2:
            tensors |= named(f"{prefix}.mlp.linear_fc1", layer.mlp.fc1, pick)
            tensors |= named(f"{prefix}.mlp.linear_fc2", layer.mlp.fc2, pick)
        else:
            tensors[f"{prefix}.mlp.linear_fc1.weight"] = fc1(layer.mlp, pick)
            tensors |= named(f"{prefix}.mlp.linear_fc2", layer.mlp.fc2, pick)
    tensors |= named("decoder.final_layernorm", model.final_norm, pick)
    if not shape.gpt2:
        tensors |= named("output_layer", model.output, pick)
    return tensors
