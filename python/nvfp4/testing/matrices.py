"""Matrices of values as the assertions read and name them."""

import numpy as np

from .. import _nvfp4


def as_float32(m):
    """An arrays.Matrix as float32 numbers; exact."""
    return m.array if m.dtype == "fp32" else _nvfp4.converted(m.array, m.dtype, "fp32", "cpu", 0)


def place_text(at):
    return f"({', '.join(map(str, np.asarray(at).tolist()))})"
