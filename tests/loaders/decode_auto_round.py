"""decode_auto_round.py IN OUT.safetensors: auto-round's NVFP4QuantLinear loads every packed weight, strictly,
and decodes it to float32."""
import sys
from dataclasses import fields

import torch
from auto_round.experimental.qmodules.nvfp4 import NVFP4QuantLinear
from auto_round.inference.backend import BackendInfos
from auto_round.schemes import QuantizationScheme
from safetensors.torch import save_file

from checkpoint import Checkpoint

REQUIRED = ("data_type", "group_size", "bits", "act_bits", "act_group_size", "act_sym", "act_data_type", "act_dynamic")
PARTS = ("weight_packed", "weight_scale", "weight_global_scale", "input_global_scale")


def scheme_of(config):
    """The scheme that the config names, which the backend that decodes here must take."""
    backend = BackendInfos["auto_round:torch_nvfp4"]
    assert config["quant_method"] == "auto-round" and config["packing_format"] in backend.packing_format
    for key in REQUIRED:
        assert config.get(key) in getattr(backend, key), f"{key} is {config.get(key)}"
    names = {field.name for field in fields(QuantizationScheme)}
    return QuantizationScheme.from_dict({key: value for key, value in config.items() if key in names})


def decoded(checkpoint):
    scheme = scheme_of(checkpoint.quantization_config())
    tensors = dict(checkpoint.tensors)
    for module in [name.removesuffix(".weight_packed") for name in tensors if name.endswith(".weight_packed")]:
        rows, bytes_ = tensors[f"{module}.weight_packed"].shape
        dense = torch.nn.Linear(2 * bytes_, rows, bias=False, dtype=torch.bfloat16)
        linear = NVFP4QuantLinear.from_original(scheme, dense)
        linear.load_state_dict({part: tensors.pop(f"{module}.{part}") for part in PARTS}, strict=True)
        tensors[f"{module}.weight"] = linear.dequant_weight_online()
    return tensors


if __name__ == "__main__":
    values = decoded(Checkpoint(sys.argv[1]))
    save_file({name: tensor.contiguous() for name, tensor in values.items()}, sys.argv[2])
