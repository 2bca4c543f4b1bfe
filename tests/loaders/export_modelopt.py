"""export_modelopt.py IN OUT [NVFP4_DEFAULT_CFG|W4A16_NVFP4_CFG|...]: ModelOpt calibrates the language model of
the folder IN with a few tokens, quantizes it and exports it to the folder OUT, all by its own means."""
import sys

import modelopt.torch.quantization as mtq
import torch
from modelopt.torch.export import export_hf_checkpoint
from transformers import AutoModelForCausalLM


def write(folder, out, config):
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    model = mtq.quantize(model, getattr(mtq, config), lambda model: model(torch.arange(32).view(2, 16)))
    export_hf_checkpoint(model, export_dir=out)


if __name__ == "__main__":
    write(sys.argv[1], sys.argv[2], (sys.argv[3:] or ["NVFP4_DEFAULT_CFG"])[0])
