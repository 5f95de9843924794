"""The layer that `moe4j bench moe` times, in PyTorch 2.11: experts as a naive loop, rows sorted by expert with
grouped products (eager and compiled), and a dense layer of as many FLOPs. Routing is given, drawn with the same
chance for all experts; sorting it counts. Forward without gradients, and forward and backward to all that goes in.

    python moe_layer.py --shape A C96 G            # names, as of bench moe; all of them without --shape
    python moe_layer.py --sweep-experts 2 8 32 96  # FastMoE's layer (C) with each number of experts
    python moe_layer.py --prepare                  # compile alone, so that the next run finds it in its cache
    python moe_layer.py --shape X64 --device cpu   # small shapes
    python moe_layer.py --check                    # each variant's output and gradients against the naive loop's

Variants: naive (a parameter an expert, where, index_add), grouped (argsort, torch._grouped_mm, gradients of rows by
indexing), rows (the same, with gathers whose gradient is a gather: no atomic additions), compiled (rows, by
torch.compile), autotuned (compiled with max-autotune-no-cudagraphs), dense, dense-compiled. On a GPU events take the
time, a median over rounds, other memory is read between rounds, and each variant but the naive loop is timed
launched from Python and as a CUDA graph.
"""
import argparse
import contextlib
import statistics
import time

try:
    import torch
    import torch.nn.functional as F
except ModuleNotFoundError:
    raise SystemExit("moe_layer.py needs PyTorch (2.11 or newer), which pip install torch brings")

SHAPES = {  # tokens, hidden, expert's hidden, experts, experts a token, activation, biases, dropout, shared expert's
    "A": (8192, 1024, 4096, 96, 2, "gelu", False, 0.0, 0),
    "C8": (4096, 1024, 4096, 8, 2, "gelu", False, 0.0, 0),
    "C32": (4096, 1024, 4096, 32, 2, "gelu", False, 0.0, 0),
    "C96": (4096, 1024, 4096, 96, 2, "gelu", False, 0.0, 0),
    "C128": (4096, 1024, 4096, 128, 2, "gelu", False, 0.0, 0),
    "B": (16384, 512, 1024, 64, 2, "relu", False, 0.0, 0),
    "D": (16384, 4096, 14336, 8, 2, "gelu", False, 0.0, 0),
    "G": (32768, 768, 1536, 96, 2, "gelu", False, 0.0, 0),
    "X64": (11264, 512, 1024, 64, 2, "relu", True, 0.1, 0),
    "X128": (11264, 512, 512, 128, 2, "relu", False, 0.0, 1024),
    "F": (32768, 768, 384, 256, 7, "gelu", False, 0.0, 384),
}
VARIANTS = ["naive", "grouped", "rows", "compiled", "autotuned", "dense", "dense-compiled"]
USUAL = [v for v in VARIANTS if v != "autotuned"]
ACTIVATIONS = {"gelu": F.gelu, "relu": F.relu}
EVICTING_BYTES = 256 << 20  # several times what a GPU's cache holds


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--shape", nargs="+", choices=SHAPES, default=list(SHAPES))
    p.add_argument("--sweep-experts", nargs="+", type=int, metavar="N", help="the first shape, or C8, with N experts")
    p.add_argument("--variant", nargs="+", choices=VARIANTS, default=USUAL)
    p.add_argument("--dtype", choices=["bf16", "fp32"], default="bf16")
    p.add_argument("--rounds", type=int, default=20)
    p.add_argument("--warmup", type=int, default=5)
    p.add_argument("--no-graph", action="store_true", help="launched from Python alone")
    p.add_argument("--small", action="store_true", help="small shapes, which a CPU takes in any case")
    p.add_argument("--prepare", action="store_true", help="run each variant once and time nothing")
    p.add_argument("--check", action="store_true", help="compare the variants, without dropout, and time nothing")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--seed", type=int, default=1234)
    return p.parse_args()


class Shape:
    def __init__(self, name, small):
        sizes = SHAPES[name]
        self.name = name
        self.tokens, self.hidden, self.inner, self.experts, self.topk = sizes[:5]
        self.activation, self.bias, self.dropout, self.shared = sizes[5:]
        if small:
            self.tokens //= 64
            self.hidden, self.inner, self.shared = self.hidden // 16, self.inner // 16, self.shared // 16
            self.experts = max(8, self.experts // 8)

    def __str__(self):
        return (
            f"{self.name}: T {self.tokens} h {self.hidden} f {self.inner} E {self.experts} k {self.topk}"
            f" {self.activation}{' biases' if self.bias else ''}"
            f"{f' dropout {self.dropout}' if self.dropout else ''}{f' shared {self.shared}' if self.shared else ''}"
        )

    @property
    def dense(self):
        return self.topk * self.inner + self.shared

    @property
    def flops(self):
        """Of a forward."""
        return 4.0 * self.tokens * self.hidden * self.dense


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


class Layer:
    """Weights, inputs, and the ways to compute with them."""

    def __init__(self, shape, a):
        self.shape = shape
        self.act = ACTIVATIONS[shape.activation]
        random = torch.Generator(device=a.device).manual_seed(a.seed)
        dtype = torch.bfloat16 if a.dtype == "bf16" else torch.float32

        def drawn(*size, std=0.02):
            t = torch.empty(size, dtype=dtype, device=a.device)
            return t.normal_(std=std, generator=random).requires_grad_()

        s = shape
        self.x = drawn(s.tokens, s.hidden, std=1.0)
        self.upstream = drawn(s.tokens, s.hidden, std=1.0).detach()
        self.w1, self.w2 = drawn(s.experts, s.inner, s.hidden), drawn(s.experts, s.hidden, s.inner)
        self.b1 = drawn(s.experts, s.inner) if s.bias else None
        self.b2 = drawn(s.experts, s.hidden) if s.bias else None
        scores = torch.rand(s.tokens, s.experts, device=a.device, generator=random)
        self.chosen = scores.topk(s.topk, dim=-1).indices
        weights = torch.rand(s.tokens, s.topk, device=a.device, generator=random) + 0.25
        self.weights = (weights / weights.sum(-1, keepdim=True)).requires_grad_()
        self.one = (
            [drawn(s.shared, s.hidden), drawn(s.hidden, s.shared)]
            + ([drawn(s.shared), drawn(s.hidden)] if s.bias else [None, None])
            if s.shared
            else None
        )
        self.parts = None
        self.whole = None
        self.drawn = drawn

    def naive_parameters(self):
        """A leaf an expert, in the stacked weights' memory."""
        if self.parts is None:
            split = lambda t: [None] * self.shape.experts if t is None else [w.detach().requires_grad_() for w in t]
            self.parts = list(zip(split(self.w1), split(self.b1), split(self.w2), split(self.b2)))
        return self.parts

    def dense_parameters(self):
        if self.whole is None:
            s = self.shape
            self.whole = [self.drawn(s.dense, s.hidden), self.drawn(s.hidden, s.dense)]
            self.whole += [self.drawn(s.dense), self.drawn(s.hidden)] if s.bias else [None, None]
        return self.whole

    def leaves(self, variant):
        if variant.startswith("dense"):
            own = self.dense_parameters()
        elif variant == "naive":
            own = [t for part in self.naive_parameters() for t in part] + [self.weights] + (self.one or [])
        else:
            own = [self.w1, self.b1, self.w2, self.b2, self.weights] + (self.one or [])
        return [self.x] + [t for t in own if t is not None]

    def mlp(self, x, w1, b1, w2, b2, dropout):
        inner = self.act(F.linear(x, w1, b1))
        if dropout and torch.is_grad_enabled():
            inner = F.dropout(inner, dropout)
        return F.linear(inner, w2, b2)

    def with_shared(self, out, x):
        if self.one is None:
            return out
        w1, w2, b1, b2 = self.one
        return out + self.mlp(x, w1, b1, w2, b2, 0)

    def naive(self, x, weights):
        out = torch.zeros_like(x)
        for e, (w1, b1, w2, b2) in enumerate(self.naive_parameters()):
            token, slot = torch.where(self.chosen == e)
            if token.numel():
                y = self.mlp(x[token], w1, b1, w2, b2, self.shape.dropout)
                out.index_add_(0, token, y * weights[token, slot].unsqueeze(1).to(y.dtype))
        return self.with_shared(out, x)

    def grouped(self, x, weights):
        return self.sorted(x, weights, by_rows=False)

    def rows(self, x, weights):
        return self.sorted(x, weights, by_rows=True)

    def sorted(self, x, weights, by_rows):
        s = self.shape
        expert, order = self.chosen.view(-1).to(torch.int32).sort(stable=True)
        ids = torch.arange(s.experts, device=x.device, dtype=torch.int32)
        ends = torch.searchsorted(expert, ids, right=True, out_int32=True)
        place = torch.empty_like(order).scatter(0, order, torch.arange(order.numel(), device=x.device))
        token = order // s.topk
        rows = Rows.apply(x, token, place, s.topk) if by_rows else x[token]
        inner = torch._grouped_mm(rows, self.w1.transpose(1, 2), offs=ends)
        if s.bias:
            inner = inner + BiasRows.apply(self.b1, expert)
        inner = self.act(inner)
        if s.dropout and torch.is_grad_enabled():
            inner = F.dropout(inner, s.dropout)
        out = torch._grouped_mm(inner, self.w2.transpose(1, 2), offs=ends)
        if s.bias:
            out = out + BiasRows.apply(self.b2, expert)
        out = Rows.apply(out, place, order, 1) if by_rows else out[place]
        out = out.view(s.tokens, s.topk, s.hidden)
        return self.with_shared((out * weights.to(out.dtype).unsqueeze(-1)).sum(1), x)

    def dense(self, x, weights):
        w1, w2, b1, b2 = self.dense_parameters()
        return self.mlp(x, w1, b1, w2, b2, self.shape.dropout)

    def function(self, variant):
        if variant == "compiled":
            return torch.compile(self.rows, dynamic=False)
        if variant == "autotuned":
            return torch.compile(self.rows, dynamic=False, mode="max-autotune-no-cudagraphs")
        if variant == "dense-compiled":
            return torch.compile(self.dense, dynamic=False)
        return getattr(self, variant)


class Timer:
    def __init__(self, a):
        self.cuda = a.device != "cpu"
        self.rounds, self.warmup = a.rounds, a.warmup
        self.other = torch.zeros(EVICTING_BYTES // 4, device=a.device) if self.cuda else None

    def median(self, work):
        """Milliseconds of the round in the middle."""
        times = []
        for i in range(self.warmup + self.rounds):
            if self.cuda:
                first, second = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                self.other.sum()
                first.record()
                work()
                second.record()
                second.synchronize()
                taken = first.elapsed_time(second)
            else:
                begin = time.perf_counter()
                work()
                taken = (time.perf_counter() - begin) * 1e3
            if i >= self.warmup:
                times.append(taken)
        return statistics.median(times)


@contextlib.contextmanager
def own_stream():
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream().wait_stream(stream)


def captured(work):
    """The work as a CUDA graph; None where it cannot be one."""
    try:
        with own_stream():
            for _ in range(3):
                work()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        return graph.replay
    except RuntimeError as e:
        torch.cuda.synchronize()
        print(f"  not captured: {str(e).splitlines()[0]}")
        return None


def works(layer, variant):
    """The forward, and the forward with the backward."""
    function, leaves = layer.function(variant), layer.leaves(variant)

    def forward():
        with torch.no_grad():
            return function(layer.x, layer.weights)

    def both():
        function(layer.x, layer.weights).backward(layer.upstream)
        for leaf in leaves:
            leaf.grad = None

    return function, forward, both


def kept(layer, function):
    """Bytes that a forward keeps for its backward, beside its output."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    out = function(layer.x, layer.weights)
    held = torch.cuda.memory_allocated() - before - out.numel() * out.element_size()
    del out
    return held


def times(shape, a, timer, variants):
    """Prints a line a variant; returns the best milliseconds of each, both ways."""
    layer = Layer(shape, a)
    best = {}
    for variant in variants:
        torch._dynamo.reset()
        try:
            function, forward, both = works(layer, variant)
            if a.prepare:
                forward(), both()
                continue
            line, figures = f"{shape.name:5} {variant:15}", []
            for work in (forward, both):
                launched = timer.median(work)
                graph = captured(work) if timer.cuda and variant != "naive" and not a.no_graph else None
                replayed = timer.median(graph) if graph else None
                del graph
                figures.append(min(launched, replayed or launched))
                line += f" {launched:10.3f} {f'{replayed:10.3f}' if replayed else '         -'}"
            best[variant] = figures
            line += f" {3 * shape.flops / figures[1] / 1e9:9.1f}"
            if timer.cuda:
                line += f" {kept(layer, function) / 2**20:10.1f}"
            print(line, flush=True)
        except Exception as e:  # one variant that a version of PyTorch cannot compute is not the end of all
            print(f"{shape.name:5} {variant:15} failed: {type(e).__name__}: {str(e).splitlines()[0][:150]}", flush=True)
        finally:
            for leaf in layer.leaves(variant):
                leaf.grad = None
            if timer.cuda:
                torch.cuda.empty_cache()
    return best


def check(shape, a):
    """The largest relative difference from the naive loop, by Frobenius norms."""
    shape.dropout = 0.0
    layer = Layer(shape, a)

    def computed(variant):
        out = layer.function(variant)(layer.x, layer.weights)
        out.backward(layer.upstream)
        stacked = lambda i: [torch.stack([part[i].grad for part in layer.naive_parameters()])]
        if variant == "naive":
            own = stacked(0) + stacked(2) + (stacked(1) + stacked(3) if shape.bias else [])
        else:
            own = [t.grad for t in (layer.w1, layer.w2, layer.b1, layer.b2) if t is not None]
        shared = [t.grad for t in (layer.one or []) if t is not None]
        found = [t.detach().double() for t in [out, layer.x.grad, layer.weights.grad, *own, *shared]]
        for leaf in layer.leaves(variant):
            leaf.grad = None
        return found

    expected = computed("naive")
    for variant in [v for v in a.variant if v != "naive" and not v.startswith("dense")]:
        torch._dynamo.reset()
        differences = [((x - y).norm() / y.norm()).item() for x, y in zip(computed(variant), expected, strict=True)]
        print(f"{shape.name:5} {variant:15} differs from the naive loop by at most {max(differences):.1e}", flush=True)


def ceilings(a, timer):
    size = 8192 if timer.cuda else 1024
    dtype = torch.bfloat16 if a.dtype == "bf16" else torch.float32
    x, y = (torch.full((size, size), 0.5, dtype=dtype, device=a.device) for _ in range(2))
    product = 2 * size**3 / timer.median(lambda: x @ y) / 1e9
    length = 1 << 30 if timer.cuda else 1 << 27
    source, target = (torch.zeros(length, dtype=torch.uint8, device=a.device) for _ in range(2))
    copy = 2 * length / timer.median(lambda: target.copy_(source)) / 1e6
    print(f"{size}-cubed {a.dtype} product {product:.1f} TFLOP/s, copy {copy:.0f} GB/s")


def main():
    a = arguments()
    timer = Timer(a)
    small = a.small or not timer.cuda
    device = torch.cuda.get_device_name() if timer.cuda else f"cpu, {torch.get_num_threads()} threads"
    print(f"torch {torch.__version__} on {device}, {a.dtype}")
    if not a.prepare and not a.check:
        ceilings(a, timer)
        print(f"{'shape':5} {'variant':15} {'forward':>10} {'as graph':>10} {'and back':>10} {'as graph':>10} "
              f"{'TFLOP/s':>9} {'kept MiB':>10}   (ms)")
    if a.sweep_experts:
        name = a.shape[0] if len(a.shape) < len(SHAPES) else "C8"
        for experts in a.sweep_experts:
            shape = Shape(name, small)
            shape.experts, shape.name = experts, f"E{experts}"
            best = times(shape, a, timer, a.variant)
            others = [best[v][1] for v in best if v not in ("naive",) and not v.startswith("dense")]
            if "naive" in best and others:
                print(f"{shape.name:5} the naive loop takes {best['naive'][1] / min(others):.1f} times the best of the others")
        return
    for name in a.shape:
        shape = Shape(name, small)
        if a.check:
            check(shape, a)
            continue
        if not a.prepare:
            print(shape)
        times(shape, a, timer, a.variant)


if __name__ == "__main__":
    main()
