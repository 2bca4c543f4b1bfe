"""decode_compressed_tensors.py IN OUT.safetensors: loads IN as transformers has compressed-tensors do it (a
model of its modules, the config applied to it, the tensors loaded by name, all of them or it fails) and
decompresses it."""
import sys

import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
from safetensors.torch import save_file

from checkpoint import Checkpoint
from model import model_of

SCALES = ("weight_scale", "weight_global_scale", "input_global_scale")


def dense(tensors):
    """Shape and type of what each tensor is before compression."""
    parameters = {}
    for name, tensor in tensors.items():
        module, _, parameter = name.rpartition(".")
        if parameter == "weight_packed":
            rows, bytes_ = tensor.shape
            parameters[f"{module}.weight"] = ((rows, 2 * bytes_), torch.bfloat16)
        elif parameter not in SCALES:
            parameters[name] = (tuple(tensor.shape), tensor.dtype)
    return parameters


def decoded(checkpoint):
    config = QuantizationConfig.model_validate(checkpoint.quantization_config())
    model = model_of(dense(checkpoint.tensors))
    apply_quantization_config(model, config, show_progress=False)
    compressor = ModelCompressor(quantization_config=config)
    compressor.compress_model(model)
    model.load_state_dict(checkpoint.tensors, strict=True, assign=True)
    compressor.decompress_model(model)
    return {name: tensor for name, tensor in model.state_dict().items() if name.rpartition(".")[2] not in SCALES}


if __name__ == "__main__":
    values = decoded(Checkpoint(sys.argv[1]))
    save_file({name: tensor.contiguous() for name, tensor in values.items()}, sys.argv[2])
