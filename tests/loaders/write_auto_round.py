"""write_auto_round.py IN.safetensors OUT: auto-round packs the 2-D weights of IN's layers by the scales of its
own rule, and OUT is a folder with the config that its exporter writes for NVFP4."""
import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from auto_round.data_type.nvfp import calculate_gparam, nv_fp4
from auto_round.export.export_to_autoround.qlinear_fp import QuantLinear
from auto_round.schemes import NVFP4
from safetensors.torch import save_file

from checkpoint import Checkpoint

CONFIG = {key: value for key, value in asdict(NVFP4).items() if value is not None} | {
    "autoround_version": "0.16.1", "block_name_to_quantize": "model.layers", "quant_method": "auto-round",
    "packing_format": "auto_round:llm_compressor"}


def packed(weight):
    linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
    linear.weight.data = weight
    global_scale = calculate_gparam(weight)
    _, scale, _ = nv_fp4(weight, global_scale=global_scale)
    layer = QuantLinear(4, 16, weight.shape[1], weight.shape[0], False, data_type="nv_fp", act_bits=4)
    layer.pack(linear, scale.reshape(weight.shape[0], -1), global_scale=global_scale,
               input_global_scale=calculate_gparam(6.0), device="cpu")
    return layer.state_dict()


def write(checkpoint, out):
    tensors = {}
    for name, tensor in checkpoint.tensors.items():
        if tensor.dim() == 2 and ".layers." in name:
            module = name.removesuffix(".weight")
            tensors |= {f"{module}.{part}": value.contiguous() for part, value in packed(tensor).items()}
        else:
            tensors[name] = tensor
    out.mkdir()
    save_file(tensors, out / "model.safetensors")
    (out / "config.json").write_text(json.dumps({"quantization_config": CONFIG}, indent=2))


if __name__ == "__main__":
    write(Checkpoint(sys.argv[1]), Path(sys.argv[2]))
