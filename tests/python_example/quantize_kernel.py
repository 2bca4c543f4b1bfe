"""A kernel that quantizes to NVFP4 by dialect te, in NumPy as one would write it in Triton: a program a block of 16."""

import ml_dtypes
import numpy as np

MIDPOINTS = np.float32([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0])
EVEN_BELOW = np.array([True, False, True, False, True, False, True])  # a tie goes to the even code, here the lower


def to_e4m3(x):
    return np.minimum(x, np.float32(448)).astype(ml_dtypes.float8_e4m3fn)


def to_e2m1(x):
    magnitude = np.abs(x)[:, None]
    above = np.where(EVEN_BELOW, magnitude > MIDPOINTS, magnitude >= MIDPOINTS)
    return above.sum(axis=1).astype(np.uint8) | np.signbit(x).astype(np.uint8) << 3


def quantize_kernel(x, codes, scales, encode, program, round_element):
    row, block = program
    values = x[row, 16 * block : 16 * block + 16]
    scale = to_e4m3(np.abs(values).max() * (encode * np.float32(1 / 6)))
    multiplier = np.minimum(1 / (scale.astype(np.float32) * (1 / encode)), np.finfo(np.float32).max)
    nibbles = round_element(values * multiplier)
    codes[row, 8 * block : 8 * block + 8] = nibbles[0::2] | nibbles[1::2] << 4
    scales[row // 128, block // 4, row % 32, row % 128 // 32, block % 4] = scale.view(np.uint8)


def quantize(x, round_element=to_e2m1):
    """Codes (M, K / 2), scales in layout 128x4, and the amax that is their second-level scale."""
    rows, blocks = x.shape[0], x.shape[1] // 16
    amax = np.abs(x).max()
    encode = np.float32(2688) / amax
    codes = np.zeros((rows, 8 * blocks), np.uint8)
    scales = np.zeros((-(-rows // 128), -(-blocks // 4), 32, 4, 4), np.uint8)
    with np.errstate(divide="ignore", over="ignore"):
        for program in np.ndindex(rows, blocks):
            quantize_kernel(x, codes, scales, encode, program, round_element)
    return codes, scales, amax
