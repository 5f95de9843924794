"""The training step that `moe4j bench txl --device cuda` is compared with, in PyTorch 2.11: Transformer-XL's
enwik8 base, dense or with 64 experts (two a token, 512-1024-512) through grouped products. Forward, backward,
clipping, fused Adam; bf16 by autocast over fp32 parameters. The model is written anew, without what upstream
computes in vain: no queries of the memory, no atomic additions in the experts' backward pass, probabilities
that stay bf16.

    python txl_gpu.py --all                     # the table, a process each, about 6 minutes
    python txl_gpu.py --model dense --variant layers --attention sdpa
    python txl_gpu.py --model moe64 --variant graph --attention plain --mode max-autotune-no-cudagraphs
    python txl_gpu.py --check --variant eager   # against the golden files, fp64 on the CPU; needs safetensors
    python txl_gpu.py --model moe64 --variant layers --device cpu --layers 2 --hidden 32 --heads 2 \\
        --inner 16 --experts 4 --tgt 16 --mem 16 --batch 2 --steps 3 --warmup 2

Variants: eager; layers, each layer compiled (once for all of them); whole, forward and loss compiled as one;
graph, a CUDA graph of the whole step, optimizer included, over compiled layers (--inside: or over whole or
eager). Attentions: plain makes the scores, as upstream; sdpa gives the shifted positions and the mask as a
bias; flex reads the positions in FlexAttention's score_mod (it needs a compiler and CUDA).
"""
import argparse
import contextlib
import json
import math
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

AUTOTUNE = "max-autotune-no-cudagraphs"

TABLE = [  # model, variant, attention, mode; the most important first
    ("dense", "layers", "plain", None),
    ("dense", "graph", "sdpa", None),
    ("dense", "graph", "plain", None),
    ("moe64", "layers", "plain", None),
    ("moe64", "graph", "sdpa", None),
    ("moe64", "graph", "plain", None),
    ("dense", "eager", "plain", None),
    ("moe64", "eager", "plain", None),
    ("dense", "whole", "sdpa", AUTOTUNE),
    ("moe64", "whole", "sdpa", AUTOTUNE),
    ("dense", "layers", "sdpa", None),
    ("moe64", "layers", "sdpa", None),
    ("dense", "graph", "sdpa", AUTOTUNE),
    ("dense", "layers", "flex", None),
]


def arguments(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", choices=["dense", "moe64"], default="dense")
    p.add_argument("--variant", choices=["eager", "layers", "whole", "graph"], default="layers")
    p.add_argument("--inside", choices=["eager", "layers", "whole"], default="layers", help="what graph captures")
    p.add_argument("--attention", choices=["plain", "sdpa", "flex"], default="plain")
    p.add_argument("--mode", help="of torch.compile; whole has " + AUTOTUNE)
    p.add_argument("--dtype", choices=["bf16", "fp32"], default="bf16", help="fp32: tf32 products")
    p.add_argument("--layers", type=int, default=12)
    p.add_argument("--hidden", type=int, default=512)
    p.add_argument("--heads", type=int, default=8)
    p.add_argument("--inner", type=int, help="2048, or 1024 of an expert")
    p.add_argument("--experts", type=int, help="64 of moe64")
    p.add_argument("--topk", type=int, default=2)
    p.add_argument("--vocab", type=int, default=204)
    p.add_argument("--tgt", type=int, default=512)
    p.add_argument("--mem", type=int, default=512)
    p.add_argument("--batch", type=int, default=22)
    p.add_argument("--dropout", type=float, default=0.1)
    p.add_argument("--lr", type=float, default=2.5e-4)
    p.add_argument("--clip", type=float, default=0.25)
    p.add_argument("--steps", type=int, default=30)
    p.add_argument("--warmup", type=int, default=10)
    p.add_argument("--data", help="file of little-endian uint16 tokens; otherwise they are random")
    p.add_argument("--device", default="cuda")
    p.add_argument("--seed", type=int, default=1111)
    p.add_argument("--all", action="store_true", help="the table; other options but --model go to each process")
    p.add_argument("--limit", type=float, default=120, help="seconds for each process of --all, compilation included")
    p.add_argument("--budget", type=float, default=570, help="seconds for all of --all")
    p.add_argument("--check", action="store_true")
    a = p.parse_args(argv)
    moe = a.model == "moe64"
    a.inner = a.inner or (1024 if moe else 2048)
    a.experts = (a.experts or 64) if moe else 0
    if a.mode is None and "whole" in (a.variant, a.inside if a.variant == "graph" else None):
        a.mode = AUTOTUNE
    return a


def shifted(positions):
    """[.., q, k] by distance to [.., q, k] by key: row i moves left by q - 1 - i. What enters is masked."""
    *batch, q, k = positions.shape
    return F.pad(positions, (1, 0)).view(*batch, k + 1, q)[..., 1:, :].reshape(*batch, q, k)


class Attention(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.heads, self.kind = a.heads, a.attention
        self.q = nn.Linear(a.hidden, a.hidden, bias=False)
        self.kv = nn.Linear(a.hidden, 2 * a.hidden, bias=False)  # rows: head, key or value, dimension
        self.r = nn.Linear(a.hidden, a.hidden, bias=False)
        self.out = nn.Linear(a.hidden, a.hidden, bias=False)

    def forward(self, x, memory, positions, content_bias, position_bias, mask):
        """x and memory are [length, batch, hidden]: head and batch are then one dimension with one stride."""
        t, b, hidden = x.shape
        d = hidden // self.heads
        scale = d**-0.5
        q = self.q(x).view(t, b, self.heads, d)
        k, v = self.kv(torch.cat([memory, x])).view(-1, b, self.heads, 2, d).unbind(3)
        r = self.r(positions).view(-1, self.heads, d).permute(1, 2, 0)
        content = ((q + content_bias.to(q.dtype)) * scale).permute(1, 2, 0, 3)
        position = ((q + position_bias.to(q.dtype)) * scale).permute(1, 2, 0, 3)
        k, v = k.permute(1, 2, 0, 3), v.permute(1, 2, 0, 3)
        distances = position @ r  # [batch, head, q, k]
        if self.kind == "flex":
            from torch.nn.attention.flex_attention import flex_attention

            last = k.shape[2] - 1

            def score(s, batch, head, i, j):
                return s + distances[batch, head, i, (j + (t - 1) - i).clamp(max=last)]

            y = flex_attention(content, k, v, score_mod=score, block_mask=mask, scale=1.0)
        else:
            bias = shifted(distances)
            if self.kind == "sdpa":
                bias = bias.masked_fill(mask, -math.inf)
                y = F.scaled_dot_product_attention(content, k, v, attn_mask=bias, scale=1.0)
            else:
                scores = (content @ k.transpose(2, 3) + bias).masked_fill(mask, -math.inf)
                with torch.autocast(x.device.type, enabled=False):  # which would write fp32
                    scores = scores.softmax(-1)
                y = scores @ v
        return self.out(y.permute(2, 0, 1, 3).reshape(t, b, hidden))


class Mlp(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(a.hidden, a.inner), nn.Linear(a.inner, a.hidden)
        self.dropout = a.dropout

    def forward(self, x):
        return self.fc2(F.dropout(F.relu(self.fc1(x)), self.dropout, self.training))


class Rows(torch.autograd.Function):
    """x[index], where each row is taken copies times; back tells where, so that no gradient is scattered."""

    @staticmethod
    def forward(ctx, x, index, back, copies):
        ctx.save_for_backward(back)
        ctx.copies = copies
        return x[index]

    @staticmethod
    def backward(ctx, gradient):
        (back,) = ctx.saved_tensors
        gradient = gradient[back]
        if ctx.copies > 1:
            gradient = gradient.view(-1, ctx.copies, gradient.shape[-1]).sum(1)
        return gradient, None, None, None


class BiasRows(torch.autograd.Function):
    """bias[expert]; the gradient is a product, not atomic additions."""

    @staticmethod
    def forward(ctx, bias, expert):
        ctx.save_for_backward(expert)
        ctx.experts = bias.shape[0]
        return bias[expert]

    @staticmethod
    def backward(ctx, gradient):
        (expert,) = ctx.saved_tensors
        one = torch.arange(ctx.experts, device=expert.device)[:, None] == expert
        return one.to(gradient.dtype) @ gradient, None


def grouped(rows, weights, ends):
    if rows.dtype == torch.float64:  # --check
        first = [0, *ends.tolist()]
        return torch.cat([rows[i:j] @ w for i, j, w in zip(first, first[1:], weights)])
    return torch._grouped_mm(rows, weights, offs=ends)


class Experts(nn.Module):
    """Tokens sorted by expert, two grouped products, and back; no expert drops any, no loss balances them."""

    def __init__(self, a):
        super().__init__()
        self.experts, self.topk, self.dropout = a.experts, a.topk, a.dropout
        self.dtype = torch.bfloat16 if a.dtype == "bf16" else None
        self.gate = nn.Linear(a.hidden, a.experts)
        self.w1 = nn.Parameter(torch.empty(a.experts, a.hidden, a.inner))
        self.b1 = nn.Parameter(torch.empty(a.experts, a.inner))
        self.w2 = nn.Parameter(torch.empty(a.experts, a.inner, a.hidden))
        self.b2 = nn.Parameter(torch.empty(a.experts, a.hidden))

    def forward(self, x):
        tokens = x.reshape(-1, x.shape[-1])
        tokens = tokens.to(self.dtype or x.dtype)
        w1, b1, w2, b2 = (p.to(tokens.dtype) for p in (self.w1, self.b1, self.w2, self.b2))
        top, chosen = self.gate(tokens).topk(self.topk, dim=-1)
        weights = top.softmax(-1).to(tokens.dtype).unsqueeze(-1)
        expert, order = chosen.view(-1).to(torch.int32).sort(stable=True)
        ids = torch.arange(self.experts, device=x.device, dtype=torch.int32)
        ends = torch.searchsorted(expert, ids, right=True, out_int32=True)
        place = torch.empty_like(order).scatter(0, order, torch.arange(order.numel(), device=x.device))
        rows = Rows.apply(tokens, order // self.topk, place, self.topk)
        inner = grouped(rows, w1, ends) + BiasRows.apply(b1, expert)
        inner = F.dropout(F.relu(inner), self.dropout, self.training)
        out = grouped(inner, w2, ends) + BiasRows.apply(b2, expert)
        out = Rows.apply(out, place, order, 1).view(-1, self.topk, x.shape[-1])
        return (out * weights).sum(1).view_as(x)


class Layer(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.attention, self.norm1 = Attention(a), nn.LayerNorm(a.hidden)
        self.ff, self.norm2 = Experts(a) if a.experts else Mlp(a), nn.LayerNorm(a.hidden)
        self.dropout = a.dropout

    def forward(self, x, *rest):
        x = self.norm1(x + F.dropout(self.attention(x, *rest), self.dropout, self.training))
        return self.norm2(x + F.dropout(self.ff(x), self.dropout, self.training))


class Head(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.bias = nn.Parameter(torch.empty(a.vocab))
        self.dropout = a.dropout

    def forward(self, x, embedding, targets):
        logits = F.linear(F.dropout(x, self.dropout, self.training), embedding, self.bias)
        return F.cross_entropy(logits.float() if x.dtype != torch.float64 else logits, targets.flatten())


class TransformerXl(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.a = a
        self.embedding = nn.Parameter(torch.empty(a.vocab, a.hidden))
        self.content_bias = nn.Parameter(torch.empty(a.heads, a.hidden // a.heads))
        self.position_bias = nn.Parameter(torch.empty(a.heads, a.hidden // a.heads))
        self.layers = nn.ModuleList(Layer(a) for _ in range(a.layers))
        self.head = Head(a)
        for name, p in self.named_parameters():
            plain_bias = name.rsplit(".", 1)[-1] in ("bias", "b1", "b2")
            nn.init.constant_(p, 0) if plain_bias else nn.init.normal_(p, float("norm" in name), 0.02)

    def mask(self, memory, device):
        q, k = self.a.tgt, self.a.tgt + memory
        if self.a.attention == "flex":
            from torch.nn.attention.flex_attention import create_block_mask

            return create_block_mask(lambda b, h, i, j: j <= i + memory, None, None, q, k, device=device)
        return torch.ones(q, k, dtype=torch.bool, device=device).triu(1 + memory)

    def forward(self, ids, targets, memories, mask):
        """The loss, and what the next segment remembers: each layer's input."""
        a = self.a
        x = F.dropout(F.embedding(ids, self.embedding) * a.hidden**0.5, a.dropout, self.training)
        length = len(memories[0]) + len(ids)
        # The sines are exact enough in fp32 for training; the check has fp64.
        distance = torch.arange(length - 1, -1, -1, device=x.device, dtype=x.dtype)
        step = torch.arange(0, a.hidden, 2, device=x.device, dtype=x.dtype) / a.hidden
        angle = distance[:, None] * 10000**-step
        positions = F.dropout(torch.cat([angle.sin(), angle.cos()], -1), a.dropout, self.training)
        after = []
        for layer, memory in zip(self.layers, memories):
            after.append(x.detach() if a.mem == len(ids) else torch.cat([memory, x.detach()])[-a.mem :])
            x = layer(x, memory, positions, self.content_bias, self.position_bias, mask)
        return self.head(x.flatten(0, 1), self.embedding, targets), after


def compiled(model, a):
    """What to call; parts of the model are replaced."""
    kind = a.inside if a.variant == "graph" else a.variant
    if kind == "whole":
        return torch.compile(model, mode=a.mode, dynamic=False)
    if kind == "layers":
        for part in (*model.layers, model.head):
            part.compile(mode=a.mode, dynamic=False)
    return model


def attention_kernels(a):
    """Of sdpa's kernels, the one that gives a bias its gradient without making the scores."""
    pinned = a.attention == "sdpa" and a.device != "cpu"
    return sdpa_kernel(SDPBackend.EFFICIENT_ATTENTION) if pinned else contextlib.nullcontext()


def segments(a):
    """Endless (ids, targets), [tgt, batch], of a stream in columns that lies on the device."""
    count = a.warmup + a.steps + 4
    if a.data:
        import numpy as np

        text = torch.from_numpy(np.fromfile(a.data, "<u2", a.batch * (count * a.tgt + 1)).astype("i8"))
    else:
        text = torch.randint(a.vocab, (a.batch * (count * a.tgt + 1),))
    columns = text.view(a.batch, -1).t().contiguous().to(a.device)
    while True:
        for i in range(0, len(columns) - a.tgt, a.tgt):
            yield columns[i : i + a.tgt], columns[i + 1 : i + 1 + a.tgt]


def train(a):
    begin = time.perf_counter()
    cuda, graph = a.device != "cpu", a.variant == "graph"
    torch.manual_seed(a.seed)
    torch.set_float32_matmul_precision("high")
    with torch.device(a.device):
        model = TransformerXl(a)
        parameters = list(model.parameters())
        mask = model.mask(a.mem, a.device)
        memories = [torch.zeros(a.mem, a.batch, a.hidden) for _ in range(a.layers)]
    optimizer = torch.optim.Adam(parameters, lr=a.lr, fused=True, capturable=graph and cuda)
    call = compiled(model, a)
    data = segments(a)

    def step(ids, targets, memories):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(a.device, torch.bfloat16, enabled=a.dtype == "bf16"):
            loss, after = call(ids, targets, memories, mask)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, a.clip, foreach=True)
        optimizer.step()
        return loss.detach(), after

    if graph and cuda:
        ids, targets = (tensor.clone() for tensor in next(data))

        def fixed():
            loss, after = step(ids, targets, memories)
            torch._foreach_copy_(memories, after)
            return loss

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                fixed()
        torch.cuda.current_stream().wait_stream(side)
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            loss = fixed()

    marks = []
    for i in range(a.warmup + a.steps + 1):
        if i == a.warmup:
            if cuda:
                torch.cuda.synchronize()
                if not graph:  # A replay allocates nothing: what the capture took counts.
                    torch.cuda.reset_peak_memory_stats()
            ready = time.perf_counter() - begin
        if i >= a.warmup:  # The time between two marks is a step's.
            if cuda:
                marks.append(torch.cuda.Event(enable_timing=True))
                marks[-1].record()
            else:
                marks.append(time.perf_counter())
        if i < a.warmup + a.steps:
            if graph and cuda:
                new_ids, new_targets = next(data)
                ids.copy_(new_ids)
                targets.copy_(new_targets)
                captured.replay()
            else:
                loss, memories = step(*next(data), memories)
    if cuda:
        torch.cuda.synchronize()
        times = [first.elapsed_time(second) for first, second in zip(marks, marks[1:])]
        memory = f"{torch.cuda.max_memory_allocated() / 2**30:.2f} GiB"
    else:
        times = [(second - first) * 1e3 for first, second in zip(marks, marks[1:])]
        memory = "cpu"
    missing = [n for n, p in model.named_parameters() if p.grad is None or not 0 < p.grad.norm().item() < math.inf]
    assert not missing, f"AssertionError: no gradient of {missing}"
    median = statistics.median(times)
    name = a.variant + (f" of {a.inside}" if graph else "") + (f" ({a.mode})" if a.mode else "")
    if graph and not cuda:
        name += ", not captured"
    print(
        f"{name:42} | {a.attention:5} | {a.model:5} | {a.dtype} | median {median:7.2f} ms, {min(times):.2f} to"
        f" {max(times):.2f} over {len(times)} steps | {a.batch * a.tgt / median * 1e3:,.0f} tok/s | {memory}"
        f" | loss {loss.item():.4f}, ready after {ready:.0f} s",
        flush=True,
    )


def table(a, argv):
    """A process for each row of the table; one that fails, or is not done in time, does not end it."""
    device = torch.cuda.get_device_name() if a.device != "cpu" else "cpu"
    print(f"torch {torch.__version__} on {device}: {a.batch} x {a.tgt} tokens, memories of {a.mem}", flush=True)
    begin = time.perf_counter()
    for model, variant, attention, mode in TABLE:
        name = f"{variant}{f' ({mode})' if mode else ''} | {attention} | {model}"
        limit = min(a.limit, a.budget - (time.perf_counter() - begin))
        if limit < 20:
            print(f"{name} | left out: no time", flush=True)
            continue
        command = [sys.executable, __file__, *argv, "--model", model, "--variant", variant]
        command += ["--attention", attention] + (["--mode", mode] if mode else [])
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            out, error = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # the compiler's processes too
            process.communicate()
            print(f"{name} | not done after {limit:.0f} s", flush=True)
            continue
        if process.returncode == 0:
            print(out, end="", flush=True)
        else:
            lines = [line for line in error.splitlines() if "Error" in line] or error.splitlines() or ["nothing"]
            print(f"{name} | failed with {process.returncode}: {lines[-1][:300]}", flush=True)


def ours(upstream, a):
    """From tensors under upstream's names, weights or gradients, to ours."""
    kv = (2, a.heads, a.hidden // a.heads, a.hidden)
    result = {
        "embedding": upstream["word_emb.emb_layers.0.weight"],
        "content_bias": upstream["r_w_bias"],
        "position_bias": upstream["r_r_bias"],
        "head.bias": upstream["crit.out_layers.0.bias"],
    }
    for i in range(a.layers):
        get = lambda name: upstream[f"layers.{i}.{name}"]
        one = {
            "attention.q.weight": get("dec_attn.qkv_net.weight")[: a.hidden],
            "attention.kv.weight": get("dec_attn.qkv_net.weight")[a.hidden :].view(kv).transpose(0, 1).flatten(0, 2),
            "attention.r.weight": get("dec_attn.r_net.weight"),
            "attention.out.weight": get("dec_attn.o_net.weight"),
        }
        for kind in ("weight", "bias"):
            one[f"norm1.{kind}"] = get(f"dec_attn.layer_norm.{kind}")
            one[f"norm2.{kind}"] = get(f"pos_ff.layer_norm.{kind}")
            if a.experts:
                one[f"ff.gate.{kind}"] = get(f"pos_ff.gate.gate.{kind}")
                for n, part in (("1", "htoh4"), ("2", "h4toh")):
                    every = torch.cat([get(f"pos_ff.experts.{e}.{part}.{kind}") for e in range(a.experts)])
                    one[f"ff.{kind[0]}{n}"] = every.transpose(1, 2) if kind == "weight" else every
            else:
                one[f"ff.fc1.{kind}"] = get(f"pos_ff.CoreNet.0.{kind}")
                one[f"ff.fc2.{kind}"] = get(f"pos_ff.CoreNet.3.{kind}")
        result |= {f"layers.{i}.{name}": tensor for name, tensor in one.items()}
    return {name: tensor.double() for name, tensor in result.items()}


def check(a):
    from safetensors import safe_open

    golden = pathlib.Path(__file__).parents[2] / "megatron-moe/src/test/resources/golden"
    torch.set_default_dtype(torch.float64)
    worst_of_all = 0
    attentions = ["plain", "sdpa"] + ["flex"] * (a.variant == "eager")  # compiled for the CPU, flex has no fp64
    for model_name, file, attention in [
        (m, f, kind) for m, f in (("dense", "base"), ("moe64", "moe")) for kind in attentions
    ]:
        with safe_open(golden / f"txl-{file}.safetensors", "pt") as source:
            values = {key: source.get_tensor(key) for key in source.keys()}
            config = json.loads(source.metadata()["config"])
        c = arguments(["--model", model_name, "--attention", attention, "--variant", a.variant, "--dtype", "fp32"])
        c.layers, c.hidden, c.heads, c.inner = (config[n] for n in ("n_layer", "d_model", "n_head", "d_inner"))
        c.vocab, c.tgt, c.mem, c.dropout = config["n_token"], config["tgt_len"], config["mem_len"], 0.0
        c.experts, c.topk = config.get("moe_num_expert", 0), config.get("moe_top_k", 2)
        c.mode, c.inside = a.mode, a.inside
        model = TransformerXl(c)
        model.load_state_dict(ours(values, c))
        torch.compiler.reset()
        call = compiled(model, c)
        memories = [torch.zeros(0, values["input.0.data"].shape[1], c.hidden)] * c.layers
        worst = {"loss": 0.0, "memory": 0.0, "gradient": 0.0}

        def compare(kind, found, wanted):
            worst[kind] = max(worst[kind], ((found.detach() - wanted).norm() / wanted.norm()).item())

        differentiable = attention != "flex"  # which has no backward pass on the CPU
        for n in range(3):
            model.zero_grad()
            mask = model.mask(len(memories[0]), "cpu")
            with torch.set_grad_enabled(differentiable):
                loss, memories = call(values[f"input.{n}.data"], values[f"input.{n}.target"], memories, mask)
            compare("loss", loss, values[f"output.{n}.loss"].double().mean())
            for i, memory in enumerate(memories):
                compare("memory", memory, values[f"output.{n}.mems.{i}"].double())
            if differentiable:
                loss.backward()
                prefix = f"grad.{n}."
                gradients = {k[len(prefix) :]: v for k, v in values.items() if k.startswith(prefix)}
                for name, wanted in ours(gradients, c).items():
                    compare("gradient", model.get_parameter(name).grad, wanted)
        if not differentiable:
            del worst["gradient"]
        worst_of_all = max(worst_of_all, *worst.values())
        report = ", ".join(f"{kind} {error:.1e}" for kind, error in worst.items())
        print(f"txl-{file}, {attention}, {a.variant}: 3 segments, relative differences at most: {report}")
    with torch.device("meta"):
        for model_name, wanted in (("dense", 41_055_436), ("moe64", 822_738_892)):
            count = sum(p.numel() for p in TransformerXl(arguments(["--model", model_name])).parameters())
            print(f"{model_name}: {count:,} parameters")
            assert count == wanted
    assert worst_of_all < 1e-6, worst_of_all  # the files are fp32
    print("as the golden files have it")


def main():
    a = arguments()
    if a.check:
        check(a)
    elif a.all:
        table(a, [x for x in sys.argv[1:] if x != "--all"])
    else:
        with attention_kernels(a):
            train(a)


if __name__ == "__main__":
    main()
