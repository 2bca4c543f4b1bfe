"""decode_gpt_oss.py IN OUT.safetensors: transformers decodes every pair NAME_blocks, NAME_scales to bfloat16,
as NAME, its transposition undone."""
import sys

from safetensors.torch import save_file
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from checkpoint import Checkpoint


def decoded(checkpoint):
    tensors = dict(checkpoint.tensors)
    for name in [name.removesuffix("_blocks") for name in tensors if name.endswith("_blocks")]:
        value = convert_moe_packed_tensors(tensors.pop(f"{name}_blocks"), tensors.pop(f"{name}_scales"))
        tensors[name] = value.transpose(1, 2).contiguous()
    return tensors


if __name__ == "__main__":
    save_file(decoded(Checkpoint(sys.argv[1])), sys.argv[2])
