import copy

import numpy as np
import pytest

import nvfp4
from conftest import bf16_bits, wide


def normal(rows, cols, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, cols)).astype(np.float32)


def swapped(q):
    packed = (q.packed >> 4 | q.packed << 4).astype(np.uint8)
    return nvfp4.QuantizedTensor.from_arrays(packed, q.scales, q.global_scale, shape=q.shape)


OTHERS = {
    "equal": lambda x, q: copy.deepcopy(q),
    "swapped_nibbles": lambda x, q: swapped(q),
    "other_dialect": lambda x, q: nvfp4.quantize(x, "modelopt"),
    "other_block": lambda x, q: nvfp4.quantize(x, block="16x16"),
    "transposed": lambda x, q: nvfp4.quantize(x, transpose=True),
    "columns": lambda x, q: nvfp4.quantize(x, columns=True),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("with_input", [True, False])
def test_diff_says_what_the_program_says(program, tmp_path, name, with_input):
    x = normal(64, 64)
    a = nvfp4.quantize(x)
    b = OTHERS[name](x, a)
    a.save(tmp_path / "a.npz")
    b.save(tmp_path / "b.npz")
    np.save(tmp_path / "x.npy", x)
    more = ["--input", tmp_path / "x.npy"] if with_input else []
    found = nvfp4.diff(a, b, x if with_input else None)
    code = 0 if found["equal"] else 1
    text = found.pop("text")
    assert found == program.json("diff", tmp_path / "a.npz", tmp_path / "b.npz", *more, code=code)
    assert text == program("diff", tmp_path / "a.npz", tmp_path / "b.npz", *more, code=code)


def test_diff_of_bare_arrays():
    x = normal(32, 128)
    q = nvfp4.quantize(x, layout="128x4")
    assert nvfp4.diff(q, {"packed": q.packed, "scales": q.scales, "global": q.global_scale})["equal"]
    found = nvfp4.diff(q, (q.packed, q.scales_swizzled.ravel()[: q.scales.size].reshape(q.scales.shape)), x)
    assert not found["equal"]
    found = nvfp4.diff(q, (q.packed, q.scales_swizzled, q.global_scale))
    assert [cause["code"] for cause in found["diagnosis"]] == ["scale_layout"]
    with pytest.raises(ValueError, match="diff: expected a QuantizedTensor, or a dict or tuple with packed and scales"):
        nvfp4.diff(q, {})
    with pytest.raises(ValueError, match="input: expected the shape of a, 32 x 128, found 16 x 128"):
        nvfp4.diff(q, q, x[:16])


@pytest.mark.parametrize("dialect, options", [
    ("te", {}), ("modelopt", {"block": "16x16"}), ("te_4over6", {"select": "mse"}), ("te", {"transpose": True}),
    ("te_ref", {"rht": 16}), ("mxfp4_ceil", {}), ("flashinfer_per_token", {})])
def test_identify_says_what_the_program_says(program, tmp_path, dialect, options):
    x = wide(32, 64)
    q = nvfp4.quantize(x, dialect, **options)
    q.save(tmp_path / "q.npz")
    np.save(tmp_path / "x.npy", x)
    expected = program.json("identify", "--input", tmp_path / "x.npy", "--packed", tmp_path / "q.npz")
    found = nvfp4.identify(x, q.packed, q.scales, q.global_scale)
    assert found["matches"] == expected["matches"] and found["nearest"] == expected["nearest"] is None
    assert dialect in [match["dialect"] for match in found["matches"]]


def test_identify_the_nearest(program, tmp_path):
    x = wide(32, 64)
    q = nvfp4.quantize(x)
    q.packed[3, 5] ^= 0x11
    q.save(tmp_path / "q.npz")
    np.save(tmp_path / "x.npy", x)
    expected = program.json("identify", "--input", tmp_path / "x.npy", "--packed", tmp_path / "q.npz", code=1)
    found = nvfp4.identify(x, q.packed, q.scales, q.global_scale)
    assert found["matches"] == [] and found["nearest"] == expected["nearest"]
    assert found["nearest"]["differing_bytes"] == 1


def test_identify_without_an_input():
    q = nvfp4.quantize(wide(32, 64))
    found = nvfp4.identify(None, q.packed, q.scales, q.global_scale)
    assert "te" in found["possible"] and "mxfp4_ceil" in [e["dialect"] for e in found["excluded"]]
    with pytest.raises(ValueError, match="packed: expected 8 rows as x has, or its transpose's 64, found 32"):
        nvfp4.identify(normal(8, 64), q.packed, q.scales)


EXPLAINED = [
    ("0.3 --amax 1.7 --tensor-amax 12", dict(value=0.3, amax=1.7, tensor_amax=12)),
    ("5 -0.25 --amax 6 --tensor-amax 2688", dict(value=[5, -0.25], amax=6, tensor_amax=2688)),
    ("0.75 --dialect modelopt --dtype bf16", dict(value=0.75, dialect="modelopt", dtype="bf16")),
    ("1 --random 0x9E --amax 3", dict(value=1, random=0x9E, amax=3)),
    ("1 --dialect te_4over6 --e4m3-max 256 --select mse",
     dict(value=1, dialect="te_4over6", e4m3_max=256, select="mse")),
]


@pytest.mark.parametrize("words, arguments", EXPLAINED, ids=[words for words, _ in EXPLAINED])
def test_explain_says_what_the_program_says(program, words, arguments):
    explained = nvfp4.explain(**arguments)
    assert str(explained) == program("explain", *words.split())
    assert str(explained) == program(*explained.command.split()[1:])
    steps = program.json("explain", *words.split())["values"]
    for ours, theirs in zip(explained.values, steps, strict=True):
        for key in ("code", "scale_code", "error"):
            assert ours[key] == theirs[key]


def test_explain_refusals():
    with pytest.raises(ValueError, match="amax 1 is below |2|: expected the block's largest magnitude"):
        nvfp4.explain(2, amax=1)
    with pytest.raises(ValueError, match="random: expected a byte, 0 to 255, found 256"):
        nvfp4.explain(2, random=256)
    with pytest.raises(ValueError, match="is no bf16 number"):
        nvfp4.explain(0.3, dtype="bf16")


def test_the_line_for_an_element(program):
    x = wide(32, 64)
    line = nvfp4.explain_command(x, 3, 17)
    q = nvfp4.quantize(x)
    explained = program.json(*line.split()[1:])["values"][0]
    assert (explained["code"], explained["scale_code"]) == (q.unpacked()[3, 17], q.scales[3, 1])


def test_bounds_are_the_programs(program, tmp_path):
    expected = program.json("bound", "--k", 512, "--a-amax", 3)
    found = nvfp4.bound(k=512, a_amax=3)
    assert {key: found[key] for key in expected} == expected
    a, b = nvfp4.quantize(normal(8, 96, 1)), nvfp4.quantize(normal(12, 96, 2))
    a.save(tmp_path / "a.npz")
    b.save(tmp_path / "b.npz")
    expected = program.json("bound", tmp_path / "a.npz", tmp_path / "b.npz")
    found = nvfp4.bound(a, b)
    assert {key: expected[key] for key in found} == found


def test_measured_errors_are_within_their_bounds():
    x, y = normal(8, 256, 1), normal(12, 256, 2)
    a, b = nvfp4.quantize(x), nvfp4.quantize(y)
    errors, bounds = nvfp4.output_errors(a, b, nvfp4.gemm(a, b))
    assert errors.shape == bounds.shape == (8, 12) and (errors <= bounds).all()
    wrong, _ = nvfp4.output_errors(a, b, nvfp4.gemm(a, b) + np.float32(1))
    assert (wrong > bounds).all()
    assert (np.abs(x - decoded(a)) <= nvfp4.element_bounds(a)).all()
    of_outputs = nvfp4.product_bounds(a, b)
    exact = x.astype(np.float64) @ y.T.astype(np.float64)
    worst = of_outputs["quantization_worst"] + of_outputs["accumulation_worst"]
    d = nvfp4.gemm(a, b, use_globals=False) * (unit(a) * unit(b))
    of_binary64 = 2.0**-44 * (np.abs(x.astype(np.float64)) @ np.abs(y.T))  # 256 terms, each operation by 2^-53
    assert (np.abs(d - exact) <= worst + of_binary64).all()


def unit(q):
    """The tensor scale of te."""
    return np.float64(q.global_scale[0]) / 2688


def decoded(q):
    """element * scales of te in binary64."""
    elements = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])[q.unpacked() & 7] * np.where(q.unpacked() & 8, -1, 1)
    exponents, fractions = np.divmod(q.scales.astype(int), 8)
    scales = np.where(exponents, np.ldexp(8 + fractions, exponents - 10), np.ldexp(fractions, -9))
    return elements * np.repeat(scales, 16, axis=1)[:, :q.shape[1]] * unit(q)


def test_the_bound_of_an_element_is_met():
    """5 of a block of amax 5.875 under scale 1: to 4, a tie, as far off as the scale allows."""
    x = np.zeros((1, 32), np.float32)
    x[0, [0, 1, 16]] = 5.875, 5, 7
    q = nvfp4.quantize(x)
    bounds = nvfp4.element_bounds(q)
    assert x[0, 1] - decoded(q)[0, 1] == 1 and 1 <= bounds[0, 1] < 1 + 2.0**-16


def test_boundary_rows_tell_dialects_apart():
    x = nvfp4.boundaries("te", 64, tensor_amax=1000.0)
    assert x.shape == (64, 96) and x.dtype == np.float32
    te, modelopt = (nvfp4.quantize(x, dialect, amax=1000.0).packed.tobytes() for dialect in ("te", "modelopt"))
    assert te != modelopt
    assert nvfp4.boundaries("te", 64, tensor_amax=1000.0, seed=1).tobytes() != x.tobytes()
    assert nvfp4.boundaries("te", 4, dtype="float16").dtype == np.float16


def test_layouts_there_and_back():
    q = nvfp4.quantize(wide(40, 96))
    for layout in nvfp4.layouts.names:
        there = nvfp4.layouts.swizzle(q.scales, layout)
        assert there.tobytes() == nvfp4.quantize(wide(40, 96), layout=layout).scales_swizzled.tobytes()
        assert np.array_equal(nvfp4.layouts.unswizzle(there.ravel(), 40, 6, layout), q.scales)
    with pytest.raises(ValueError, match="layout 'x': expected one of linear"):
        nvfp4.layouts.swizzle(q.scales, "x")
    high = nvfp4.layouts.repack(q.packed, "low_first", "high_first")
    assert np.array_equal(high, (q.packed >> 4 | q.packed << 4).astype(np.uint8))
    assert np.array_equal(nvfp4.layouts.repack(high, "high_first", "low_first"), q.packed)
    assert nvfp4.layouts.ggml_blocks(nvfp4.quantize(wide(4, 64), "ggml")).shape == (4, 36)


def test_bf16_inputs_everywhere():
    bits = bf16_bits(wide(16, 64))
    q = nvfp4.quantize(bits, dtype="bf16")
    assert nvfp4.diff(q, copy.deepcopy(q), bits, dtype="bf16")["equal"]
    assert "te" in [m["dialect"] for m in nvfp4.identify(bits, q.packed, q.scales, dtype="bf16")["matches"]]
    assert "--dtype bf16" in nvfp4.explain_command(bits, 0, 0, dtype="bf16")


def test_tables_are_the_programs(program):
    listed = program.json("dialects")
    ours = {d["name"]: d for d in nvfp4.dialects()}
    assert list(ours) == [d["name"] for d in listed["dialects"]]
    for record in listed["dialects"]:
        assert {key: ours[record["name"]][key] for key in record} == record
    for p, q in zip(nvfp4.producers(), listed["producers"], strict=True):
        assert (p["name"], p["dialect"], p["columns"]) == (q["producer"], q["dialect"], q["columns"])
    assert nvfp4.recipes() == program.json("linear", "--list-recipes")["recipes"]
    assert nvfp4.accumulations()[0].keys() >= {"name", "evidence", "confidence"}
    assert {s["name"] for s in nvfp4.schemes()} >= {"plain", "averis", "chon"}


@pytest.mark.parametrize("kernel", [m["name"] for m in nvfp4.te_random_maps()])
def test_random_words_of_transformer_engines_kernels(program, tmp_path, kernel):
    x = wide(128, 256)
    np.save(tmp_path / "x.npy", x)
    program("quantize", tmp_path / "x.npy", "-o", tmp_path / "q.npz", "--rounding", "sr", "--random-map", "te",
            "--seed", 7, "--te-kernel", kernel, "--te-offset", 12)
    words = nvfp4.te_random_words(kernel, 128, 256, seed=7, offset=12)
    assert words.shape == (128, 64) and words.dtype == np.uint32
    q = nvfp4.quantize(x, rounding="sr", random_map="te", random_words=words)
    assert q.packed.tobytes() == nvfp4.load(tmp_path / "q.npz").packed.tobytes()
    others = nvfp4.te_random_words(kernel, 128, 256, seed=7, offset=13)
    assert nvfp4.quantize(x, rounding="sr", random_map="te", random_words=others).packed.tobytes() != q.packed.tobytes()


def test_random_words_of_no_kernel():
    with pytest.raises(ValueError, match="kernel 'x': expected one of tuned_1d_rowwise, "):
        nvfp4.te_random_words("x", 64, 64)
    with pytest.raises(ValueError, match="multiple"):
        nvfp4.te_random_words("tuned_1d_rowwise", 64, 65)
