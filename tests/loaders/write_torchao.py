"""write_torchao.py IN.safetensors OUT.safetensors [linear|swizzled|single|static]: torchao quantizes the 2-D
weights of IN and flattens them. linear, swizzled: with a scale of the tensor; single: without; static: with one
of the activations."""
import sys

import torch
from safetensors.torch import save_file
from torchao.prototype.mx_formats.nvfp4_tensor import (NVFP4Tensor, QuantizeTensorToNVFP4Kwargs,
                                                       per_tensor_amax_to_scale)
from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict

from checkpoint import Checkpoint


def quantized(weight, how):
    options = {}
    if how != "single":
        options["per_tensor_scale"] = per_tensor_amax_to_scale(weight.abs().max())
    if how == "static":
        options["act_per_tensor_scale"] = per_tensor_amax_to_scale(torch.tensor(6.0))
        options["act_quant_kwargs"] = QuantizeTensorToNVFP4Kwargs(is_swizzled_scales=True)
    return NVFP4Tensor.to_nvfp4(weight, is_swizzled_scales=how in ("swizzled", "static"), **options)


def write(checkpoint, out, how):
    kept = ("embed_tokens", "lm_head")
    tensors, metadata = flatten_tensor_state_dict(
        {name: quantized(tensor, how) if tensor.dim() == 2 and not any(k in name for k in kept) else tensor
         for name, tensor in checkpoint.tensors.items()})
    save_file(tensors, out, metadata=metadata | {"format": "pt"})


if __name__ == "__main__":
    write(Checkpoint(sys.argv[1]), sys.argv[2], (sys.argv[3:] or ["linear"])[0])
