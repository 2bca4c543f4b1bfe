"""write_gguf.py IN OUT.gguf: a ModelOpt checkpoint IN as llama.cpp's converter writes it, with the converter's
own code (a copy of it comes with auto-round): its blocks and its names of scales. Tensors keep their names, for
the map of the converter asks for an architecture."""
import sys

import gguf
import torch
from auto_round.export.export_to_gguf.conversion.base import ModelBase

from checkpoint import Checkpoint


class Repacked:
    """What ModelBase._repack_nvfp4 uses of a converter."""
    map_tensor_name = staticmethod(lambda name: name)
    _nvfp4_pack = staticmethod(ModelBase._nvfp4_pack)
    _scale_is_trivial = staticmethod(ModelBase._scale_is_trivial)
    _write_scale_tensor = ModelBase._write_scale_tensor

    def __init__(self, writer):
        self.gguf_writer = writer


def write(checkpoint, out):
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_NVFP4)
    tensors = checkpoint.tensors
    for name, tensor in tensors.items():
        if tensor.dtype == torch.uint8:
            input_scale = tensors.get(name.removesuffix(".weight") + ".input_scale", torch.tensor(1.0))
            ModelBase._repack_nvfp4(Repacked(writer), name, tensor, tensors[f"{name}_scale"],
                                    tensors[f"{name}_scale_2"], input_scale)
        elif not name.endswith(("_scale", "_scale_2")):
            writer.add_tensor(name, tensor.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    write(Checkpoint(sys.argv[1]), sys.argv[2])
