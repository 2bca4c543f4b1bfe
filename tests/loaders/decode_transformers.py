"""decode_transformers.py IN OUT.safetensors: transformers loads the folder IN as a language model, by the
package that its config.json names, and each weight is what that package decodes it to."""
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from checkpoint import Checkpoint


def decoded(checkpoint):
    model, report = AutoModelForCausalLM.from_pretrained(checkpoint.path, output_loading_info=True)
    strange = {key: names for key, names in report.items() if names}
    assert not strange, f"transformers reports {strange}"
    if hasattr(model, "ct_decompress_hook"):
        model(torch.tensor([[0]]))  # compressed-tensors decompresses before the first pass
    packed = {f"{name}.weight": module.dequant_weight_online() for name, module in model.named_modules()
              if hasattr(module, "dequant_weight_online")}
    parts = ("_scale", "_packed")
    plain = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith(parts)}
    return {name: (tensor.dequantize(torch.float32) if hasattr(tensor, "qdata") else tensor).detach().contiguous()
            for name, tensor in (plain | packed).items()}


if __name__ == "__main__":
    save_file(decoded(Checkpoint(sys.argv[1])), sys.argv[2])
