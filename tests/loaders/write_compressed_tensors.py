"""write_compressed_tensors.py IN.safetensors OUT [NVFP4A16|NVFP4|MXFP4A16]: compresses the 2-D weights of IN,
with scales by compressed-tensors' own rules, and saves a folder as its ModelCompressor leaves one."""
import sys
from pathlib import Path

import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
from safetensors.torch import save_file

from checkpoint import Checkpoint
from model import model_of


def calibrate(module):
    """Scales of the weight's own extremes; an input as if its largest magnitude had been 6."""
    scheme, weight = module.quantization_scheme, module.weight
    blocks = weight.unflatten(-1, (-1, scheme.weights.group_size))
    low, high = blocks.amin(-1), blocks.amax(-1)
    global_scale = None
    if hasattr(module, "weight_global_scale"):
        global_scale = generate_gparam(low.min(), high.max())
        module.weight_global_scale.data = global_scale
    module.weight_scale.data = calculate_qparams(low, high, scheme.weights, global_scale)[0]
    if hasattr(module, "input_global_scale"):
        module.input_global_scale.data = generate_gparam(torch.tensor(-6.0), torch.tensor(6.0))


def write(checkpoint, out, preset):
    model = model_of({name: (tuple(t.shape), t.dtype) for name, t in checkpoint.tensors.items()})
    model.load_state_dict(checkpoint.tensors, strict=True, assign=True)
    config = QuantizationConfig(config_groups={preset: ["Linear"]}, ignore=["lm_head"])
    apply_quantization_config(model, config, show_progress=False)
    with torch.no_grad():
        for module in model.modules():
            if hasattr(module, "quantization_scheme"):
                calibrate(module)
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    out.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()},
              out / "model.safetensors", metadata={"format": "pt"})
    compressor.update_config(out)


if __name__ == "__main__":
    write(Checkpoint(sys.argv[1]), Path(sys.argv[2]), (sys.argv[3:] or ["NVFP4A16"])[0])
