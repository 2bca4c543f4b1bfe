"""The same kernel with a mistake that random data hardly meets: a tie goes up."""

import numpy as np

from quantize_kernel import MIDPOINTS, quantize


def to_e2m1_ties_up(x):
    above = np.abs(x)[:, None] >= MIDPOINTS
    return above.sum(axis=1).astype(np.uint8) | np.signbit(x).astype(np.uint8) << 3


def wrong_quantize(x):
    return quantize(x, to_e2m1_ties_up)
