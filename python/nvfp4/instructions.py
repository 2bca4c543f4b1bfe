"""Matrix instructions of NVIDIA's tensor cores, code for code."""

import numpy as np

from . import _nvfp4
from .arrays import Place, byte_array, device_for, dtype_name, thread_count
from .kinds import Array, Dtype


def _codes(x, name):
    """(tiles, rows, columns) as uint64; floating-point elements are taken by their bits."""
    x = np.asarray(x.detach().cpu() if hasattr(x, "detach") else x)
    if x.ndim not in (2, 3) or not x.size:
        raise ValueError(f"{name}: expected two or three dimensions, and elements, found shape {x.shape}")
    if x.dtype.kind in "ib":
        raise ValueError(f"{name}: expected codes as unsigned integers, or floating-point numbers, found {x.dtype}")
    bits = np.ascontiguousarray(x).view(f"u{x.dtype.itemsize}")
    return np.require(bits.reshape(-1, *x.shape[-2:]).astype(np.uint64), requirements=["C", "A"])


def _scales(x, name):
    if x is None:
        return None
    scales = byte_array(x, name)
    if scales.ndim not in (2, 3):
        raise ValueError(f"{name}: expected two or three dimensions, found shape {scales.shape}")
    return scales.reshape(-1, *scales.shape[-2:])


def mma(a: Array, b: Array, c: Array | None = None, model: str = "sm100_nvfp4", *, a_scales: Array | None = None,
        b_scales: Array | None = None, a_format: str | None = None, b_format: str | None = None,
        out_dtype: Dtype = "float32", every_step: bool = False, device: str | None = None,
        num_threads: int | None = None) -> Array:
    """D = A * transpose(B) + C of one instruction, or of a chain of them where K is longer, as `nvfp4 mma` computes it:
    codes of the accumulator, uint32 (FP32), uint16 (FP16) or uint64 (FP64), (M, N) or (tiles, M, N).

    a, b         codes (M, K) and (N, K), or (tiles, ...), one an element and never packed
    c            codes of the accumulator; None: +0
    model        one of accumulations(); a_format and b_format ("e2m1", "e4m3", "bf16", ...) where it leaves a choice
    a_scales     a byte for each block of a row; E4M3 or E8M0 as the model has it
    out_dtype    "float16": the variant with FP16 accumulators
    every_step   D after each instruction of a chain, (tiles, steps, M, N)
    """
    place, x, y = Place.of(a), _codes(a, "a"), _codes(b, "b")
    z = _codes(c, "c") if c is not None else np.zeros((x.shape[0], x.shape[1], y.shape[1]), np.uint64)
    d, bits = _nvfp4.mma(x, y, z, model, a_scales=_scales(a_scales, "a_scales"), b_scales=_scales(b_scales, "b_scales"),
                         a_format=a_format, b_format=b_format, out_dtype=dtype_name(out_dtype), every_step=every_step,
                         device=device_for(place, device), num_threads=thread_count(num_threads))
    d = d.astype(f"u{bits // 8}")
    return place.put(d if every_step else d[:, 0] if len(a.shape) == 3 else d[0, 0])
