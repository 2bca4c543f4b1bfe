"""source.py OUT.safetensors: a small checkpoint with what tells conventions apart: several shapes, K of 64 n
and of 16 times an odd number, zero blocks, negative zeros, rows of widely different size, biases, norms,
embeddings, a head."""
import json
import sys

import torch
from safetensors.torch import save_file

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 96, "hidden_size": 64,
         "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2,
         "max_position_embeddings": 64, "tie_word_embeddings": False, "dtype": "bfloat16"}
LAYER = "model.layers.0"
LINEAR = {"self_attn.q_proj": (64, 64), "self_attn.k_proj": (32, 64), "self_attn.v_proj": (32, 64),
          "self_attn.o_proj": (64, 64), "mlp.gate_proj": (128, 64), "mlp.up_proj": (128, 64),
          "mlp.down_proj": (64, 128)}
ODD = {"mlp.narrow": (48, 16), "mlp.odd": (130, 80)}  # no multiple of GGUF's 64, the second no multiple of a tile


def weight(rows, columns, seed, dtype):
    made = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    made *= 2.0 ** torch.linspace(-9, 2, rows).unsqueeze(1)
    made[0, :16] = 0.0
    made[1, :16] = -0.0
    made[2, 3] = -0.0
    return made.to(dtype)


def llama(dtype=torch.bfloat16):
    """Exactly the tensors of a LlamaForCausalLM by LLAMA."""
    tensors = {"model.embed_tokens.weight": weight(96, 64, 1, dtype), "lm_head.weight": weight(96, 64, 2, dtype)}
    for name in ("model.norm", f"{LAYER}.input_layernorm", f"{LAYER}.post_attention_layernorm"):
        tensors[f"{name}.weight"] = torch.linspace(0.5, 2, 64).to(dtype)
    for seed, (name, shape) in enumerate(LINEAR.items()):
        tensors[f"{LAYER}.{name}.weight"] = weight(*shape, 10 + seed, dtype)
    return tensors


def source(dtype=torch.bfloat16):
    """And what a Llama has not: odd shapes, and biases."""
    tensors = llama(dtype)
    for seed, (name, shape) in enumerate(ODD.items()):
        tensors[f"{LAYER}.{name}.weight"] = weight(*shape, 30 + seed, dtype)
    tensors[f"{LAYER}.self_attn.q_proj.bias"] = torch.linspace(-1, 1, 64).to(dtype)
    tensors[f"{LAYER}.mlp.up_proj.bias"] = torch.zeros(128, dtype=dtype)
    return tensors


def experts(dtype=torch.bfloat16):
    """Stacks (E, N, K) by GGUF's names, their experts of widely different size."""
    return {f"blk.0.ffn_{name}_exps.weight": torch.stack([weight(*shape, seed + e, dtype) * 4.0 ** e for e in range(3)])
            for seed, (name, shape) in zip((70, 80), (("up", (32, 64)), ("down", (64, 128))))}


def llama_folder(path):
    path.mkdir()
    save_file(llama(), path / "model.safetensors", metadata={"format": "pt"})
    (path / "config.json").write_text(json.dumps(LLAMA, indent=2))


def gpt_oss_folder(path):
    """Experts as gpt-oss keeps them, of random codes and scales, for nothing on a CPU makes them."""
    random = torch.Generator().manual_seed(50)
    tensors = {"model.norm.weight": torch.ones(64, dtype=torch.bfloat16)}
    for name, shape in (("gate_up_proj", (2, 128, 2)), ("down_proj", (2, 64, 3))):
        experts = f"{LAYER}.mlp.experts.{name}"
        tensors[f"{experts}_blocks"] = torch.randint(0, 256, (*shape, 16), dtype=torch.uint8, generator=random)
        tensors[f"{experts}_scales"] = torch.randint(100, 140, shape, dtype=torch.uint8, generator=random)
        tensors[f"{experts}_bias"] = torch.zeros(shape[:2], dtype=torch.bfloat16)
    path.mkdir()
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    config = {"quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["model.norm"]}}
    (path / "config.json").write_text(json.dumps(config, indent=2))


if __name__ == "__main__":
    save_file(source(), sys.argv[1], metadata={"format": "pt"})
