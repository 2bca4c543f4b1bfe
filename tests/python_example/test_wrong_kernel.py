"""What a mistake looks like: the message of a failing check, word for word."""

import pytest

import nvfp4
from nvfp4.testing import assert_equal
from wrong_kernel import wrong_quantize

MESSAGE = """\
2 bytes differ: packed 2 of 2048, scales 0 of 256, global 0 of 1, padding 0; values 2 of 4096
first: packed (2, 49), block (2, 6): expected 0x66, actual 0x67
element (2, 98), lane 2: expected 4, actual 6
tie margin: 0, 5 between 4 and 6
run: nvfp4 explain 5 --amax 5.875 --tensor-amax 7 --dialect te
suspected cause: ties_only: every differing element lies half way between the two codes to within a few FP32 roundings: \
another order of operations (division, reciprocal)
"""


def test_the_message_ends_the_search():
    x = nvfp4.golden_cases("ties")["ties/bf16_values_amax_7"]
    with pytest.raises(AssertionError) as failure:
        assert_equal(wrong_quantize(x), nvfp4.quantize(x), input=x, layout="128x4")
    assert str(failure.value) + "\n" == MESSAGE


def test_random_numbers_do_not_see_the_mistake():
    x = nvfp4.golden_cases("random")["random/normal"]
    assert_equal(wrong_quantize(x), nvfp4.quantize(x), input=x, layout="128x4")
