"""decode_gguf.py IN.gguf OUT.safetensors: gguf-py dequantizes every tensor to float32; a product's scale,
NAME.scale beside NAME.weight, then multiplies the weight in float32, where llama.cpp multiplies the product."""
import sys

import numpy as np
from gguf import GGUFReader, dequantize
from safetensors.numpy import save_file


def value(tensor):
    """Integers, which gguf-py reads and does not dequantize, stay what they are."""
    integer = np.issubdtype(tensor.data.dtype, np.signedinteger)
    return tensor.data if integer else dequantize(tensor.data, tensor.tensor_type).astype(np.float32)


def decoded(path):
    values = {t.name: value(t).reshape(t.shape[::-1]) for t in GGUFReader(path).tensors}
    for name in [name for name in values if name.endswith(".weight")]:
        scale = values.get(name.removesuffix(".weight") + ".scale")
        if scale is not None:
            values[name] = values[name] * scale.reshape(-1, *[1] * (values[name].ndim - 1))
    return {name: np.ascontiguousarray(value) for name, value in values.items()
            if not name.endswith((".scale", ".input_scale"))}


if __name__ == "__main__":
    save_file(decoded(sys.argv[1]), sys.argv[2])
