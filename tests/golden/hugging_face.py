"""Hugging Face's models of the same shapes, and their layout of the reference models' weights."""

import torch
import transformers

from reference_models import EPSILON, PADDED_VOCABULARY, ROTARY_BASE, fc1, named


def hugging_face_model(shape):
    """Hugging Face's own model of this shape."""
    if shape.gpt2:
        config = transformers.GPT2Config(
            vocab_size=PADDED_VOCABULARY, n_positions=shape.max_positions, n_embd=shape.hidden,
            n_layer=shape.layers, n_head=shape.heads, n_inner=shape.ffn,
            activation_function="gelu", layer_norm_epsilon=EPSILON,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=None, eos_token_id=None,
            attn_implementation="eager",
        )
        return transformers.GPT2LMHeadModel(config)
    common = dict(
        vocab_size=PADDED_VOCABULARY, hidden_size=shape.hidden, intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads,
        num_key_value_heads=shape.groups, head_dim=shape.channels, rms_norm_eps=EPSILON,
        max_position_embeddings=shape.max_positions, tie_word_embeddings=False,
        bos_token_id=None, eos_token_id=None,
        rope_parameters={"rope_type": "default", "rope_theta": ROTARY_BASE},
        attn_implementation="eager",
    )
    if shape.experts:
        return transformers.MixtralForCausalLM(transformers.MixtralConfig(
            num_local_experts=shape.experts, num_experts_per_tok=shape.topk, **common))
    if shape.qk_norm:
        return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**common))
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**common))


def hugging_face_tensors(model, pick):
    """Hugging Face's names and layouts."""
    shape = model.shape
    if shape.gpt2:
        tensors = named("transformer.wte", model.words, pick)
        tensors |= named("transformer.wpe", model.positions, pick)
        for index, layer in enumerate(model.layers):
            prefix = f"transformer.h.{index}"
            tensors |= named(f"{prefix}.ln_1", layer.input_norm, pick)
            tensors |= named(f"{prefix}.ln_2", layer.mlp_norm, pick)
            parts = (layer.attention.query, layer.attention.key, layer.attention.value)
            tensors[f"{prefix}.attn.c_attn.weight"] = torch.cat([pick(p.weight) for p in parts]).T
            tensors[f"{prefix}.attn.c_attn.bias"] = torch.cat([pick(p.bias) for p in parts])
            for name, linear in (("attn.c_proj", layer.attention.proj),
                                 ("mlp.c_fc", layer.mlp.fc1), ("mlp.c_proj", layer.mlp.fc2)):
                tensors[f"{prefix}.{name}.weight"] = pick(linear.weight).T
                tensors[f"{prefix}.{name}.bias"] = pick(linear.bias)
        return tensors | named("transformer.ln_f", model.final_norm, pick)
    tensors = named("model.embed_tokens", model.words, pick)
    for index, layer in enumerate(model.layers):
        prefix = f"model.layers.{index}"
        tensors |= named(f"{prefix}.input_layernorm", layer.input_norm, pick)
        tensors |= named(f"{prefix}.post_attention_layernorm", layer.mlp_norm, pick)
        tensors |= named(f"{prefix}.self_attn.q_proj", layer.attention.query, pick)
        tensors |= named(f"{prefix}.self_attn.k_proj", layer.attention.key, pick)
        tensors |= named(f"{prefix}.self_attn.v_proj", layer.attention.value, pick)
        tensors |= named(f"{prefix}.self_attn.o_proj", layer.attention.proj, pick)
        if shape.qk_norm:
            tensors |= named(f"{prefix}.self_attn.q_norm", layer.attention.query_norm, pick)
            tensors |= named(f"{prefix}.self_attn.k_norm", layer.attention.key_norm, pick)
        if shape.experts:
            experts = layer.mlp.experts
            tensors |= named(f"{prefix}.mlp.gate", layer.mlp.router, pick)
            tensors[f"{prefix}.mlp.experts.gate_up_proj"] = torch.stack(
                [fc1(expert, pick) for expert in experts])
            tensors[f"{prefix}.mlp.experts.down_proj"] = torch.stack(
                [pick(expert.fc2.weight) for expert in experts])
        else:
            tensors |= named(f"{prefix}.mlp.gate_proj", layer.mlp.gate, pick)
            tensors |= named(f"{prefix}.mlp.up_proj", layer.mlp.up, pick)
            tensors |= named(f"{prefix}.mlp.down_proj", layer.mlp.fc2, pick)
    tensors |= named("model.norm", model.final_norm, pick)
    return tensors | named("lm_head", model.output, pick)
