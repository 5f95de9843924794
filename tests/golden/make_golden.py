"""Makes the golden values of whole models: weights, logits, losses and gradients by PyTorch.

    pip install torch==2.13.0 transformers==5.18.0 safetensors==0.8.0
    python tests/golden/make_golden.py

The models (reference_models.py) are the usual reference mathematics, with separate query, key,
value, gate and up projections. Each is checked against Hugging Face's implementation with the same
weights (logits and every gradient) and against itself in fp64, and only then written, under
Megatron-Core's names and in its layouts, to tests/src/test/resources/golden/NAME.safetensors:

    <parameter>                 weights, fp32
    grad.<parameter>            gradient of output.loss (+ output.aux_loss + output.z_loss)
    input.tokens, input.labels  i64 [B, S];  input.loss_mask: f32 [B, S]
    output.logits               [B, S, V], V padded: the padding takes part in the loss
    output.token_loss           [B, S], before the mask
    output.loss                 sum(token_loss * loss_mask) / sum(loss_mask)
    output.aux_loss, .z_loss    experts only: sum over the layers, coefficients included
    output.layers.N.router_logits, .chosen_experts
                                experts only: [B*S, E] and i64 [B*S, k], best first; token b*S + s

The header's metadata holds Megatron's flags of the model ("flags") and both vocabulary sizes.
"""

import json
import pathlib

import torch
import transformers
from safetensors.torch import save

from hugging_face import hugging_face_model, hugging_face_tensors
from reference_models import (
    PADDED_VOCABULARY,
    VOCABULARY,
    Gpt,
    Shape,
    initialise,
    losses,
    megatron_tensors,
)

RESOURCES = pathlib.Path(__file__).resolve().parents[1] / "src" / "test" / "resources" / "golden"

SHAPES = [
    Shape("gpt2", seed=1, batch=2, seq=16, ffn=128, gpt2=True),
    Shape("llama", seed=2, batch=3, seq=13, ffn=40, groups=2),
    Shape("mixtral", seed=3, batch=3, seq=13, ffn=24, groups=2, experts=4),
    # Norms on queries and keys, and heads whose channels do not add up to the hidden size.
    Shape("qwen3", seed=4, batch=2, seq=11, ffn=40, groups=2, layers=1, channels=12, qk_norm=True),
]


def value(parameter):
    return parameter.detach()


def gradient(parameter):
    return parameter.grad


def distance(ours, theirs):
    """Relative Frobenius norm, with a floor for gradients that are zero but for rounding."""
    return ((ours - theirs).norm() / theirs.norm().clamp_min(1e-2)).item()


def check_hugging_face(model, tokens, labels, mask, logits):
    """Logits and every gradient of Hugging Face's model with the same weights."""
    shape = model.shape
    theirs = hugging_face_model(shape).train()
    missing, unexpected = theirs.load_state_dict(hugging_face_tensors(model, value), strict=False)
    assert not unexpected and missing == (["lm_head.weight"] if shape.gpt2 else []), missing
    options = {"output_router_logits": True} if shape.experts else {}
    out = theirs(tokens, use_cache=False, **options)
    furthest = (out.logits - logits).abs().max().item()
    assert furthest < 1e-5, furthest
    routers = out.router_logits if shape.experts else []
    sum(losses(shape, out.logits, routers, labels, mask)[1:]).backward()
    ours = hugging_face_tensors(model, gradient)
    grads = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    assert grads.keys() == ours.keys()
    worst = max(distance(ours[name], grads[name]) for name in grads)
    assert worst < 1e-5, worst
    return furthest, worst


def check_double(model, tokens, labels, mask, logits):
    """What rounding to fp32 costs: the same model in fp64."""
    exact = Gpt(model.shape).double()
    exact.load_state_dict(model.state_dict())
    exact_logits = exact(tokens)
    shape, routers = model.shape, exact.router_logits()
    sum(losses(shape, exact_logits, routers, labels, mask.double())[1:]).backward()
    pairs = zip(model.parameters(), exact.parameters())
    worst = max(distance(ours.grad.double(), theirs.grad) for ours, theirs in pairs)
    worst = max(worst, distance(logits.double(), exact_logits))
    assert worst < 1e-5, worst
    return worst


def write(file, tensors, metadata):
    """Writes the file; the library's own metadata would come in another order each time."""
    plain = save({name: tensor.detach().contiguous() for name, tensor in tensors.items()})
    size = int.from_bytes(plain[:8], "little")
    header = json.dumps({"__metadata__": metadata} | json.loads(plain[8 : 8 + size])).encode()
    header += b" " * (-len(header) % 8)
    content = len(header).to_bytes(8, "little") + header + plain[8 + size :]
    assert len(content) < 300_000, len(content)
    file.write_bytes(content)


def make(shape):
    generator = torch.Generator().manual_seed(shape.seed)
    model = Gpt(shape)
    initialise(model, generator)
    text = torch.randint(VOCABULARY, (shape.batch, shape.seq + 1), generator=generator)
    tokens, labels = text[:, :-1].contiguous(), text[:, 1:].contiguous()
    mask = (torch.rand(shape.batch, shape.seq, generator=generator) > 0.2).float()
    assert 0 < mask.sum() < mask.numel()

    logits = model(tokens)
    token_loss, loss, aux, z = losses(shape, logits, model.router_logits(), labels, mask)
    (loss + aux + z).backward()

    tensors = {"input.tokens": tokens, "input.labels": labels, "input.loss_mask": mask}
    tensors |= {"output.logits": logits, "output.token_loss": token_loss, "output.loss": loss}
    if shape.experts:
        tensors |= {"output.aux_loss": aux, "output.z_loss": z}
        for index, layer in enumerate(model.layers):
            ranked = layer.mlp.logits.sort(descending=True).values
            margin = (ranked[:, shape.topk - 1] - ranked[:, shape.topk]).min().item()
            assert margin > 1e-3, f"rounding could change a token's experts: {margin}"
            tensors[f"output.layers.{index}.router_logits"] = layer.mlp.logits
            tensors[f"output.layers.{index}.chosen_experts"] = layer.mlp.chosen
            load = layer.mlp.chosen.flatten().bincount(minlength=shape.experts).tolist()
            print(f"  layer {index}: tokens an expert {load}, smallest margin {margin:.1e}")
    tensors |= megatron_tensors(model, value)
    tensors |= {f"grad.{n}": grad for n, grad in megatron_tensors(model, gradient).items()}

    furthest, worst = check_hugging_face(model, tokens, labels, mask, logits.detach())
    rounding = check_double(model, tokens, labels, mask, logits.detach())
    print(
        f"{shape.name}: loss {loss.item():.6f} aux {aux.item():.6f} z {z.item():.6f};"
        f" Hugging Face: logits within {furthest:.1e}, gradients {worst:.1e};"
        f" fp64: {rounding:.1e}"
    )
    metadata = {
        "flags": shape.flags(),
        "vocab_size": str(VOCABULARY),
        "padded_vocab_size": str(PADDED_VOCABULARY),
        "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
    }
    write(RESOURCES / f"{shape.name}.safetensors", tensors, metadata)


if __name__ == "__main__":
    torch.set_num_threads(1)  # the order of sums does not depend on the machine
    torch.use_deterministic_algorithms(True)
    RESOURCES.mkdir(parents=True, exist_ok=True)
    for each in SHAPES:
        make(each)
