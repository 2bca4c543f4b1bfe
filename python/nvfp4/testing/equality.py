"""Equality of bytes: of a quantized tensor and of a matrix of values."""

from collections.abc import Mapping

import numpy as np

from .. import _nvfp4
from ..arrays import byte_array, float_array, matrix
from ..quantized import QuantizedTensor
from .matrices import as_float32, place_text
from .mismatch import Mismatch

_ARRAYS = ("packed", "scales", "global_scale")


def assert_equal(actual, expected, *, input=None, layout="linear", padding="zero", dtype=None):
    """Raises Mismatch where a byte differs, with the message of C++'s nvfp4::testing::compare. A NaN equals a NaN.

    expected  a QuantizedTensor; or a matrix of values, as of gemm(), held to the same bits
    actual    the same, or arrays as a kernel left them, NumPy's or torch's: (packed, scales), (packed, scales,
              global_scale), or a dict of some of those names; what is not given is not compared
    input     the matrix that was quantized: gives the `nvfp4 explain` line and the distance from a tie, and lets other
              dialects be tried as the cause
    layout    of the given scales: "linear", "128x4", "8x4", "4-token"
    padding   what padding bytes of the scales may hold: "zero" or "anything"
    dtype     "bf16": uint16 elements of the input, or of matrices of values, are BF16 bits
    """
    __tracebackhide__ = True
    if isinstance(expected, QuantizedTensor):
        mismatch = _tensor_mismatch(actual, expected, input, layout, padding, dtype)
    else:
        mismatch = _value_mismatch(actual, expected, dtype)
    if mismatch:
        raise mismatch


def _tensor_mismatch(actual, expected, input, layout, padding, dtype):
    if not isinstance(actual, QuantizedTensor):
        return _array_mismatch(_named_arrays(actual), expected, input, layout, padding, dtype)
    if actual.shape != expected.shape:
        return Mismatch(f"shape: expected {expected.shape}, found {actual.shape}")
    mismatch = _array_mismatch(_arrays_of(actual), expected, input, "linear", padding, dtype)
    return mismatch or _column_mismatch(actual, expected)


def _column_mismatch(actual, expected):
    if expected.columns is None:
        return None
    if actual.columns is None:
        return Mismatch("columns: expected those of the transpose, found none")
    mismatch = _tensor_mismatch(actual.columns, expected.columns, None, "linear", "zero", None)
    return mismatch and Mismatch(f"columns: {mismatch}", mismatch.differing_bytes, mismatch.differing_values,
                                 mismatch.diagnosis)


def _arrays_of(q):
    return {"packed": q.packed, "scales": q.scales, "global_scale": q.global_scale}


def _named_arrays(actual):
    if isinstance(actual, (tuple, list)) and 2 <= len(actual) <= 3:
        return dict(zip(_ARRAYS, actual))
    if not isinstance(actual, Mapping) or not set(actual) <= set(_ARRAYS):
        found = sorted(map(str, actual)) if isinstance(actual, Mapping) else type(actual).__name__
        raise ValueError("actual: expected a QuantizedTensor, (packed, scales), (packed, scales, global_scale) or a dict "
                         f"of some of them by name, found {found}")
    return actual


def _array_mismatch(arrays, expected, input, layout, padding, dtype):
    if padding not in ("zero", "anything"):
        raise ValueError(f"padding '{padding}': expected one of zero, anything")
    readers = {"packed": byte_array, "scales": byte_array, "global_scale": float_array}
    given = {name: readers[name](arrays[name], name) if arrays.get(name) is not None else None for name in _ARRAYS}
    x = matrix(input, dtype, "input") if input is not None else None
    report = _nvfp4.compare(expected._tensor, **given, layout=layout, any_padding=padding == "anything",
                            input=x.array if x else None, dtype=x.dtype if x else "fp32", num_threads=0)
    if report["equal"]:
        return None
    return Mismatch(report["message"].rstrip("\n"), report["differing_bytes"], report["differing_values"],
                    report["diagnosis"])


def _value_mismatch(actual, expected, dtype):
    a, e = matrix(actual, dtype, "actual"), matrix(expected, dtype, "expected")
    for what, found, wanted in (("shape", a.array.shape, e.array.shape), ("dtype", a.dtype, e.dtype)):
        if found != wanted:
            return Mismatch(f"{what}: expected {wanted}, found {found}")
    a_values, e_values = as_float32(a), as_float32(e)
    a_bits, e_bits = _bits(a), _bits(e)
    differs = (a_bits != e_bits) & ~(np.isnan(a_values) & np.isnan(e_values))
    if not differs.any():
        return None
    changed_bytes = (a_bits ^ e_bits)[differs].view(np.uint8)
    steps = _steps_apart(a_bits, e_bits)
    at, farthest = np.argwhere(differs)[0], np.unravel_index(np.argmax(np.where(differs, steps, 0)), steps.shape)
    text = [f"{differs.sum()} of {differs.size} values differ",
            f"first: {place_text(at)}: {_both(a_bits, a_values, e_bits, e_values, at)}",
            f"farthest: {place_text(farthest)}: {_both(a_bits, a_values, e_bits, e_values, farthest)}, "
            f"{steps[farthest]} {e.dtype} numbers apart"]
    return Mismatch("\n".join(text), int(np.count_nonzero(changed_bytes)), int(differs.sum()))


def _bits(m):
    return m.array.view(np.uint32) if m.dtype == "fp32" else m.array.view(np.uint16)


def _steps_apart(a, b):
    """How many numbers of the type lie between two, +0 and -0 being two of them."""
    sign = 1 << (8 * a.itemsize - 1)
    ordered = [np.where(x & sign, sign - 1 - x.astype(np.int64), x.astype(np.int64)) for x in (a, b)]
    return np.abs(ordered[0] - ordered[1])


def _both(a_bits, a_values, e_bits, e_values, at):
    at, digits = tuple(at), 2 * a_bits.itemsize
    return (f"expected 0x{e_bits[at]:0{digits}X} = {e_values[at]:.9g}, "
            f"actual 0x{a_bits[at]:0{digits}X} = {a_values[at]:.9g}")
