import pickle

import numpy as np
import pytest

import nvfp4
from conftest import bf16_bits, wide
from nvfp4.testing import Mismatch, assert_equal, assert_values_close_by_bound


def message_of(*arguments, **options):
    with pytest.raises(Mismatch) as failure:
        assert_equal(*arguments, **options)
    return str(failure.value)


def buffers(q, layout="128x4"):
    """What a right kernel leaves in memory."""
    return {"packed": np.array(q.packed), "scales": q.scales_as(layout).reshape(-1), "global_scale": q.global_scale.copy()}


@pytest.mark.parametrize("layout", nvfp4.layouts.names)
@pytest.mark.parametrize("options", [{}, {"block": "16x16"}, {"tensor_scale": "row"}, {"dialect": "mxfp4_ceil"}])
def test_the_right_bytes_are_equal_in_every_layout(layout, options):
    x = wide(20, 70)
    q = nvfp4.quantize(x, **options)
    arrays = {name: a for name, a in (("packed", q.packed), ("scales", q.scales_as(layout)),
                                      ("global_scale", q.global_scale)) if a is not None}
    assert_equal(arrays, q, input=x, layout=layout)
    assert_equal(tuple(arrays.values()), q, layout=layout)
    assert_equal(q, q, input=x)


def test_one_code():
    x = wide(20, 64)
    expected = nvfp4.quantize(x)
    actual = buffers(expected)
    actual["packed"][5, 9] ^= 0x30
    with pytest.raises(Mismatch) as failure:
        assert_equal(actual, expected, input=x, layout="128x4")
    was = expected.packed[5, 9]
    lines = str(failure.value).splitlines()
    assert lines[0] == "1 bytes differ: packed 1 of 640, scales 0 of 80, global 0 of 1, padding 0; values 1 of 1280"
    assert lines[1] == f"first: packed (5, 9), block (5, 1): expected 0x{was:02X}, actual 0x{was ^ 0x30:02X}"
    assert lines[2].startswith(f"element (5, 19), lane 3: expected {expected.dequantize()[5, 19]:.9g}, actual ")
    assert lines[3].startswith("tie margin")
    assert lines[4] == "run: " + nvfp4.explain_command(x, 5, 19)
    assert (failure.value.differing_bytes, failure.value.differing_values) == (1, 1)
    assert failure.value.diagnosis == []


def test_the_margin_of_a_tie_is_0():
    x = np.zeros((1, 16), np.float32)
    x[0, :2] = 6, 2.5
    actual = nvfp4.quantize(x)
    actual.packed[0, 0] ^= 0x10
    assert "tie margin: 0, 2.5 between 2 and 3\n" in message_of(actual, nvfp4.quantize(x), input=x)


def test_the_margin_of_a_scale():
    x = wide(4, 64)
    actual = nvfp4.quantize(x)
    actual.scales[2, 1] += 1
    assert "\ntie margin: " in message_of(actual, nvfp4.quantize(x), input=x)


@pytest.mark.parametrize("dialect", [d["name"] for d in nvfp4.dialects()])
@pytest.mark.parametrize("array", ["packed", "scales"])
def test_every_dialect_says_all_there_is(dialect, array):
    x = wide(4, 64)
    expected, actual = nvfp4.quantize(x, dialect), nvfp4.quantize(x, dialect)
    getattr(actual, array)[3, 1] ^= 1
    text = message_of(actual, expected, input=x)
    assert f"first: {array} (3, 1)" in text and "\nrun: nvfp4 explain " in text and f" --dialect {dialect}" in text


def bend_nibbles(a):
    a["packed"] = a["packed"] << 4 | a["packed"] >> 4


def bend_padding(a):
    a["scales"][-1] = 1


def bend_global(a):
    a["global_scale"] = 1 / a["global_scale"]


@pytest.mark.parametrize("bend, code", [(bend_nibbles, "swapped_nibbles"), (bend_padding, "padding_only")])
def test_suspected_causes(bend, code):
    x = wide(20, 64)
    q = nvfp4.quantize(x)
    actual = buffers(q)
    bend(actual)
    with pytest.raises(Mismatch) as failure:
        assert_equal(actual, q, input=x, layout="128x4")
    assert code in [cause["code"] for cause in failure.value.diagnosis]
    assert f"suspected cause: {code}: " in str(failure.value)


def test_an_inverted_global_scale_is_a_cause():
    x = wide(20, 64)
    q = nvfp4.quantize(x, "compressed_tensors")
    actual = buffers(q)
    bend_global(actual)
    assert "suspected cause: global_inverted: " in message_of(actual, q, layout="128x4")


def test_another_dialect_is_a_cause():
    x = nvfp4.golden_cases("ties")["ties/e4m3"]
    assert "suspected cause: other_dialect: these are the bytes of te 1x16" in message_of(
        nvfp4.quantize(x), nvfp4.quantize(x, "paper"), input=x)


def test_padding_may_be_excused():
    q = nvfp4.quantize(wide(20, 64))
    actual = buffers(q)
    bend_padding(actual)
    assert_equal(actual, q, layout="128x4", padding="anything")


def test_sizes_and_shapes():
    q = nvfp4.quantize(wide(20, 64))
    assert message_of({"packed": q.packed[:-1]}, q) == "packed: expected 640 bytes, found 608"
    assert message_of(nvfp4.quantize(wide(20, 48)), q) == "shape: expected (20, 64), found (20, 48)"


def test_what_is_not_given_is_not_compared():
    q = nvfp4.quantize(wide(20, 64))
    assert_equal({"scales": q.scales}, q)
    assert_equal((q.packed, q.scales), q)


def test_columns_are_compared():
    x = wide(32, 64)
    actual = nvfp4.quantize(x, columns=True)
    assert_equal(actual, nvfp4.quantize(x, columns=True))
    assert message_of(nvfp4.quantize(x), actual) == "columns: expected those of the transpose, found none"
    actual.columns.packed[0, 0] ^= 1
    assert message_of(actual, nvfp4.quantize(x, columns=True)).startswith("columns: 1 bytes differ: ")


def test_what_is_no_result():
    q = nvfp4.quantize(wide(20, 64))
    with pytest.raises(ValueError, match="actual: expected a QuantizedTensor, .* found ndarray"):
        assert_equal(q.packed, q)
    with pytest.raises(ValueError, match="found \\['codes'\\]"):
        assert_equal({"codes": q.packed}, q)
    with pytest.raises(ValueError, match="padding 'none'"):
        assert_equal(q, q, padding="none")
    with pytest.raises(ValueError, match="input: expected shape"):
        assert_equal(q, q, input=wide(20, 48))


def test_values_are_equal_by_their_bits():
    y = wide(4, 8)
    y[1, 1] = np.nan
    assert_equal(y.copy(), y)
    z = y.copy()
    z[2, 3] = np.nextafter(z[2, 3], np.float32(9))
    z[3, 0] *= 2
    lines = message_of(z, y).splitlines()
    assert lines[0] == "2 of 32 values differ"
    assert lines[1].startswith(f"first: (2, 3): expected 0x{y.view('u4')[2, 3]:08X} = {y[2, 3]:.9g}, actual 0x")
    assert lines[2].startswith("farthest: (3, 0): ") and lines[2].endswith(", 8388608 fp32 numbers apart")
    assert message_of(y.astype(np.float16), y) == "dtype: expected fp32, found fp16"
    assert message_of(y[:2], y) == "shape: expected (4, 8), found (2, 8)"
    minus = np.zeros((1, 2), np.float32)
    minus[0, 1] = -0.0
    assert "expected 0x00000000 = 0, actual 0x80000000 = -0" in message_of(minus, np.zeros((1, 2), np.float32))


def test_bf16_values_are_equal_by_their_bits():
    y = bf16_bits(wide(4, 8))
    z = y.copy()
    z[1, 2] ^= 1
    assert "1 of 32 values differ" in message_of(z, y, dtype="bf16")
    assert_equal(y, y.copy(), dtype="bf16")


def test_a_mismatch_is_pickled():
    error = Mismatch("text", 1, 2, [{"code": "c", "text": "t"}])
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.differing_bytes, again.differing_values, again.diagnosis) == (
        "text", 1, 2, [{"code": "c", "text": "t"}])


def operands():
    return nvfp4.quantize(wide(6, 96)), nvfp4.quantize(wide(5, 96, 1))


@pytest.mark.parametrize("accumulate", ["sm100_nvfp4", "fp32_in_order", "exact"])
@pytest.mark.parametrize("out_dtype", ["float32", "bf16", "float16"])
def test_a_product_is_within_its_bound(accumulate, out_dtype):
    a, b = operands()
    bias = np.arange(5, dtype=np.float32)
    d = nvfp4.gemm(a, b, accumulate, bias=bias, alpha=2.0**-20, out_dtype=out_dtype)
    dtype = "bf16" if d.dtype == np.uint16 else None
    assert_values_close_by_bound(d, (a, b), accumulate=accumulate, bias=bias, alpha=2.0**-20, dtype=dtype)


def test_a_product_beyond_its_bound():
    a, b = operands()
    d = nvfp4.gemm(a, b)
    d[2, 3] *= np.float32(1.001)
    with pytest.raises(Mismatch) as failure:
        assert_values_close_by_bound(d, (a, b))
    lines = str(failure.value).splitlines()
    assert lines[0] == "1 of 30 values are beyond the bound of the default accumulation, whatever the order of k"
    assert lines[1].startswith("first: (2, 3): expected ") and ", bound " in lines[1]
    assert lines[2].startswith("farthest: (2, 3): ") and lines[2].endswith(" times it")
    d[:] = np.nan
    with pytest.raises(Mismatch, match="30 of 30 values"):
        assert_values_close_by_bound(d, (a, b))


def random(rows, cols):
    return np.random.default_rng(0).standard_normal((rows, cols), np.float32)


@pytest.mark.parametrize("dialect", [d["name"] for d in nvfp4.dialects() if not d["global_block_cols"]])
def test_elements_are_within_the_bound_of_their_scales(dialect):
    x = random(16, 96)
    assert_values_close_by_bound(nvfp4.quantize(x, dialect), x)


def test_an_element_beyond_its_bound():
    x = wide(20, 64)
    q = nvfp4.quantize(x)
    row, col = 7, int(np.argmax(np.abs(x[7, :16])))
    q.packed[row, col // 2] ^= 8 << 4 * (col % 2)
    with pytest.raises(Mismatch) as failure:
        assert_values_close_by_bound(q, x)
    text = str(failure.value)
    assert text.startswith("1 of 1280 values are beyond the bound of their block scales by te 1x16\n")
    assert f"\nelement ({row}, {col}), block (7, 0), lane {col}: code 0x" in text
    assert f"\nrun: {nvfp4.explain_command(x, row, col)}\n" in text


def test_what_has_no_bound():
    a, b = operands()
    with pytest.raises(ValueError, match="expected: a pair"):
        assert_values_close_by_bound(nvfp4.gemm(a, b), a)
    with pytest.raises(ValueError, match="a scale for the tensor or each row: tetrajet_v2 has one for each 128 columns"):
        assert_values_close_by_bound(nvfp4.quantize(random(16, 96), "tetrajet_v2"), random(16, 96))
    with pytest.raises(ValueError, match="of a product"):
        assert_values_close_by_bound(a, a.dequantize(), accumulate="exact")
