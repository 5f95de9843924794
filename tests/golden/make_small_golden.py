"""Makes the golden values of single pieces: cross entropy, AdamW, clipping, learning rates.

    pip install torch==2.13.0
    git clone https://github.com/NVIDIA/Megatron-LM    # commit d98e8a64ddf3
    python tests/golden/make_small_golden.py Megatron-LM

Writes cross_entropy.json, adamw.json, clip_grad_norm.json and learning_rate.json to
tests/src/test/resources/golden. Learning rates come from Megatron's own scheduler, run here; the
others from PyTorch. A number is the exact decimal of the fp32, bf16 or fp64 value it names.
"""

import importlib.util
import json
import pathlib
import re
import sys
import types

import torch
from torch.nn import functional as F

RESOURCES = pathlib.Path(__file__).resolve().parents[1] / "src" / "test" / "resources" / "golden"


def write(name, content):
    text = json.dumps(content, indent=1, allow_nan=False)
    text = re.sub(r"\[[^\[\]{}]*\]", lambda array: " ".join(array.group().split()), text)
    (RESOURCES / name).write_text(text + "\n")


def cross_entropy():
    """Per-row loss and the gradient of its mean, on logits of either type.

    "loss" is torch's on the logits as they are (bf16 logits: rounded to bf16); "loss_fp32" and
    "grad" are on the logits taken to fp32 first, as Megatron does; the gradient has the logits'
    type.
    """
    generator = torch.Generator().manual_seed(11)
    rows, vocabulary = 4, 7
    ordinary = torch.randn(rows, vocabulary, generator=generator) * 2
    sharp = ordinary.clone()
    sharp[0, 0], sharp[1, 2], sharp[2] = 90.0, -120.0, 0.0
    labels = torch.tensor([0, 2, 6, 3])
    inputs = {"ordinary": ordinary, "far from zero": ordinary + 300, "sharp": sharp}
    cases = []
    for dtype in (torch.float32, torch.bfloat16):
        for name, values in inputs.items():
            logits = values.to(dtype, copy=True).requires_grad_()
            loss_fp32 = F.cross_entropy(logits.float(), labels, reduction="none")
            loss_fp32.mean().backward()
            cases.append({
                "name": name,
                "dtype": str(dtype).removeprefix("torch."),
                "logits": logits.tolist(),
                "labels": labels.tolist(),
                "loss": F.cross_entropy(logits, labels, reduction="none").tolist(),
                "loss_fp32": loss_fp32.tolist(),
                "mean_fp32": loss_fp32.mean().item(),
                "grad": logits.grad.tolist(),
            })
    write("cross_entropy.json", cases)


def adamw():
    """Three steps of torch.optim.AdamW on a vector of five, fp32: parameter and both moments."""
    generator = torch.Generator().manual_seed(12)
    start = torch.randn(5, generator=generator)
    gradients = torch.randn(3, 5, generator=generator) * torch.tensor([1, 0.1, 1e-3, 10, 0])
    cases = []
    for weight_decay in (0.1, 0.0):
        options = {"lr": 1e-2, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": weight_decay}
        parameter = torch.nn.Parameter(start.clone())
        optimizer = torch.optim.AdamW([parameter], foreach=False, **options)
        steps = []
        for gradient in gradients:
            parameter.grad = gradient.clone()
            optimizer.step()
            state = optimizer.state[parameter]
            steps.append({
                "grad": gradient.tolist(),
                "param": parameter.tolist(),
                "exp_avg": state["exp_avg"].tolist(),
                "exp_avg_sq": state["exp_avg_sq"].tolist(),
            })
        cases.append({**options, "param": start.tolist(), "steps": steps})
    write("adamw.json", cases)


def clip_grad_norm():
    """torch.nn.utils.clip_grad_norm_: L2 over all tensors, min(1, max_norm / (norm + 1e-6))."""
    generator = torch.Generator().manual_seed(13)
    gradients = [torch.randn(3, 2, generator=generator), torch.randn(4, generator=generator)]
    # (3, 4) is exactly at the limit: the coefficient is a little below 1 all the same.
    exact = [torch.tensor([3.0]), torch.tensor([0.0, 4.0])]
    zero = [torch.zeros(2), torch.zeros(1)]
    cases = []
    for tensors, max_norm in ((gradients, 1.0), (gradients, 100.0), (exact, 5.0), (zero, 1.0)):
        parameters = [torch.nn.Parameter(torch.zeros_like(tensor)) for tensor in tensors]
        for parameter, tensor in zip(parameters, tensors):
            parameter.grad = tensor.clone()
        norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
        cases.append({
            "max_norm": max_norm,
            "grads": [tensor.flatten().tolist() for tensor in tensors],
            "norm": norm.item(),
            "coefficient": (max_norm / (norm + 1e-6)).clamp(max=1.0).item(),
            "clipped": [parameter.grad.flatten().tolist() for parameter in parameters],
        })
    write("clip_grad_norm.json", cases)


def megatron_scheduler(checkout):
    """Megatron's OptimizerParamScheduler, loaded without the rest of Megatron."""
    utils = types.ModuleType("megatron.core.utils")
    utils.log_single_rank = lambda *args: None
    sys.modules.update({
        "megatron": types.ModuleType("megatron"),
        "megatron.core": types.ModuleType("megatron.core"),
        "megatron.core.utils": utils,
    })
    file = pathlib.Path(checkout) / "megatron" / "core" / "optimizer_param_scheduler.py"
    spec = importlib.util.spec_from_file_location("optimizer_param_scheduler", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.OptimizerParamScheduler


WARMUP = "--lr-warmup-iters 5 --lr-decay-iters 20"
WSD = f"--lr-decay-style WSD {WARMUP} --lr-wsd-decay-iters 8 --lr-wsd-decay-style"
SCHEDULES = [
    f"--lr-decay-style linear {WARMUP}",
    "--lr-decay-style linear",
    f"--lr-decay-style cosine {WARMUP} --lr-warmup-init 2e-5",
    "--lr-decay-style cosine --lr-warmup-fraction 0.137",
    f"--lr-decay-style constant {WARMUP}",
    f"--lr-decay-style inverse-square-root {WARMUP}",
    "--lr-decay-style inverse-square-root",
    *(f"{WSD} {style}" for style in ("exponential", "linear", "cosine", "minus_sqrt")),
    "--lr-decay-style cosine --train-samples 97 --lr-warmup-samples 13 --lr-decay-samples 88",
    "--lr-decay-style WSD --train-samples 97 --lr-warmup-samples 13 --lr-wsd-decay-samples 31"
    " --lr-wsd-decay-style exponential",
]


def learning_rate(checkout):
    """The rate at each point of a run: lr[i] after num_steps[i] samples, used by the next step.

    Megatron counts in samples: what is given in iterations is multiplied by the global batch.
    """
    scheduler_class = megatron_scheduler(checkout)
    cases = []
    for schedule in SCHEDULES:
        words = schedule.split()
        flags = dict(zip(words[::2], words[1::2]))
        in_samples = "--train-samples" in flags
        batch = 7 if in_samples else 4
        unit, scale = ("samples", 1) if in_samples else ("iters", batch)
        flags.setdefault(f"--train-{unit}", "25")
        flags |= {"--lr": "1e-3", "--min-lr": "1e-5", "--global-batch-size": str(batch)}

        def samples(name, default):
            return int(flags.get(f"--{name}-{unit}", default)) * scale

        decay = samples("lr-decay", flags[f"--train-{unit}"])
        warmup = samples("lr-warmup", 0)
        if "--lr-warmup-fraction" in flags:
            warmup = float(flags["--lr-warmup-fraction"]) * decay
        wsd = samples("lr-wsd-decay", 0) or None
        optimizer = types.SimpleNamespace(param_groups=[{}])
        scheduler = scheduler_class(
            optimizer,
            init_lr=float(flags.get("--lr-warmup-init", 0)), max_lr=1e-3, min_lr=1e-5,
            lr_warmup_steps=warmup, lr_decay_steps=decay, lr_decay_style=flags["--lr-decay-style"],
            start_wd=0.0, end_wd=0.0, wd_incr_steps=1, wd_incr_style="constant",
            wsd_decay_steps=wsd, lr_wsd_decay_style=flags.get("--lr-wsd-decay-style"),
        )
        steps, rates = [], []
        # Two steps beyond the end: the rate stays where it is.
        for _ in range(samples("train", 0) // batch + 3):
            steps.append(scheduler.num_steps)
            rates.append(optimizer.param_groups[0]["lr"])
            scheduler.step(batch)
        cases.append({
            "flags": " ".join(f"{name} {value}" for name, value in flags.items()),
            "warmup_samples": warmup,
            "decay_samples": decay,
            "wsd_decay_samples": wsd,
            "num_steps": steps,
            "lr": rates,
        })
    write("learning_rate.json", cases)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_small_golden.py MEGATRON_LM_CHECKOUT")
    RESOURCES.mkdir(parents=True, exist_ok=True)
    cross_entropy()
    adamw()
    clip_grad_norm()
    learning_rate(sys.argv[1])
