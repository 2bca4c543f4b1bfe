import copy
import pickle

import numpy as np
import pytest

import nvfp4
from conftest import bf16_bits, wide

DIALECTS = [d["name"] for d in nvfp4.dialects()]


def written(program, tmp_path, x, *options):
    np.save(tmp_path / "x.npy", x)
    program("quantize", tmp_path / "x.npy", "-o", tmp_path / "program.npz", "--force", *options)
    return tmp_path / "program.npz"


def assert_same_file(q, path, tmp_path):
    q.save(tmp_path / "python.npz")
    assert (tmp_path / "python.npz").read_bytes() == path.read_bytes()
    assert nvfp4.load(path) == q


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_has_the_programs_bytes(program, tmp_path, dialect):
    for x, dtype in ((wide(33, 130), None), (bf16_bits(wide(17, 96, 1)), "bf16"), (wide(16, 64, 2).astype("f2"), None)):
        options = ["--input-dtype", "bf16"] if dtype else []
        path = written(program, tmp_path, x, "--dialect", dialect, *options)
        assert_same_file(nvfp4.quantize(x, dialect, dtype=dtype, hash_input=True), path, tmp_path)


@pytest.mark.parametrize("producer", [p["name"] for p in nvfp4.producers()])
def test_every_producer_has_the_programs_bytes(program, tmp_path, producer):
    x = wide(64, 128)
    path = written(program, tmp_path, x, "--producer", producer)
    assert_same_file(nvfp4.quantize(x, producer=producer, hash_input=True), path, tmp_path)


OPTIONS = [
    ("--block 16x16", dict(block="16x16")),
    ("--tensor-scale row", dict(tensor_scale="row")),
    ("--rounding sr --seed 7", dict(rounding="sr", seed=7)),
    ("--rounding sr --seed 7 --random-map te --columns", dict(rounding="sr", seed=7, random_map="te", columns=True)),
    ("--rounding sr --sr-rule te_software", dict(rounding="sr", sr_rule="te_software")),
    ("--rht 16", dict(rht=16)),
    ("--rht 64 --rht-signs seed --seed 3", dict(rht=64, rht_signs="seed", seed=3)),
    ("--rht 16 --rht-signs none --columns", dict(rht=16, rht_signs="none", columns=True)),
    ("--transpose", dict(transpose=True)),
    ("--tensor-amax 3.7", dict(amax=3.7)),
    ("--tensor-amax 2e15", dict(amax=2e15)),
    ("--tensor-amax 1e-7", dict(amax=1e-7)),
    ("--tensor-amax inf", dict(amax=float("inf"))),
    ("--layout 128x4", dict(layout="128x4")),
    ("--layout 8x4 --columns", dict(layout="8x4", columns=True)),
    ("--layout 4-token", dict(layout="4-token")),
    ("--dialect te_4over6 --e4m3-max 256 --select mse", dict(dialect="te_4over6", e4m3_max=256, select="mse")),
    ("--dialect te_ref_4over6 --error-fast", dict(dialect="te_ref_4over6", error_fast=True)),
]


@pytest.mark.parametrize("words, options", OPTIONS, ids=[words for words, _ in OPTIONS])
def test_options_have_the_programs_bytes(program, tmp_path, words, options):
    x = wide(48, 192)
    path = written(program, tmp_path, x, *words.split())
    assert_same_file(nvfp4.quantize(x, hash_input=True, **options), path, tmp_path)


def test_random_words_of_the_caller(program, tmp_path):
    x, words = wide(8, 40), np.random.default_rng(5).integers(0, 2**32, (8, 12), np.uint32)
    np.save(tmp_path / "words.npy", words)
    path = written(program, tmp_path, x, "--rounding", "sr", "--random-words", tmp_path / "words.npy")
    assert_same_file(nvfp4.quantize(x, rounding="sr", random_words=words, hash_input=True), path, tmp_path)


@pytest.mark.parametrize("dtype, name", [("float32", "float32"), ("float16", "float16"), ("bf16", "bf16")])
def test_dequantize_has_the_programs_bytes(program, tmp_path, dtype, name):
    path = written(program, tmp_path, wide(20, 100))
    program("dequantize", path, "-o", tmp_path / "d.npy", "--out-dtype", name)
    values = nvfp4.dequantize(nvfp4.load(path), dtype)
    assert values.tobytes() == np.load(tmp_path / "d.npy").tobytes()


def test_what_the_tensor_holds():
    q = nvfp4.quantize(wide(20, 40), layout="128x4")
    assert (q.packed.shape, q.packed.dtype) == ((20, 24), np.uint8)
    assert (q.scales.shape, q.scales.dtype) == ((20, 3), np.uint8)
    assert (q.global_scale.shape, q.global_scale.dtype) == ((1,), np.float32)
    assert q.scales_swizzled.shape == (128, 4)
    assert (q.shape, q.dialect, q.block, q.layout, q.dtype) == ((20, 40), "te", "1x16", "128x4", "fp32")
    assert q.manifest["global_divisor"] == 2688 and q.manifest["shape"] == [20, 40]
    codes = q.unpacked()
    assert codes.shape == (20, 40) and codes.max() < 16
    assert np.array_equal(codes[:, ::2], q.packed[:, :20] & 15)
    assert nvfp4.quantize(wide(4, 16), "torchao_single_level").global_scale is None


def test_views_are_not_copies():
    q = nvfp4.quantize(wide(16, 64))
    assert q.packed.ctypes.data == q.packed.ctypes.data
    assert q.scales.__array_interface__["data"] == q.scales.__array_interface__["data"]
    q.packed[3, 2] ^= 0xFF
    assert q.packed[3, 2] == nvfp4.quantize(wide(16, 64)).packed[3, 2] ^ 0xFF


def test_the_tensor_outlives_its_views():
    packed = nvfp4.quantize(wide(16, 64)).packed
    assert np.array_equal(packed, nvfp4.quantize(wide(16, 64)).packed)


def test_inputs_are_not_copied_where_they_lie_row_major():
    from nvfp4.arrays import matrix

    x = wide(16, 64)
    assert matrix(x).array.ctypes.data == x.ctypes.data
    assert matrix(x.reshape(2, 8, 64)).array.ctypes.data == x.ctypes.data
    assert matrix(x.view(np.uint16).reshape(16, 128), "bf16").array.ctypes.data == x.ctypes.data


def test_other_orders_are_copied_once_and_give_the_same():
    x = wide(32, 64)
    q = nvfp4.quantize(x)
    assert nvfp4.quantize(np.asfortranarray(x)) == q
    assert nvfp4.quantize(np.repeat(x, 2, axis=1)[:, ::2]) == q
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    assert nvfp4.quantize(unaligned) == q
    x.flags.writeable = False
    assert nvfp4.quantize(x) == q


def test_leading_dimensions_are_flattened(program, tmp_path):
    x = wide(32, 64)
    assert nvfp4.quantize(x.reshape(4, 8, 64)) == nvfp4.quantize(x)
    path = written(program, tmp_path, x.reshape(4, 8, 64))
    assert_same_file(nvfp4.quantize(x.reshape(4, 8, 64), hash_input=True), path, tmp_path)


def test_bfloat16_of_ml_dtypes():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = bf16_bits(wide(16, 64))
    q = nvfp4.quantize(x.view(ml_dtypes.bfloat16))
    assert q == nvfp4.quantize(x, dtype="bf16") and q.dtype == "bf16"
    assert q.dequantize("bf16").dtype == ml_dtypes.bfloat16


@pytest.mark.parametrize("dialect", ["te", "mxfp4_floor", "mxfp8_ceil"])
def test_ml_dtypes_read_the_same_values(dialect):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    q = nvfp4.quantize(np.random.default_rng(1).standard_normal((16, 64)).astype("f4"), dialect)
    codes, scales = q.to_ml_dtypes()
    assert codes.shape == q.shape
    values = codes.astype(np.float64) * np.repeat(scales.astype(np.float64), q.manifest["block_cols"], axis=1)
    g = 1 if q.global_scale is None else float(q.global_scale[0]) / 2688
    assert np.allclose(values * g, q.dequantize(), rtol=1e-6, atol=0)
    assert ml_dtypes.float8_e4m3fn == scales.dtype or dialect != "te"


def test_pickle_copy_and_equality():
    for options in ({}, {"columns": True, "layout": "8x4"}, {"rounding": "sr", "seed": 2**63},
                    {"producer": "te_ref_2d"}):
        q = nvfp4.quantize(wide(32, 64), **options)
        for other in (pickle.loads(pickle.dumps(q)), copy.deepcopy(q), copy.copy(q)):
            assert other == q and other.manifest == q.manifest and repr(other) == repr(q)
    changed = copy.deepcopy(q)
    changed.packed[0, 0] ^= 1
    assert changed != q and q != 3


def test_repr_says_what_it_is():
    q = nvfp4.quantize(np.full((4, 16), 3, np.float32))
    assert repr(q) == "QuantizedTensor(4 x 16, te, block 1x16, RNE, global 3 (amax / 2688), from fp32)"


REFUSED = [
    (dict(x=np.zeros((4, 16))), "x: expected float32, .* found float64 .x.astype"),
    (dict(x=np.zeros(16, "f4")), "x: expected two dimensions or more, found shape"),
    (dict(x=np.zeros((0, 16), "f4")), "expected a matrix with elements, found shape .0, 16."),
    (dict(x=np.zeros((4, 16), "u2")), "x: uint16 elements are BF16 bits with dtype='bf16' alone"),
    (dict(x=np.zeros((4, 16), "f4"), dtype="bf16"), "x: expected elements of dtype 'bf16', found fp32"),
    (dict(dialect="tea"), "dialect 'tea': expected one of te, "),
    (dict(block="2x8"), "block '2x8': expected one of 1x16, 16x16, 1x32"),
    (dict(block="1x32"), "block shape of te must be 1x16 or 16x16"),
    (dict(producer="x"), "producer 'x': expected one of te_ref_1d"),
    (dict(producer="modelopt", block="16x16"),
     "producer 'modelopt' has options of its own: expected none beside it, found block"),
    (dict(rounding="up"), "rounding 'up': expected one of rne, sr"),
    (dict(dialect="vllm", rounding="sr"), "vllm has no stochastic rounding"),
    (dict(rht=24), "a Hadamard transform of 24: expected 2, 4, 8"),
    (dict(layout="x"), "layout 'x': expected one of linear, 128x4, 8x4, 4-token"),
    (dict(select="x"), "select 'x': expected one of mae, mse, absmax"),
    (dict(amax=-1), "tensor amax must be 0 or more, and not NaN"),
    (dict(random_words=np.zeros(3, "u4")), "random_words need rounding 'sr'"),
    (dict(random_words=np.zeros(3, "u4"), rounding="sr"), "expected 16 random words, found 3"),
    (dict(device="tpu"), "device 'tpu': expected one of cpu, reference, gpu"),
    (dict(num_threads=0), "num_threads: expected 1 or more, found 0"),
]


@pytest.mark.parametrize("arguments, message", REFUSED, ids=[m for _, m in REFUSED])
def test_refusals_name_the_place_and_what_was_expected(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        nvfp4.quantize(**{"x": np.zeros((4, 16), np.float32), **arguments})
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(nvfp4.FileError, match="none.npz: file: expected a readable .npz, found No such file"):
        nvfp4.load(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(nvfp4.FileError, match="text.npz: file: expected"):
        nvfp4.load(tmp_path / "text.npz")
    np.savez(tmp_path / "bare.npz", packed=np.zeros((4, 8), np.uint8))
    with pytest.raises(nvfp4.FileError, match="array 'manifest': expected it in the file, found none"):
        nvfp4.load(tmp_path / "bare.npz")
    assert issubclass(nvfp4.FileError, OSError) and issubclass(nvfp4.FileError, ValueError)


@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_damaged_files_are_refused_in_one_line(tmp_path, ending):
    file = tmp_path / f"q{ending}"
    nvfp4.quantize(wide(8, 32)).save(file)
    whole = file.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole[: random.integers(1, len(whole))] if random.random() < 0.3 else whole)
        for at in random.integers(0, len(damaged), 3):
            damaged[at] = random.integers(256)
        file.write_bytes(damaged)
        try:
            nvfp4.load(file)
        except nvfp4.FileError as error:
            assert "\n" not in str(error) and str(error).startswith(str(file))


@pytest.mark.parametrize("change, message", [
    (lambda a: a.pop("scales"), "array 'scales': expected it in the file"),
    (lambda a: a.update(scales=a["scales"][:2]), "scales: expected 4 x 2 bytes, found 4"),
    (lambda a: a.update(global_=a.pop("global")), "global: expected 1 values, found 0"),
    (lambda a: a.update(manifest=np.frombuffer(b"{", np.uint8)), "array 'manifest': expected JSON text"),
    (lambda a: a.update(manifest=np.frombuffer(b"{}", np.uint8)), "manifest field 'dialect': expected a dialect"),
    (lambda a: a.update(scales_swizzled=a["scales"]), "array 'scales_swizzled': expected it where"),
])
def test_files_that_contradict_themselves(tmp_path, change, message):
    q = nvfp4.quantize(wide(4, 32))
    arrays = q._arrays()
    change(arrays)
    np.savez(tmp_path / "q.npz", **arrays)
    with pytest.raises(nvfp4.FileError, match=message):
        nvfp4.load(tmp_path / "q.npz")


def test_an_existing_file_is_kept_where_that_is_asked_for(tmp_path):
    q = nvfp4.quantize(wide(4, 32))
    q.save(tmp_path / "q.npz")
    q.save(tmp_path / "q.npz")
    with pytest.raises(nvfp4.FileError, match="expected no file of this name"):
        q.save(tmp_path / "q.npz", overwrite=False)
    with pytest.raises(nvfp4.FileError, match="expected a place where it can be written"):
        q.save(tmp_path / "no" / "q.npz")


def test_devices_give_the_same_bytes():
    x = wide(32, 64)
    q = nvfp4.quantize(x)
    assert "cpu" in nvfp4.devices()
    for device in nvfp4.devices():
        assert nvfp4.quantize(x, device=device) == q
        assert q.dequantize(device=device).tobytes() == q.dequantize().tobytes()


def test_from_arrays():
    q = nvfp4.quantize(wide(20, 40), layout="128x4")
    made = nvfp4.QuantizedTensor.from_arrays(q.packed, q.scales_swizzled, q.global_scale, shape=q.shape, layout="128x4")
    assert made == q
    with pytest.raises(ValueError, match="packed: expected elements of one byte, found float32"):
        nvfp4.QuantizedTensor.from_arrays(q.packed.astype("f4"), q.scales)


def test_the_version_is_the_librarys(program):
    assert nvfp4.__version__ in program("--version")
