"""write_modelopt.py IN.safetensors OUT: ModelOpt quantizes the 2-D weights of IN, and OUT is a folder with the
names and documents of its exporter for W4A16_NVFP4. export_modelopt.py runs the exporter itself, on a language
model."""
import json
import sys
from pathlib import Path

import modelopt
from modelopt.torch.export.convert_hf_config import convert_hf_quant_config_format
from modelopt.torch.export.quant_utils import process_layer_quant_config
from modelopt.torch.quantization.qtensor import NVFP4QTensor
from safetensors.torch import save_file

from checkpoint import Checkpoint

KEPT = ("model.embed_tokens", "lm_head")


def write(checkpoint, out):
    tensors, layers = {}, {}
    for name, tensor in checkpoint.tensors.items():
        module = name.removesuffix(".weight")
        if tensor.dim() != 2:
            tensors[name] = tensor
            continue
        layers[f"{module}.quantization"] = None if module in KEPT else "w4a16_nvfp4"
        layers[f"{module}.awq_block_size"] = 0 if module in KEPT else 16
        if module in KEPT:
            tensors[name] = tensor
            continue
        quantized, scale, scale_2 = NVFP4QTensor.quantize(tensor.clone(), 16)
        tensors |= {name: quantized._quantized_data.contiguous(), f"{name}_scale": scale,
                    f"{name}_scale_2": scale_2.squeeze()}
    document = {"producer": {"name": "modelopt", "version": modelopt.__version__},
                "quantization": {"quant_algo": None, "kv_cache_quant_algo": None} | process_layer_quant_config(layers)}
    out.mkdir()
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    (out / "hf_quant_config.json").write_text(json.dumps(document, indent=4))
    config = {"quantization_config": convert_hf_quant_config_format(document)}
    (out / "config.json").write_text(json.dumps(config, indent=4))


if __name__ == "__main__":
    write(Checkpoint(sys.argv[1]), Path(sys.argv[2]))
