"""The training step that `moe4j bench gpt --device cuda` is compared with, in PyTorch 2.11: GPT-2 of 124M or
350M parameters, or its 12 layers with 96 experts (two a token, 768-1536-768) through grouped products
whose offsets stay on the device. Forward, backward, clipping, fused AdamW; bf16 by autocast over fp32
parameters, or parameters in bf16.

    python gpt_gpu.py --model 124m --batch 32 [--compile] [--bf16-params] [--data tokens.bin]
    python gpt_gpu.py --model moe --batch 16 --compile
    python gpt_gpu.py --model moe --device cpu --layers 2 --hidden 64 --heads 2 --seq 32 --vocab 128 \\
        --experts 4 --expert-ffn 32 --batch 2 --steps 3 --warmup 1

Tokens are drawn at random, or read from a file of little-endian uint16.
"""
import argparse
import contextlib
import statistics
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

SHAPES = {  # layers, hidden, heads, experts
    "124m": (12, 768, 12, 0),
    "350m": (24, 1024, 16, 0),
    "moe": (12, 768, 12, 96),
}


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", choices=SHAPES, default="124m")
    p.add_argument("--layers", type=int)
    p.add_argument("--hidden", type=int)
    p.add_argument("--heads", type=int)
    p.add_argument("--experts", type=int, help="0 for none")
    p.add_argument("--expert-ffn", type=int, default=1536)
    p.add_argument("--topk", type=int, default=2)
    p.add_argument("--aux", type=float, default=0.01, help="coefficient of the balancing loss")
    p.add_argument("--seq", type=int, default=1024)
    p.add_argument("--vocab", type=int, default=50304)
    p.add_argument("--batch", type=int, default=32, help="sequences a micro-batch")
    p.add_argument("--micro-batches", type=int, default=1, help="micro-batches a step")
    p.add_argument("--steps", type=int, default=30)
    p.add_argument("--warmup", type=int, default=15)
    p.add_argument("--lr", type=float, default=6e-4)
    p.add_argument("--clip", type=float, default=1.0, help="0 for none")
    p.add_argument("--attention", choices=["cudnn", "flash", "any"], default="cudnn")
    p.add_argument("--compile", action="store_true")
    p.add_argument("--compile-mode", default=None, help="such as max-autotune or reduce-overhead")
    p.add_argument("--bf16-params", action="store_true", help="parameters and AdamW's moments in bf16")
    p.add_argument("--data", help="file of uint16 tokens")
    p.add_argument("--device", default="cuda")
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    for name, value in zip(("layers", "hidden", "heads", "experts"), SHAPES[a.model]):
        if getattr(a, name) is None:
            setattr(a, name, value)
    return a


class Attention(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.heads = a.heads
        self.qkv = nn.Linear(a.hidden, 3 * a.hidden)
        self.proj = nn.Linear(a.hidden, a.hidden)

    def forward(self, x):
        b, t, h = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, h // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(y.transpose(1, 2).reshape(b, t, h))


class Mlp(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.fc1 = nn.Linear(a.hidden, 4 * a.hidden)
        self.fc2 = nn.Linear(4 * a.hidden, a.hidden)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh")), x.new_zeros((), dtype=torch.float32)


class Experts(nn.Module):
    """Tokens sorted by expert, two grouped products, and back; no expert drops any."""

    def __init__(self, a):
        super().__init__()
        self.experts, self.topk, self.aux = a.experts, a.topk, a.aux
        self.router = nn.Linear(a.hidden, a.experts, bias=False)
        self.w1 = nn.Parameter(torch.empty(a.experts, a.hidden, a.expert_ffn))
        self.w2 = nn.Parameter(torch.empty(a.experts, a.expert_ffn, a.hidden))

    def forward(self, x):
        tokens = x.reshape(-1, x.shape[-1])
        with torch.autocast(x.device.type, enabled=False):
            scores = F.linear(tokens.float(), self.router.weight.float())
        top, chosen = scores.topk(self.topk, dim=-1)
        weights = top.softmax(-1)
        flat = chosen.reshape(-1)
        order = torch.argsort(flat, stable=True)
        counts = torch.zeros(self.experts, dtype=torch.int32, device=x.device)
        counts = counts.scatter_add(0, flat, torch.ones_like(flat, dtype=torch.int32))
        offsets = counts.cumsum(0, dtype=torch.int32)
        rows = tokens.to(torch.bfloat16)[order // self.topk]
        hidden = torch._grouped_mm(rows, self.w1.to(torch.bfloat16), offs=offsets)
        hidden = F.gelu(hidden, approximate="tanh")
        out = torch._grouped_mm(hidden, self.w2.to(torch.bfloat16), offs=offsets)
        back = torch.empty_like(order)
        back = back.scatter(0, order, torch.arange(order.numel(), device=x.device))
        out = out[back].view(-1, self.topk, x.shape[-1])
        out = (out * weights.to(out.dtype).unsqueeze(-1)).sum(1)
        share = counts.float() * self.experts / (self.topk * tokens.shape[0])
        loss = self.aux * (scores.softmax(-1).mean(0) * share).sum()
        return out.view_as(x).to(x.dtype), loss


class Block(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(a.hidden), nn.LayerNorm(a.hidden)
        self.attention = Attention(a)
        self.ff = Experts(a) if a.experts else Mlp(a)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        y, loss = self.ff(self.norm2(x))
        return x + y, loss


class Gpt(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.tokens = nn.Embedding(a.vocab, a.hidden)
        self.positions = nn.Embedding(a.seq, a.hidden)
        self.blocks = nn.ModuleList(Block(a) for _ in range(a.layers))
        self.norm = nn.LayerNorm(a.hidden)
        for name, p in self.named_parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def forward(self, ids, labels):
        x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
        extra = 0.0
        for block in self.blocks:
            x, loss = block(x)
            extra = extra + loss
        logits = F.linear(self.norm(x), self.tokens.weight)
        return F.cross_entropy(logits.float().view(-1, logits.shape[-1]), labels.reshape(-1)) + extra


def batches(a):
    """Endless (ids, labels); windows of the file at random places, or random tokens."""
    random = np.random.default_rng(a.seed)
    text = np.memmap(a.data, dtype="<u2", mode="r") if a.data else None
    while True:
        if text is None:
            window = random.integers(a.vocab, size=(a.batch, a.seq + 1))
        else:
            at = random.integers(len(text) - a.seq - 1, size=a.batch)
            window = np.stack([text[i : i + a.seq + 1].astype(np.int64) for i in at])
        window = torch.from_numpy(window)
        if a.device != "cpu":
            window = window.pin_memory().to(a.device, non_blocking=True)
        yield window[:, :-1], window[:, 1:]


def attention_kernels(a):
    if a.device == "cpu" or a.attention == "any":
        return contextlib.nullcontext()
    return sdpa_kernel(
        SDPBackend.CUDNN_ATTENTION if a.attention == "cudnn" else SDPBackend.FLASH_ATTENTION
    )


def main():
    a = arguments()
    cuda = a.device != "cpu"
    torch.manual_seed(a.seed)
    torch.set_float32_matmul_precision("high")
    with torch.device(a.device):
        model = Gpt(a)
    if a.bf16_params:
        model = model.to(torch.bfloat16)
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=a.lr, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    run = torch.compile(model, mode=a.compile_mode) if a.compile else model
    data = batches(a)

    def step():
        total = torch.zeros((), device=a.device)
        for _ in range(a.micro_batches):
            ids, labels = next(data)
            with torch.autocast(a.device, torch.bfloat16, enabled=not a.bf16_params):
                loss = run(ids, labels) / a.micro_batches
            loss.backward()
            total += loss.detach()
        if a.clip:
            torch.nn.utils.clip_grad_norm_(parameters, a.clip, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return total

    marks = []
    with attention_kernels(a):
        for i in range(a.warmup + a.steps + 1):
            if i >= a.warmup:  # The time between two marks is a step's.
                if cuda:
                    marks.append(torch.cuda.Event(enable_timing=True))
                    marks[-1].record()
                else:
                    marks.append(time.perf_counter())
            if i < a.warmup + a.steps:
                loss = step()
    if cuda:
        torch.cuda.synchronize()
        times = [first.elapsed_time(second) for first, second in zip(marks, marks[1:])]
    else:
        times = [(second - first) * 1e3 for first, second in zip(marks, marks[1:])]
    median = statistics.median(times)
    tokens = a.batch * a.micro_batches * a.seq
    device = torch.cuda.get_device_name() if cuda else "cpu"
    count = sum(p.numel() for p in parameters)
    print(
        f"torch {torch.__version__} on {device}: {a.model}, {count / 1e6:.1f} M parameters"
        f"{' in bf16' if a.bf16_params else ', bf16 autocast'}{', compiled' if a.compile else ''},"
        f" {a.micro_batches} x {a.batch} x {a.seq} tokens | loss {loss.item():.4f}"
    )
    print(
        f"step time: median {median:.2f} ms, {min(times):.2f} to {max(times):.2f} over {len(times)} steps"
        f" | {tokens / median * 1e3:,.0f} tokens/s"
    )
    if cuda:
        allocated, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
        print(f"memory: max allocated {allocated / 2**30:.2f} GiB, max reserved {reserved / 2**30:.2f} GiB")


if __name__ == "__main__":
    main()
