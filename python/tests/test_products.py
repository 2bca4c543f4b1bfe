import json

import numpy as np
import pytest

import nvfp4
from conftest import bf16_bits, wide


def normal(rows, cols, seed):
    return np.random.default_rng(seed).standard_normal((rows, cols)).astype(np.float32)


def files(tmp_path, *tensors):
    paths = []
    for i, q in enumerate(tensors):
        paths.append(tmp_path / f"q{i}.npz")
        q.save(paths[-1])
    return paths


@pytest.mark.parametrize(
    "dialect", ["te", "modelopt", "compressed_tensors", "mxfp4_ceil", "mxfp8_floor", "flashinfer_per_token"])
@pytest.mark.parametrize("dtype", ["float32", "bf16"])
def test_gemm_has_the_programs_bytes(program, tmp_path, dialect, dtype):
    a, b = nvfp4.quantize(normal(20, 96, 1), dialect), nvfp4.quantize(normal(24, 96, 2), dialect)
    program("gemm", *files(tmp_path, a, b), "-o", tmp_path / "d.npy", "--out-dtype", dtype)
    assert nvfp4.gemm(a, b, out_dtype=dtype).tobytes() == np.load(tmp_path / "d.npy").tobytes()


GEMM_OPTIONS = [
    ("--accumulate exact", dict(accumulate="exact")),
    ("--accumulate fp32_in_order --split-k 3", dict(accumulate="fp32_in_order", split_k=3)),
    ("--alpha 0.37", dict(alpha=0.37)),
    ("--no-globals", dict(use_globals=False)),
]


@pytest.mark.parametrize("words, options", GEMM_OPTIONS, ids=[words for words, _ in GEMM_OPTIONS])
def test_gemm_options_have_the_programs_bytes(program, tmp_path, words, options):
    a, b = nvfp4.quantize(normal(20, 192, 1)), nvfp4.quantize(normal(24, 192, 2), block="16x16")
    program("gemm", *files(tmp_path, a, b), "-o", tmp_path / "d.npy", *words.split())
    assert nvfp4.gemm(a, b, **options).tobytes() == np.load(tmp_path / "d.npy").tobytes()


def test_gemm_bias_and_addend(program, tmp_path):
    a, b = nvfp4.quantize(normal(20, 64, 1)), nvfp4.quantize(normal(24, 64, 2))
    bias, c = normal(1, 24, 3)[0], normal(20, 24, 4)
    np.save(tmp_path / "bias.npy", bias)
    np.save(tmp_path / "c.npy", c)
    program("gemm", *files(tmp_path, a, b), "-o", tmp_path / "d.npy", "--bias", tmp_path / "bias.npy", "--c",
            tmp_path / "c.npy", "--beta", "0.5")
    assert nvfp4.gemm(a, b, bias=bias, c=c, beta=0.5).tobytes() == np.load(tmp_path / "d.npy").tobytes()


def test_gemm_refusals():
    a, b = nvfp4.quantize(normal(4, 32, 1)), nvfp4.quantize(normal(4, 48, 1))
    with pytest.raises(ValueError, match="a product contracts the columns of both"):
        nvfp4.gemm(a, b)
    with pytest.raises(ValueError, match="accumulate 'x': expected one of "):
        nvfp4.gemm(a, a, "x")
    with pytest.raises(ValueError, match="gemm: expected a QuantizedTensor as b, found ndarray"):
        nvfp4.gemm(a, a.packed)


@pytest.fixture(scope="module")
def layer():
    return normal(48, 96, 1), normal(32, 96, 2), normal(48, 32, 3)


@pytest.mark.parametrize("recipe", [r["name"] for r in nvfp4.recipes()])
def test_every_recipe_has_the_programs_bytes(program, tmp_path, layer, recipe):
    paths = []
    for name, m in zip("xwd", layer):
        paths.append(tmp_path / f"{name}.npy")
        np.save(paths[-1], m)
    program("linear", "--x", paths[0], "--w", paths[1], "--dy", paths[2], "-o", tmp_path / "out.npz", "--recipe",
            recipe, "--seed", 11, "--save-state", tmp_path / "state.json")
    expected = np.load(tmp_path / "out.npz")
    result = nvfp4.linear(*layer, recipe, seed=11)
    for name, m in zip(("y", "dx", "dw"), result):
        assert m.dtype == np.float32 and m.tobytes() == expected[name].tobytes()
    assert json.loads((tmp_path / "state.json").read_text()) == result.state


@pytest.mark.parametrize("recipe", [r["name"] for r in nvfp4.recipes()])
def test_passes_by_themselves_are_the_layers(layer, recipe):
    x, w, dy = layer
    whole = nvfp4.linear(x, w, dy, recipe, seed=5)
    forward = nvfp4.linear(x, w, recipe=recipe, seed=5)
    assert forward.dx is None and forward.y.tobytes() == whole.y.tobytes()
    for given in (forward.forward, None):
        back = nvfp4.linear_backward(x, w, dy, recipe, forward=given, seed=5)
        assert back.dx.tobytes() == whole.dx.tobytes() and back.dw.tobytes() == whole.dw.tobytes()
    assert {**forward.state, **back.state} == whole.state
    again = nvfp4.linear(x, w, dy, recipe, seed=5, state=whole.state)
    assert again.state == whole.state and again.dw.tobytes() == whole.dw.tobytes()


def test_recipes_go_through_their_json_form(tmp_path, layer):
    for record in nvfp4.recipes():
        assert nvfp4.recipe_dict(nvfp4.recipe_of(record)) == record
    changed = nvfp4.recipe_dict("nvidia")
    changed["wgrad"]["a"]["rounding"] = "rne"
    (tmp_path / "changed.json").write_text(json.dumps(changed))
    by_file, by_dict = (nvfp4.linear(*layer, recipe) for recipe in (tmp_path / "changed.json", changed))
    assert by_file.dw.tobytes() == by_dict.dw.tobytes() != nvfp4.linear(*layer).dw.tobytes()


def test_linear_refusals(tmp_path, layer):
    x, w, dy = layer
    with pytest.raises(ValueError, match="recipe 'x': expected a recipe or one of bf16"):
        nvfp4.linear(x, w, dy, "x")
    with pytest.raises(ValueError, match="expected W with the columns of X, 96, found 32"):
        nvfp4.linear(x, dy, w)
    with pytest.raises(ValueError, match="fprop: state 'y' is none of scheme"):
        nvfp4.linear(x, w, dy, state={"fprop": {"y": [1]}})
    with pytest.raises(ValueError, match="state 'z': expected one of fprop, dgrad, wgrad"):
        nvfp4.linear(x, w, dy, state={"z": {}})
    with pytest.raises(nvfp4.FileError, match="none.json: file: expected a readable recipe"):
        nvfp4.linear(x, w, dy, tmp_path / "none.json")
    with pytest.raises(ValueError, match="fprop: expected fields of a, b"):
        nvfp4.linear(x, w, dy, {"name": "r", "fprop": {"c": 1}, "dgrad": {}, "wgrad": {}})
    with pytest.raises(ValueError, match="operand a: no dialect 'tea'"):
        d = {"a": {"dialect": "tea"}, "b": {"dialect": "te"}}
        nvfp4.linear(x, w, dy, {"name": "r", "fprop": d, "dgrad": d, "wgrad": d})


def test_state_of_a_training_run(layer):
    state = nvfp4.updated_state(None, 0, *layer, "chon", seed=1)
    assert state == nvfp4.linear(*layer, "chon", seed=1).state and any(state.values())
    assert nvfp4.updated_state(state, 1, *layer, "chon", seed=1) == state


def test_hadamard_is_its_own_inverse_and_has_signs():
    x = bf16_bits(wide(8, 64))
    y = nvfp4.hadamard(x, dtype="bf16", rounded=False)
    assert y.dtype == np.float32 and y.shape == x.shape
    f = normal(4, 32, 1)
    assert np.allclose(nvfp4.hadamard(nvfp4.hadamard(f, 32, None), 32, None), f, atol=1e-5)
    assert nvfp4.hadamard(f, 32, 7).tobytes() == nvfp4.hadamard(f, 32, "seed", seed=7).tobytes()
    assert nvfp4.hadamard(f.T.copy(), 32, None, along="tokens").T.tobytes() == nvfp4.hadamard(f, 32, None).tobytes()
    with pytest.raises(ValueError, match="a Hadamard transform of 32 has no signs of te"):
        nvfp4.hadamard(f, 32)


def test_transform_before_quantization_is_this_one():
    x = normal(16, 64, 3)
    q = nvfp4.quantize(nvfp4.hadamard(x))
    assert q.packed.tobytes() == nvfp4.quantize(x, rht=16).packed.tobytes()


def test_amax():
    x = wide(8, 32)
    assert nvfp4.amax(x) == np.abs(x).max() == nvfp4.quantize(x).global_scale[0]
