"""Files of named arrays: .npz, and .safetensors where a name ends so."""

import os

from .npz import Npz, write_npz
from .safetensors import Safetensors, write_safetensors


def _is_safetensors(path):
    return os.fspath(path).endswith(".safetensors")


def open_arrays(path):
    """A context whose `names`, `in` and read(name) are those of the file's arrays. Throws FileError."""
    return Safetensors(path) if _is_safetensors(path) else Npz(path)


def write_arrays(path, arrays, overwrite=True):
    """As the program writes them."""
    (write_safetensors if _is_safetensors(path) else write_npz)(path, arrays, overwrite)
