"""The training step that `moe4j bench gpt` is compared with on a CPU, in PyTorch: a GPT-2 style model,
experts as the usual loop over them, forward, backward, fused AdamW. Tokens are the bytes of a file.

    python gpt_cpu.py --data books.txt --experts 8 --aux 0.01 [--bf16]
"""
import argparse, statistics, time
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F

p = argparse.ArgumentParser()
p.add_argument("--layers", type=int, default=4); p.add_argument("--hidden", type=int, default=256)
p.add_argument("--heads", type=int, default=4); p.add_argument("--seq", type=int, default=256)
p.add_argument("--batch", type=int, default=8); p.add_argument("--vocab", type=int, default=8192)
p.add_argument("--experts", type=int, default=0); p.add_argument("--topk", type=int, default=2)
p.add_argument("--bf16", action="store_true"); p.add_argument("--steps", type=int, default=30)
p.add_argument("--warmup", type=int, default=15); p.add_argument("--threads", type=int, default=2)
p.add_argument("--data", required=True); p.add_argument("--aux", type=float, default=0.0)
a = p.parse_args()
torch.set_num_threads(a.threads); torch.manual_seed(1)

class Attention(nn.Module):
    def __init__(s):
        super().__init__(); s.qkv = nn.Linear(a.hidden, 3*a.hidden); s.proj = nn.Linear(a.hidden, a.hidden)
    def forward(s, x):
        b, t, h = x.shape
        q, k, v = s.qkv(x).view(b, t, 3, a.heads, h//a.heads).permute(2, 0, 3, 1, 4)
        return s.proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, h))

class Mlp(nn.Module):
    def __init__(s, f):
        super().__init__(); s.fc1 = nn.Linear(a.hidden, f); s.fc2 = nn.Linear(f, a.hidden)
    def forward(s, x): return s.fc2(F.gelu(s.fc1(x)))

class Moe(nn.Module):
    loss = 0.0
    def __init__(s):
        super().__init__(); s.router = nn.Linear(a.hidden, a.experts, bias=False)
        s.experts = nn.ModuleList(Mlp(4*a.hidden//a.topk) for _ in range(a.experts))
    def forward(s, x):
        t = x.view(-1, a.hidden)
        s.last = s.router(t).float()
        top, idx = s.last.topk(a.topk, -1)
        w = top.softmax(-1)
        if a.aux and s.training:
            counts = torch.bincount(idx.flatten(), minlength=a.experts).float()
            Moe.loss = Moe.loss + a.aux * a.experts / (a.topk * t.shape[0] ** 2) * (s.last.softmax(-1).sum(0) * counts).sum()
        out = torch.zeros_like(t)
        for e, expert in enumerate(s.experts):
            rows, slot = torch.where(idx == e)
            if rows.numel():
                out.index_add_(0, rows, (expert(t[rows]) * w[rows, slot, None]).to(out.dtype))
        return out.view_as(x)

class Block(nn.Module):
    def __init__(s):
        super().__init__(); s.n1 = nn.LayerNorm(a.hidden); s.n2 = nn.LayerNorm(a.hidden)
        s.attn = Attention(); s.ff = Moe() if a.experts else Mlp(4*a.hidden)
    def forward(s, x):
        x = x + s.attn(s.n1(x)); return x + s.ff(s.n2(x))

class Gpt(nn.Module):
    def __init__(s):
        super().__init__(); s.wte = nn.Embedding(a.vocab, a.hidden); s.wpe = nn.Embedding(a.seq, a.hidden)
        s.blocks = nn.ModuleList(Block() for _ in range(a.layers)); s.norm = nn.LayerNorm(a.hidden)
        for m in s.modules():
            if isinstance(m, (nn.Linear, nn.Embedding)): nn.init.normal_(m.weight, std=0.02)
    def forward(s, x):
        h = s.wte(x) + s.wpe.weight
        for b in s.blocks: h = b(h)
        return s.norm(h) @ s.wte.weight.t()

m = Gpt(); opt = torch.optim.AdamW(m.parameters(), lr=3e-4, fused=True)
g = torch.Generator().manual_seed(1)
text = torch.from_numpy(np.fromfile(a.data, dtype=np.uint8)).long()
def step():
    at = torch.randint(len(text) - a.seq - 1, (a.batch,), generator=g)
    x = torch.stack([text[i:i + a.seq + 1] for i in at.tolist()])
    Moe.loss = 0.0
    with torch.autocast("cpu", torch.bfloat16, enabled=a.bf16):
        logits = m(x[:, :-1])
        loss = F.cross_entropy(logits.float().view(-1, a.vocab), x[:, 1:].reshape(-1)) + Moe.loss
    loss.backward(); opt.step(); opt.zero_grad(set_to_none=True)
times = []
for i in range(a.warmup + a.steps):
    t0 = time.perf_counter(); step(); times.append(time.perf_counter() - t0)
times = times[a.warmup:]
med = statistics.median(times)
print(f"torch {torch.__version__} experts {a.experts} {'bf16' if a.bf16 else 'fp32'}: median {med*1e3:.1f} ms (min {min(times)*1e3:.1f} max {max(times)*1e3:.1f}), {a.batch*a.seq/med:,.0f} tok/s")
