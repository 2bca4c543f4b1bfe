"""decode_modelopt.py IN OUT.safetensors: ModelOpt's NVFP4QTensor dequantizes every packed weight to float32."""
import sys

import torch
from modelopt.torch.quantization.qtensor import NVFP4QTensor
from safetensors.torch import save_file

from checkpoint import Checkpoint


def decoded(checkpoint):
    tensors = dict(checkpoint.tensors)
    for name, packed in checkpoint.tensors.items():
        if packed.dtype != torch.uint8 or f"{name}_scale" not in tensors:
            continue
        shape = (*packed.shape[:-1], 2 * packed.shape[-1])
        scale, second = tensors.pop(f"{name}_scale"), tensors.pop(f"{name}_scale_2")
        if packed.dim() == 3:  # one for each expert, which to_quantized_weight() views so, too
            second = second.view(-1, 1, 1)
        tensors[name] = NVFP4QTensor(shape, torch.float32, packed).dequantize(
            torch.float32, scale=scale, double_scale=second, block_sizes={-1: 16})
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(".input_scale")}


if __name__ == "__main__":
    save_file(decoded(Checkpoint(sys.argv[1])), sys.argv[2])
