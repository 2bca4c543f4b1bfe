"""What holds the kernel to dialect te, byte for byte."""

import hypothesis
import numpy as np
import pytest

import nvfp4
from nvfp4.testing import assert_equal, assert_values_close_by_bound
from nvfp4.testing.strategies import boundary_matrices
from quantize_kernel import quantize

CASES = {**nvfp4.golden_cases("ties"), **nvfp4.golden_cases("random")}


@pytest.mark.parametrize("x", CASES.values(), ids=CASES.keys())
def test_bytes(x):
    assert_equal(quantize(x), nvfp4.quantize(x), input=x, layout="128x4")


@hypothesis.settings(deadline=None, max_examples=50)
@hypothesis.given(boundary_matrices("te"))
def test_bytes_on_the_boundaries_of_the_dialect(x):
    assert_equal(quantize(x), nvfp4.quantize(x), input=x, layout="128x4")


def test_bytes_of_today_are_those_of_tomorrow(nvfp4_golden):
    x = CASES["ties/bf16_values_amax_7"]
    assert_equal(quantize(x), nvfp4_golden(x), input=x, layout="128x4")


def values_without_tensor_scale(q):
    codes, scales = q.to_ml_dtypes()
    return codes.astype(np.float32) * np.repeat(scales.astype(np.float32), 16, axis=1)


def test_a_product_in_whatever_order():
    a, b = (nvfp4.quantize(np.random.default_rng(seed).standard_normal((8, 64), np.float32)) for seed in (1, 2))
    product = values_without_tensor_scale(a) @ values_without_tensor_scale(b).T
    assert_values_close_by_bound(product, (a, b), accumulate="fp32_in_order", use_globals=False)
