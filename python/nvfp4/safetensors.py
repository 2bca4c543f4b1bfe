"""The program's .safetensors files, byte for byte, and anybody's.

https://github.com/huggingface/safetensors, "Format"."""

import json
import math
import os
import struct

import numpy as np

from .errors import FileError, one_line
from .npz import write_whole

#: What NumPy has no type for is read as bits: BF16 as uint16, one byte an FP8 number.
_TYPES = {"BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8",
          "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2", "F8_E4M3": "u1", "F8_E5M2": "u1",
          "F8_E8M0": "u1"}
_NAMES = {np.dtype(_TYPES[name]): name for name in ("U8", "U16", "F16", "F32")}
_MOST_HEADER = 100_000_000


def write_safetensors(path, arrays, overwrite=True):
    """Whole or not at all; wide elements lie before narrow ones."""
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    order = sorted(arrays, key=lambda name: -arrays[name].itemsize)
    header, at = {}, 0
    for name in order:
        a = arrays[name]
        header[name] = {"dtype": _NAMES[a.dtype], "shape": list(a.shape), "data_offsets": [at, at + a.nbytes]}
        at += a.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)

    def write(out):
        out.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            out.write(arrays[name].reshape(-1).view(np.uint8).data)

    write_whole(path, write, overwrite)


class Safetensors:
    """The arrays of a .safetensors; each is read when asked for."""

    def __init__(self, path):
        self.file = os.fspath(path)
        try:
            self._bytes = open(self.file, "rb")
        except OSError as error:
            raise FileError(self.file, "file", "a readable .safetensors", one_line(error)) from None
        try:
            self._tensors = self._header()
        except BaseException:
            self._bytes.close()
            raise

    def _header(self):
        size = os.fstat(self._bytes.fileno()).st_size
        head = self._bytes.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
        if length > min(size - 8, _MOST_HEADER):
            raise FileError(self.file, "byte 0", "the length of a header that the file has", str(length))
        self._begin = 8 + length
        try:
            header = json.loads(self._bytes.read(length))
        except (ValueError, RecursionError) as error:
            raise FileError(self.file, "header", "JSON text", one_line(error)) from None
        if not isinstance(header, dict):
            raise FileError(self.file, "header", "a JSON object", type(header).__name__)
        header.pop("__metadata__", None)
        return {name: self._place(name, fields, size - self._begin) for name, fields in header.items()}

    def _place(self, name, fields, size):
        try:
            dtype, shape, (begin, end) = np.dtype(_TYPES[fields["dtype"]]), fields["shape"], fields["data_offsets"]
            sound = type(shape) is list and all(type(n) is int and n >= 0 for n in (*shape, begin, end))
            sound = sound and end <= size and end - begin == math.prod(shape) * dtype.itemsize
        except (KeyError, TypeError, ValueError):
            sound = False
        if not sound:
            raise FileError(self.file, f"tensor '{name}'",
                            "a dtype, a shape and the offsets of as many bytes in the file", repr(fields)[:200])
        return dtype, shape, begin

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._bytes.close()

    def __contains__(self, name):
        return name in self._tensors

    @property
    def names(self):
        return list(self._tensors)

    def read(self, name):
        if name not in self:
            raise FileError(self.file, f"array '{name}'", "it in the file", "none")
        dtype, shape, begin = self._tensors[name]
        try:
            self._bytes.seek(self._begin + begin)
            data = bytearray(self._bytes.read(math.prod(shape) * dtype.itemsize))
            return np.frombuffer(data, dtype).reshape(shape)
        except (OSError, ValueError) as error:
            raise FileError(self.file, f"array '{name}'", "its bytes", one_line(error)) from None
