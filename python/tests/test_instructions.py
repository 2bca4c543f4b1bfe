import numpy as np
import pytest

import nvfp4

MODELS = ["sm100_nvfp4", "sm100_mxfp4", "sm120_mxf8f6f4 --a-format e4m3 --b-format e2m1", "sm90_bf16", "sm80_tf32",
          "sm80_fp64", "sm90_fp8 --a-format e5m2 --b-format e4m3", "sm80_fp16 --out-dtype fp16",
          "exact --a-format e2m1 --b-format e2m1"]


def options_of(words):
    model, *rest = words.split()
    options = {name.strip("-").replace("-", "_"): value for name, value in zip(rest[::2], rest[1::2])}
    return {"model": model, **options}


@pytest.mark.parametrize("words", MODELS)
def test_instructions_are_the_programs(program, tmp_path, words):
    program("golden", "make", "-o", tmp_path / "g.npz", "--kind", "mma", "--accumulate", *words.split())
    with np.load(tmp_path / "g.npz") as file:
        arrays = {name: file[name] for name in file.files}
    a, b, c, d = (arrays[name] for name in "ABCD")
    scales = {"a_scales": arrays.get("SFA"), "b_scales": arrays.get("SFB")}
    options = options_of(words)
    found = nvfp4.mma(a, b, c, **options, **scales)
    assert found.dtype == d.dtype and found.shape == d.shape and found.tobytes() == d.tobytes()
    of_tile = {name: None if s is None else s[3] for name, s in scales.items()}
    assert nvfp4.mma(a[3], b[3], c[3], **options, **of_tile).tobytes() == d[3].tobytes()
    if options["model"] != "exact":
        steps = nvfp4.mma(a, b, c, **options, **scales, every_step=True)
        assert steps[:, -1].tobytes() == d.tobytes() and steps.ndim == 4


def test_floating_point_codes():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = np.arange(16 * 16).reshape(16, 16).astype(ml_dtypes.bfloat16)
    d = nvfp4.mma(x, x, np.ones((16, 16), np.float32), "sm90_bf16")
    expected = x.astype(np.int64) @ x.T.astype(np.int64) + 1
    assert d.dtype == np.uint32 and np.array_equal(d.view(np.float32), expected)


@pytest.mark.parametrize("change, message", [
    ({"a": np.zeros((2, 64), np.int32)}, "a: expected codes as unsigned integers"),
    ({"a": np.zeros(64, np.uint8)}, "a: expected two or three dimensions"),
    ({"a": np.full((2, 64), 16, np.uint8)}, "a: expected codes of 4 bits, one an element, found a larger one"),
    ({"a_scales": None}, "a_scales, b_scales: expected both or neither"),
    ({"a_scales": np.zeros((2, 5), np.uint8)}, "a_scales: expected one for each block of a row, found 5"),
    ({"b": np.zeros((2, 32), np.uint8)}, "must have the sizes of its shape"),
    ({"model": "x"}, "accumulate 'x': expected one of"),
    ({"model": "sm100_mxf8f6f4"}, "a_format: expected one of e2m1, "),
    ({"model": "sm100_mxf8f6f4", "a_format": "fp64"}, "a_format 'fp64': expected one of e2m1, "),
    ({"model": "exact", "a_format": "e2m1", "b_format": "e2m1", "every_step": True},
     "every_step: expected a model of an instruction, found exact"),
    ({"out_dtype": "float16"}, "sm100_nvfp4 has no FP16 accumulator"),
], ids=lambda value: next(iter(value)) if isinstance(value, dict) else None)
def test_what_is_no_instruction(change, message):
    codes, scales = np.zeros((2, 64), np.uint8), np.zeros((2, 4), np.uint8)
    with pytest.raises(ValueError, match=message):
        nvfp4.mma(**{"a": codes, "b": codes, "a_scales": scales, "b_scales": scales, **change})
