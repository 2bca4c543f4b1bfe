"""Stacks of experts: matrices of one shape, each quantized by itself, in one file."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from .array_file import open_arrays, write_arrays
from .arrays import matrix
from .errors import FileError
from .kinds import Array, Dtype, Path
from .manifest import json_text, parse_manifest
from .npz import npy_bytes
from .quantized import QuantizedTensor, quantize, read_quantized


def quantize_stack(x: Array, dialect: str = "te", *, dtype: Dtype | None = None, hash_input: bool = False,
                   **options: Any) -> list[QuantizedTensor]:
    """x (experts, M, K) as one QuantizedTensor an expert, each with second-level scales of its own: `nvfp4 quantize
    --experts` gives the same bytes. The options are block, tensor_scale, e4m3_max, select, error_fast, layout, device
    and num_threads of quantize()."""
    unknown = set(options) - {"block", "tensor_scale", "e4m3_max", "select", "error_fast", "layout", "device",
                              "num_threads"}
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))}: of one matrix, not of a stack of experts")
    if len(x.shape) != 3:
        raise ValueError(f"x: expected three dimensions, experts first, found shape {tuple(x.shape)}")
    experts = [quantize(expert, dialect, dtype=dtype, **options) for expert in x]
    if hash_input:
        whole = matrix(x, dtype)
        digest = hashlib.sha256(npy_bytes(whole.array.reshape(whole.shape))).hexdigest()
        for expert in experts:
            expert._input_sha256 = digest
    return experts


def _arrays_of(experts):
    """As in the files, the expert the first dimension; a scale for the whole matrix has no other."""
    alike = [e._arrays() for e in experts]
    first = experts[0]
    if any(a.keys() != alike[0].keys() or e._tensor.spec.tensor_scale != first._tensor.spec.tensor_scale
           or (e.dialect, e.shape, e.block, e.layout, e.dtype) != (
               first.dialect, first.shape, first.block, first.layout, first.dtype)
           for e, a in zip(experts, alike)):
        raise ValueError("stack: expected experts of one dialect, shape, block, layout and dtype")
    arrays = {name: np.stack([a[name] for a in alike]) for name in alike[0] if name != "manifest"}
    if "global" in arrays and first._tensor.spec.tensor_scale == "tensor":
        arrays["global"] = arrays["global"].reshape(-1)
    manifest = first.manifest
    manifest["options"]["experts"] = len(experts)
    manifest["shape"] = [len(experts), *first.shape]
    return {**arrays, "manifest": np.frombuffer(json_text(manifest).encode(), np.uint8)}


def save_stack(path: Path, experts: Sequence[QuantizedTensor], *, overwrite: bool = True) -> None:
    """The experts in one .npz or .safetensors, as the program writes it."""
    if not experts or any(e.columns is not None for e in experts):
        raise ValueError("stack: expected one or more experts without columns")
    write_arrays(path, _arrays_of(experts), overwrite)


class _Expert:
    """The arrays of one of them, as in a file of its own."""

    def __init__(self, whole, experts, number):
        self._whole, self._experts, self._number, self.file = whole, experts, number, whole.file

    def __contains__(self, name):
        return name in self._whole

    def read(self, name):
        array = self._whole.read(name)
        if len(array.shape) < 1 or len(array) != self._experts:
            raise FileError(self.file, f"array '{name}'", f"{self._experts} experts in its first dimension",
                            f"shape {array.shape}")
        return array[self._number]


def load_stack(path: Path) -> list[QuantizedTensor]:
    """The experts of a file that the program or save_stack() wrote. Throws FileError."""
    with open_arrays(path) as file:
        manifest = parse_manifest(file.read("manifest").tobytes(), file.file, stack=True)
        count, shape = manifest["options"].pop("experts"), manifest.get("shape")
        if not isinstance(shape, list) or shape[:1] != [count]:
            raise FileError(file.file, "manifest field 'shape'", f"[{count}, rows, columns]", repr(shape))
        manifest["shape"] = shape[1:]
        return [read_quantized(_Expert(file, count, number), manifest) for number in range(count)]
