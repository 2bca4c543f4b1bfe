import numpy as np
import pytest

import nvfp4

hypothesis = pytest.importorskip("hypothesis", reason="not run: hypothesis is not installed")
from nvfp4.testing.strategies import boundary_matrices, case_matrices, matrices  # noqa: E402

SEEN = hypothesis.settings(max_examples=25, deadline=None)


@pytest.mark.parametrize("dtype", ["float32", "bf16", "float16"])
def test_boundaries_are_matrices_that_every_layer_takes(dtype):
    @SEEN
    @hypothesis.given(boundary_matrices(dtype=dtype))
    def holds(x):
        bf16 = "bf16" if x.dtype == np.uint16 else None
        assert x.shape[1] == 96 and 1 <= x.shape[0] <= 4
        assert nvfp4.quantize(x, dtype=bf16) == nvfp4.quantize(x, dtype=bf16, device=nvfp4.devices()[-1])

    holds()


def test_two_orders_of_operations_part_on_them():
    def parts(x):
        return nvfp4.quantize(x).scales.tobytes() != nvfp4.quantize(x, "paper").scales.tobytes()

    assert parts(hypothesis.find(boundary_matrices("te"), parts, settings=SEEN))


def test_cases_and_both():
    for strategy in (case_matrices("ties"), matrices("te_ref", block="16x16", max_rows=16)):
        assert hypothesis.find(strategy, lambda x: x.ndim == 2, settings=SEEN).size
