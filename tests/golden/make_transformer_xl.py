"""Makes the golden values of Transformer-XL: what the original PyTorch code computes.

    pip install torch==2.13.0 numpy==2.4.6 safetensors==0.8.0
    git clone https://github.com/kimiyoung/transformer-xl    # commit 44781ed
    python tests/golden/make_transformer_xl.py --upstream transformer-xl/pytorch

Writes megatron-moe/src/test/resources/golden/txl-NAME.safetensors. With --tables it
writes nothing, but prints the flags of upstream's train.py, what its weights_init does to each kind
of parameter, and how many parameters some models have.

Model, iterator over segments, evaluate and weights_init are upstream's own, loaded from --upstream
with the changes in PATCHES. Only FastMoE's feed-forward (laekov/fastmoe, examples/transformer-xl,
commit ee3c561), which needs its CUDA library, is written here: MoEPositionwiseFF.

Everything is computed in fp64 from weights that fp32 holds exactly, and stored in fp32. A file of
three consecutive segments N = 0, 1, 2, without dropout; all layouts are [length, batch, ...]:

    <parameter>              weights under upstream's names; of tied ones the first, see "tied"
    input.stream             i64, the flat stream that the iterator cut to columns and segments
    input.N.data             i64 [ext + tgt, B]
    input.N.target           i64 [tgt, B]
    output.N.loss            [tgt, B], one a token, in the tokens' order
    output.N.mems.K          [length, B, d_model] after the segment; K = 0: the embeddings, scaled
    grad.N.<parameter>       of the mean of output.N.loss; memories are constants in it; not summed
                             over segments; weights stay as they are

txl-eval has no weights (those of the file that "weights" names):

    input.stream             i64, flat
    output.loss              [], as upstream's evaluate: weighted by the segments' lengths
    output.segments          [segments], each one's mean loss

Metadata: "config": arguments of MemTransformerLM, and of the mixture; "batch_size"; "tied": from a
parameter's other name to its first. Losses under an adaptive softmax are made with upstream's own
keep_order = True; by default it returns them sorted by cluster, which has the same mean. The
memories under an ext_len > 0 are those that upstream's comment in _update_mems means, see PATCHES.
"""

import argparse
import ast
import functools
import json
import pathlib
import re
import sys
import types

import torch
from safetensors.torch import save
from torch import nn
from torch.nn import functional as F

RESOURCES = (
    pathlib.Path(__file__).resolve().parents[2]
    / "megatron-moe" / "src" / "test" / "resources" / "golden"
)

# File: (what to replace, by what, how often it is there).
PATCHES = {
    "mem_transformer.py": [
        # A mask of bytes is an error in PyTorch of today.
        (".byte()", ".bool()", 3),
        # Scores stay fp64 while they are masked.
        ("attn_score.float().masked_fill(", "attn_score.masked_fill(", 2),
        # def _update_mems(self, hids, mems, qlen, mlen). Swapped, the memory's end is
        # qlen + max(0, mlen - ext_len) instead of mlen + max(0, qlen - ext_len): the same for
        # ext_len = 0 only.
        ("_update_mems(hids, mems, mlen, qlen)", "_update_mems(hids, mems, qlen, mlen)", 1),
    ],
    "utils/proj_adaptive_softmax.py": [
        # There is no CUDA version in a PyTorch for the CPU; nothing uses the two.
        ("CUDA_MAJOR = int(torch.version.cuda.split('.')[0])\n", "", 1),
        ("CUDA_MINOR = int(torch.version.cuda.split('.')[1])\n", "", 1),
    ],
    # The means of the segments stay fp64.
    "train.py": [("seq_len * loss.float().item()", "seq_len * loss.item()", 1)],
    "data_utils.py": [],
    "utils/log_uniform_sampler.py": [],
}


class Upstream:
    """Upstream's modules, from source."""

    def __init__(self, directory):
        self.directory = directory
        sys.path.insert(0, str(directory))  # for utils.vocabulary
        self.load("utils/log_uniform_sampler.py")
        self.load("utils/proj_adaptive_softmax.py")
        self.model = self.load("mem_transformer.py")
        self.data = self.load("data_utils.py")

    def source(self, file):
        text = (self.directory / file).read_text()
        for old, new, count in PATCHES[file]:
            assert text.count(old) == count, (file, old)
            text = text.replace(old, new)
        return text

    def load(self, file):
        module = types.ModuleType(pathlib.Path(file).stem)
        sys.modules[module.__name__] = module
        exec(compile(self.source(file), file, "exec"), module.__dict__)
        return module

    def functions(self, *names, **variables):
        """Functions of train.py, which is a script, with its global variables."""
        tree = ast.parse(self.source("train.py"))
        tree.body = [node for node in tree.body if getattr(node, "name", None) in names]
        assert len(tree.body) == len(names)
        exec(compile(tree, "train.py", "exec"), variables)
        return [variables[name] for name in names]

    def parser(self):
        """The parser of train.py."""
        tree = ast.parse(self.source("train.py"))
        tree.body = [node for node in tree.body if ast.unparse(node).startswith("parser")]
        tree.body = [node for node in tree.body if "parse_args" not in ast.unparse(node)]
        variables = {"argparse": argparse}
        exec(compile(tree, "train.py", "exec"), variables)
        return variables["parser"]

    def build(self, config):
        config = dict(config)
        experts, topk = config.pop("moe_num_expert", 0), config.pop("moe_top_k", 0)
        dense = self.model.PositionwiseFF
        if experts:
            self.model.PositionwiseFF = functools.partial(
                MoEPositionwiseFF, experts=experts, topk=topk
            )
        model = self.model.MemTransformerLM(**config)
        self.model.PositionwiseFF = dense
        model.crit.keep_order = True
        return model


class FMoELinear(nn.Module):
    """FastMoE's layer for a single expert; weights_init knows it by "Linear" in its name."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(1, outputs))

    def forward(self, x):
        return F.linear(x, self.weight[0], self.bias[0])


class MoEPositionwiseFF(nn.Module):
    """Two-layer experts with biases behind a naive gate: softmax over the chosen logits only.

    No capacity and no balance loss. Names are FastMoE's: one module for each expert.
    """

    def __init__(self, d_model, d_inner, dropout, pre_lnorm=False, experts=0, topk=0):
        super().__init__()
        assert dropout == 0
        self.experts = nn.ModuleList(
            nn.ModuleDict(
                {"htoh4": FMoELinear(d_model, d_inner), "h4toh": FMoELinear(d_inner, d_model)}
            )
            for _ in range(experts)
        )
        self.gate = nn.ModuleDict({"gate": nn.Linear(d_model, experts)})
        self.layer_norm = nn.LayerNorm(d_model)
        self.topk, self.pre_lnorm = topk, pre_lnorm

    def mixture(self, x):
        logits = self.gate["gate"](x)
        self.logits = logits.detach()
        best, chosen = logits.topk(self.topk, dim=-1)
        scores = best.softmax(-1)
        out = torch.zeros_like(x)
        for index, expert in enumerate(self.experts):
            weight = torch.where(chosen == index, scores, 0).sum(-1, keepdim=True)
            out = out + weight * expert["h4toh"](F.relu(expert["htoh4"](x)))
        return out

    def forward(self, x):
        if self.pre_lnorm:
            return x + self.mixture(self.layer_norm(x))
        return self.layer_norm(x + self.mixture(x))


def config(**options):
    """Arguments of MemTransformerLM."""
    return {
        "n_token": 37, "n_layer": 2, "n_head": 4, "d_model": 32, "d_head": 8, "d_inner": 48,
        "dropout": 0.0, "dropatt": 0.0, "tie_weight": True, "d_embed": options.get("d_model", 32),
        "div_val": 1, "tie_projs": [False], "pre_lnorm": False, "tgt_len": 12, "ext_len": 0,
        "mem_len": 12, "cutoffs": [], "same_length": False, "attn_type": 0, "clamp_len": -1,
    } | options


BATCH = 3

CASES = {
    "base": config(),
    "memory": config(d_model=20, d_head=10, d_inner=28, mem_len=30, tie_weight=False),
    "moe": config(d_model=16, d_head=4, d_inner=24, moe_num_expert=4, moe_top_k=2),
    "prenorm": config(
        n_layer=3, d_model=16, d_head=4, d_inner=24, mem_len=20, pre_lnorm=True, same_length=True,
        clamp_len=15,
    ),
    "adaptive": config(
        n_token=60, d_model=16, d_head=4, d_inner=24, cutoffs=[20, 40], div_val=2,
        tie_projs=[False, True, True],
    ),
    "adaptive-embed": config(
        n_token=60, d_head=4, d_inner=24, cutoffs=[20, 40], d_embed=24,
        tie_projs=[False, True, True],
    ),
    "ext": config(d_model=16, d_head=4, d_inner=24, ext_len=5, mem_len=16),
}

# Such that rounding decides nothing, see make.
SEEDS = {"base": 1, "memory": 2, "moe": 10, "prenorm": 4, "adaptive": 5, "adaptive-embed": 6}
SEEDS["ext"] = 7

# Tokens of a column: 1 more than its targets.
LENGTHS = {"memory": 12 + 12 + 7 + 1}


def draw(model, generator):
    """Weights with gradients that are not tiny, none of them at a value that hides an error."""
    weights = {}
    for name, parameter in model.named_parameters():
        std = 1.0 if name.endswith("gate.weight") else 0.3 if name.startswith("r_") else 0.2
        weight = torch.randn(parameter.shape, generator=generator, dtype=torch.float32) * std
        weights[name] = weight + 1 if name.endswith("layer_norm.weight") else weight
    return weights


def aliases(model):
    """From a shared parameter's other names to its first."""
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    everything = model.named_parameters(remove_duplicate=False)
    return {name: first[id(p)] for name, p in everything if first[id(p)] != name}


def run(upstream, config, weights, stream, dtype):
    """What a model gives for the stream's segments, {name: tensor}.

    And how close it is to other decisions: the least input of a ReLU and the least lead of a
    chosen expert.
    """
    torch.set_default_dtype(dtype)
    model = upstream.build(config)
    model.load_state_dict({n: w.to(dtype) for n, w in weights.items()}, strict=False)
    assert {n for n, _ in model.named_parameters()} == weights.keys()
    batches = upstream.data.LMOrderedIterator(
        stream, BATCH, config["tgt_len"], ext_len=config["ext_len"]
    )
    tensors, inputs, leads, mems = {}, [], [], ()
    for name, module in model.named_modules():
        if name.endswith((".CoreNet.0", ".htoh4")):
            module.register_forward_hook(lambda _, x, out: inputs.append(out.abs().min().item()))
    for n, (data, target, length) in enumerate(batches):
        model.zero_grad()
        loss, *mems = model(data, target, *mems)
        loss.mean().backward()
        assert loss.shape == target.shape == (length, BATCH)
        tensors |= {f"input.{n}.data": data, f"input.{n}.target": target, f"output.{n}.loss": loss}
        tensors |= {f"output.{n}.mems.{k}": memory for k, memory in enumerate(mems)}
        for name, parameter in model.named_parameters():
            assert parameter.grad.abs().max() > 1e-5, name
            tensors[f"grad.{n}.{name}"] = parameter.grad.clone()
        if "moe_top_k" in config:
            for layer in model.layers:
                ranked = layer.pos_ff.logits.sort(descending=True).values
                leads.append((ranked[..., 1] - ranked[..., 2]).min().item())
    assert n == 2
    torch.set_default_dtype(torch.float32)
    tensors = {name: tensor.detach() for name, tensor in tensors.items()}
    return tensors, min(inputs), min(leads, default=None)


def distance(ours, theirs):
    """Relative Frobenius norm."""
    return ((ours.double() - theirs).norm() / theirs.norm()).item()


def write(name, tensors, metadata):
    """Writes the file; the library's own metadata would come in another order each time."""
    tensors = {n: t if t.dtype == torch.int64 else t.float() for n, t in tensors.items()}
    plain = save({n: tensor.contiguous().clone() for n, tensor in tensors.items()})
    size = int.from_bytes(plain[:8], "little")
    metadata |= {"torch": torch.__version__.split("+")[0], "upstream": "44781ed"}
    header = json.dumps({"__metadata__": metadata} | json.loads(plain[8 : 8 + size])).encode()
    header += b" " * (-len(header) % 8)
    content = len(header).to_bytes(8, "little") + header + plain[8 + size :]
    (RESOURCES / f"txl-{name}.safetensors").write_bytes(content)
    return len(content)


def make(upstream, name, config):
    generator = torch.Generator().manual_seed(SEEDS[name])
    model = upstream.build(config)
    weights = draw(model, generator)
    # A token more than the columns hold: it is left out.
    length = LENGTHS.get(name, 3 * config["tgt_len"] + 1) * BATCH + 1
    stream = torch.randint(config["n_token"], (length,), generator=generator)
    exact, least, lead = run(upstream, config, weights, stream, torch.float64)
    rounded = run(upstream, config, weights, stream, torch.float32)[0]
    # Rounding decides nothing, neither in a ReLU nor in a gate; and what fp32 costs is small.
    assert least > 1e-5, least
    assert lead is None or lead > 1e-3, lead
    worst = {}
    for key in exact:
        if not key.startswith("input."):
            kind = next(kind for kind in ("grad", "mems", "loss") if kind in key)
            worst[kind] = max(worst.get(kind, 0), distance(rounded[key], exact[key]))
    assert max(worst.values()) < 1e-5, worst
    metadata = {
        "config": json.dumps(config),
        "batch_size": str(BATCH),
        "tied": json.dumps(aliases(model)),
    }
    size = write(name, {"input.stream": stream} | weights | exact, metadata)
    losses = [exact[f"output.{n}.loss"].mean().item() for n in range(3)]
    lengths = [len(exact[f"output.{n}.mems.0"]) for n in range(3)]
    fp32 = ", ".join(f"{kind} {error:.0e}" for kind, error in worst.items())
    print(f"{name}: {size} bytes; losses {losses}; memories {lengths}")
    print(f"  fp32 within: {fp32}; ReLU {least:.1e}" + (f"; gate {lead:.1e}" if lead else ""))
    return weights


def make_eval(upstream, config, weights):
    torch.set_default_dtype(torch.float64)
    model = upstream.build(config)
    model.load_state_dict({n: w.double() for n, w in weights.items()}, strict=False)
    generator = torch.Generator().manual_seed(100)
    stream = torch.randint(config["n_token"], (200 * BATCH + 2,), generator=generator)
    args = types.SimpleNamespace(eval_tgt_len=5, max_eval_steps=-1, **config)
    (evaluate,) = upstream.functions("evaluate", args=args, model=model, torch=torch)
    segments = []

    def observed(module, inputs, outputs):
        assert (module.tgt_len, module.ext_len, module.mem_len) == (5, 0, 19)
        segments.append(outputs[0].mean())

    model.register_forward_hook(observed)
    iterator = upstream.data.LMOrderedIterator(stream, BATCH, args.eval_tgt_len, ext_len=0)
    loss = torch.tensor(evaluate(iterator))
    torch.set_default_dtype(torch.float32)
    tensors = {"input.stream": stream, "output.loss": loss}
    tensors["output.segments"] = torch.stack(segments)
    metadata = {
        "weights": "txl-base",
        "config": json.dumps(config),
        "batch_size": str(BATCH),
        "eval_tgt_len": "5",
    }
    size = write("eval", tensors, metadata)
    print(f"eval: {size} bytes; {len(segments)} segments; loss {loss.item()}")


def tables(upstream):
    """Flags, initial values and counts of upstream's train.py."""
    print("| flag | type | default | choices | help |\n|---|---|---|---|---|")
    for action in upstream.parser()._actions[1:]:
        kind = "flag" if action.nargs == 0 else getattr(action.type, "__name__", "str")
        default = repr(action.default) if isinstance(action.default, str) else action.default
        choices = ", ".join(action.choices or [])
        print(f"| {action.option_strings[0]} | {kind} | {default} | {choices} | {action.help} |")

    args = upstream.parser().parse_args([])
    init = upstream.functions("init_weight", "init_bias", "weights_init", args=args, nn=nn)[-1]
    shared = {"d_model": 256, "d_head": 32, "n_head": 8, "d_inner": 512, "n_token": 600}
    models = {
        "plain, untied": config(**shared, d_embed=256, tie_weight=False),
        "adaptive, div_val 2": config(
            **shared, d_embed=256, cutoffs=[200, 400], div_val=2, tie_projs=[False, True, True]
        ),
        "adaptive, d_embed": config(
            **shared, d_embed=128, cutoffs=[200, 400], tie_projs=[False, True, True]
        ),
        "moe": config(**shared, d_embed=256, moe_num_expert=8, moe_top_k=2),
    }
    torch.manual_seed(args.seed)
    print("\n| model | parameter | shape | mean | std |\n|---|---|---|---|---|")
    for name, options in models.items():
        model = upstream.build(options)
        model.apply(init)
        model.word_emb.apply(init)
        for parameter, value in model.named_parameters():
            if not re.match(r"layers\.[1-9]|.*experts\.[1-9]", parameter):
                mean, std = value.mean().item(), value.std().item()
                print(f"| {name} | {parameter} | {list(value.shape)} | {mean:.4f} | {std:.4f} |")

    enwik8 = {
        "n_token": 204, "n_layer": 12, "d_model": 512, "n_head": 8, "d_head": 64, "tgt_len": 512,
        "mem_len": 512, "d_embed": 512,
    }
    moe = {"d_inner": 1024, "moe_num_expert": 64, "moe_top_k": 2}
    with torch.device("meta"):
        for name, options in {"enwik8": {"d_inner": 2048}, "enwik8, moe": moe}.items():
            model = upstream.build(config(**enwik8, **options))
            total = sum(p.nelement() for p in model.parameters())
            layers = sum(p.nelement() for p in model.layers.parameters())
            print(f"\n{name}: #params = {total}, #non emb params = {layers}")
            for parameter, value in model.named_parameters():
                if not re.match(r"layers\.([1-9])|.*experts\.[1-9]", parameter):
                    print(f"  {parameter} {list(value.shape)} {value.nelement()}")
            one = sum(p.nelement() for p in model.layers[0].parameters())
            print(f"  layers.0: {one}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upstream", type=pathlib.Path, required=True, help="directory pytorch")
    parser.add_argument("--tables", action="store_true", help="print tables, write nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the order of sums does not depend on the machine
    torch.use_deterministic_algorithms(True)
    original = Upstream(arguments.upstream.resolve())
    if arguments.tables:
        tables(original)
    else:
        RESOURCES.mkdir(parents=True, exist_ok=True)
        drawn = {name: make(original, name, CASES[name]) for name in CASES}
        make_eval(original, CASES["base"], drawn["base"])
