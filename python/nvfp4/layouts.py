"""How scales and codes lie in memory: "linear", "128x4" (cuBLASLt, CUTLASS, TE), "8x4" (TensorRT-LLM), "4-token"."""

from . import _nvfp4
from .arrays import Place, byte_array
from .kinds import Array
from .quantized import QuantizedTensor

names = ("linear", "128x4", "8x4", "4-token")


def _flat_rows(scales, name):
    if scales.ndim < 2:
        raise ValueError(f"{name}: expected two dimensions or more, found shape {tuple(scales.shape)}")
    return scales.reshape(-1, scales.shape[-1])


def swizzle(scales: Array, layout: str = "128x4") -> Array:
    """Linear scales (M, blocks) in another layout, padded with 0; flatten it for the hardware."""
    linear = _flat_rows(byte_array(scales, "scales"), "scales")
    return Place.of(scales).put(_nvfp4.to_layout(linear, *linear.shape, layout))


def unswizzle(scales: Array, rows: int, blocks: int, layout: str = "128x4") -> Array:
    """The inverse: linear scales (rows, blocks) of a padded buffer of any shape."""
    return Place.of(scales).put(_nvfp4.from_layout(byte_array(scales, "scales"), rows, blocks, layout))


def repack(packed: Array, packing_from: str, packing_to: str) -> Array:
    """Codes of one packing in another: "low_first", "high_first" (nibbles swapped), "ggml" (j and j + 8 in a byte)."""
    codes = byte_array(packed, "packed")
    return Place.of(packed).put(_nvfp4.repack(codes, packing_from, packing_to).reshape(codes.shape))


def ggml_blocks(q: QuantizedTensor) -> Array:
    """A quantized tensor as ggml's own blocks: 4 scales, then the 32 bytes of codes of 64 elements."""
    return q._place.put(_nvfp4.ggml_blocks(q._tensor))
