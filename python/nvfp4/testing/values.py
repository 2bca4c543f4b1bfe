"""Values against the bound that is derived for them; docs/bounds.md has the derivations."""

import numpy as np

from .. import _nvfp4
from ..arrays import float_array, matrix
from ..products import gemm
from ..quantized import QuantizedTensor
from .matrices import as_float32, place_text
from .mismatch import Mismatch


def assert_values_close_by_bound(actual, expected, *, accumulate=None, alpha=None, use_globals=True, bias=None,
                                 dtype=None):
    """Raises Mismatch where a value is farther from the truth than arithmetic allows: no tolerance is guessed.

    actual, expected   a matrix D and (A, B), QuantizedTensors: D against the exact alpha * A * transpose(B) + bias, by
                       the bound of `accumulate` (as in gemm(), whatever the order of k), and where D is BF16 or FP16
                       of its rounding, to nearest even
                       a QuantizedTensor and the matrix that was quantized: every element * scales, exact in
                       binary64 but for two roundings, by the bound of its block scale, whatever the dialect's order of
                       operations
    dtype              "bf16": uint16 elements are BF16 bits
    """
    __tracebackhide__ = True
    if isinstance(actual, QuantizedTensor):
        if not (accumulate is None and alpha is None and use_globals and bias is None):
            raise ValueError("accumulate, alpha, use_globals and bias are of a product: expected (A, B)")
        mismatch = _element_mismatch(actual, matrix(expected, dtype, "expected"))
    else:
        a, b = _operands(expected)
        mismatch = _product_mismatch(matrix(actual, dtype, "actual"), a, b, accumulate, alpha, use_globals, bias)
    if mismatch:
        raise mismatch


def _operands(expected):
    if isinstance(expected, (tuple, list)) and [type(q) for q in expected] == [QuantizedTensor] * 2:
        return expected
    raise ValueError(f"expected: a pair (A, B) of QuantizedTensors, found {type(expected).__name__}")


def _product_mismatch(d, a, b, accumulate, alpha, use_globals, bias):
    column = float_array(bias, "bias") if bias is not None else None
    errors, bounds = _nvfp4.output_errors(a._tensor, b._tensor, d.array, d.dtype, accumulate=accumulate, alpha=alpha,
                                          use_globals=use_globals, bias=column, num_threads=0)
    worst = _excess(errors, bounds)
    if worst is None:
        return None
    right = np.asarray(gemm(a, b, accumulate, alpha, use_globals, bias=bias, device="cpu"), np.float32)
    name = f"the bound of {accumulate or 'the default accumulation'}, whatever the order of k"
    return _mismatch(worst, errors, bounds, right, as_float32(d), name, lambda at: [])


def _element_mismatch(q, x):
    if x.array.shape != q.shape:
        return Mismatch(f"shape: expected {x.array.shape}, found {q.shape}")
    right, (values, bounds) = as_float32(x), _nvfp4.element_values(q._tensor, 0)
    errors = np.abs(values - right)
    worst = _excess(errors, bounds)
    if worst is None:
        return None
    name = f"the bound of their block scales by {q.dialect} {q.block}"
    return _mismatch(worst, errors, bounds, right, values, name, lambda at: _element_lines(q, x, at))


def _excess(errors, bounds):
    """Where a value is beyond its bound, a NaN being so everywhere; None where none is."""
    beyond = ~(errors <= bounds)
    return beyond if beyond.any() else None


def _mismatch(beyond, errors, bounds, right, found, name, lines_at):
    first = tuple(np.argwhere(beyond)[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(beyond, np.nan_to_num(errors / bounds, nan=np.inf), 0)
    farthest = np.unravel_index(np.argmax(ratio), ratio.shape)

    def line(at):
        return (f"{place_text(at)}: expected {right[at]:.9g}, actual {found[at]:.9g}, error {errors[at]:.4g}, "
                f"bound {bounds[at]:.4g}")

    text = [f"{beyond.sum()} of {beyond.size} values are beyond {name}", f"first: {line(first)}", *lines_at(first),
            f"farthest: {line(farthest)}, {ratio[farthest]:.4g} times it"]
    return Mismatch("\n".join(text), differing_values=int(beyond.sum()))


def _element_lines(q, x, at):
    spec, (row, col) = q._tensor.spec, at
    block, lane = (row // spec.block_rows, col // spec.block_cols), col % spec.block_cols
    code, scale = q._tensor.codes()[at], q._tensor.scales[row, block[1]]
    return [f"element {place_text(at)}, block {place_text(block)}, lane {lane}: code 0x{code:X}, scale 0x{scale:02X}",
            f"run: {_nvfp4.explain_command(x.array, x.dtype, spec, int(row), int(col))}"]
