
import numpy as np
import pytest

import nvfp4

PRODUCERS = [p["name"] for p in nvfp4.producers()]


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("producer", PRODUCERS)
def test_producers_own_bytes(golden, producer, dtype):
    path = golden / producer / f"{dtype}.npz"
    if not path.exists():
        pytest.skip(f"not run: no {path.name} of {producer}")
    found = nvfp4.check_golden(path, golden / "inputs" / f"inputs_{dtype}.npz", producer=producer)
    assert found["first"] is None and found["differing_bytes"] == 0
    assert found["equal"] == found["cases"] > 10


def test_counts_are_the_programs(program, golden):
    arguments = golden / "te_ref_2d" / "fp32.npz", golden / "inputs" / "inputs_fp32.npz"
    found = nvfp4.check_golden(*arguments, producer="te_ref_2d")
    expected = program.json("golden", "check", arguments[0], "--inputs", arguments[1], "--producer", "te_ref_2d")
    assert {key: expected[key] for key in found} == found


@pytest.mark.parametrize("words, options", [
    ("--dialect te", dict(dialect="te")),
    ("--producer te_ref_2d --pack ties,ragged", dict(producer="te_ref_2d", packs=["ties", "ragged"])),
    ("--producer te_ref_1d_rht --pack zeros,nonfinite --input-dtype bf16",
     dict(producer="te_ref_1d_rht", packs=["zeros", "nonfinite"], dtype="bf16")),
    ("--dialect te_4over6 --select mse --columns --pack ties",
     dict(dialect="te_4over6", select="mse", columns=True, packs=["ties"])),
    ("--rounding sr --seed 5 --pack random --input-dtype float16",
     dict(rounding="sr", seed=5, packs=["random"], dtype="float16")),
    ("--kind rht --pack random,zeros --input-dtype bf16", dict(kind="rht", packs=["random", "zeros"], dtype="bf16")),
    ("--kind rht --producer te_ref_1d_rht --pack random", dict(kind="rht", producer="te_ref_1d_rht", packs=["random"])),
    ("--tensor-amax 3.7 --pack subnormals", dict(amax=3.7, packs=["subnormals"])),
    ("--rht 32 --rht-signs seed --seed 4 --pack saturation",
     dict(rht=32, rht_signs="seed", seed=4, packs=["saturation"])),
])
def test_files_are_the_programs(program, tmp_path, words, options):
    program("golden", "make", "-o", tmp_path / "program.npz", *words.split())
    nvfp4.make_golden(tmp_path / "python.npz", **options)
    assert (tmp_path / "python.npz").read_bytes() == (tmp_path / "program.npz").read_bytes()
    found = nvfp4.check_golden(tmp_path / "program.npz")
    assert found["equal"] == found["cases"] > 0
    program("golden", "check", tmp_path / "python.npz")


def changed(path, name, at, by):
    arrays = dict(np.load(path))
    arrays[name].reshape(-1)[at] = by
    np.savez(path, **arrays)


def test_a_changed_byte_is_found_where_the_program_finds_it(program, tmp_path):
    path = tmp_path / "g.npz"
    nvfp4.make_golden(path, packs=["ties", "zeros"])
    name = next(key for key in np.load(path).files if key.endswith("/packed"))
    changed(path, name, 7, 0xEE)
    found = nvfp4.check_golden(path)
    expected = program.json("golden", "check", path, code=1)
    assert found["differing_bytes"] == expected["differing_bytes"] == 1
    for key in ("case", "array", "row", "col", "expected", "actual"):
        assert found["first"][key] == expected["first"][key]


PRODUCTS = ["--kind gemm", "--kind gemm --dialect mxfp4_ceil", "--kind gemm --producer te_ref_rowscaled",
            "--kind gemm --dialect te_4over6 --select mse --accumulate fp32_in_order", "--kind linear",
            "--kind linear --recipe averis --seed 5", "--kind mma", "--kind mma --accumulate sm80_fp64",
            "--kind mma --accumulate sm80_fp16 --out-dtype fp16", "--kind mma --accumulate sm90_bf16"]


@pytest.mark.parametrize("words", PRODUCTS)
def test_products_and_layers_of_the_program(program, tmp_path, words):
    path = tmp_path / "g.npz"
    program("golden", "make", "-o", path, *words.split())
    found, expected = nvfp4.check_golden(path), program.json("golden", "check", path)
    assert {key: expected[key] for key in found} == found and found["equal"] == found["cases"] > 3
    name = "D" if "mma" in words else "aligned/d" if "gemm" in words else "aligned/dw"
    value = np.load(path)[name].reshape(-1)[7]
    changed(path, name, 7, -value if value.dtype == np.float32 else value ^ value.dtype.type(1))
    found, expected = nvfp4.check_golden(path), program.json("golden", "check", path, code=1)
    assert found["differing_bytes"] == expected["differing_bytes"] == 1
    place = {key: value for key, value in expected["first"].items() if key != "text"}
    assert place.items() <= found["first"].items()


def test_products_that_cannot_be_made_again(program, tmp_path):
    path = tmp_path / "g.npz"
    program("golden", "make", "-o", path, "--kind", "linear")
    arrays = dict(np.load(path))
    for change, message in (({"aligned/w": arrays["aligned/w"][:, :5]}, "case 'aligned': expected operands of a product"),
                            ({"aligned/dw": arrays["aligned/dw"][:5]}, "array 'aligned/dw': expected float32")):
        np.savez(path, **{**arrays, **change})
        with pytest.raises(nvfp4.FileError, match=message):
            nvfp4.check_golden(path)
    np.savez(path, **{name: array for name, array in arrays.items() if name != "aligned/y"})
    with pytest.raises(nvfp4.FileError, match="case 'aligned': expected array 'y', found none"):
        nvfp4.check_golden(path)
    program("golden", "make", "-o", path, "--force", "--kind", "probes")
    with pytest.raises(nvfp4.FileError, match="manifest field 'kind': expected quantize, rht, gemm, linear or mma"):
        nvfp4.check_golden(path)


def test_reading():
    cases = nvfp4.golden_cases("ties")
    assert all(x.dtype == np.float32 for x in cases.values())
    with pytest.raises(ValueError, match="no case pack x"):
        nvfp4.golden_cases("x")


def test_what_a_case_holds(tmp_path):
    refused = nvfp4.make_golden(tmp_path / "g.npz", producer="te_ref_2d", packs=["ragged", "zeros"])
    cases = nvfp4.read_golden(tmp_path / "g.npz")
    assert refused and all(not cases[name].arrays and cases[name].input is not None for name in refused)
    some = next(case for case in cases.values() if case.arrays)
    assert {"packed", "scales", "global", "dequant"} <= some.arrays.keys()
    assert nvfp4.golden_manifest(tmp_path / "g.npz")["refused"] == refused
    with pytest.raises(nvfp4.FileError, match="expected no file of this name"):
        nvfp4.make_golden(tmp_path / "g.npz", packs=["zeros"], overwrite=False)


def test_kinds_and_packs_that_are_not_there(tmp_path):
    with pytest.raises(ValueError, match="kind 'gemm': expected one of quantize, rht"):
        nvfp4.make_golden(tmp_path / "g.npz", kind="gemm")
    with pytest.raises(ValueError, match="kind 'rht': producer 'modelopt' transforms nothing"):
        nvfp4.make_golden(tmp_path / "g.npz", kind="rht", producer="modelopt")
    with pytest.raises(ValueError, match="no case pack x"):
        nvfp4.make_golden(tmp_path / "g.npz", packs=["x"])


def test_files_that_cannot_be_checked(tmp_path):
    np.savez(tmp_path / "bare.npz", **{"a/packed": np.zeros((4, 8), np.uint8)})
    with pytest.raises(nvfp4.FileError, match="array 'manifest': expected it in the file, or producer="):
        nvfp4.check_golden(tmp_path / "bare.npz")
    with pytest.raises(nvfp4.FileError, match="case 'a': expected an input of that name, found none"):
        nvfp4.check_golden(tmp_path / "bare.npz", producer="modelopt")
    np.savez(tmp_path / "odd.npz", **{"a/input": np.zeros((4, 16), np.float32), "a/packed": np.zeros((4, 9), np.uint8)})
    with pytest.raises(nvfp4.FileError, match=r"array 'a/packed': expected uint8 \(4, 8\), found uint8 \(4, 9\)"):
        nvfp4.check_golden(tmp_path / "odd.npz", dialect="te")
