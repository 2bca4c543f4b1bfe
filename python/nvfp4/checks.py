"""What differs and why, where somebody's bytes come from, one value step by step, and bounds in place of tolerances."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import _nvfp4
from .arrays import byte_array, dtype_name, float_array, matrix, thread_count
from .kinds import Array, Dtype
from .manifest import codes_per_byte
from .quantized import QuantizedTensor


def _arrays_of(b):
    """packed, scales and the second-level scales, if any, of a dict or sequence of arrays."""
    if isinstance(b, dict):
        global_scale = b.get("global", b.get("global_scale"))
        packed, scales = b.get("packed"), b.get("scales")
    else:
        packed, scales, global_scale = (*b, None)[:3]
    if packed is None or scales is None:
        raise ValueError("diff: expected a QuantizedTensor, or a dict or tuple with packed and scales")
    values = None if global_scale is None else float_array(global_scale, "global")
    return byte_array(packed, "packed"), byte_array(scales, "scales"), values


def _stored(q):
    swizzled = None if q.layout == "linear" else _nvfp4.to_layout(q._tensor.scales, *q._tensor.scales.shape, q.layout)
    return _nvfp4.StoredResult(q._tensor, swizzled=swizzled, layout=q.layout,
                               columns=None if q.columns is None else q.columns._tensor)


def _stored_by(a, b):
    """Arrays without a record of their own, read by a's where their size fits."""
    packed, scales, values = _arrays_of(b)
    t = a._tensor
    rows, cols = t.rows, t.cols
    if packed.size != t.packed.size:
        rows, cols = packed.size // packed.shape[-1], packed.shape[-1] * codes_per_byte(a.dialect)
    blocks = -(-cols // t.spec.block_cols)
    fitted = np.zeros(rows * blocks, np.uint8)
    fitted[:min(fitted.size, scales.size)] = scales.reshape(-1)[:fitted.size]
    if values is None:
        values = t.global_scale
    tensor = _nvfp4.Tensor(t.spec, t.dtype, rows, cols, packed, fitted, values)
    return _nvfp4.StoredResult(tensor, scales=scales)


def diff(a: QuantizedTensor, b: Any, input: Array | None = None, *, dtype: Dtype | None = None,
         num_threads: int | None = None) -> dict[str, Any]:
    """How b differs from a, the expected QuantizedTensor: bytes first, values second, and why, as `nvfp4 diff --json`
    says, with its text. b is another, or a dict or tuple of arrays (packed, scales, global), read by a's record.
    `input`, what was quantized, proves ties and finds other dialects and blocks."""
    if not isinstance(a, QuantizedTensor):
        raise ValueError(f"diff: expected a QuantizedTensor as a, found {type(a).__name__}")
    other = _stored(b) if isinstance(b, QuantizedTensor) else _stored_by(a, b)
    m = matrix(input, dtype, "input") if input is not None else None
    return _nvfp4.diff(_stored(a), other, m.array if m else None, m.dtype if m else "fp32", thread_count(num_threads))


def _key(origin):
    return origin["dialect"] + json.dumps(origin["arithmetic"], separators=(",", ":"))


def _plainest(origins):
    """Of those that part only in how the same bytes may be read, the plainest."""
    best = {}
    for origin in sorted(origins, key=lambda o: o["dialect"] + json.dumps(o["options"], separators=(",", ":"))):
        key = _key(origin)
        if key not in best or origin["effort"] < best[key]["effort"]:
            best[key] = origin
    return [best[key] for key in sorted(best)]


def identify(x: Array | None, packed: Array, scales: Array, global_scale: Array | None = None, *,
             dtype: Dtype | None = None, num_threads: int | None = None) -> dict[str, Any]:
    """Which dialects and options make these bytes of x, {"matches": [{"dialect", "producer", "options"}...], "nearest":
    ...}, as `nvfp4 identify --json` says. Scales may lie in any layout. Without x, None: what the bytes alone exclude."""
    codes, bytes_of_scales = byte_array(packed, "packed"), byte_array(scales, "scales")
    if codes.ndim < 2:
        raise ValueError(f"packed: expected two dimensions or more, found shape {codes.shape}")
    rows = int(np.prod(codes.shape[:-1]))
    values = None if global_scale is None else float_array(global_scale, "global_scale")
    if x is None:
        return _excluded(rows, codes, bytes_of_scales, values)
    m = matrix(x, dtype)
    if rows not in m.array.shape:
        raise ValueError(f"packed: expected {m.array.shape[0]} rows as x has, or its transpose's {m.array.shape[1]}, "
                         f"found {rows}")
    found = _nvfp4.identify(m.array, m.dtype, rows, codes, bytes_of_scales, values, thread_count(num_threads))
    matches = [{"dialect": o["dialect"], "producer": producer, "options": o["options"]}
               for o in _plainest(found["matches"]) for producer in (o["producers"] or [None])]
    nearest = None
    if not matches and found["nearest"] is not None:
        nearest = {"dialect": found["nearest"]["dialect"], "differing_bytes": found["differing_bytes"],
                   "options": found["nearest"]["options"]}
        nearest.update({"first": found["first"]} if found["first"] else {})
    return {"matches": matches, "nearest": nearest}


def _excluded(rows, codes, scales, values):
    excluded = _nvfp4.exclusions(rows, codes, scales, values)
    out = {e["dialect"] for e in excluded}
    possible = [d["name"] for d in _nvfp4.dialects() if d["name"] not in out]
    return {"matches": [], "nearest": None, "excluded": excluded, "possible": possible}


@dataclass(frozen=True)
class Explanation:
    """str() is the text of `nvfp4 explain`; `command` the line that prints it; `values` the steps of each value."""

    text: str
    command: str
    values: list = field(repr=False)

    def __str__(self):
        return self.text


def _spec(dialect, block, tensor_scale, e4m3_max, select, error_fast, stochastic=None):
    return _nvfp4.Spec(dialect, block=block, tensor_scale=tensor_scale, e4m3_max=e4m3_max, select=select,
                       error_fast=error_fast, stochastic=stochastic)


def explain(value: Any, *, amax: float | None = None, tensor_amax: float | None = None, dialect: str = "te",
            dtype: Dtype = "float32", random: int | None = None, sr_rule: str = "carry", e4m3_max: int = 448,
            select: str = "mae", error_fast: bool = False) -> Explanation:
    """One value, or several of one block, through every step. amax is the block's (else the values' largest magnitude),
    tensor_amax the tensor's (else the block's); random, a byte, rounds stochastically."""
    values = np.atleast_1d(np.asarray(value, np.float64)).astype(np.float32).ravel().tolist()
    stochastic = None if random is None else _nvfp4.Stochastic(rule=sr_rule)
    spec = _spec(dialect, None, None, e4m3_max, select, error_fast, stochastic)
    return Explanation(*_nvfp4.explain(spec, values, amax, tensor_amax, dtype_name(dtype), random or 0))


def explain_command(x: Array, row: int, col: int, dialect: str = "te", *, block: str | None = None,
                    tensor_scale: str | None = None, e4m3_max: int = 448, select: str = "mae", error_fast: bool = False,
                    dtype: Dtype | None = None) -> str:
    """The `nvfp4 explain` line that walks through element (row, col) of x as it is quantized so."""
    m = matrix(x, dtype)
    return _nvfp4.explain_command(m.array, m.dtype, _spec(dialect, block, tensor_scale, e4m3_max, select, error_fast),
                                  row, col)


def bound(a: QuantizedTensor | None = None, b: QuantizedTensor | None = None, *, k: int | None = None,
          dialect: str = "te", block: str | None = None, rounding: str = "rne", a_amax: float = 1.0,
          b_amax: float = 1.0, accumulate: str | None = None, probability: float = 0.99,
          num_threads: int | None = None) -> dict[str, Any]:
    """How far a product may be from the exact one of what was quantized: before there are tensors, of k terms with
    |a| <= a_amax and |b| <= b_amax; or of QuantizedTensors a and b, the largest of all outputs. The numbers are those
    of `nvfp4 bound --json`; docs/bounds.md derives them."""
    if (k is None) == (a is None or b is None):
        raise ValueError("bound: expected k, or two quantized tensors")
    if k is not None:
        stochastic = _nvfp4.Stochastic() if rounding == "sr" else None
        spec = _nvfp4.Spec(dialect, block=block, stochastic=stochastic)
        return _nvfp4.a_priori_bound(spec, a_amax, b_amax, k, accumulate, probability)
    of_outputs = product_bounds(a, b, accumulate=accumulate, probability=probability, num_threads=num_threads)
    largest = {name: {kind: float(of_outputs[f"{name}_{kind}"].max()) for kind in ("worst", "probable")}
               for name in ("quantization", "accumulation")}
    return {"rows": a.shape[0], "cols": b.shape[0], "k": a.shape[1], "accumulate": of_outputs["accumulate"],
            "probability": probability, **largest,
            "worst": (largest["quantization"]["worst"] + largest["accumulation"]["worst"]) * (1 + 2**-50)}


def product_bounds(a: QuantizedTensor, b: QuantizedTensor, *, accumulate: str | None = None, probability: float = 0.99,
                   num_threads: int | None = None) -> dict[str, Any]:
    """The same of each output, float64 (M, N): quantization_worst, quantization_probable, accumulation_worst,
    accumulation_probable. Accumulation's holds for every order of k."""
    return _nvfp4.product_bounds(a._tensor, b._tensor, accumulate, probability, thread_count(num_threads))


def output_errors(a: QuantizedTensor, b: QuantizedTensor, d: Array, *, accumulate: str | None = None,
                  alpha: float | None = None, use_globals: bool = True, bias: Array | None = None,
                  dtype: Dtype | None = None, num_threads: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Of a kernel's D = alpha * A * transpose(B) + bias, summed in any order: how far each output is from the exact
    product of the quantized operands, and its bound, two float64 arrays (M, N)."""
    m = matrix(d, dtype, "d")
    return _nvfp4.output_errors(a._tensor, b._tensor, m.array, m.dtype, accumulate=accumulate, alpha=alpha,
                                use_globals=use_globals, bias=None if bias is None else float_array(bias, "bias"),
                                num_threads=thread_count(num_threads))


def element_bounds(q: QuantizedTensor, *, num_threads: int | None = None) -> np.ndarray:
    """The largest |x - element * scales| of each element of x that these scales allow, the latter in binary64, before
    the FP32 roundings of dequantize(): float64 (M, K)."""
    return _nvfp4.element_values(q._tensor, thread_count(num_threads))[1]


def boundaries(dialect: str = "te", rows: int = 16, *, tensor_amax: float = 2688.0, seed: int = 0,
               dtype: Dtype = "float32", block: str | None = None, tensor_scale: str | None = None, e4m3_max: int = 448,
               select: str = "mae", error_fast: bool = False, num_threads: int | None = None) -> np.ndarray:
    """Inputs (rows, 96) on the decisions of one dialect's arithmetic, which random data hardly meets: amaxes where its
    block scale steps, elements where their code does, each the last number before a step or the first behind it."""
    from .arrays import Place

    name = dtype_name(dtype)
    x = _nvfp4.boundary_rows(_spec(dialect, block, tensor_scale, e4m3_max, select, error_fast), name, tensor_amax, rows,
                             seed, thread_count(num_threads))
    return Place().put_values(x, name)
