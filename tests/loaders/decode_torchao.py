"""decode_torchao.py IN OUT.safetensors: torchao unflattens IN and dequantizes each NVFP4Tensor to float32."""
import sys

import torch
from safetensors.torch import save_file
from torchao.prototype.mx_formats.nvfp4_tensor import NVFP4Tensor
from torchao.prototype.safetensors.safetensors_support import unflatten_tensor_state_dict
from torchao.prototype.safetensors.safetensors_utils import is_metadata_torchao

from checkpoint import Checkpoint


def decoded(checkpoint):
    metadata = {name: text for name, text in checkpoint.metadata.items()}
    assert is_metadata_torchao(metadata), "torchao does not take the metadata as its own"
    tensors, left_over = unflatten_tensor_state_dict(checkpoint.tensors, metadata)
    assert not left_over, f"torchao finds no use for {sorted(left_over)}"
    return {name: tensor.dequantize(torch.float32) if isinstance(tensor, NVFP4Tensor) else tensor
            for name, tensor in tensors.items()}


if __name__ == "__main__":
    save_file(decoded(Checkpoint(sys.argv[1])), sys.argv[2])
